"""Whose a key is: by hashing, and by the ``owner`` documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from monitor.core.errors import ConflictError, LeaseLostError
from monitor.core.ids import digest
from monitor.core.ports import StateStore
from monitor.core.types import JSON
from monitor.services.membership import Member

OWNER_KIND = "owner"
BATCH = 200
"""Owner documents changed in one transaction."""
PAGE = 1000
FEW = 10
"""Documents that are read one by one rather than all."""


def rendezvous(key: str, members: Iterable[Member]) -> str | None:
    """The id of the member with the highest random weight for ``key`` (Thaler and Ravishankar 1998) among those that
    can take it, by the name that survives a restart. None when nobody can."""
    able = [member for member in members if key in member.keys]
    return max(able, key=lambda member: (digest(member.instance, key), member.id)).id if able else None


class Owners:
    """The owner documents of a group: ``owner`` (a member's id, or "" when free), ``token`` (only grows) and, when
    free, ``wait`` (seconds until work is due)."""

    def __init__(self, state: StateStore, group: str) -> None:
        self._state = state
        self._begin = f"{group}/"

    def place(self, key: str) -> str:
        """The key of its document."""
        return self._begin + key

    async def some(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, JSON]]:
        """The documents of ``keys``, and maybe others, by key. Raises StorageError."""
        if len(keys) > FEW:
            return await self.all()
        found = {key: await self._state.get(OWNER_KIND, self.place(key)) for key in keys}
        return {key: document for key, document in found.items() if document is not None}

    async def all(self) -> Mapping[str, Mapping[str, JSON]]:
        """Every document, by key. Raises StorageError."""
        after = self._begin
        documents: dict[str, Mapping[str, JSON]] = {}
        while True:
            rows = await self._state.list(OWNER_KIND, after=after, limit=PAGE)
            for place, document in rows:
                if not place.startswith(self._begin):
                    return documents
                documents[place.removeprefix(self._begin)] = document
                after = place
            if len(rows) < PAGE:
                return documents


async def in_batches(keys: Sequence[str], change: Callable[[Sequence[str]], Awaitable[None]]) -> list[str]:
    """Changes keys in as few transactions as their conditions allow; returns those whose own condition is not so."""
    refused: list[str] = []
    todo = [list(keys[start : start + BATCH]) for start in range(0, len(keys), BATCH)]
    while todo:
        batch = todo.pop(0)
        try:
            await change(batch)
        except LeaseLostError:
            raise
        except ConflictError:
            if len(batch) == 1:
                refused += batch
            else:
                middle = len(batch) // 2
                todo[:0] = [batch[:middle], batch[middle:]]
    return refused
