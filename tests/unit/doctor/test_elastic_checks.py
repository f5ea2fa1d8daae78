"""Elasticsearch as the doctor sees it: over a real cluster, over one that misbehaves, over nobody."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from monitor.core.clock import SystemClock
from monitor.doctor import elastic as doctor_elastic
from monitor.doctor.elastic import elastic_checks
from monitor.doctor.examination import Examination, examine
from monitor.doctor.verdict import Verdict
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_template import apply

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def config(elastic_server: str) -> AsyncIterator[ElasticConfig]:
    mine = ElasticConfig(urls=(elastic_server,), prefix=f"doctor-{uuid.uuid4().hex[:8]}", replicas=0)
    yield mine
    client = ElasticClient(mine)
    await client.find("DELETE", path("_index_template", mine.alias))
    await client.close()


async def _ask(config: ElasticConfig) -> dict[str, Verdict]:
    found = await examine(elastic_checks(config, SystemClock()))
    assert all(verdict.advice for verdict in found.verdicts if verdict.status != "ok")
    return {one.part.removeprefix("elastic: "): one for one in found.verdicts}


async def test_a_cluster_before_and_after_it_is_set_up(config: ElasticConfig) -> None:
    before = await _ask(config)
    assert before["server"].status == "ok"
    assert before["template"].status == "fail"
    assert "riskwire store apply" in before["template"].advice
    await apply(config)
    after = await _ask(config)
    assert {part for part, verdict in after.items() if verdict.status == "fail"} == set()
    assert after["template"].status == "ok"
    assert after["clock: elastic"].status == "ok"


async def test_a_template_changed_by_hand_is_drift(config: ElasticConfig) -> None:
    await apply(config)
    client = ElasticClient(config)
    try:
        answer = await client.request("GET", path("_index_template", config.alias))
        body = answer["index_templates"][0]["index_template"]
        body["template"]["mappings"]["dynamic"] = "true"
        await client.request("PUT", path("_index_template", config.alias), body)
    finally:
        await client.close()
    assert (await _ask(config))["template"].status == "fail"


async def test_nobody_at_one_of_two_addresses(config: ElasticConfig, unused_tcp_port: int) -> None:
    dead = f"http://127.0.0.1:{unused_tcp_port}"
    found = await _ask(ElasticConfig(urls=(dead, *config.urls), prefix=config.prefix))
    assert found[dead.removeprefix("http://")].status == "fail"
    assert found[config.urls[0].removeprefix("http://")].status == "ok"


@asynccontextmanager
async def _server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _elastic(body: object, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers={"X-Elastic-Product": "Elasticsearch"})


async def _scripted(handler: Handler) -> dict[str, Verdict]:
    async with _server(handler) as url:
        found: Examination = await examine(
            elastic_checks(ElasticConfig(urls=(url,), username="riskwire", password="hunter2"), SystemClock())
        )
    assert "hunter2" not in repr(found)
    return {one.part.removeprefix("elastic: "): one for one in found.verdicts}


async def test_a_server_of_the_wrong_version() -> None:
    async def old(_: web.Request) -> web.Response:
        return _elastic({"version": {"number": "7.17.0", "build_flavor": "default"}})

    found = await _scripted(old)
    assert found["server"].status == "fail"
    assert "7.17.0" in found["server"].finding


async def test_a_login_that_is_refused() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return _elastic({"error": {"type": "security_exception", "reason": "unable to authenticate"}}, 401)

    found = await _scripted(refuse)
    assert found["server"].status == "fail"
    assert "elastic.password_file" in found["server"].advice


@pytest.mark.parametrize(("ahead", "status"), [(0.0, "ok"), (9.0, "warn"), (-9.0, "warn"), (70.0, "fail")])
async def test_the_clusters_clock_is_compared(ahead: float, status: str) -> None:
    """Answers as documented for GET / and GET _nodes/stats (``timestamp``: milliseconds since the epoch)."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/":
            return _elastic({"version": {"number": "8.19.3", "build_flavor": "default"}})
        if request.path == "/_nodes/stats/os":
            return _elastic({"nodes": {"n1": {"timestamp": round((time.time() + ahead) * 1000)}}})
        return _elastic({"error": {"type": "x", "reason": "not scripted"}}, 400)

    found = await _scripted(answer)
    assert found["clock: elastic"].status == status
    assert ("behind" in found["clock: elastic"].finding) == (ahead > 2)


async def test_a_cluster_that_never_answers_is_reported_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_elastic, "_PATIENCE_SECONDS", 0.5)
    release = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    try:
        found = await _scripted(hang)
    finally:
        release.set()
    assert found["server"].status == "fail"
    assert "did not answer in time" in found["server"].finding
