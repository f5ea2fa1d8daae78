"""Time is injected. Everything that asks for the time or waits takes a :class:`Clock`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The time as Riskwire sees it. ``rate`` is how many of its seconds pass in one real second."""

    rate: float

    def now(self) -> datetime:
        """The present, aware, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds`` of this clock."""


class SystemClock:
    """The real time."""

    rate = 1.0

    def now(self) -> datetime:
        """The present, aware, UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds``."""
        await asyncio.sleep(max(0.0, seconds))


class FastClock:
    """Starts at ``start`` and runs ``rate`` times as fast as real time, but never past its ``horizon``.

    :meth:`extend` moves the horizon on; the clock then goes on from where it stood. A demonstration extends it bit by
    bit, so that time waits for a slow machine instead of running away from it.
    """

    def __init__(self, start: datetime, rate: float, *, horizon: datetime | None = None) -> None:
        if rate <= 0:
            raise ValueError("rate must be positive")
        self.rate = rate
        self._anchor = start
        self._anchored_at = time.monotonic()
        self._horizon = horizon

    def now(self) -> datetime:
        """The present of this clock, aware, UTC."""
        real = time.monotonic()
        now = self._anchor + timedelta(seconds=(real - self._anchored_at) * self.rate)
        if self._horizon is not None and now > self._horizon:
            # Anchored anew, so that time does not jump when the horizon is extended.
            self._anchor, self._anchored_at = self._horizon, real
            return self._horizon
        return now

    def extend(self, horizon: datetime) -> None:
        """Lets the clock run up to ``horizon``; an earlier one than before is ignored."""
        self.now()
        if self._horizon is None or horizon > self._horizon:
            self._horizon = horizon

    async def sleep(self, seconds: float) -> None:
        """Waits ``seconds`` of this clock, which is ``seconds / rate`` real seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.rate)


class ManualClock:
    """A clock that stands still until told to move: for tests, replay and backtest."""

    rate = 1.0

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time it was last set to."""
        return self._now

    def set(self, now: datetime) -> None:
        """Moves the clock to ``now`` (it may not go back)."""
        if now < self._now:
            raise ValueError(f"a clock does not go back: {now} < {self._now}")
        self._now = now

    def advance(self, seconds: float) -> None:
        """Moves the clock ``seconds`` ahead."""
        self.set(self._now + timedelta(seconds=seconds))

    async def sleep(self, seconds: float) -> None:
        """Advances the clock at once and yields to other tasks."""
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)
