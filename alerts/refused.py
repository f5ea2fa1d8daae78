"""Messages that a receiver refused for good: kept, counted, and put into the outbox again when somebody asks.

A refused message is a document of the kind ``undelivered``, one per incident and notifier. Sending it again is one
transaction: the document goes, a row of the outbox with the incident as it is now comes. The row has the mark
``begun``, so that the notifier looks for its message first: a refused edit must not become a second message.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from alerts.outbox import OUTBOX, RECEIPT, UNDELIVERED, outbox_rows
from monitor.core.codec import incident_from_dict
from monitor.core.ports import StateStore
from monitor.core.types import Change, Delete, Put


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What waits in the outbox, or was refused. ``at``: the next attempt, or when it was refused."""

    incident: str
    notifier: str
    refused: bool
    at: str
    attempts: int
    reason: str


async def messages(state: StateStore) -> list[Message]:
    """The refused messages first. Raises StorageError."""
    found = []
    for kind in (UNDELIVERED, OUTBOX):
        after = ""
        while rows := await state.list(kind, after=after, limit=500):
            after = rows[-1][0]
            for key, doc in rows:
                refused = kind == UNDELIVERED
                found.append(
                    Message(
                        incident=key.partition("/")[0],
                        notifier=str(doc.get("notifier", "")),
                        refused=refused,
                        at=str((doc.get("at") if refused else doc.get("due")) or ""),
                        attempts=int(str(doc.get("attempts") or 0)),
                        reason=str((doc.get("reason") if refused else doc.get("error")) or ""),
                    )
                )
    return found


async def count_refused(state: StateStore) -> int:
    """How many messages were refused and not sent since. Raises StorageError."""
    count, after = 0, ""
    while rows := await state.list(UNDELIVERED, after=after, limit=1000):
        count, after = count + len(rows), rows[-1][0]
    return count


async def resend(
    state: StateStore, notifiers: Collection[str], *, incident: str = "", notifier: str = ""
) -> tuple[int, int]:
    """Puts refused messages into the outbox again; how many, and how many were left because their notifier is gone.

    ``incident``: the beginning of an id; ``notifier``: a name; all when empty. Raises StorageError.
    """
    done = gone = 0
    after = ""
    while rows := await state.list(UNDELIVERED, after=after, limit=200):
        after = rows[-1][0]
        for key, doc in rows:
            name = str(doc.get("notifier", ""))
            if not key.startswith(incident) or (notifier and name != notifier):
                continue
            if name not in notifiers:
                gone += 1
                continue
            stored = await state.get("incident", key.partition("/")[0]) or doc.get("incident")
            if not isinstance(stored, dict):
                continue
            changes: list[Change] = [Delete(kind=UNDELIVERED, key=key)]
            known = await state.get(RECEIPT, key) is not None
            for row in outbox_rows(incident_from_dict(stored), [name]):
                assert isinstance(row, Put)
                changes.append(row if known else Put(kind=OUTBOX, key=row.key, value={**row.value, "begun": True}))
            await state.apply(changes)
            done += 1
    return done, gone
