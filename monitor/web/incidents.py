"""The incidents as lists show them, kept in memory for a moment: documents have no other order than their ids."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monitor.core.ports import StateStore
from monitor.web.views import incident_short

KIND = "incident"
_PAGE = 200
_SHARE = 20.0
"""Reading takes at most one part in so many of the time."""
_SOONEST = 1.0
LIMIT = 20_000
"""Incidents that are looked at; beyond, those with later ids are left out."""


class Incidents:
    """Reads all of them again when what it has is older than a second, or than twenty times what reading takes."""

    def __init__(self, state: StateStore, *, now: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._now = now
        self._lock = asyncio.Lock()
        self._read: Sequence[Mapping[str, Any]] = ()
        self._revisions: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        self._good_until = float("-inf")

    async def all(self) -> Sequence[Mapping[str, Any]]:
        """Summaries, the newest first. Raises StorageError or CodecError."""
        async with self._lock:
            began = self._now()
            if began >= self._good_until:
                self._read = await self._fresh()
                ended = self._now()
                self._good_until = ended + max(_SOONEST, _SHARE * (ended - began))
            return self._read

    def forget(self) -> None:
        """Something was changed: the next look is a fresh one."""
        self._good_until = float("-inf")

    async def _fresh(self) -> Sequence[Mapping[str, Any]]:
        found: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        after = ""
        while len(found) < LIMIT and (rows := await self._state.list(KIND, after=after, limit=_PAGE)):
            after = rows[-1][0]
            for key, document in rows:
                mark = (document.get("revision"), document.get("state"), document.get("updated_at"))
                known = self._revisions.get(key)
                found[key] = known if known is not None and known[0] == mark else (mark, incident_short(document))
            if len(rows) < _PAGE:
                break
        self._revisions = found
        views = [view for _, view in found.values()]
        return sorted(views, key=lambda view: (view["opened_at"], view["id"]), reverse=True)
