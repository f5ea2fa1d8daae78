"""What people tell Riskwire to do with an incident: acknowledge, snooze, resolve.

A command is a state document, written by whoever takes it (the command line, a button in Slack). The detector that
leads takes it into its next commit, which also deletes the document: it happens exactly once, whatever crashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ids import digest
from monitor.core.types import Action, Incident, IncidentState, Put

COMMAND = "command"
LONGEST_SNOOZE = timedelta(days=30)
HISTORY_LIMIT = 50
_TEXT_LIMIT = 500


class Verb(StrEnum):
    """What to do."""

    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. ``at``: when it was given; ``until``: of a snooze; ``reason``: why, of a resolve at least."""

    incident: str
    verb: Verb
    by: str
    at: datetime
    until: datetime | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.verb is Verb.SNOOZE) != (self.until is not None):
            raise ValueError("a snooze, and nothing else, has an end")

    def to_put(self) -> Put:
        """The document. The same command has the same key, so that giving it twice at once is giving it once."""
        doc = self.to_doc()
        name = digest(*(str(doc[field]) for field in sorted(doc)), size=6)
        return Put(kind=COMMAND, key=f"{time_to_str(self.at)}/{name}", value=doc)

    def to_doc(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "incident": self.incident,
            "verb": self.verb.value,
            "by": self.by,
            "at": time_to_str(self.at),
            "until": time_to_str(self.until) if self.until else None,
            "reason": self.reason,
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Command:
        """The inverse of :meth:`to_doc`. Raises CodecError."""
        try:
            until = doc.get("until")
            return cls(
                incident=str(doc["incident"]),
                verb=Verb(doc["verb"]),
                by=str(doc["by"])[:_TEXT_LIMIT],
                at=time_from_str(doc["at"], field="at"),
                until=time_from_str(until, field="until") if until else None,
                reason=str(doc.get("reason", ""))[:_TEXT_LIMIT],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored command is incomplete: {error}.") from error


def act(incident: Incident, command: Command) -> Incident:
    """The incident after the command, with its history; one that is resolved stays as it is.

    Acknowledged: only a rise in severity or its end is told from now on. Snoozed: nothing but its end is told before
    ``until``, which is at most 30 days away. Resolved: it is over, whatever the series does.
    """
    if incident.state is IncidentState.RESOLVED:
        return incident
    if command.verb is Verb.ACKNOWLEDGE:
        changed = replace(incident, state=IncidentState.ACKNOWLEDGED, snoozed_until=None)
        return remember(changed, command.at, command.by, "acknowledged", command.reason)
    if command.verb is Verb.SNOOZE:
        assert command.until is not None
        until = min(command.until, command.at + LONGEST_SNOOZE)
        changed = replace(incident, state=IncidentState.SNOOZED, snoozed_until=until)
        return remember(changed, command.at, command.by, f"snoozed until {until:%Y-%m-%d %H:%M} UTC", command.reason)
    over = replace(
        incident,
        state=IncidentState.RESOLVED,
        snoozed_until=None,
        resolved_at=command.at,
        reason=f"{incident.reason} Resolved by {command.by}: {command.reason or 'no reason given'}".rstrip(".") + ".",
    )
    return remember(over, command.at, command.by, "resolved", command.reason)


def remember(incident: Incident, at: datetime, by: str, what: str, note: str = "") -> Incident:
    """The incident with one more entry in its history, and its next revision."""
    entry = Action(at=at, by=by, what=what, note=note)
    history = (*incident.history, entry)[-HISTORY_LIMIT:]
    return replace(incident, history=history, updated_at=max(incident.updated_at, at), revision=incident.revision + 1)


def awake(incident: Incident, at: datetime) -> Incident:
    """The incident after its snooze has ended."""
    opened = replace(incident, state=IncidentState.OPEN, snoozed_until=None)
    return remember(opened, at, "riskwire", "the snooze ended")


def until_monday(now: datetime, zone: str = "UTC", hour: int = 8) -> datetime:
    """The next Monday, ``hour`` o'clock in ``zone``; never ``now`` itself."""
    local = now.astimezone(ZoneInfo(zone))
    day = local.replace(hour=hour, minute=0, second=0, microsecond=0) + timedelta(days=(7 - local.weekday()) % 7)
    if day <= local:
        day += timedelta(days=7)
    return day.astimezone(now.tzinfo)
