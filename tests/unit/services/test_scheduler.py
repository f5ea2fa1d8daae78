"""The scheduler under a fast clock, and what happens to a job that breaks."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from doubles import START

from monitor.core.clock import FastClock
from monitor.services.scheduler import Scheduler


async def test_jobs_run_in_the_clocks_time() -> None:
    clock = FastClock(START, 10_000)
    scheduler = Scheduler(clock)
    ran: asyncio.Queue[float] = asyncio.Queue()

    async def once() -> None:
        ran.put_nowait((clock.now() - START).total_seconds())

    scheduler.at("x", START + timedelta(seconds=3000), once)
    scheduler.start()
    async with asyncio.timeout(20):
        assert await ran.get() >= 3000
    await scheduler.stop(grace=1)


async def test_an_unforeseen_error_of_a_job_reaches_the_supervisor() -> None:
    scheduler = Scheduler(FastClock(START, 1000))

    async def broken() -> None:
        raise LookupError("lost")

    scheduler.at("broken", START, broken)
    scheduler.start()
    with pytest.raises(LookupError, match="lost"):
        async with asyncio.timeout(20):
            await scheduler.wait_failed()
    await scheduler.stop(grace=1)


async def test_stop_lets_a_running_job_end() -> None:
    scheduler = Scheduler(FastClock(START, 1000))
    began, ended, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await go_on.wait()
        ended.set()

    scheduler.at("slow", START, slow)
    scheduler.start()
    async with asyncio.timeout(20):
        await began.wait()
        stopping = asyncio.create_task(scheduler.stop(grace=10))
        await asyncio.sleep(0)
        go_on.set()
        await stopping
    assert ended.is_set()


async def test_stop_cancels_a_job_that_outlasts_its_grace() -> None:
    scheduler = Scheduler(FastClock(START, 1000))
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    scheduler.at("endless", START, endless)
    scheduler.start()
    async with asyncio.timeout(20):
        await began.wait()
        await scheduler.stop(grace=0.05)
    assert cancelled.is_set()


async def test_a_job_may_plan_its_successor_for_at_once() -> None:
    clock = FastClock(START, 1000)
    scheduler = Scheduler(clock)
    runs = 0
    enough = asyncio.Event()

    async def again() -> None:
        nonlocal runs
        runs += 1
        if runs == 20:
            enough.set()
        else:
            scheduler.at("again", START, again)

    scheduler.at("again", START, again)
    scheduler.start()
    async with asyncio.timeout(20):
        await enough.wait()
    await scheduler.stop(grace=1)
    assert runs == 20
