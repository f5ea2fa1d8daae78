"""Leases and the division of sources on every state store: what they ask of conditional changes must really hold."""

from __future__ import annotations

import asyncio

import pytest

from monitor.core.clock import SystemClock
from monitor.core.errors import LeaseLostError
from monitor.core.types import Put
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.leases import FencedState, Lease
from monitor.services.ownership import OWNER_KIND
from monitor.services.sharding import Sharding


class HandSteady:
    at = 0.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


async def test_of_many_that_want_the_lease_one_gets_it_and_the_fence_holds(state):
    steady = HandSteady()
    rest = [Lease(state, name="detect", instance=f"r{n}", lease_seconds=10, steady=steady) for n in range(8)]
    for token in range(1, 4):
        got = await asyncio.gather(*(lease.acquire() for lease in rest))
        assert sum(got) == 1
        leader = rest.pop(got.index(True))
        assert leader.token == token
        await leader.renew()
        await asyncio.gather(*(lease.acquire() for lease in rest))  # they see the renewal
        await FencedState(state, leader).apply([Put(kind="note", key="a", value={"by": leader.holder})])
        for other in rest:
            with pytest.raises(LeaseLostError):
                await FencedState(state, other).apply([Put(kind="note", key="a", value={"by": "another"})])
            with pytest.raises(LeaseLostError):
                await other.claim()
        assert await state.get("note", "a") == {"by": leader.holder}
        await leader.claim()
        steady.at += 10


async def test_renewals_do_not_break_writes_on_their_way(state):
    lease = Lease(state, name="detect", instance="one", lease_seconds=10)
    assert await lease.acquire()
    fenced = FencedState(state, lease)
    writes = [fenced.apply([Put(kind="note", key=f"{n:02d}", value={})]) for n in range(20)]
    await asyncio.gather(*writes, *(lease.renew() for _ in range(10)))
    assert len(await state.list("note")) == 20


async def test_replicas_divide_what_there_is_and_take_over_from_a_dead_one(state):
    keys = tuple(f"feed/{n}" for n in range(250))

    def replica(name: str) -> Sharding:
        return Sharding(
            state, group="ingest", instance=name, keys=keys, lease_seconds=1.0,
            metrics=Metrics(), health=Health(SystemClock()),
        )  # fmt: skip

    async def divided(*replicas: Sharding) -> None:
        async with asyncio.timeout(30):
            while sorted(key for each in replicas for key in each.owned) != sorted(keys):
                await asyncio.sleep(0.05)

    one, two, three = replica("one"), replica("two"), replica("three")
    tasks = {each: asyncio.create_task(each.run()) for each in (one, two, three)}
    try:
        async with asyncio.timeout(30):
            while not all(each.owned for each in tasks):
                await asyncio.sleep(0.05)
        await divided(one, two, three)
        tasks[three].cancel()  # without a word
        await asyncio.gather(tasks[three], return_exceptions=True)
        await divided(one, two)
        two.stop()
        await tasks[two]
        await divided(one)
    finally:
        for each in tasks:
            each.stop()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    owners = [document["owner"] for _, document in await state.list(OWNER_KIND)]
    assert owners == [""] * len(keys)
    assert await state.list("member") == []
