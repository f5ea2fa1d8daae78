"""Leases: taken, kept, lost, given back; what is written without one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from doubles import START, DictState

from monitor.core.clock import ManualClock
from monitor.core.errors import ConflictError, DatabaseCorruptError, LeaseLostError, StorageError, UnavailableError
from monitor.core.types import Change, Expect, Put
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.leadership import Leadership
from monitor.services.leases import FencedState, Lease
from monitor.services.steady import VALID, SteadyClock

SECONDS = 10.0
NOTE = Put(kind="note", key="a", value={"n": 1})


class HandSteady:
    """Stands still until moved."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


class DeafState(DictState):
    """Writes, then says that it could not."""

    deaf = False

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        await super().apply(changes, given=given)
        if self.deaf:
            raise StorageError("The line broke.")


def lease(state: DictState, steady: HandSteady, instance: str = "one") -> Lease:
    return Lease(state, name="detect", instance=instance, lease_seconds=SECONDS, steady=steady)


async def test_the_second_waits_until_the_first_was_silent_for_the_whole_time_by_its_own_clock() -> None:
    state, here, there = DictState(), HandSteady(100), HandSteady(-5e6)
    first, second = lease(state, here), lease(state, there, "two")
    assert await first.acquire()
    assert first.token == 1
    assert not await second.acquire()
    there.at += SECONDS - 0.001
    assert not await second.acquire()
    assert second.patience() == pytest.approx(0.001)
    await first.renew()
    there.at += 0.002
    assert not await second.acquire()
    there.at += SECONDS
    assert await second.acquire()
    assert second.token == 2


async def test_the_holder_stops_before_the_others_may_begin() -> None:
    state, steady = DictState(), HandSteady()
    holder = lease(state, steady)
    assert await holder.acquire()
    assert holder.remaining() == pytest.approx(VALID * SECONDS)
    steady.at += VALID * SECONDS
    assert not holder.held
    with pytest.raises(LeaseLostError, match="not renewed in time"):
        await holder.claim()
    await holder.renew()  # nobody came in between
    assert holder.held


async def test_an_old_holder_writes_nothing() -> None:
    state, here, there = DictState(), HandSteady(), HandSteady()
    old, new = lease(state, here), lease(state, there, "two")
    await old.acquire()
    await new.acquire()
    there.at += SECONDS
    assert await new.acquire()
    # Its own clock stood still, as of a machine that was suspended: it still believes to hold the lease.
    assert old.held
    fenced = FencedState(state, old)
    with pytest.raises(LeaseLostError, match="held by two#"):
        await fenced.apply([NOTE])
    assert await state.get("note", "a") is None
    assert not old.held
    with pytest.raises(LeaseLostError):
        await old.renew()
    await FencedState(state, new).apply([NOTE])
    assert await fenced.get("note", "a") == {"n": 1}
    await old.release()
    assert new.fence.value == await state.get("lease", "detect")


async def test_what_is_given_back_is_taken_at_once_and_the_token_grows() -> None:
    state, steady = DictState(), HandSteady()
    first, second = lease(state, steady), lease(state, steady, "two")
    for token, holder in ((1, first), (2, second), (3, first)):
        assert await holder.acquire()
        assert holder.token == token
        await holder.release()
        assert not holder.held
    with pytest.raises(LeaseLostError, match="does not hold"):
        await first.apply([NOTE])


async def test_an_acquisition_whose_answer_was_lost_is_found_again() -> None:
    state, steady = DeafState(), HandSteady()
    holder = lease(state, steady)
    state.deaf = True
    with pytest.raises(StorageError):
        await holder.acquire()
    assert not holder.held
    state.deaf = False
    assert await holder.acquire()
    assert holder.token == 2  # what the first attempt may still bring about is fenced off


async def test_after_a_lapse_what_the_same_process_sent_before_is_refused() -> None:
    state, steady = DictState(), HandSteady()
    holder = lease(state, steady)
    await holder.acquire()
    late = holder.fence
    holder.forget()
    assert await holder.acquire()
    with pytest.raises(ConflictError):
        await state.apply([NOTE], given=[late])


async def test_a_restarted_process_inherits_nothing() -> None:
    state, steady = DictState(), HandSteady()
    assert await lease(state, steady).acquire()
    assert not await lease(state, steady).acquire()


async def test_a_condition_of_the_work_itself_is_no_loss_of_the_lease() -> None:
    state, steady = DictState(), HandSteady()
    holder = lease(state, steady)
    await holder.acquire()
    with pytest.raises(ConflictError) as caught:
        await FencedState(state, holder).apply([NOTE], given=[Expect(kind="note", key="b", value={})])
    assert not isinstance(caught.value, LeaseLostError)
    assert holder.held


def leadership(state: DictState, lead) -> tuple[Leadership, Metrics, Health]:  # type: ignore[no-untyped-def]
    metrics, health = Metrics(), Health(ManualClock(START))
    of = Lease(state, name="detect", instance="one", lease_seconds=SECONDS)
    return Leadership(lease=of, lead=lead, metrics=metrics, health=health), metrics, health


def leads(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("riskwire_leader", {"lease": "detect"})


async def test_stop_ends_the_work_in_order_and_gives_the_lease_back() -> None:
    state = DictState()
    done: list[str] = []

    async def lead(ended: asyncio.Event) -> None:
        done.append("begun")
        await ended.wait()
        done.append("ended")

    chair, metrics, _ = leadership(state, lead)
    running = asyncio.create_task(chair.run())
    await chair.leading.wait()
    assert leads(metrics) == 1
    chair.stop()
    await running
    assert done == ["begun", "ended"]
    assert leads(metrics) == 0
    assert state.docs["lease"]["detect"] == {"holder": "", "token": 1}


async def test_a_standby_is_healthy_and_stops_when_asked() -> None:
    state = DictState()
    assert await Lease(state, name="detect", instance="two", lease_seconds=SECONDS).acquire()

    async def lead(_ended: asyncio.Event) -> None:
        raise AssertionError("there is a leader")

    chair, metrics, health = leadership(state, lead)
    running = asyncio.create_task(chair.run())
    while not health._beats:
        await asyncio.sleep(0)
    assert leads(metrics) == 0
    assert health.stale() == []
    chair.stop()
    await running


async def test_what_breaks_the_work_breaks_the_process_and_frees_the_lease() -> None:
    state = DictState()

    async def lead(_ended: asyncio.Event) -> None:
        raise StorageError("No room.")

    chair, _, _ = leadership(state, lead)
    with pytest.raises(StorageError, match="No room"):
        await chair.run()
    assert state.docs["lease"]["detect"]["holder"] == ""


@pytest.mark.parametrize("error", [LeaseLostError("Another was quicker."), UnavailableError("Down.")])
async def test_a_conflict_or_a_server_that_is_away_only_ends_the_term(error: StorageError) -> None:
    state = DictState()
    terms: list[int] = []

    async def lead(ended: asyncio.Event) -> None:
        terms.append(1)
        if len(terms) == 1:
            raise error
        await ended.wait()

    metrics, health = Metrics(), Health(ManualClock(START))
    of = Lease(state, name="detect", instance="one", lease_seconds=0.5)
    chair = Leadership(lease=of, lead=lead, metrics=metrics, health=health)
    running = asyncio.create_task(chair.run())
    async with asyncio.timeout(20):
        while len(terms) < 2:
            await chair.leading.wait()
            await asyncio.sleep(0)
    chair.stop()
    await running


async def test_a_damaged_state_store_ends_the_wait() -> None:
    class Damaged(DictState):
        async def get(self, kind: str, key: str) -> None:
            raise DatabaseCorruptError("Damaged.")

    async def lead(_ended: asyncio.Event) -> None: ...

    chair, _, _ = leadership(Damaged(), lead)
    with pytest.raises(DatabaseCorruptError):
        await chair.run()


def test_the_steady_clock_goes_forward() -> None:
    steady = SteadyClock()
    first = steady.now()
    assert steady.now() >= first
