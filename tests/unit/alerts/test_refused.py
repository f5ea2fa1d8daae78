"""Messages that were refused for good: kept, counted, sent again when somebody asks, once."""

from __future__ import annotations

from doubles import START, DictState, incident

from alerts.outbox import OUTBOX, UNDELIVERED, Outbox, outbox_rows
from alerts.refused import count_refused, messages, resend
from monitor.core.clock import ManualClock
from monitor.core.codec import incident_to_dict
from monitor.core.errors import PermanentNotifyError
from monitor.core.types import Incident, Put, Receipt


class Desk:
    """Refuses until it is mended."""

    name = "desk"

    def __init__(self) -> None:
        self.mended = False
        self.sent: list[tuple[str, int, bool]] = []

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        if not self.mended:
            raise PermanentNotifyError("The token was revoked.")
        self.sent.append((incident.id, incident.revision, previous is not None))
        return Receipt(notifier=self.name, data={"ts": "1"})


async def test_refused_is_listed_and_sent_again_as_the_incident_is_now() -> None:
    state, desk = DictState(), Desk()
    outbox = Outbox(state, {"desk": desk}, ManualClock(START))
    await state.apply(outbox_rows(incident(), ["desk"]))
    await outbox.run_once()
    (one,) = await messages(state)
    assert (one.incident, one.notifier, one.refused, "revoked" in one.reason) == ("one", "desk", True, True)
    assert await count_refused(state) == 1
    await state.apply([Put(kind="incident", key="one", value=incident_to_dict(incident(revision=5)))])
    assert await resend(state, ["desk"], incident="other") == (0, 0)
    assert await resend(state, ["pager"]) == (0, 1)
    desk.mended = True
    assert await resend(state, ["desk"], incident="on") == (1, 0)
    assert await count_refused(state) == 0
    await outbox.run_once()
    assert desk.sent == [("one", 5, True)], "it is asked to look for its message first"
    assert await state.list(OUTBOX) == []
    assert await resend(state, ["desk"]) == (0, 0)


async def test_a_later_revision_that_goes_through_settles_the_refusal() -> None:
    state, desk = DictState(), Desk()
    outbox = Outbox(state, {"desk": desk}, ManualClock(START))
    await state.apply(outbox_rows(incident(), ["desk"]))
    await outbox.run_once()
    desk.mended = True
    await state.apply(outbox_rows(incident(revision=2), ["desk"]))
    await outbox.run_once()
    assert await state.list(UNDELIVERED) == []
