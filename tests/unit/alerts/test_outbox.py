"""The outbox: newest state only, edited in place, retried politely, never lost, never stuck on what cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from doubles import START, DictState, incident

from alerts.outbox import OUTBOX, RECEIPT, UNDELIVERED, Outbox, OutboxConfig, outbox_rows
from monitor.core.clock import ManualClock
from monitor.core.errors import PermanentNotifyError, RetryableNotifyError, StorageError
from monitor.core.types import Incident, Put, Receipt


@dataclass
class Desk:
    """A notifier that follows a script of errors and otherwise shows one message per receipt."""

    name: str = "desk"
    troubles: list[Exception] = field(default_factory=list)
    sent: list[tuple[str, int, str]] = field(default_factory=list)
    calls: int = 0
    given: list[Receipt | None] = field(default_factory=list)

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        self.calls += 1
        self.given.append(previous)
        if self.troubles:
            raise self.troubles.pop(0)
        message = previous.data["message"] if previous and previous.data else f"m{len({m for *_, m in self.sent}) + 1}"
        self.sent.append((incident.id, incident.revision, message))
        return Receipt(notifier=self.name, data={"message": message})


@dataclass
class World:
    state: DictState = field(default_factory=DictState)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    desk: Desk = field(default_factory=Desk)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.state, {"desk": self.desk}, self.clock)

    async def put(self, *incidents: Incident, names: Sequence[str] = ("desk",)) -> None:
        for item in incidents:
            await self.state.apply(outbox_rows(item, names))

    def rows(self, kind: str = OUTBOX) -> dict[str, object]:
        return dict(self.state.docs.get(kind, {}))


@pytest.fixture
def world() -> World:
    return World()


async def test_sent_once_and_edited_in_place(world: World) -> None:
    await world.put(incident())
    assert (await world.outbox.run_once()).sent == 1
    assert (await world.outbox.run_once()).sent == 0
    await world.put(incident(revision=2))
    await world.outbox.run_once()
    assert world.desk.sent == [("one", 1, "m1"), ("one", 2, "m1")]
    assert not world.rows()


async def test_what_lies_between_is_merged(world: World) -> None:
    await world.put(*(incident(revision=n) for n in (1, 2, 3, 12)), incident("two"))
    counts = await world.outbox.run_once()
    assert counts.sent == 2
    assert world.desk.sent == [("one", 12, "m1"), ("two", 1, "m2")]
    assert not world.rows()


async def test_a_receipt_survives_a_restart(world: World) -> None:
    await world.put(incident())
    await world.outbox.run_once()
    await world.put(incident(revision=2))
    await Outbox(world.state, {"desk": world.desk}, world.clock).run_once()
    assert world.desk.sent[-1] == ("one", 2, "m1")


async def test_backoff_doubles_and_is_capped(world: World) -> None:
    config = OutboxConfig()
    await world.put(incident())
    waits = []
    for _ in range(12):
        world.desk.troubles.append(RetryableNotifyError("busy"))
        before = world.desk.calls
        began = world.clock.now()
        while world.desk.calls == before:
            await world.outbox.run_once()
            if world.desk.calls == before:
                world.clock.advance(1)
        waits.append((world.clock.now() - began).total_seconds())
    top = config.longest_delay.total_seconds()
    assert waits[0] == 0
    for attempt, wait in enumerate(waits[1:]):
        least = min(top, 2.0 * 2**attempt)
        assert least <= wait <= least * 1.25 + 1
    world.clock.advance(top * 1.25)
    assert (await world.outbox.run_once()).sent == 1


async def test_retry_after_holds_the_whole_notifier(world: World) -> None:
    world.desk.troubles.append(RetryableNotifyError("rate limited", after=60.0))
    await world.put(incident("one"), incident("two"), incident("three"))
    counts = await world.outbox.run_once()
    assert (counts.retried, counts.waiting, world.desk.calls) == (1, 2, 1)
    assert "rate limited" in counts.reasons["desk"]
    await world.put(incident("one", revision=2))
    world.clock.advance(59)
    await world.outbox.run_once()
    assert world.desk.calls == 1
    world.clock.advance(2)
    assert (await world.outbox.run_once()).sent == 3
    assert ("one", 2, "m1") in world.desk.sent


async def test_one_notifiers_trouble_is_not_anothers(world: World) -> None:
    other = Desk(name="other")
    outbox = Outbox(world.state, {"desk": world.desk, "other": other}, world.clock)
    world.desk.troubles.append(RetryableNotifyError("busy", after=60.0))
    await world.put(incident(), names=("desk", "other"))
    counts = await outbox.run_once()
    assert (counts.sent, counts.retried) == (1, 1)
    assert other.sent == [("one", 1, "m1")]


async def test_what_cannot_work_is_kept_with_its_reason(world: World) -> None:
    world.desk.troubles.append(PermanentNotifyError("No such channel.", hint="Invite the app."))
    await world.put(incident(), incident("two"))
    counts = await world.outbox.run_once()
    assert (counts.undelivered, counts.sent) == (1, 1)
    kept = world.state.docs[UNDELIVERED]["one/desk"]
    assert kept["reason"] == "No such channel. Invite the app."
    assert kept["incident"]["id"] == "one"  # type: ignore[index, call-overload]
    assert not world.rows()


async def test_a_notifier_that_is_gone_does_not_block(world: World) -> None:
    await world.put(incident(), names=("pager",))
    counts = await world.outbox.run_once()
    assert counts.undelivered == 1
    assert "pager" in str(world.state.docs[UNDELIVERED]["one/pager"]["reason"])


async def test_a_notifier_that_breaks_its_contract_stops_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.desk.troubles.append(KeyError("token xoxb-1 is not known"))
    await world.put(incident("one"), incident("two"))
    counts = await world.outbox.run_once()
    assert (counts.sent, counts.retried) == (1, 1)
    assert "KeyError" in counts.reasons["desk"]
    assert "xoxb-1" not in str(world.rows())
    assert "KeyError" in caplog.text
    assert "xoxb-1" not in caplog.text


async def test_a_damaged_row_does_not_block(world: World) -> None:
    await world.state.apply([Put(kind=OUTBOX, key="x/desk/00000001", value={"notifier": "desk", "incident": {}})])
    await world.put(incident())
    counts = await world.outbox.run_once()
    assert (counts.undelivered, counts.sent) == (1, 1)


async def test_a_revision_that_arrives_while_sending_stays(world: World) -> None:
    class Slow(Desk):
        async def send(self, incident_: Incident, previous: Receipt | None) -> Receipt:
            if incident_.revision == 1:
                await world.put(incident(revision=2))
            return await super().send(incident_, previous)

    desk = Slow()
    outbox = Outbox(world.state, {"desk": desk}, world.clock)
    await world.put(incident())
    await outbox.run_once()
    await outbox.run_once()
    assert desk.sent == [("one", 1, "m1"), ("one", 2, "m1")]
    assert not world.rows()


async def test_after_an_attempt_whose_end_is_unknown_the_notifier_is_asked_to_look_first(world: World) -> None:
    """The process dies after the notifier has sent and before the receipt is stored."""
    await world.put(incident())
    send = world.desk.send

    async def send_and_die(told: Incident, previous: Receipt | None) -> Receipt:
        receipt = await send(told, previous)
        world.state.fail_next = StorageError("the disk went away")
        return receipt

    world.desk.send = send_and_die  # type: ignore[method-assign]
    with pytest.raises(StorageError):
        await world.outbox.run_once()
    assert world.rows()
    world.desk.send = send  # type: ignore[method-assign]
    assert (await Outbox(world.state, {"desk": world.desk}, world.clock).run_once()).sent == 1
    assert [item[:2] for item in world.desk.sent] == [("one", 1), ("one", 1)]
    assert world.desk.given == [None, Receipt(notifier="desk")]
    assert not world.rows()


async def test_an_hour_of_silence_loses_nothing(world: World) -> None:
    await world.put(incident())
    for minute in range(60):
        world.desk.troubles = [RetryableNotifyError("down")]
        await world.put(incident(revision=2 + minute))
        await world.outbox.run_once()
        world.clock.advance(60)
    world.desk.troubles.clear()
    world.clock.advance(timedelta(minutes=10).total_seconds())
    await world.outbox.run_once()
    assert world.desk.sent == [("one", 61, "m1")]
    assert list(world.rows(RECEIPT)) == ["one/desk"]


async def test_more_rows_than_a_page(world: World) -> None:
    outbox = Outbox(world.state, {"desk": world.desk}, world.clock, config=OutboxConfig(batch=3))
    await world.put(*(incident(f"i{n}", revision) for n in range(5) for revision in (1, 2)))
    assert (await outbox.run_once()).sent == 5
    assert {revision for _, revision, _ in world.desk.sent} == {2}


def test_rows_carry_the_whole_incident() -> None:
    rows = outbox_rows(replace(incident(), reason="because"), ["desk", "slack"])
    assert [row.key for row in rows] == ["one/desk/00000001", "one/slack/00000001"]
    assert all(isinstance(row, Put) and row.value["incident"]["reason"] == "because" for row in rows)  # type: ignore[index, call-overload]
