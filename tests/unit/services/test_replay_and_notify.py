"""Feeding archives in event time; passing over the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from doubles import START, ListBus, article

from monitor.core.clock import FastClock, ManualClock
from monitor.core.types import Article
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.notify import NotifyService
from monitor.services.replay import ArchiveFeeder


async def _feed(feeder: ArchiveFeeder, accept) -> None:  # type: ignore[no-untyped-def]
    task = asyncio.create_task(feeder.run(accept))
    async with asyncio.timeout(20):
        await feeder.finished.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_manual_clock_follows_the_archive_and_never_goes_back() -> None:
    clock, bus = ManualClock(START), ListBus()
    minutes = [0, 5, 3, 60]
    archive = [article(n, published_at=START + timedelta(minutes=m)) for n, m in enumerate(minutes)]
    seen: list[str] = []

    async def accept(batch: Sequence[Article]) -> None:
        seen.extend(item.id for item in batch)

    feeder = ArchiveFeeder(archive, clock=clock, bus=lambda: bus, batch=2)
    await _feed(feeder, accept)
    assert seen == [item.id for item in archive]
    assert clock.now() == START + timedelta(minutes=60)
    assert (feeder.count, feeder.disordered) == (4, 1)


async def test_a_running_clock_lets_each_article_wait_for_its_time() -> None:
    clock, bus = FastClock(START, 20_000), ListBus()
    archive = [article(n, published_at=START + timedelta(minutes=20 * n)) for n in range(6)]
    early: list[str] = []

    async def accept(batch: Sequence[Article]) -> None:
        early.extend(item.id for item in batch if item.published_at > clock.now() + timedelta(seconds=1))

    await _feed(ArchiveFeeder(archive, clock=clock, bus=lambda: bus), accept)
    assert early == []
    assert clock.now() >= START + timedelta(minutes=100)


async def test_a_wake_brings_an_outbox_pass_at_once_and_stop_ends_it() -> None:
    passes: asyncio.Queue[int] = asyncio.Queue()
    count = 0

    async def send_due() -> Mapping[str, int]:
        nonlocal count
        count += 1
        passes.put_nowait(count)
        return {"sent": 1, "pending": 3}

    clock, metrics = ManualClock(START), Metrics()
    service = NotifyService(send_due=send_due, clock=clock, metrics=metrics, health=Health(clock), interval=3600)
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(20):
        assert await passes.get() == 1
        service.wake()
        assert await passes.get() == 2
        service.stop()
        await running
    assert metrics.registry.get_sample_value("riskwire_notifications_total", {"outcome": "sent"}) == 2
    assert metrics.registry.get_sample_value("riskwire_outbox_pending") == 3
