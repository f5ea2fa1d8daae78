"""APScheduler under an injected clock: jobs are planned in the clock's time and run in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from monitor.core.clock import Clock

Job = Callable[[], Awaitable[None]]


class Scheduler:
    """Runs jobs at clock times. An exception that leaves a job is kept and ends :meth:`wait_failed`: a job that
    breaks in an unforeseen way must stop the daemon (and let its supervisor restart it), not vanish in a log."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Starts to run what is due."""
        self._scheduler.start()

    def every(self, name: str, seconds: float, job: Job) -> None:
        """Runs ``job`` every ``seconds`` of the clock; a run that is still going makes the next one wait."""
        self._scheduler.add_job(
            self._guard(job), IntervalTrigger(seconds=max(0.05, seconds / self._clock.rate)), id=name, name=name
        )

    def at(self, name: str, when: datetime, job: Job) -> None:
        """Runs ``job`` once, when the clock reaches ``when``; replaces an earlier plan of the same name."""
        real = max(0.0, (when - self._clock.now()).total_seconds()) / self._clock.rate
        trigger = DateTrigger(datetime.now(UTC) + timedelta(seconds=real))
        # A job may plan its own successor for at once, while it still counts as running itself.
        self._scheduler.add_job(self._guard(job), trigger, id=name, name=name, replace_existing=True, max_instances=2)

    def daily(self, name: str, hour: int, minute: int, job: Job) -> None:
        """Runs ``job`` every day at a UTC time of day (real time)."""
        self._scheduler.add_job(
            self._guard(job), CronTrigger(hour=hour, minute=minute, timezone=UTC), id=name, name=name
        )

    def _guard(self, job: Job) -> Job:
        async def guarded() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            try:
                await job()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 — kept whole and raised by wait_failed
                if not self._failure.done():
                    self._failure.set_exception(error)
            finally:
                self._running.discard(task)

        return guarded

    async def wait_failed(self) -> None:
        """Returns never; raises what a job raised."""
        await asyncio.shield(self._failure)

    async def stop(self, *, grace: float) -> None:
        """Plans nothing more; lets running jobs end for ``grace`` real seconds, then cancels them."""
        if self._scheduler.running:
            self._scheduler.remove_all_jobs()
            self._scheduler.pause()
        pending = {task for task in self._running if task is not asyncio.current_task()}
        if pending:
            _, late = await asyncio.wait(pending, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=grace)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        if not self._failure.done():
            self._failure.cancel()
        elif not self._failure.cancelled():
            self._failure.exception()  # retrieved: whoever awaited wait_failed has it already
