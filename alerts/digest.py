"""Daily or weekly: what was below the bar of a notifier, in one message.

When one is due follows from a cron expression (APScheduler's trigger) and the time up to which the last one went, which
is kept in the state store: what a stopped daemon or an outage missed is made up for by one digest, not by several.
The message is sent first and noted then; whoever sends it looks for one of the same period before, so that a crash in
between makes no second one where the channel's history may be read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from alerts.outbox import RECEIPT, receipt_key
from monitor.core.clock import Clock
from monitor.core.codec import incident_from_dict, time_from_str, time_to_str
from monitor.core.errors import ConfigError, NotifyError, RetryableNotifyError
from monitor.core.ports import Notifier, StateStore
from monitor.core.types import Incident, Put, Severity

DIGEST = "digest"
_NAMED = {"daily": "0 8 * * *", "weekly": "0 8 * * mon"}
_WAIT = timedelta(minutes=5)
"""After a failure; longer when the receiver asks for it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When a digest is due: ``cron`` in the time zone ``zone``."""

    cron: str
    zone: str = "UTC"

    def due(self, since: datetime, now: datetime) -> datetime | None:
        """The last time after ``since`` and up to ``now`` at which it was due; None when there was none."""
        trigger = CronTrigger.from_crontab(self.cron, timezone=ZoneInfo(self.zone))
        # What lies a month back says nothing that the latest does not.
        last, at = None, max(since, now - timedelta(days=31))
        while (following := trigger.get_next_fire_time(at, at + timedelta(microseconds=1))) and following <= now:
            last = at = following
        return last


def plan_of(value: object, zone: str, where: str) -> Plan | None:
    """From ``daily``, ``weekly`` (08:00, on Monday) or a cron expression; None from nothing. Raises ConfigError."""
    if value in (None, "", False):
        return None
    cron = _NAMED.get(str(value), str(value))
    try:
        CronTrigger.from_crontab(cron)
    except ValueError as error:
        raise ConfigError(
            f"{where}: 'digest' must be 'daily', 'weekly' or a cron expression, got {value!r}.",
            hint="E.g. '30 7 * * mon-fri'.",
        ) from error
    return Plan(cron=cron, zone=zone)


@runtime_checkable
class Digester(Protocol):
    """A notifier that sends digests."""

    @property
    def digest(self) -> Plan | None:
        """When; None: never."""

    async def send_digest(self, begin: datetime, end: datetime, incidents: Sequence[Incident]) -> None:
        """Sends one, unless one of the same period is there already. Raises NotifyError."""


class Digests:
    """Sends what is due. One instance at a time, like the outbox."""

    def __init__(self, state: StateStore, notifiers: Mapping[str, Notifier], clock: Clock) -> None:
        self._state = state
        self._notifiers = {name: n for name, n in notifiers.items() if isinstance(n, Digester) and n.digest}
        self._clock = clock
        self._not_before: dict[str, datetime] = {}

    async def run_once(self) -> int:
        """One look; returns how many digests went out. Raises StorageError only."""
        sent = 0
        for name, notifier in self._notifiers.items():
            assert isinstance(notifier, Digester)
            assert notifier.digest is not None
            now = self._clock.now()
            if (hold := self._not_before.get(name)) is not None and now < hold:
                continue
            stored = await self._state.get(DIGEST, name)
            if stored is None:  # the first one tells of what comes from now on
                await self._note(name, now)
                continue
            begin = time_from_str(str(stored["until"]), field="until")
            end = notifier.digest.due(begin, now)
            if end is None:
                continue
            incidents = await self._below(name, begin, end)
            try:
                if incidents:
                    await notifier.send_digest(begin, end, incidents)
            except NotifyError as error:
                after = error.after if isinstance(error, RetryableNotifyError) else 0.0
                self._not_before[name] = now + max(_WAIT, timedelta(seconds=after))
                _log.warning("notify: the digest of %s waits: %s", name, error)
                continue
            await self._note(name, end)
            sent += bool(incidents)
        return sent

    async def _note(self, name: str, until: datetime) -> None:
        await self._state.apply([Put(kind=DIGEST, key=name, value={"until": time_to_str(until)})])

    async def _below(self, name: str, begin: datetime, end: datetime) -> list[Incident]:
        """Incidents that changed in the period and that the notifier never showed."""
        found: list[Incident] = []
        after = ""
        while rows := await self._state.list("incident", after=after, limit=500):
            after = rows[-1][0]
            for key, doc in rows:
                if not begin < time_from_str(str(doc.get("updated_at")), field="updated_at") <= end:
                    continue
                receipt = await self._state.get(RECEIPT, receipt_key(key, name))
                if receipt is not None and not receipt.get("data"):
                    found.append(incident_from_dict(doc))
        return sorted(found, key=_weight)


def _weight(incident: Incident) -> tuple[int, float, str]:
    """The most severe first, then the most unlikely: a rule's incident has no probability, but a severity."""
    return -list(Severity).index(incident.severity), incident.q_value, incident.id
