"""Answers kept for a moment, so that many people who look at one page are one reader of the store."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
SOONEST, LATEST = 2.0, 60.0
"""Seconds for which an answer is kept, at least and at most."""
_SHARE = 20.0
"""In between it is kept for twenty times as long as it took."""


class Fresh:
    """Asks once for everybody who wants the same at the same time; keeps the last ``entries`` answers."""

    def __init__(self, *, entries: int = 200, now: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._now = now
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._asking: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives. Raises what it raises; a failure is not kept."""
        known = self._kept.get(key)
        if known is not None and self._now() < known[0]:
            answer: T = known[1]
            return answer
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, ask))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # One who leaves does not take the answer away from the others.
        result: T = await asyncio.shield(task)
        return result

    async def _ask(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        began = self._now()
        answer = await ask()
        ended = self._now()
        self._kept[key] = (ended + min(LATEST, max(SOONEST, _SHARE * (ended - began))), answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
        return answer
