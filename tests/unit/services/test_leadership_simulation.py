"""Leader election under pauses, crashes, lost answers and clocks that disagree: one acts, and never two."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from simulation import LEASE, Leader, Trouble, World, rates, simulate, troubles

from monitor.core.types import Change, Expect
from monitor.services.leases import Lease

QUIET = 8 * LEASE


def settled(plan: list[Trouble]) -> float:
    """When the last trouble is over."""
    return max([trouble.at + trouble.seconds + 6 for trouble in plan], default=0.0)


@settings(max_examples=60, deadline=None)
@given(plan=troubles, rates=rates)
def test_at_most_one_leads_and_in_the_end_one_does(plan: list[Trouble], rates: tuple[float, ...]) -> None:
    world = World()
    until = settled(plan) + QUIET
    simulate(world.run(Leader, rates, plan, until=until))
    tokens = [token for _, _, token in world.acts]
    assert tokens == sorted(tokens)
    late = [(who, token) for at, who, token in world.acts if at > until - LEASE]
    assert late, "nobody leads"
    assert len(set(late)) == 1


def test_a_dead_leader_is_replaced_within_the_lease_and_a_look() -> None:
    for seed in range(20):
        world = World()
        simulate(world.run(Leader, (1.0, 1.0), [], until=30, seed=seed))
        leader = int(world.acts[-1][1][-1])
        world = World()
        simulate(world.run(Leader, (1.0, 1.0), [Trouble(30, leader, "crash", 100)], until=60, seed=seed))
        (last,) = [at for at, who, _ in world.acts if who[-1] == str(leader)][-1:]
        first = min(at for at, who, _ in world.acts if who[-1] != str(leader))
        # A renewal is at most a fifth of the lease old when the leader dies; calls take up to 0.4 s here.
        assert 0.75 * LEASE < first - last < 1.2 * LEASE + 3


def test_a_leader_that_stops_in_order_is_replaced_at_once() -> None:
    world = World()
    simulate(world.run(Leader, (1.0, 1.0), [Trouble(30, n, "stop", 100) for n in (0,)], until=60))
    gaps = [b[0] - a[0] for a, b in zip(world.acts, world.acts[1:], strict=False)]
    assert max(gaps) < LEASE / 2 + 2
    assert world.acts[-1][1] == "replica-1"


def test_a_leader_that_slept_steps_down_and_stands_by() -> None:
    world = World()
    plan = [Trouble(20, n, "pause", 40) for n in (0, 1)]  # whoever leads
    simulate(world.run(Leader, (1.0, 1.0, 1.0), plan, until=100))
    assert {who for at, who, _ in world.acts if at > 60} == {world.acts[-1][1]}


def test_the_simulation_notices_two_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a holder that trusts its lease for longer than the others wait, the checks must cry."""
    monkeypatch.setattr("monitor.services.leases.VALID", 3.0)
    plan = [Trouble(20, n, "pause", 15) for n in (0, 1)]
    with pytest.raises(AssertionError, match="hold the lease"):
        simulate(World().run(Leader, (1.0, 1.0, 1.0), plan, until=100))


def test_the_simulation_notices_writes_without_a_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unfenced(self: Lease, changes: Sequence[Change], given: Sequence[Expect] = ()) -> None:
        await self._state.apply(changes, given=given)

    monkeypatch.setattr(Lease, "apply", unfenced)
    plan = [Trouble(20, n, "late", 15) for n in (0, 1)]
    with pytest.raises(AssertionError, match=r"lost or repeated"):
        simulate(World().run(Leader, (1.0, 1.0, 1.0), plan, until=60))
