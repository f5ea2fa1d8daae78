"""The fetcher against a real server on loopback: codings, caps, redirects, failures."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import brotli
import pytest
from aiohttp import web
from website import NOW, Names, Site, loopback, open_site

from connectors.http import Fetcher
from monitor.core.clock import ManualClock
from monitor.core.errors import FetchError, SourceError, TooLargeError

TEXT = b"<rss>" + b"news and more news " * 500 + b"</rss>"


async def code_of(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(SourceError) as caught:
        await fetcher.get(url)
    return caught.value.code


async def test_a_conditional_get_sends_the_validators_and_understands_304(site: Site, fetcher: Fetcher) -> None:
    async def answer(request: web.Request) -> web.Response:
        known = request.headers.get("If-None-Match") == '"v1"' and "If-Modified-Since" in request.headers
        return web.Response(status=304) if known else web.Response(body=TEXT, headers={"ETag": '"v1"'})

    url = site.on("/feed", answer)
    first = await fetcher.get(url)
    assert (first.status, first.body, first.headers["etag"]) == (200, TEXT, '"v1"')
    again = await fetcher.get(url, etag='"v1"', last_modified="Mon, 02 Mar 2026 08:00:00 GMT")
    assert again.not_modified
    assert again.body == b""


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 20),
        ("gzip", TEXT),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", _raw_deflate(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("gzip, br", brotli.compress(gzip.compress(TEXT))),
        ("identity", TEXT),
    ],
)
async def test_codings(coding: str, body: bytes, site: Site, fetcher: Fetcher) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": coding})

    assert (await fetcher.get(site.on("/feed", answer))).body == TEXT
    assert site.requests[0].headers["Accept-Encoding"] == "gzip, deflate, br"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)[:-20]),
        ("gzip", gzip.compress(TEXT)[:30] + b"\xff" * 30),
        ("deflate", zlib.compress(TEXT)[:-10]),
        ("br", brotli.compress(TEXT)[:-5]),
        ("br", b"\xff" * 50),
        ("zstd", TEXT),
        ("gzip, gzip, gzip", TEXT),
    ],
)
async def test_a_damaged_or_unknown_coding_is_named(coding: str, body: bytes, site: Site, fetcher: Fetcher) -> None:
    assert await code_of(fetcher, site.put("/feed", body, Content_Encoding=coding)) == "bad_encoding"


def _gzip_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(1024 * 1024)
    return b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, gzip"])
async def test_a_bomb_is_stopped_while_it_unpacks(coding: str, site: Site, clock: ManualClock) -> None:
    bomb = _gzip_bomb(300 * 1024 * 1024)
    if coding == "br":
        packer = brotli.Compressor(quality=1)
        block = bytes(1024 * 1024)
        bomb = b"".join(packer.process(block) for _ in range(300)) + packer.finish()
    elif coding == "gzip, gzip":
        bomb = gzip.compress(bomb)
    assert len(bomb) < 2 * 1024 * 1024
    url = site.put("/bomb", bomb, Content_Encoding=coding)
    async with Fetcher(loopback(max_bytes=4 * 1024 * 1024), clock) as fetcher:
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError, match="unpacks to more"):
                await fetcher.get(url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 24 * 1024 * 1024


async def test_an_endless_response_is_cut_at_the_cap(site: Site, clock: ManualClock) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        block = b"<item><title>more</title></item>" * 2048
        try:
            while sent < 100 * 1024 * 1024:
                await response.write(block)
                sent += len(block)
        except ConnectionError:
            pass
        return response

    url = site.on("/endless", answer)
    async with Fetcher(loopback(max_bytes=1024 * 1024), clock) as fetcher:
        assert await code_of(fetcher, url) == "too_large"
    assert sent < 20 * 1024 * 1024


async def test_a_stated_length_over_the_cap_is_refused_unread(site: Site, clock: ManualClock) -> None:
    url = site.put("/large", bytes(2_000_000))
    async with Fetcher(loopback(max_bytes=1_000_000), clock) as fetcher:
        with pytest.raises(TooLargeError, match="2000000 bytes"):
            await fetcher.get(url)


async def test_permanent_redirects_are_reported_only_when_all_are_permanent(site: Site, fetcher: Fetcher) -> None:
    site.put("/new", TEXT)
    site.redirect("/old", "/older", 301)
    site.redirect("/older", "/new", 308)
    site.redirect("/temporary", "/new", 302)
    site.redirect("/mixed", "/temporary", 301)
    moved = await fetcher.get(site.url("/old"))
    assert (moved.url, moved.permanent_url) == (site.url("/new"), site.url("/new"))
    assert (await fetcher.get(site.url("/temporary"))).permanent_url == ""
    mixed = await fetcher.get(site.url("/mixed"))
    assert (mixed.url, mixed.permanent_url) == (site.url("/new"), site.url("/temporary"))


async def test_redirects_end(site: Site, fetcher: Fetcher) -> None:
    site.redirect("/loop", "/loop")
    assert await code_of(fetcher, site.url("/loop")) == "redirects"
    assert len(site.requests) == 6
    site.redirect("/file", "file:///etc/passwd")
    assert await code_of(fetcher, site.url("/file")) == "redirects"


async def test_credentials_stay_with_their_origin(site: Site, fetcher: Fetcher) -> None:
    other, runner = await open_site()
    try:
        other.put("/feed", TEXT)
        site.redirect("/feed", other.url("/feed"))
        await fetcher.get(site.url("/feed"), headers={"Authorization": "Bearer secret", "X-Api-Key": "secret"})
        assert site.requests[0].headers["X-Api-Key"] == "secret"
        assert "secret" not in json.dumps(dict(other.requests[0].headers))
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "http_400"), (401, "http_401"), (403, "http_403"), (404, "http_404"), (410, "gone"), (429, "http_429"),
     (500, "http_5xx"), (503, "http_5xx"), (206, "http_206"), (300, "http_300")],
)  # fmt: skip
async def test_statuses_have_names(status: int, code: str, site: Site, fetcher: Fetcher) -> None:
    assert await code_of(fetcher, site.put("/feed", b"no", status=status)) == code


@pytest.mark.parametrize(
    ("value", "expected"),
    [("120", 120.0), ("Mon, 02 Mar 2026 09:10:00 GMT", 600.0), ("Mon, 02 Mar 2026 08:00:00 GMT", 0.0),
     ("999999999999", 86400.0), ("soon", None), ("", None)],
)  # fmt: skip
async def test_retry_after_is_passed_on(value: str, expected: float | None, site: Site, fetcher: Fetcher) -> None:
    url = site.put("/feed", b"", status=503, Retry_After=value, Date="Mon, 02 Mar 2026 09:00:00 GMT")
    with pytest.raises(FetchError) as caught:
        await fetcher.get(url)
    assert caught.value.retry_after == expected


async def test_a_slow_loris_is_left(site: Site, clock: ManualClock) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.02)
        except ConnectionError:
            return response

    async def silence(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with Fetcher(loopback(total_timeout=0.3, read_timeout=0.2), clock) as fetcher:
        assert await code_of(fetcher, site.on("/drip", drip)) == "timeout"
        assert await code_of(fetcher, site.on("/silence", silence)) == "timeout"


async def test_no_server_no_name_no_tls_no_http(site: Site, fetcher: Fetcher) -> None:
    raw = await asyncio.start_server(_garbage, "127.0.0.1", 0)
    closed = await asyncio.start_server(_garbage, "127.0.0.1", 0)
    port, dead = raw.sockets[0].getsockname()[1], closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    async with raw:
        assert await code_of(fetcher, f"http://127.0.0.1:{port}/") == "http_protocol"
    assert await code_of(fetcher, f"http://127.0.0.1:{dead}/") == "connect"
    assert await code_of(fetcher, f"https://127.0.0.1:{site.port}/") == "tls"
    async with Fetcher(loopback(), ManualClock(NOW), resolver=Names()) as nameless:
        assert await code_of(nameless, "http://nowhere.invalid/") == "dns"
    for url in ("ftp://example.org/x", "http://", "nonsense", "http://[::1/"):
        assert await code_of(fetcher, url) == "bad_url"


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_a_broken_off_answer_is_named(site: Site, fetcher: Fetcher) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"<rss>")
        assert request.transport is not None
        request.transport.abort()
        return response

    assert await code_of(fetcher, site.on("/feed", answer)) == "disconnected"


async def test_errors_do_not_show_secrets(site: Site, fetcher: Fetcher) -> None:
    url = f"http://alice:hunter2@127.0.0.1:{site.port}/feed?token=abc123&page=2&x=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5#frag"
    with pytest.raises(FetchError) as caught:
        await fetcher.get(url)
    text = str(caught.value)
    for secret in ("alice", "hunter2", "abc123", "Zm9v", "frag"):
        assert secret not in text
    assert "page=2" in text
    assert site.requests[0].headers["Authorization"].startswith("Basic ")


async def test_proxies_of_the_environment_are_ignored(
    site: Site, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await fetcher.get(site.put("/feed", TEXT))).body == TEXT


async def test_a_configured_proxy_is_used(site: Site, clock: ManualClock) -> None:
    async def proxy(_: web.Request) -> web.Response:
        return web.Response(body=b"by proxy")

    site.handlers["/feed"] = proxy
    async with Fetcher(loopback(proxy=site.url("/")), clock) as fetcher:
        assert (await fetcher.get("http://news.invalid/feed")).body == b"by proxy"


async def test_requests_name_us_with_a_contact(site: Site, fetcher: Fetcher) -> None:
    await fetcher.get(site.put("/feed", TEXT))
    assert "+http" in site.requests[0].headers["User-Agent"]


@pytest.fixture
async def crowded(clock: ManualClock) -> AsyncIterator[Fetcher]:
    async with Fetcher(loopback(per_host=2, queue_timeout=0.2), clock) as fetcher:
        yield fetcher


async def test_a_host_gets_no_more_requests_at_once_than_allowed(site: Site, crowded: Fetcher) -> None:
    now, most = 0, 0
    release, both = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 2:
            both.set()
        await release.wait()
        now -= 1
        return web.Response(body=TEXT)

    url = site.on("/feed", answer)
    tasks = [asyncio.create_task(crowded.get(url)) for _ in range(5)]
    await both.wait()
    await asyncio.wait(tasks[2:])
    assert most == 2
    assert {getattr(task.exception(), "code", "") for task in tasks[2:]} == {"busy"}
    release.set()
    assert [(await task).status for task in tasks[:2]] == [200, 200]
