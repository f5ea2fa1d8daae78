"""Scoring, pushing, acting on incidents, and errors of every kind as problem documents."""

from __future__ import annotations

import json

import pytest
from doubles import incident
from web_tools import GUARD

from alerts.commands import COMMAND, Command, Verb
from monitor.core.codec import decode_article
from monitor.core.errors import ModelError, StorageError, UnavailableError
from monitor.core.types import IncidentState
from monitor.web.guard import host_of, loopback

PROBLEM = "application/problem+json"


async def test_texts_are_scored_and_explained(world):
    body = {"texts": ["Bank fails", {"title": "Bank thrives", "body": "Very much."}], "explain": True}
    answer = await world.client.post("/api/v1/score", json=body, headers=GUARD)
    seen = answer.json()
    assert [item["sentiment"] for item in seen["items"]] == ["negative", "neutral"]
    assert seen["items"][1]["explanation"]["topic"]["text"] == "Bank thrives\nVery much."
    assert seen["items"][0]["explanation"]["sentiment"]["words"][0]["word"] == "Bank"
    assert seen["model"] == "fake@1"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"texts": []}, {"texts": [""]}, {"texts": ["\u200b \x00"]}, {"texts": ["x"] * 65}, {"texts": "x"},
        {"texts": ["x"] * 9, "explain": True}, {"texts": ["x"], "more": 1}, [], None, 7,
        {"texts": [{"title": "x", "body": "y" * 100_001}]},
    ],
)  # fmt: skip
async def test_what_cannot_be_scored_is_told(world, body):
    answer = await world.client.post("/api/v1/score", json=body, headers=GUARD)
    if body == {"texts": ["\u200b \x00"]}:
        assert answer.status_code in (200, 422)
        return
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json()["detail"]


async def test_half_characters_do_no_harm(world):
    raw = b'{"texts": ["Bank \\ud800 fails"]}'
    answer = await world.client.post(
        "/api/v1/score", content=raw, headers=GUARD | {"Content-Type": "application/json"}
    )  # fmt: skip
    assert answer.status_code in (200, 422)


async def test_a_model_that_cannot_be_used_is_no_fault_of_the_client(world):
    world.model.fail = ModelError("The secret path /etc/x is broken.")
    answer = await world.client.post("/api/v1/score", json={"texts": ["x"]}, headers=GUARD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "/etc/x" not in answer.text


@pytest.mark.parametrize("form", ["one", "array", "object"])
async def test_pushed_articles_are_on_the_bus_when_it_answers(world, form):
    row = {
        "title": "Bank fails",
        "source": "desk",
        "published_at": "2026-03-02T08:00:00Z",
        "url": "https://x.example/1",
    }
    body = {"one": row, "array": [row], "object": {"articles": [row]}}[form]
    answer = await world.client.post("/api/v1/articles", json=body, headers=GUARD)
    assert answer.status_code == 202
    (record,) = world.bus.topics["articles"]
    article = decode_article(record.value)
    assert answer.json() == {"accepted": 1, "ids": [article.id]}
    assert (article.source, article.title) == ("desk", "Bank fails")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400), (b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"[]", 422), (b"7", 422), (b'["x"]', 422),
        (b"{}", 422), (b'[{"title": 7}]', 422), (b'[{"title": "x", "published_at": "soon"}]', 422),
        (b'[{"title": "x", "published_at": "2099-01-01"}]', 422), (b'[{"title": "x", "id": "\\ud800"}]', 422),
        (json.dumps([{"title": "x"}] * 1001).encode(), 413), (b'[{"title": "x", "url": "' + b"u" * 5000 + b'"}]', 422),
        (b'{"articles": {"title": "x"}}', 422), (b'{"title": "x", "published_at": NaN}', 422),
        (b"[" + b"9" * 5000 + b"]", 400),
    ],
)  # fmt: skip
async def test_what_is_no_article_is_refused_whole(world, raw, status):
    answer = await world.client.post("/api/v1/articles", content=raw, headers=GUARD)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    assert world.bus.topics == {}


async def test_a_bus_that_is_away_is_told(world):
    world.bus.fail_next = UnavailableError("Broker at 10.0.0.1 is away.", retry_after=30)
    answer = await world.client.post("/api/v1/articles", json={"title": "x"}, headers=GUARD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "10.0.0.1" not in answer.text
    world.bus.fail_next = StorageError("Disk.")
    assert (await world.client.post("/api/v1/articles", json={"title": "x"}, headers=GUARD)).status_code == 503


async def commands(world) -> list[Command]:
    return [Command.from_doc(doc) for _, doc in await world.context.state.list(COMMAND)]


async def test_a_command_is_given_to_the_detector_under_the_callers_name(world):
    await world.raise_incident(incident("one"))
    path = "/api/v1/incidents/one"
    assert (await world.client.post(f"{path}/acknowledge", headers=GUARD)).status_code == 202
    assert (await world.client.post(f"{path}/snooze", json={"minutes": 30}, headers=GUARD)).status_code == 202
    answer = await world.client.post(f"{path}/resolve", json={"reason": " known "}, headers=GUARD)
    assert answer.json() == {"id": "one", "verb": "resolve", "at": "2026-03-02T09:00:00Z", "accepted": True}
    given = {command.verb: command for command in await commands(world)}
    assert set(given) == set(Verb)
    assert (given[Verb.RESOLVE].by, given[Verb.RESOLVE].reason) == ("local", "known")
    seen = await world.get(path)
    assert sorted(item["verb"] for item in seen["pending"]) == ["acknowledge", "resolve", "snooze"]


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("snooze", {}, 422), ("snooze", {"minutes": 0}, 422), ("snooze", {"minutes": 10**9}, 422),
        ("snooze", {"minutes": 5, "until": "2026-03-02T10:00:00Z"}, 422),
        ("snooze", {"until": "2026-03-02T08:00:00Z"}, 422), ("snooze", {"until": "2027-03-02T08:00:00Z"}, 422),
        ("snooze", {"until": "0001-01-01T00:00:00+14:00"}, 422), ("resolve", {}, 422),
        ("resolve", {"reason": " "}, 422),
        ("acknowledge", {"x": 1}, 422), ("acknowledge", {"note": "n" * 501}, 422), ("delete", {}, 404),
    ],
)  # fmt: skip
async def test_a_command_that_makes_no_sense_is_refused(world, what, body, status):
    await world.raise_incident(incident("one"))
    answer = await world.client.post(f"/api/v1/incidents/one/{what}", json=body, headers=GUARD)
    assert answer.status_code in ((405, 404) if status == 404 else (status,)), answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert await commands(world) == []


async def test_what_is_over_takes_no_command(world):
    await world.raise_incident(incident("one", state=IncidentState.RESOLVED))
    assert (await world.client.post("/api/v1/incidents/one/acknowledge", headers=GUARD)).status_code == 409
    assert (await world.client.post("/api/v1/incidents/two/acknowledge", headers=GUARD)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/none", 404), ("DELETE", "/api/v1/articles", 405), ("POST", "/api/v1/overview", 405),
        ("GET", "/api/v1/overview?hours=0", 422), ("GET", "/api/v1/overview?hours=x", 422),
        ("GET", "/api/v1/articles?limit=1000", 422), ("GET", "/api/v1/articles?from=9999-12-31T23:59:59-12:00", 422),
        ("GET", "/api/v1/series?scope=rule", 422), ("GET", "/static/../conftest.py", 404), ("GET", "/static/%00", 404),
        ("GET", "/static/" + "a" * 5000, 404), ("PATCH", "/login", 405), ("GET", "/some/page", 404),
    ],
)  # fmt: skip
async def test_every_error_is_a_problem_document(world, method, path, status):
    answer = await world.client.request(method, path, headers=GUARD)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    body = answer.json()
    assert (body["status"], body["type"]) == (status, "about:blank")
    assert {"title", "detail", "instance"} <= set(body)


async def test_bodies_are_bounded_with_and_without_a_length(make):
    world = await make(max_body=2_000)
    answer = await world.client.post("/api/v1/articles", content=b"x" * 2_001, headers=GUARD)
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)

    async def pieces():
        for _ in range(100):
            yield b"x" * 100

    answer = await world.client.post("/api/v1/articles", content=pieces(), headers=GUARD)
    assert answer.status_code == 413
    assert world.bus.topics == {}


async def test_a_route_that_breaks_says_so_without_telling_what(world):
    world.bus.fail_next = ZeroDivisionError("inner secret")  # type: ignore[assignment]
    answer = await world.client.post("/api/v1/articles", json={"title": "x"}, headers=GUARD)
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text


async def test_health_and_metrics(world):
    assert (await world.client.get("/healthz")).json() == {"status": "ok"}
    assert (await world.client.get("/readyz")).status_code == 503
    world.context.health.ready = True
    assert (await world.client.get("/readyz")).json() == {"ready": True}
    text = (await world.client.get("/metrics")).text
    assert 'riskwire_http_requests_total{method="GET",route="/readyz",status="5xx"} 1.0' in text


async def test_the_dashboards_files_and_pages(make, tmp_path):
    static = tmp_path / "static"
    (static / "js").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>")
    (static / "js" / "app.js").write_text("export {};")
    (tmp_path / "secret").write_text("x")
    world = await make()
    for path in ("/", "/incidents/one", "/search"):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    script = await world.client.get("/static/js/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    again = await world.client.get("/static/js/app.js", headers={"If-None-Match": script.headers["etag"]})
    assert again.status_code == 304
    for path in ("/static/%2e%2e/secret", "/static/js/none.js", "/static/", "/static/js"):
        assert (await world.client.get(path)).status_code == 404
    assert (await world.client.get("/static/../secret")).text != "x"


@pytest.mark.parametrize(
    ("header", "host"), [("A:1", "a"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", ""), ("x", "x")]
)
def test_the_host_of_a_header(header, host):
    assert host_of(header) == host


def test_what_this_machine_is():
    assert [loopback(name) for name in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST")] == [True] * 5
    assert [loopback(name) for name in ("0.0.0.0", "10.0.0.1", "::", "localhost.evil", "")] == [False] * 5
