"""The outbox of a leader: before every send it asks whether it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from doubles import START, DictState, incident

from alerts.outbox import OUTBOX, RECEIPT, Outbox, outbox_rows
from monitor.core.clock import ManualClock
from monitor.core.errors import LeaseLostError
from monitor.core.types import Change, Incident, Receipt


class Desk:
    name = "desk"

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        self._log.append(f"send {incident.revision}")
        return Receipt(notifier=self.name, data={"message": "m"})


class World:
    def __init__(self) -> None:
        self.state, self.log = DictState(), []
        self.lost = False
        self.desk = Desk(self.log)
        self.outbox = Outbox(self.state, {"desk": self.desk}, ManualClock(START), claim=self.claim)

    async def claim(self, changes: Sequence[Change]) -> None:
        self.log.append(f"claim {len(changes)}")
        if self.lost:
            raise LeaseLostError("Another leads.")
        await self.state.apply(changes)


async def test_the_right_to_send_is_asked_right_before_every_send() -> None:
    world = World()
    for revision in (1, 2):
        await world.state.apply(outbox_rows(replace(incident(), revision=revision), ["desk"]))
        await world.outbox.run_once()
    assert world.log == ["claim 1", "send 1", "claim 0", "send 2"]


async def test_who_may_not_sends_nothing_and_leaves_everything_to_the_leader() -> None:
    world = World()
    await world.state.apply(outbox_rows(incident(), ["desk"]))
    before = dict(world.state.docs[OUTBOX])
    world.lost = True
    with pytest.raises(LeaseLostError):
        await world.outbox.run_once()
    assert world.log == ["claim 1"]
    assert world.state.docs[OUTBOX] == before
    assert RECEIPT not in world.state.docs


async def test_alone_an_edit_costs_one_write() -> None:
    world = World()
    outbox = Outbox(world.state, {"desk": world.desk}, ManualClock(START))
    await world.state.apply(outbox_rows(incident(), ["desk"]))
    await outbox.run_once()
    await world.state.apply(outbox_rows(replace(incident(), revision=2), ["desk"]))
    before = world.state.applied
    await outbox.run_once()
    assert world.state.applied == before + 1
