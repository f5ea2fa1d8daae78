"""Time for leases: seconds that only go forward and nobody sets. Wall clocks of replicas may differ as they like."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any, Protocol

from monitor.core.errors import DatabaseCorruptError, SchemaVersionError, StorageError

VALID = 0.8
"""The part of ``lease_seconds`` for which a holder trusts its own last renewal. The others wait for the whole, so the
clocks of two machines may run at rates that differ by a fifth before both could believe to be the holder at once
(real clocks differ by less than a thousandth)."""
BEATS = 5
"""Renewals in ``lease_seconds``: a holder tries four times before it gives up, a watcher looks as often."""


class Steady(Protocol):
    """A monotonic clock, in real seconds from an arbitrary beginning."""

    def now(self) -> float:
        """The present."""

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds`` of this clock."""


class SteadyClock:
    """The machine's. Where the system has one that also counts the time of a suspend (Linux: ``CLOCK_BOOTTIME``), that
    one: a machine that slept must find its lease too old."""

    def now(self) -> float:
        """The present."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds``."""
        await asyncio.sleep(max(0.0, seconds))


class Watch:
    """For how long documents have not changed, as this process has seen it."""

    def __init__(self, steady: Steady) -> None:
        self._steady = steady
        self._seen: dict[str, tuple[object, float]] = {}

    def unchanged(self, key: str, value: object) -> float:
        """Seconds since ``value`` was first seen under ``key``. Call it after reading, so that the seconds count from
        a moment at which the value was written already."""
        now = self._steady.now()
        known = self._seen.get(key)
        if known is None or known[0] != value:
            self._seen[key] = (value, now)
            return 0.0
        return now - known[1]

    def forget_all_but(self, keys: set[str]) -> None:
        """Drops what is not among ``keys``."""
        for key in self._seen.keys() - keys:
            del self._seen[key]


def passing(error: StorageError) -> bool:
    """Whether it is worth to try again; a damaged or too new database is not."""
    return not isinstance(error, DatabaseCorruptError | SchemaVersionError)


def unique_name(instance: str) -> str:
    """A name that no other process, and no earlier life of this one, has: a restarted process inherits nothing."""
    return f"{instance}#{secrets.token_hex(6)}"


async def nap(steady: Steady, seconds: float, *events: asyncio.Event) -> None:
    """Waits ``seconds``, or until one of ``events`` is set."""
    if any(event.is_set() for event in events):
        return
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
    waits.append(asyncio.ensure_future(steady.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(waits)


async def end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancels tasks and waits until they have ended. Errors are not raised here: ask the tasks for them before."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
