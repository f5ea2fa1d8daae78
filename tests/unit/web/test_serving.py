"""How the daemon's API is made from the configuration, and that it starts and stops in order."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import aiohttp
import pytest

from monitor.config import ROLES, WORK, Settings
from monitor.core.clock import SystemClock
from monitor.core.errors import ConfigError
from monitor.daemon import Daemon
from monitor.serving import address_of, read_tokens, session_key
from monitor.storage import open_storage
from monitor.web_section import WebSection

TOKEN = "a-token-of-some-length"


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.delenv("RISKWIRE_WEB__LISTEN", raising=False)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:8080", ("::1", 8080)), ("localhost:0", ("localhost", 0)),
        ("", None), ("off", None),
    ],
)  # fmt: skip
def test_an_address(listen, address):
    assert address_of(WebSection(listen=listen)) == address


@pytest.mark.parametrize("listen", ["8080", ":8080", "host", "host:x", "host:99999"])
def test_no_address(listen):
    with pytest.raises(ConfigError, match="host:port"):
        address_of(WebSection(listen=listen))


def settings(tmp_path, **web) -> Settings:
    return Settings(data_dir=tmp_path / "data", base=tmp_path, web=web, observe={"listen": ""}, notifiers=())


def test_beyond_this_machine_tokens_are_needed(tmp_path):
    with pytest.raises(ConfigError, match="no token"):
        read_tokens(settings(tmp_path, listen="0.0.0.0:8080"))
    for listen in ("127.0.0.1:8080", "[::1]:8080", "localhost:8080", "off"):
        assert read_tokens(settings(tmp_path, listen=listen)) == []


def test_a_token_comes_from_the_file_the_key_or_as_its_hash(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    sha = hashlib.sha256(TOKEN.encode()).digest()
    entries = [
        {"name": "a", "role": "viewer", "token": TOKEN},
        {"name": "b", "role": "operator", "token_file": "token"},
        {"name": "c", "role": "pusher", "token_sha256": sha.hex().upper()},
    ]
    found = read_tokens(settings(tmp_path, tokens=entries))
    assert [(token.name, token.role.value, token.sha256) for token in found] == [
        ("a", "viewer", sha), ("b", "operator", sha), ("c", "pusher", sha)
    ]  # fmt: skip
    assert TOKEN not in repr(found) + repr(settings(tmp_path, tokens=entries).web)


@pytest.mark.parametrize(
    "entry",
    [{}, {"token": "short"}, {"token": "with a space in it"}, {"token": TOKEN, "token_sha256": "0" * 64},
     {"token": TOKEN, "token_file": "token"}, {"token_file": "none"}],
)  # fmt: skip
def test_a_token_that_is_none_is_refused(tmp_path, entry):
    with pytest.raises(ConfigError):
        read_tokens(settings(tmp_path, tokens=[{"name": "a", "role": "viewer"} | entry]))
    with pytest.raises(ConfigError, match="unique"):
        read_tokens(settings(tmp_path, tokens=[{"name": "a", "role": "viewer", "token": TOKEN}] * 2))


async def test_the_session_key_is_made_once(tmp_path):
    async with open_storage(settings(tmp_path), SystemClock(), bus=False, store=False) as storage:
        first = await session_key(storage.state)
        assert len(first) == 32
        assert await session_key(storage.state) == first


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_daemon_serves_and_stops_in_order_with_a_stream_open(tmp_path):
    port = free_port()
    daemon = Daemon(settings(tmp_path, listen=f"127.0.0.1:{port}"), roles=("web",))
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    await asyncio.wait_for(daemon.started.wait(), 60)
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/readyz") as answer:
            assert answer.status == 200
        rows = [{"title": "Bank fails"}]
        async with session.post(f"{base}/api/v1/articles", json=rows, headers={"X-Riskwire-Request": "1"}) as answer:
            assert answer.status == 202
        async with session.get(f"{base}/api/v1/live") as stream:
            assert (await stream.content.readline()) == b"event: hello\n"
            stop.set()
            await asyncio.wait_for(running, 20)
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_an_address_that_is_taken_stops_the_start(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        daemon = Daemon(settings(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}"), roles=("web",))
        with pytest.raises(ConfigError, match="Cannot listen"):
            await daemon.run(asyncio.Event())


def test_who_embeds_a_daemon_serves_nothing_unless_asked():
    assert set(ROLES) - set(WORK) == {"web"}
