"""A small world around an Elasticsearch server: several stores with clocks of their own, a proxy that makes faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from elastic_home import elastic_config, refresh, remove
from fault.elastic_proxy import ElasticProxy

from monitor.core.clock import ManualClock
from monitor.store.elastic import ElasticStore
from monitor.store.elastic_template import apply

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Skewed:
    """A world's time as a machine with a wrong clock sees it."""

    rate = 1.0

    def __init__(self, clock: ManualClock, skew: float) -> None:
        self._clock = clock
        self.skew = timedelta(seconds=skew)

    def now(self) -> datetime:
        return self._clock.now() + self.skew

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class World:
    """One cluster's articles. Time stands still until a test moves it."""

    def __init__(self, url: str, proxy: ElasticProxy, stack: AsyncExitStack) -> None:
        self.config = elastic_config(url)
        self.proxy = proxy
        self.clock = ManualClock(BEGIN)
        self._stack = stack

    async def store(self, *, skew: float = 0.0, direct: bool = False, **fields: object) -> ElasticStore:
        """A process's store; ``direct`` past the proxy."""
        config = replace(self.config, **fields)  # type: ignore[arg-type]
        if not direct:
            config = replace(config, urls=(self.proxy.url,))
        wall = Skewed(self.clock, skew)
        store = await ElasticStore.open(config, clock=wall, wall=wall)
        self._stack.push_async_callback(store.close)
        return store

    async def read(self, store: ElasticStore, after: str, limit: int = 100) -> tuple[list[str], str]:
        """Everything that the tail gives now, as ids."""
        await refresh(store.client)
        given: list[str] = []
        while (page := await store.tail(after, limit)).items:
            given += [item.article.id for item in page.items]
            after = page.position
        return given, page.position


@pytest.fixture
async def world(elastic_server: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(ElasticProxy(elastic_server))
        world = World(elastic_server, proxy, stack)
        await apply(world.config)
        stack.push_async_callback(remove, world.config)
        yield world
