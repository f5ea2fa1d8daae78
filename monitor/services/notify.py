"""The last step: sends what is in the outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from monitor.core.clock import Clock
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.steady import SteadyClock, nap

SendDue = Callable[[], Awaitable[Mapping[str, int]]]
"""One pass over the due outbox rows; returns tallies by outcome (sent, retry, failed, pending)."""


class NotifyService:
    """Runs an outbox pass whenever woken, and at least every ``interval`` seconds of the clock."""

    def __init__(self, *, send_due: SendDue, clock: Clock, metrics: Metrics, health: Health, interval: float) -> None:
        self._send_due = send_due
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._interval = interval
        self._wake = asyncio.Event()
        self._busy = asyncio.Lock()
        self._stopping = False
        self._moved = time.monotonic()
        self._waiting = False

    def stuck(self) -> float:
        """For how many real seconds notifications have waited without any being sent; 0 when none waits."""
        return time.monotonic() - self._moved if self._waiting else 0.0

    def wake(self) -> None:
        """Something was put into the outbox."""
        self._wake.set()

    def stop(self) -> None:
        """Asks :meth:`run` to end after the pass in flight."""
        self._stopping = True
        self._wake.set()

    async def pass_once(self) -> None:
        """One outbox pass (also the last act of a shutdown)."""
        async with self._busy:
            counts = await self._send_due()
        for outcome in ("sent", "retry", "failed"):
            self._metrics.notifications.labels(outcome).inc(counts.get(outcome, 0))
        pending = counts.get("pending", 0)
        if counts.get("sent", 0) or not self._waiting:
            self._moved = time.monotonic()
        self._waiting = pending > 0
        self._metrics.outbox_pending.set(pending)
        self._metrics.outbox_refused.set(counts.get("refused", 0))

    async def lead(self, ended: asyncio.Event) -> None:
        """One term of leadership (:class:`~monitor.services.leadership.Leadership`): as :meth:`run`, until ``ended`` is
        set, with one pass more as the last act. Raises what a pass raises; LeaseLostError when the lease is lost."""
        interval = max(0.05, self._interval / self._clock.rate)
        steady = SteadyClock()
        try:
            while not ended.is_set():
                self._wake.clear()
                await self.pass_once()
                self._beat()
                await nap(steady, interval, ended, self._wake)
            await self.pass_once()
        finally:
            self._health.forget("notify")
            self._waiting = False
            self._metrics.outbox_pending.set(0)  # the next leader tells of it

    def _beat(self) -> None:
        self._health.beat("notify", allow=timedelta(seconds=10 * self._interval + 120 * self._clock.rate))

    async def run(self) -> None:
        """Works until :meth:`stop`."""
        real_interval = max(0.05, self._interval / self._clock.rate)
        while not self._stopping:
            self._wake.clear()
            await self.pass_once()
            self._beat()
            try:
                async with asyncio.timeout(real_interval):
                    await self._wake.wait()
            except TimeoutError:
                continue
