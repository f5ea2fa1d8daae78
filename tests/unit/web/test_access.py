"""Who may do what, and what no request gets around."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from doubles import incident
from hypothesis import given
from hypothesis import strategies as st
from web_tools import GUARD, TOKENS, bearer

from monitor.web.access import COOKIE, SESSION_SECONDS, Access, Token
from monitor.web.limits import RateLimit

READS = ["overview", "topics", "series", "articles", "facets", "incidents", "sources", "watchlist", "model"]


@pytest.mark.parametrize("name", READS)
async def test_reading_needs_a_viewer(guarded, name):
    path = f"/api/v1/{name}"
    answer = await guarded.client.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (await guarded.client.get(path, headers=bearer("pusher"))).status_code == 403
    assert (await guarded.client.get(path, headers=bearer("viewer"))).status_code == 200
    assert (
        await guarded.client.get(path, headers={"Authorization": "Bearer viewer-token-012345678"})
    ).status_code == 401
    assert (await guarded.client.get(path, headers={"Authorization": "Basic dmVyYTp4"})).status_code == 401


async def test_acting_needs_an_operator_and_pushing_a_pusher(guarded):
    await guarded.raise_incident(incident("one"))
    ack, push = "/api/v1/incidents/one/acknowledge", "/api/v1/articles"
    row = {"title": "Bank fails"}
    said = {
        (path, role): (await guarded.client.post(path, json=body, headers=bearer(role))).status_code
        for path, body in ((ack, {}), (push, row))
        for role in ("viewer", "operator", "pusher")
    }
    assert said == {
        (ack, "viewer"): 403, (ack, "operator"): 202, (ack, "pusher"): 403,
        (push, "viewer"): 403, (push, "operator"): 403, (push, "pusher"): 202,
    }  # fmt: skip


async def test_a_login_gives_a_cookie_that_scripts_cannot_read(guarded):
    client = guarded.client
    assert (await client.post("/login", json={"token": "wrong-token-0123456789"}, headers=GUARD)).status_code == 401
    answer = await client.post("/login", json={"token": "operator-token-0123456789"}, headers=GUARD)
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    me = (await client.get("/api/v1/me")).json()
    assert me == {
        "login_required": False, "role": "operator", "name": "otto", "roles": ["operator", "viewer"], "version": "1.2.3"
    }  # fmt: skip
    await guarded.raise_incident(incident("one"))
    ack = "/api/v1/incidents/one/acknowledge"
    assert (await client.post(ack)).status_code == 403  # another site's form cannot send the header
    assert (await client.post(ack, headers=GUARD)).status_code == 202
    await client.post("/logout", headers=GUARD)
    assert (await client.get("/api/v1/me")).json()["login_required"] is True


async def test_a_session_ends_by_time_and_with_its_token(guarded):
    client = guarded.client
    await client.post("/login", json={"token": "viewer-token-0123456789"}, headers=GUARD)
    value = client.cookies[COOKIE]
    now = guarded.clock.now().timestamp()
    assert guarded.context.access.by_session(value, now + SESSION_SECONDS - 1).name == "vera"
    assert guarded.context.access.by_session(value, now + SESSION_SECONDS + 1) is None
    replaced = Access([Token.of("vera", TOKENS[0].role, "another-token-0123456")], b"k" * 32)
    assert replaced.by_session(value, now) is None
    assert Access(TOKENS, b"x" * 32).by_session(value, now) is None


@given(st.text(max_size=200))
def test_nothing_else_is_a_token_or_a_session(text):
    access = Access(TOKENS, b"k" * 32)
    hashes = {hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()} if text.isascii() else set()
    assert access.by_token(text) is None or hashes & {token.sha256 for token in TOKENS}
    assert access.by_session(text, 0) is None


async def test_a_changed_session_is_none(guarded):
    await guarded.client.post("/login", json={"token": "viewer-token-0123456789"}, headers=GUARD)
    value = guarded.client.cookies[COOKIE]
    for index in range(len(value)):
        changed = value[:index] + ("A" if value[index] != "A" else "B") + value[index + 1 :]
        found = guarded.context.access.by_session(changed, 0)
        # Base 64 has spare bits in its last letter: what it says is then the same.
        assert found is None or (value[:index].count(".") == 0 and value[index + 1] == ".")


async def test_without_tokens_browsers_still_need_the_header(world):
    row = {"title": "Bank fails"}
    assert (await world.client.post("/api/v1/articles", json=row)).status_code == 403
    assert (await world.client.post("/api/v1/articles", json=row, headers=GUARD)).status_code == 202


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", ""])
async def test_other_host_names_are_not_answered(world, host):
    answer = await world.client.get("/api/v1/articles", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:80"])
async def test_its_own_names_are_answered(world, host):
    assert (await world.client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_guessing_tokens_is_slow_and_others_are_not_held_back(guarded):
    said = [
        (await guarded.client.get("/api/v1/me", headers={"Authorization": f"Bearer guess-{n}"})).status_code
        for n in range(12)
    ]
    assert said.count(429) == 2
    assert (await guarded.client.get("/api/v1/me", headers=bearer("viewer"))).status_code == 200


async def test_too_many_requests_are_told_when_to_come_back(make):
    world = await make(rate=0.001, burst=3)
    answers = [await world.client.get("/api/v1/me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) > 100


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 30)), max_size=60))
def test_the_bucket_never_gives_more_than_its_rate(steps):
    now, given_out = 0.0, {}
    limit = RateLimit(2.0, 5.0, lambda: now, clients=10)
    for wait, client in sorted(steps):
        now = wait
        if not limit.take(str(client)):
            given_out[client] = given_out.get(client, 0) + 1
        assert len(limit) <= 10
    if len({client for _, client in steps}) <= 10:
        assert all(count <= 5 + 2.0 * now + 1e-6 for count in given_out.values())


async def test_security_headers_are_on_every_answer(world):
    for path in ("/api/v1/me", "/api/v1/none", "/healthz", "/"):
        headers = (await world.client.get(path)).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


async def test_other_origins_only_when_allowed(make):
    world = await make(cors_origins=("https://desk.example",))
    asked = {"Origin": "https://desk.example", "Access-Control-Request-Method": "GET"}
    answer = await world.client.options("/api/v1/me", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://desk.example"
    other = await world.client.get("/api/v1/me", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert isinstance(other, httpx.Response)
