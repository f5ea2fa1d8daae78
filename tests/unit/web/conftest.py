"""Worlds: with and without tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from doubles import START, ListBus
from web_tools import TOKENS, FakeModel, World

from monitor.config import Settings
from monitor.core.clock import ManualClock
from monitor.db.directory import DataDirectory
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.serving import model_facts
from monitor.state.sqlite import SqliteState
from monitor.store.sqlite import SqliteStore
from monitor.web.access import Access, Token
from monitor.web.context import Entity, Once, WebContext, WebOptions
from monitor.web.limits import RateLimit

Make = Callable[..., Any]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a world: ``await make(tokens=…, **options)``."""
    async with AsyncExitStack() as stack:

        async def made(*, tokens: Sequence[Token] = (), **options: Any) -> World:
            clock, metrics = ManualClock(START), Metrics()
            directory = DataDirectory.open(tmp_path / "data", mode="owner")
            stack.callback(directory.close)
            store = await SqliteStore.open(directory, clock=clock)
            stack.push_async_callback(store.close)
            state = await SqliteState.open(directory)
            stack.push_async_callback(state.close)
            model, bus = FakeModel(), ListBus()

            async def get_model() -> FakeModel:
                return model

            facts = await asyncio.to_thread(model_facts, Settings())
            names = [Entity(id="acme", name="Acme Bank", name_zh="阿克米", kind="bank", aliases=("ACME",))]
            context = WebContext(
                options=WebOptions(**{"hosts": ("localhost", "127.0.0.1"), "static": tmp_path / "static"} | options),
                access=Access(tokens, b"k" * 32),
                clock=clock, store=store, state=state, bus=bus, metrics=metrics, health=Health(clock),
                model=get_model, facts=Once(lambda: facts), watchlist=Once(lambda: names),
                sources=(("wire", "feed"), ("hook", "push")), version="1.2.3",
            )  # fmt: skip
            context.logins = RateLimit(0.2, 10, lambda: clock.now().timestamp())
            world = World(context, model, bus, clock)
            stack.push_async_callback(world.client.aclose)
            return world

        yield made


@pytest.fixture
async def world(make: Make) -> World:
    """Without tokens."""
    result: World = await make()
    return result


@pytest.fixture
async def guarded(make: Make) -> World:
    """With a token of each role."""
    result: World = await make(tokens=TOKENS)
    return result
