"""Logs without secrets, health that proves progress, the metrics endpoint."""

from __future__ import annotations

import io
import json
import logging
from datetime import timedelta

import aiohttp
import pytest
import structlog
from doubles import START

from monitor.core.clock import ManualClock
from monitor.core.errors import ConfigError
from monitor.obs.health import Health, HealthServer, build_app
from monitor.obs.logging import configure_logging
from monitor.obs.metrics import Metrics


@pytest.fixture
def stream():  # type: ignore[no-untyped-def]
    out = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("info", stream=out)
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_logs_are_json_lines_when_not_a_terminal(stream: io.StringIO) -> None:
    structlog.get_logger("x").info("polled", source="wire", title="央行")
    logging.getLogger("foreign").warning("careful")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["event"] == "polled"
    assert first["title"] == "央行"
    assert second["event"] == "careful"


@pytest.mark.parametrize("key", ["token", "slack_token", "password", "Authorization", "api_key", "client_secret"])
def test_values_under_secret_keys_never_reach_a_log(stream: io.StringIO, key: str) -> None:
    structlog.get_logger("x").info("sent", **{key: "xoxb-123"})
    assert "xoxb-123" not in stream.getvalue()


def test_user_info_of_urls_never_reaches_a_log(stream: io.StringIO) -> None:
    structlog.get_logger("x").info("polled", url="https://user:hunter2@example.com/feed")
    assert "hunter2" not in stream.getvalue()
    assert "example.com/feed" in stream.getvalue()


async def test_health_turns_when_a_part_breaks_its_promise() -> None:
    clock = ManualClock(START)
    health = Health(clock)
    server = HealthServer(build_app(health, Metrics()), "127.0.0.1", 0)
    port = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def status(page: str) -> int:
                async with session.get(page) as response:
                    return response.status

            health.beat("detect", allow=timedelta(seconds=60))
            assert await status("/healthz") == 200
            assert await status("/readyz") == 503
            health.ready = True
            assert await status("/readyz") == 200
            clock.advance(61)
            async with session.get("/healthz") as response:
                assert response.status == 503
                assert (await response.json())["parts"] == ["detect"]
            async with session.get("/metrics") as response:
                assert "# HELP riskwire_polls_total" in await response.text()
    finally:
        await server.close()


async def test_an_address_in_use_is_named(unused_tcp_port: int) -> None:
    health = Health(ManualClock(START))
    first = HealthServer(build_app(health, Metrics()), "127.0.0.1", unused_tcp_port)
    await first.start()
    try:
        with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1:{unused_tcp_port}"):
            await HealthServer(build_app(health, Metrics()), "127.0.0.1", unused_tcp_port).start()
    finally:
        await first.close()
