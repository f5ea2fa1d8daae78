"""Who polls what: rendezvous hashing, different configurations at once, work that is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from itertools import pairwise

import pytest
from doubles import START, DictState
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.clock import ManualClock
from monitor.core.errors import LeaseLostError
from monitor.core.types import Put
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.membership import Member, Membership
from monitor.services.ownership import OWNER_KIND, rendezvous
from monitor.services.sharding import Sharding

KEYS = tuple(f"feed-{n}" for n in range(300))


def member(name: str, keys: Collection[str] = KEYS) -> Member:
    return Member(id=f"{name}#1", instance=name, keys=frozenset(keys))


names = st.lists(st.text("abcdefgh-0123", min_size=1, max_size=8), min_size=1, max_size=6, unique=True)


@given(names=names, extra=st.text("xyz", min_size=1))
def test_one_that_joins_takes_from_the_others_and_moves_nothing_among_them(names: list[str], extra: str) -> None:
    before = [member(name) for name in names]
    after = [*before, member(extra)]
    for key in KEYS[:50]:
        assert rendezvous(key, after) in (rendezvous(key, before), f"{extra}#1")


@given(names=names)
def test_all_agree_whatever_the_order(names: list[str]) -> None:
    members = [member(name) for name in names]
    for key in KEYS[:20]:
        assert rendezvous(key, members) == rendezvous(key, members[::-1])


def test_shares_are_about_equal() -> None:
    members = [member(f"ingest-{n}") for n in range(4)]
    shares = [sum(rendezvous(key, members) == each.id for key in KEYS) for each in members]
    assert sum(shares) == len(KEYS)
    assert all(50 <= share <= 100 for share in shares)


def test_a_source_goes_only_to_those_that_know_it() -> None:
    old, new = member("old", KEYS[:-1]), member("new")
    assert rendezvous(KEYS[-1], [old, new]) == new.id
    assert rendezvous(KEYS[-1], [old]) is None


def test_a_restart_keeps_its_share() -> None:
    other = member("b")
    before = {key for key in KEYS if rendezvous(key, [member("a"), other]) == "a#1"}
    again = Member(id="a#2", instance="a", keys=frozenset(KEYS))
    assert before == {key for key in KEYS if rendezvous(key, [again, other]) == "a#2"}


class Replica:
    """A division with a service that only remembers."""

    def __init__(self, state: DictState, name: str, keys: Collection[str] = KEYS[:10], seconds: float = 0.5) -> None:
        self.metrics = Metrics()
        self.sharding = Sharding(
            state, group="ingest", instance=name, keys=keys, lease_seconds=seconds,
            metrics=self.metrics, health=Health(ManualClock(START)),
        )  # fmt: skip
        self.told: dict[str, float | None] = {}
        self.changed = asyncio.Event()
        self.sharding.attach(self._gained, self._lost)
        self.running = asyncio.create_task(self.sharding.run())

    async def _gained(self, names: Mapping[str, float | None]) -> None:
        self.told |= names
        self.changed.set()

    def _lost(self, names: Collection[str]) -> Mapping[str, float]:
        self.changed.set()
        return {name: 60.0 + (self.told.pop(name) or 0) for name in names}

    async def until(self, keys: int) -> None:
        async with asyncio.timeout(20):
            while len(self.told) != keys:
                self.changed.clear()
                await self.changed.wait()

    async def stop(self) -> None:
        self.sharding.stop()
        await self.running


async def test_a_graceful_end_hands_everything_over_with_its_time() -> None:
    state = DictState()
    one = Replica(state, "one")
    await one.until(10)
    assert set(one.told.values()) == {None}
    two = Replica(state, "two")
    await one.stop()
    await two.until(10)
    assert set(two.told.values()) == {60.0}
    owners = {str(doc["owner"]).partition("#")[0] for doc in state.docs[OWNER_KIND].values()}
    assert owners == {"two"}
    assert two.metrics.registry.get_sample_value("riskwire_sources_owned") == 10
    await two.stop()
    assert not any(state.docs[kind] for kind in ("member", "member_beat", "member_keys"))
    assert two.metrics.registry.get_sample_value("riskwire_sources_owned") == 0


async def test_a_replica_with_a_newer_configuration_takes_what_the_older_does_not_know() -> None:
    state = DictState()
    old = Replica(state, "old", KEYS[:10])
    new = Replica(state, "new", KEYS[:20])
    async with asyncio.timeout(20):
        while set(old.told) | set(new.told) != set(KEYS[:20]) or set(old.told) & set(new.told):
            await asyncio.sleep(0.01)
    assert set(KEYS[10:20]) <= set(new.told)
    assert old.told
    await old.stop()
    await new.stop()


async def test_work_for_what_is_not_owned_or_already_worked_on_is_refused() -> None:
    one = Replica(DictState(), "one")
    await one.until(10)
    async with one.sharding.holding("feed-1"):
        with pytest.raises(LeaseLostError):
            async with one.sharding.holding("feed-1"):
                raise AssertionError
    with pytest.raises(LeaseLostError):
        async with one.sharding.holding("other"):
            raise AssertionError
    with pytest.raises(LeaseLostError):
        one.sharding.fence("other")
    await one.stop()


async def test_what_another_has_taken_is_noticed_when_something_is_written() -> None:
    state = DictState()
    one = Replica(state, "one")
    await one.until(10)
    await state.apply([Put(kind=OWNER_KIND, key="ingest/feed-3", value={"owner": "", "token": 7, "wait": None})])
    with pytest.raises(LeaseLostError):
        async with one.sharding.holding("feed-3"):
            await state.apply([], given=[one.sharding.fence("feed-3")])
    assert "feed-3" not in one.told
    await one.until(10)  # it is free, so it comes back
    assert state.docs[OWNER_KIND]["ingest/feed-3"]["token"] == 8
    await one.stop()


async def test_a_poll_is_cut_off_when_no_heartbeat_gets_through() -> None:
    class Silent(DictState):
        away = asyncio.Event()

        async def apply(self, changes, *, given=()):  # type: ignore[no-untyped-def]
            if self.away.is_set():
                await asyncio.Event().wait()
            await super().apply(changes, given=given)

    state = Silent()
    one = Replica(state, "one")
    await one.until(10)
    state.away.set()
    with pytest.raises(LeaseLostError, match="cut off"):
        async with one.sharding.holding("feed-1"), asyncio.timeout(20):
            await asyncio.Event().wait()
    assert not one.sharding.holds("feed-2")
    one.running.cancel()
    await asyncio.gather(one.running, return_exceptions=True)


class HandSteady:
    at = 0.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


async def test_the_silent_are_buried_and_told_so() -> None:
    state, steady = DictState(), HandSteady()
    a, b = (
        Membership(state, group="ingest", instance=name, keys=["x"], lease_seconds=10, steady=steady) for name in "ab"
    )
    await a.join()
    await b.join()
    assert [m.instance for m in await a.look()] == ["a", "b"]
    for _ in range(4):
        steady.at += 3
        await a.beat()
        seen = await a.look()
    assert [m.instance for m in seen] == ["a"]
    with pytest.raises(LeaseLostError, match="replaced"):
        await b.beat()
    old = b.id
    await b.join()
    assert b.id != old
    assert [m.instance for m in await a.look()] == ["a", "b"]
    await b.leave()
    assert [m.instance for m in await a.look()] == ["a"]


def test_hashing_does_not_favour_neighbours() -> None:
    """Sources in a row, as a configuration lists them, do not all go to one replica."""
    members = [member(f"ingest-{n}") for n in range(3)]
    whose = [rendezvous(key, members) for key in KEYS]
    assert sum(a != b for a, b in pairwise(whose)) > len(KEYS) / 2
