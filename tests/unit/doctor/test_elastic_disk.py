"""Disk watermarks in every form in which a cluster may tell them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.clock import SystemClock
from monitor.doctor.elastic import elastic_checks
from monitor.doctor.examination import examine
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_disk import Watermarks

GB = 1024**3


def _settings(**disk: Any) -> dict[str, Any]:
    return {"persistent": {"cluster": {"routing": {"allocation": {"disk": disk}}}}}


@pytest.mark.parametrize(
    ("answer", "free", "stage"),
    [
        ({}, 16, None),  # of 100 GB, by the defaults
        ({}, 14, "low"),
        ({}, 9, "high"),
        ({}, 4, "flood_stage"),
        (_settings(watermark={"low": "0.5"}), 49, "low"),
        (_settings(watermark={"low": "20gb", "high": "10gb", "flood_stage": "5gb"}), 19, "low"),
        (_settings(watermark={"low": "20gb", "high": "10gb", "flood_stage": "500MB"}), 1, "high"),
        (_settings(watermark={"low": "50%", "low.max_headroom": "1gb"}), 14, None),
        (_settings(threshold_enabled="false"), 1, None),
        (_settings(watermark={"low": "often"}), 14, None),
        ({"persistent": {"cluster.routing.allocation.disk.watermark.low": "50%"}}, 49, "low"),
    ],
)
def test_the_worst_stage_that_was_passed(answer: dict[str, Any], free: int, stage: str | None) -> None:
    assert Watermarks.of(answer).passed(free * GB, 100 * GB) == stage


def test_large_disks_need_no_more_than_the_headroom() -> None:
    marks = Watermarks.of({})
    assert marks.needed("low", 100_000 * GB) == 200 * GB
    assert marks.passed(160 * GB, 100_000 * GB) == "low"


def test_what_was_set_goes_before_what_is_usual() -> None:
    answer = {"defaults": {"cluster": {"routing": {"allocation": {"disk": {"watermark": {"low": "85%"}}}}}}}
    assert Watermarks.of(answer | _settings(watermark={"low": "10gb"})).needed("low", 100 * GB) == 10 * GB


@given(value=st.text(max_size=8), total=st.integers(1, 10**15), free=st.integers(0, 10**15))
def test_no_setting_makes_it_stumble(value: str, total: int, free: int) -> None:
    marks = Watermarks.of(_settings(watermark={"low": value, "low.max_headroom": value}, threshold_enabled=value))
    assert marks.passed(free, total) in (None, "low", "high", "flood_stage")


@asynccontextmanager
async def _cluster(free: int, disk: dict[str, Any] | None) -> AsyncIterator[str]:
    """Answers as documented for GET /, GET _nodes/stats/fs and GET _cluster/settings; ``disk`` None: not permitted."""

    async def answer(request: web.Request) -> web.Response:
        status, body = 200, {}  # type: int, dict[str, Any]
        if request.path == "/":
            body = {"version": {"number": "8.19.3", "build_flavor": "default"}}
        elif request.path == "/_nodes/stats/fs":
            total = {"total_in_bytes": 100 * GB, "free_in_bytes": free * GB, "available_in_bytes": free * GB}
            body = {"nodes": {"abc": {"name": "es01", "fs": {"total": total}}}}
        elif request.path == "/_cluster/settings" and disk is not None:
            body = {"defaults": {"cluster": {"routing": {"allocation": {"disk": disk}}}}}
        elif request.path == "/_cluster/settings":
            status, body = 403, {"error": {"type": "security_exception", "reason": "unauthorized"}}
        else:
            status, body = 404, {}
        return web.json_response(body, status=status, headers={"X-Elastic-Product": "Elasticsearch"})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("free", "disk", "status"),
    [
        (50, {"watermark": {"low": "85%"}}, "ok"),
        (50, {"watermark": {"low": "60gb"}}, "warn"),
        (3, {}, "fail"),
        (12, None, "warn"),
        (50, {"threshold_enabled": "false"}, "warn"),
    ],
)
async def test_the_doctor_looks_at_the_nodes_disks(free: int, disk: dict[str, Any] | None, status: str) -> None:
    async with _cluster(free, disk) as url:
        found = await examine(elastic_checks(ElasticConfig(urls=(url,)), SystemClock()))
    (verdict,) = [verdict for verdict in found.verdicts if verdict.part == "elastic: disk"]
    assert verdict.status == status
    assert bool(verdict.advice) == (status != "ok")
