"""The heartbeat URL is asked while the whole chain makes progress, and only then; it harms nobody and is not shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace

import aiohttp
import pytest
import structlog
from aiohttp import web
from doubles import START

from monitor.config import ObserveSection, Settings, shown
from monitor.core.clock import ManualClock
from monitor.core.errors import ConfigError
from monitor.obs.health import Health
from monitor.obs.heartbeat import Heartbeat
from monitor.obs.metrics import Metrics
from monitor.parts import Parts
from monitor.progress import stalls
from monitor.services.notify import NotifyService

LIMIT = timedelta(seconds=900)


class Receiver:
    """A server that counts pings and answers as told."""

    def __init__(self) -> None:
        self.status, self.asked, self.hang = 200, 0, asyncio.Event()
        self.hang.set()

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.hang.wait()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_get("/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield receiver, f"http://127.0.0.1:{runner.addresses[0][1]}/ping/s3cret-path"
    receiver.hang.set()
    await runner.cleanup()


def heartbeat(url: str, metrics: Metrics, found: list[str], timeout: float = 5.0) -> Heartbeat:
    return Heartbeat(url, interval=60, timeout=timeout, stalls=lambda: found, metrics=metrics, clock=ManualClock(START))


def counted(metrics: Metrics) -> dict[str, float]:
    value = metrics.registry.get_sample_value
    return {one: value("riskwire_heartbeat_pings_total", {"outcome": one}) or 0 for one in ("ok", "failed", "withheld")}


async def test_it_is_asked_only_while_nothing_stands_still(receiver: tuple[Receiver, str]) -> None:
    server, url = receiver
    metrics, found = Metrics(), list[str]()
    beat = heartbeat(url, metrics, found)
    async with aiohttp.ClientSession() as session:
        assert await beat.turn(session) == "ok"
        found.append("score: no heartbeat")
        assert await beat.turn(session) == "withheld"
        assert server.asked == 1
        found.clear()
        assert await beat.turn(session) == "ok"
    assert counted(metrics) == {"ok": 2, "failed": 0, "withheld": 1}
    assert metrics.registry.get_sample_value("riskwire_heartbeat_ping_timestamp_seconds") == START.timestamp()


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_an_answer_that_is_no_success_is_a_failure_and_no_redirect_is_followed(
    receiver: tuple[Receiver, str], status: int
) -> None:
    server, url = receiver
    server.status, metrics = status, Metrics()
    async with aiohttp.ClientSession() as session:
        assert await heartbeat(url, metrics, []).turn(session) == "failed"
    assert server.asked == 1
    assert counted(metrics)["failed"] == 1


async def test_failures_are_logged_once_without_the_url_and_raise_nothing(
    receiver: tuple[Receiver, str], unused_tcp_port: int
) -> None:
    server, url = receiver
    server.hang.clear()
    with structlog.testing.capture_logs() as logs:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as session:
            slow = heartbeat(url, Metrics(), [], timeout=0.05)
            assert [await slow.turn(session) for _ in range(2)] == ["failed", "failed"]
            dead = heartbeat(f"http://127.0.0.1:{unused_tcp_port}/s3cret-path", Metrics(), [])
            assert await dead.turn(session) == "failed"
    assert [entry["event"] for entry in logs] == ["heartbeat_failed", "heartbeat_failed"]
    assert "s3cret" not in str(logs)


def test_a_url_of_another_kind_is_refused_without_quoting_it() -> None:
    with pytest.raises(ConfigError, match=r"observe\.heartbeat_url must begin") as refused:
        heartbeat("ftp://user:s3cret@host", Metrics(), [])
    assert "s3cret" not in str(refused.value)


def test_the_url_is_not_shown_with_the_configuration() -> None:
    settings = Settings(observe=ObserveSection(heartbeat_url="https://hc-ping.com/s3cret"))  # type: ignore[arg-type]
    assert "s3cret" not in str(shown(settings))
    assert "s3cret" not in repr(settings)


class Chain:
    """Parts that all make progress, until told otherwise."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.health = Health(self.clock)
        self.health.ready = True
        self.ingest = SimpleNamespace(failing=lambda: False, overdue=lambda: timedelta(0))
        self.detect = SimpleNamespace(watermark=START)
        self.notify = SimpleNamespace(stuck=lambda: 0.0)
        self.leaders: dict[str, SimpleNamespace] = {}

    def found(self) -> list[str]:
        parts = Parts(ingest=self.ingest, detect=self.detect, notify=self.notify, leaders=self.leaders)  # type: ignore[arg-type]
        return stalls(parts, self.health, self.clock, limit=LIMIT)


def test_a_chain_at_work_has_no_stalls() -> None:
    assert Chain().found() == []


def test_each_broken_link_withholds_the_ping() -> None:
    chain = Chain()
    chain.health.beat("score", allow=timedelta(seconds=60))
    chain.clock.advance(61)
    assert chain.found() == ["score: no heartbeat"]
    chain = Chain()
    chain.health.ready = False
    assert chain.found() == ["not ready"]
    chain = Chain()
    chain.ingest.failing = lambda: True
    assert chain.found() == ["ingest: every source fails"]
    chain = Chain()
    chain.ingest.overdue = lambda: LIMIT + timedelta(seconds=1)
    assert chain.found() == ["ingest: polls are more than 900 seconds late"]
    chain = Chain()
    chain.clock.advance(901)
    assert chain.found() == ["detect: articles wait for more than 900 seconds to be scored and stored"]
    chain = Chain()
    chain.detect.watermark = None
    assert chain.found() == ["detect: no tick yet"]
    chain = Chain()
    chain.notify.stuck = lambda: 901.0
    assert chain.found() == ["notify: nothing was sent for more than 900 seconds, though messages wait"]


def test_who_stands_by_vouches_for_nothing() -> None:
    chain = Chain()
    chain.detect.watermark = None
    chain.leaders["detect"] = SimpleNamespace(leading=asyncio.Event())
    assert chain.found() == ["detect: standing by for another process"]


async def test_the_outbox_is_stuck_from_when_a_message_waits_until_one_is_sent() -> None:
    passes = [{"pending": 0}, {"retry": 1, "pending": 1}, {"retry": 1, "pending": 1}, {"sent": 1, "pending": 1}, {}]

    async def send_due() -> dict[str, int]:
        return passes.pop(0)

    clock = ManualClock(START)
    service = NotifyService(send_due=send_due, clock=clock, metrics=Metrics(), health=Health(clock), interval=1)
    seen = []
    for _ in range(5):
        await service.pass_once()
        before = service.stuck()
        seen.append((before > 0, service._moved))
    assert [waits for waits, _ in seen] == [False, True, True, True, False]
    moved = [moment for _, moment in seen]
    assert moved[2] == moved[1]  # nothing sent: the wait goes on
    assert moved[3] > moved[2]
