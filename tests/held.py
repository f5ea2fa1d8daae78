"""Holds bulk requests in a proxy: between being sent and being carried out anything may happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fault.elastic_proxy import Answer, Asked, ElasticProxy, Forward


class Held:
    """One bulk request on its way."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """It has left its writer."""
        self.go = asyncio.Event()
        self.done = asyncio.Event()
        """The server has carried it out."""


@asynccontextmanager
async def hold(proxy: ElasticProxy, *, lose: bool = False) -> AsyncIterator[Held]:
    """The next bulk request waits until the end of the block and is then carried out; ``lose``: unanswered. It is
    carried out even when its writer has gone."""
    held = Held()
    carried: list[asyncio.Task[Answer]] = []

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        if not asked.is_bulk or held.reached.is_set():
            return await forward(asked)

        async def carry() -> Answer:
            await held.go.wait()
            answer = await forward(asked)
            held.done.set()
            return answer

        carried.append(asyncio.create_task(carry()))
        held.reached.set()
        answer = await asyncio.shield(carried[0])
        return None if lose else answer

    proxy.fault = fault
    try:
        yield held
    finally:
        held.go.set()
        if carried:
            await carried[0]
        proxy.fault = None
