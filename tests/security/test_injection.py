"""Text of strangers stays text: in the headers and paths of the requests that we send. What else there is (mails,
pages, Slack messages) is proved elsewhere; docs/threat-model.md lists where."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from doubles import START
from website import loopback

from connectors.http.fetcher import Fetcher
from monitor.core.clock import ManualClock
from monitor.core.errors import RiskwireError
from monitor.kibana.config import KibanaConfig
from monitor.store.elastic_client import path

EVIL = "x\r\nX-Evil: 1\r\n\r\nGET /admin HTTP/1.1"


class RawServer:
    """Keeps the bytes that arrive."""

    def __init__(self) -> None:
        self.seen = b""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.seen += await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize(
    "given",
    [{"etag": EVIL}, {"last_modified": EVIL}, {"headers": {"X-Key": EVIL}}, {"headers": {"X\r\nX-Evil": "1"}}],
    ids=str,
)
async def test_no_line_break_reaches_the_headers_of_a_request(given: dict[str, object]) -> None:
    server = RawServer()
    async with (
        await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening,
        Fetcher(loopback(spacing=0.0), ManualClock(START)) as fetcher,
    ):
        port = listening.sockets[0].getsockname()[1]
        with suppress(RiskwireError, ValueError):  # refused before anything was sent
            await fetcher.get(f"http://127.0.0.1:{port}/feed", **given)  # type: ignore[arg-type]
        assert b"\r\nX-Evil" not in server.seen
        assert b"GET /admin" not in server.seen


async def test_no_line_break_in_an_address_becomes_a_request() -> None:
    server = RawServer()
    async with (
        await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening,
        Fetcher(loopback(spacing=0.0), ManualClock(START)) as fetcher,
    ):
        port = listening.sockets[0].getsockname()[1]
        with suppress(RiskwireError):
            await fetcher.get(f"http://127.0.0.1:{port}/feed HTTP/1.1\r\nX-Evil: 1\r\n\r\n")
        assert b"\r\nX-Evil" not in server.seen


@pytest.mark.parametrize(
    "name", ["../../_cluster/settings", "a/b?refresh=true", "a#b", "%2e%2e/x", "a\r\nb", "..", "中"]
)
def test_an_id_stays_one_part_of_a_path(name: str) -> None:
    made = path("articles", "_doc", name)
    assert made.count("/") == 3
    assert not set(made) & set("?#\r\n ")


@pytest.mark.parametrize("space", ["../../api/status", "a/b", "a?b", "a#b"])
def test_a_space_stays_one_part_of_kibanas_address(space: str) -> None:
    base = KibanaConfig(url="https://kibana.example", space=space).base
    assert base.startswith("https://kibana.example/s/")
    assert base.count("/") == 4
    assert not set(base.partition("/s/")[2]) & set("/?#")
