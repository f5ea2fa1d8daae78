"""The durable outbox: an incident reaches each notifier once per state that people should see, or its row says why not.

A row (kind ``outbox``, one per incident, notifier and revision) is written in the transaction that changes the
incident. A pass takes what is due, sends the *newest* revision per incident and notifier (what lies between is merged,
not replayed), hands over the receipt of the message sent before, so that it is edited in place, then writes the receipt
and deletes the rows it has seen in one transaction. A revision that arrives meanwhile has a row of its own and stays.

The window that remains: when the process dies after the notifier has sent and before the receipt is written, the row is
sent again. An edit repeats harmlessly. Before a *first* message the row is marked as begun; a later pass that finds the
mark hands the notifier an empty receipt, and Slack then looks for its message by the incident id in the metadata and
edits it. Only where its scopes do not allow to read the channel's history can a first message appear twice.

With several replicas the one that leads sends. Its right is checked in the state store and against its own clock right
before every send; docs/guarantees.md says what can still happen to a process that stalls between that and the wire.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from monitor.core.clock import Clock
from monitor.core.codec import incident_from_dict, incident_to_dict, time_from_str, time_to_str
from monitor.core.errors import CodecError, PermanentNotifyError, RetryableNotifyError
from monitor.core.ports import Notifier, StateStore
from monitor.core.types import JSON, Change, Delete, Incident, Put, Receipt

OUTBOX = "outbox"
RECEIPT = "receipt"
UNDELIVERED = "undelivered"

_log = logging.getLogger(__name__)


def receipt_key(incident_id: str, notifier: str) -> str:
    """Key of the receipt and the undelivered document of an incident at a notifier."""
    return f"{incident_id}/{notifier}"


def outbox_rows(incident: Incident, notifiers: Iterable[str]) -> Sequence[Change]:
    """The changes that make every notifier tell of ``incident``; commit them together with the incident itself."""
    body = incident_to_dict(incident)
    return tuple(
        Put(
            kind=OUTBOX,
            key=f"{receipt_key(incident.id, name)}/{incident.revision:08d}",
            value={"incident": body, "notifier": name, "attempts": 0, "due": None, "error": ""},
        )
        for name in notifiers
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a pass did."""

    sent: int = 0
    retried: int = 0
    undelivered: int = 0
    waiting: int = 0
    """Messages left, not due yet."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Last error by notifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """Retry with exponential backoff and jitter."""

    first_delay: timedelta = timedelta(seconds=2)
    longest_delay: timedelta = timedelta(minutes=5)
    jitter: float = 0.25
    """Part of the delay that varies, by incident and attempt."""
    batch: int = 1000


Claim = Callable[[Sequence[Change]], Awaitable[None]]
"""Writes the changes (which may be none) on the condition that this process may still send. Raises ConflictError when
it may not."""


class Outbox:
    """Sends what the outbox holds. One instance sends at a time: the notify role is one replica, or with several the
    one that leads; then ``state`` is fenced by its lease, and ``claim`` is asked right before every send."""

    def __init__(
        self,
        state: StateStore,
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        *,
        config: OutboxConfig | None = None,
        claim: Claim | None = None,
    ) -> None:
        self._claim = claim or self._begin
        self._state = state
        self._notifiers = notifiers
        self._clock = clock
        self._config = config or OutboxConfig()
        self._not_before: dict[str, datetime] = {}

    async def run_once(self) -> Counts:
        """One pass over what is due. Raises StorageError only (ConflictError when another has taken over); what
        notifiers raise is recorded."""
        counts = {"sent": 0, "retried": 0, "undelivered": 0, "waiting": 0}
        reasons: dict[str, str] = {}
        for parcel in await self._parcels():
            if not self._due(parcel):
                counts["waiting"] += 1
                continue
            outcome, error = await self._send(parcel)
            counts[outcome] += 1
            if error is not None:
                reasons[parcel.notifier] = str(error)
        return Counts(**counts, reasons=reasons)

    async def _parcels(self) -> list[_Parcel]:
        parcels: dict[str, _Parcel] = {}
        after = ""
        while rows := await self._state.list(OUTBOX, after=after, limit=self._config.batch):
            for key, row in rows:
                after = key
                owner = key.rpartition("/")[0]
                parcels.setdefault(owner, _Parcel(owner=owner, notifier=str(row.get("notifier", "")))).add(key, row)
            if len(rows) < self._config.batch:
                break
        return list(parcels.values())

    def _due(self, parcel: _Parcel) -> bool:
        now = self._clock.now()
        hold = self._not_before.get(parcel.notifier)
        if hold is not None and now < hold:
            return False
        return all(time_from_str(due, field="due") <= now for due in parcel.dues)

    async def _send(self, parcel: _Parcel) -> tuple[str, Exception | None]:
        try:
            incident = incident_from_dict(parcel.row["incident"])
        except (CodecError, KeyError) as error:
            return await self._undelivered(parcel, error), error
        notifier = self._notifiers.get(parcel.notifier)
        if notifier is None:
            gone = PermanentNotifyError(
                f"The notifier '{parcel.notifier}' is not configured any more.",
                hint="Add it to the configuration again, or let the message go.",
            )
            return await self._undelivered(parcel, gone), gone
        previous = _receipt(parcel.notifier, await self._state.get(RECEIPT, parcel.owner))
        if previous is None and parcel.begun:
            # An earlier attempt ended unknown: the empty receipt asks the notifier to look for its own message first.
            previous = Receipt(notifier=parcel.notifier)
            await self._claim(())
        elif previous is None:
            parcel.row = {**parcel.row, "begun": True}
            await self._claim([Put(kind=OUTBOX, key=parcel.key, value=parcel.row)])
        else:
            await self._claim(())
        try:
            receipt = await notifier.send(incident, previous)
        except RetryableNotifyError as error:
            await self._retry(parcel, error)
            return "retried", error
        except PermanentNotifyError as error:
            return await self._undelivered(parcel, error), error
        except Exception as error:  # noqa: BLE001
            # A notifier of others that breaks its contract must not stop the others' messages. Its own words may hold
            # a secret: the row gets the kind of error only, the log also where it happened.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("notify: the notifier %s failed with %s at\n%s", parcel.notifier, type(error).__name__, where)
            broken = RetryableNotifyError(f"The notifier '{parcel.notifier}' failed: {type(error).__name__}.")
            await self._retry(parcel, broken)
            return "retried", broken
        value: dict[str, JSON] = {
            "notifier": receipt.notifier,
            "data": dict(receipt.data),
            "revision": incident.revision,
            "sent_at": time_to_str(self._clock.now()),
        }
        # What was refused before is told now, too.
        told = Delete(kind=UNDELIVERED, key=parcel.owner)
        await self._state.apply([Put(kind=RECEIPT, key=parcel.owner, value=value), told, *parcel.deletes()])
        return "sent", None

    async def _begin(self, changes: Sequence[Change]) -> None:
        if changes:
            await self._state.apply(changes)

    async def _retry(self, parcel: _Parcel, error: RetryableNotifyError) -> None:
        config = self._config
        attempts = parcel.attempts + 1
        delay = min(config.longest_delay, config.first_delay * 2 ** min(attempts - 1, 20)).total_seconds()
        delay = max(delay * (1.0 + config.jitter * _fraction(f"{parcel.owner}#{attempts}")), error.after)
        due = self._clock.now() + timedelta(seconds=delay)
        if error.after > 0 and error.whole:
            # A rate limit is the whole notifier's: nothing goes to it before.
            self._not_before[parcel.notifier] = self._clock.now() + timedelta(seconds=error.after)
        value = {**parcel.row, "attempts": attempts, "due": time_to_str(due), "error": str(error)}
        await self._state.apply([*parcel.deletes(older_only=True), Put(kind=OUTBOX, key=parcel.key, value=value)])
        _log.warning("notify: attempt %d for %s failed, next at %s: %s", attempts, parcel.owner, due, error)

    async def _undelivered(self, parcel: _Parcel, error: Exception) -> str:
        value: dict[str, JSON] = {
            "incident": parcel.row.get("incident"),
            "notifier": parcel.notifier,
            "reason": str(error),
            "at": time_to_str(self._clock.now()),
        }
        await self._state.apply([Put(kind=UNDELIVERED, key=parcel.owner, value=value), *parcel.deletes()])
        _log.error("notify: %s cannot be delivered: %s", parcel.owner, error)
        return "undelivered"


@dataclass(slots=True)
class _Parcel:
    """The rows of one incident for one notifier; the newest revision is what will be sent."""

    owner: str
    notifier: str
    keys: list[str] = field(default_factory=list)
    key: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    begun: bool = False
    """An attempt was begun whose end nobody recorded."""
    dues: list[str] = field(default_factory=list)

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Takes the next row; rows come in the order of their revisions."""
        self.keys.append(key)
        self.key, self.row = key, row
        self.attempts = max(self.attempts, int(row.get("attempts", 0)))
        self.begun = self.begun or bool(row.get("begun"))
        if row.get("due") is not None:
            self.dues.append(str(row["due"]))

    def deletes(self, *, older_only: bool = False) -> list[Change]:
        """Removes the rows seen (or all but the newest)."""
        return [Delete(kind=OUTBOX, key=key) for key in self.keys if not (older_only and key == self.key)]


def _receipt(name: str, stored: Mapping[str, Any] | None) -> Receipt | None:
    if stored is None:
        return None
    data = stored.get("data")
    if not isinstance(data, Mapping):
        return None
    return Receipt(notifier=name, data={str(k): str(v) for k, v in data.items()})


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on ``text`` only: jitter without randomness, so that tests and replays agree."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32
