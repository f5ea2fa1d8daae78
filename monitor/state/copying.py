"""Moves the state from one store to another: for operators who outgrow the file, or go back to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from monitor.core.errors import ConflictError, StorageError
from monitor.core.ports import StateStore
from monitor.core.types import JSON, Change, Delete, Expect, Put

BATCH = 200
"""Documents in one transaction."""


class Countable(StateStore, Protocol):
    """A state store that can say what is in it."""

    async def kinds(self) -> Sequence[str]:
        """The kinds of which there are documents, in order."""


async def copy_state(source: Countable, target: Countable, *, replace: bool = False) -> Mapping[str, int]:
    """Makes ``target`` hold exactly what ``source`` holds; returns how many documents of each kind there are.

    A target that holds anything else is refused before anything is written, unless ``replace`` says that this may go.
    What a copy that was broken off has written is no hindrance: do it again. Nothing may write to either store
    meanwhile; a document that appears in the target is noticed and ends the copy. Raises StorageError.
    """
    changes: list[Change] = []
    found: Counter[str] = Counter()
    foreign: list[str] = []
    for kind in sorted({*await source.kinds(), *await target.kinds()}):
        there = {key: value async for key, value in _documents(target, kind)}
        async for key, value in _documents(source, kind):
            found[kind] += 1
            present = there.pop(key, None)
            if present == value:
                continue
            if present is not None:
                foreign.append(f"{kind}/{key}")
            changes.append(Put(kind=kind, key=key, value=value))
        foreign += [f"{kind}/{key}" for key in there]
        changes += [Delete(kind=kind, key=key) for key in there]
    if foreign and not replace:
        raise StorageError(
            f"The target already holds {len(foreign):,} other documents, {foreign[0]} for one; nothing was copied.",
            hint="Name an empty database, or say --replace to make it a copy of the source.",
        )
    for batch in _batches(changes):
        # Without leave to replace, everything that is written is new: the transaction itself sees to it.
        given = [] if replace else [Expect(kind=change.kind, key=change.key, value=None) for change in batch]
        try:
            await target.apply(batch, given=given)
        except ConflictError as error:
            raise ConflictError(
                "Something else writes to the target; the copy was broken off.",
                hint="Stop every Riskwire that uses it, then copy again.",
            ) from error
    return dict(found)


async def _documents(store: StateStore, kind: str) -> AsyncIterator[tuple[str, Mapping[str, JSON]]]:
    first = await store.get(kind, "")  # no key is smaller, and lists begin after one
    if first is not None:
        yield "", first
    after = ""
    while page := await store.list(kind, after=after):
        for key, value in page:
            yield key, value
        after = page[-1][0]


def _batches(changes: Sequence[Change]) -> list[list[Change]]:
    return [list(changes[start : start + BATCH]) for start in range(0, len(changes), BATCH)]
