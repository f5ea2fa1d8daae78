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
    """Starts at ``start`` and runs ``rate`` times as fast as real time; never goes past ``stop_at`` when given."""

    def __init__(self, start: datetime, rate: float, *, stop_at: datetime | None = None) -> None:
        if rate <= 0:
            raise ValueError("rate must be positive")
        self.rate = rate
        self._start = start
        self._stop_at = stop_at
        self._began = time.monotonic()

    def now(self) -> datetime:
        """The present of this clock, aware, UTC."""
        now = self._start + timedelta(seconds=(time.monotonic() - self._began) * self.rate)
        return min(now, self._stop_at) if self._stop_at else now

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
