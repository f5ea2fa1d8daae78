"""Fixtures of the connectors' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from website import NOW, Site, loopback, open_site

from connectors.base import ConnectorContext
from connectors.http import Fetcher
from connectors.workers import WorkerPool
from monitor.core.clock import ManualClock


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site, runner = await open_site()
    yield site
    await runner.cleanup()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def fetcher(clock: ManualClock) -> AsyncIterator[Fetcher]:
    async with Fetcher(loopback(), clock) as fetcher:
        yield fetcher


@pytest.fixture
async def context(clock: ManualClock, fetcher: Fetcher) -> AsyncIterator[ConnectorContext]:
    async with WorkerPool(size=1) as workers:
        yield ConnectorContext(clock=clock, fetcher=fetcher, workers=workers)
