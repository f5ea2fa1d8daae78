"""Ingest replicas that come, go, sleep and lose answers: every source is one's at a time, and none is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from simulation import LEASE, Poller, Trouble, World, rates, simulate, troubles

from monitor.core.types import Put
from monitor.services.ingest import IngestService
from monitor.services.ownership import OWNER_KIND
from monitor.services.sharding import SWEEP
from monitor.services.topics import ARTICLES

SOURCES = tuple(f"feed-{n}" for n in range(9))
QUIET = (5 + SWEEP) * LEASE


class Watched(World):
    """Looks at the division right before the end."""

    owned: list[frozenset[str]] = []  # noqa: RUF012

    def final(self) -> None:
        self.owned = [r.sharding.owned if r.sharding is not None else frozenset() for r in self.replicas]


def settled(plan: list[Trouble]) -> float:
    return max([trouble.at + trouble.seconds + 6 for trouble in plan], default=0.0)


@settings(max_examples=40, deadline=None)
@given(plan=troubles, rates=rates)
@example(
    plan=[Trouble(10, 0, "pause", 30), Trouble(12, 1, "crash", 5), Trouble(30, 2, "hang", 20)], rates=(0.95, 1.05, 1)
)
def test_every_source_is_polled_by_one_replica_at_a_time_and_in_the_end_by_one(
    plan: list[Trouble], rates: tuple[float, ...]
) -> None:
    world = Watched(sources=SOURCES)
    until = settled(plan) + QUIET
    simulate(world.run(Poller, rates, plan, until=until))
    late: dict[str, set[str]] = {}
    for at, source, who in world.polls:
        if at > until - 2 * LEASE:
            late.setdefault(source, set()).add(who)
    assert set(late) == set(SOURCES), f"forgotten: {set(SOURCES) - set(late)}"
    assert all(len(who) == 1 for who in late.values()), late
    assert sorted(key for owned in world.owned for key in owned) == sorted(SOURCES)
    # Nothing that a saved cursor has passed is missing on the bus.
    published = {record.key for record in world.topics[ARTICLES]}
    for source in SOURCES:
        last = int(str(world.shared.docs["cursor"][source]["n"]))
        assert {f"{source}-{number}" for number in range(1, last + 1)} <= published


def test_a_dead_replicas_sources_are_taken_over_within_the_lease_and_a_look() -> None:
    world = World(sources=SOURCES)
    simulate(world.run(Poller, (1.0, 1.0, 1.0), [Trouble(40, 0, "crash", 200)], until=90))
    mine = {source for at, source, who in world.polls if who == "replica-0" and at > 20}
    assert mine
    for source in mine:
        last = max(at for at, name, who in world.polls if name == source and who == "replica-0")
        first = min(at for at, name, who in world.polls if name == source and who != "replica-0" and at > last)
        # lease + look + the spread of first polls + the poll itself, with calls of up to 0.4 s
        assert first - 40 < 1.2 * LEASE + 2 + 8 + 4


def test_a_joining_replica_takes_its_share_and_nothing_else_moves() -> None:
    sources = tuple(f"feed-{n}" for n in range(60))
    world = Watched(sources=sources)
    moves: list[tuple[str, str]] = []
    audit = world.shared.audit

    def listen(change: Put) -> None:
        audit(change)
        if change.kind == OWNER_KIND and change.value["owner"]:
            moves.append((change.key, str(change.value["owner"]).partition("#")[0]))

    world.shared.audit = listen
    plan = [Trouble(0.5, 2, "stop", 40)]
    simulate(world.run(Poller, (1.0, 1.0, 1.0), plan, until=80))
    first: dict[str, str] = {}
    again: list[str] = []
    for key, who in moves:
        if key in first and who != first[key]:
            again.append(who)
        first.setdefault(key, who)
    assert set(again) == {"replica-2"}
    assert 10 <= len(again) <= 30  # a third, more or less
    assert sorted(key for owned in world.owned for key in owned) == sorted(sources)


def test_the_cost_is_heartbeats_and_does_not_grow_with_the_sources() -> None:
    counts = []
    for size in (10, 200):
        world = World(sources=tuple(f"feed-{n}" for n in range(size)))
        writes: list[str] = []
        audit = world.shared.audit

        def listen(change: Put, audit=audit, writes=writes) -> None:  # type: ignore[no-untyped-def]
            audit(change)
            if change.kind not in ("cursor", "source_health"):
                writes.append(change.kind)

        world.shared.audit = listen

        async def play(world: World = world, writes: list[str] = writes) -> int:
            import asyncio

            running = asyncio.create_task(world.run(Poller, (1.0, 1.0), [], until=70))
            await asyncio.sleep(30)
            before = len(writes)
            await running
            return len(writes) - before

        counts.append(simulate(play()))
    assert counts[0] == pytest.approx(counts[1], abs=4)
    assert counts[1] <= 2 * 40 / (LEASE / 5) + 4


def test_the_simulation_notices_two_pollers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.services.membership.VALID", 5.0)
    plan = [Trouble(20 + 20 * n, n % 3, "pause", 16) for n in range(6)]
    with pytest.raises(AssertionError, match="is polled by"):
        simulate(World(sources=SOURCES).run(Poller, (1.0, 1.0, 1.0), plan, until=160))


def test_the_simulation_notices_an_old_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IngestService, "_fence", lambda _self, _name: ())
    plan = [Trouble(20 + 30 * n, n % 3, "late", 20) for n in range(6)]
    with pytest.raises(AssertionError, match="cursor jumped"):
        simulate(World(sources=SOURCES).run(Poller, (1.0, 1.0, 1.0), plan, until=220))
