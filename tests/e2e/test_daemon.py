"""``riskwire run`` as an operator runs it: from a feed over HTTP to the store, and a clean stop."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from e2e_tools import RISKWIRE, Publisher, command, needs_model

from monitor.app import open_storage
from monitor.config import Settings
from monitor.core.clock import SystemClock
from monitor.core.types import SearchQuery

pytestmark = [needs_model(), pytest.mark.usefixtures("no_api")]

CONFIG = """
data_dir = "data"
[ingest]
spread = 0
allow_networks = ["127.0.0.0/8"]
[observe]
listen = "127.0.0.1:{port}"
[[sources]]
name = "wire"
url = "{url}"
interval = 1
min_interval = 1
"""


async def _metrics(port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        return await response.text()


async def _until_scored(port: int, count: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                text = await _metrics(port)
            except aiohttp.ClientConnectionError:
                text = ""
            if any(
                line.startswith("riskwire_scored_total") and float(line.split()[1]) >= count
                for line in text.splitlines()
            ):
                return
            await asyncio.sleep(0.1)


async def test_from_a_feed_to_the_store_and_a_clean_stop(
    tmp_path: Path, publisher: Publisher, unused_tcp_port: int
) -> None:
    publisher.add("1", "HSBC shares plunge as regulator opens fraud probe")
    publisher.add("2", "央行下调存款准备金率，银行股走高")
    publisher.add("3", "<b>Retailer</b> opens office")
    path = tmp_path / "riskwire.toml"
    path.write_text(CONFIG.format(port=unused_tcp_port, url=publisher.url), encoding="utf-8")
    child = await asyncio.create_subprocess_exec(str(RISKWIRE), "run", cwd=tmp_path, stderr=asyncio.subprocess.PIPE)
    try:
        await _until_scored(unused_tcp_port, 3)
        async with aiohttp.ClientSession() as session:
            for page in ("healthz", "readyz"):
                async with session.get(f"http://127.0.0.1:{unused_tcp_port}/{page}") as response:
                    assert response.status == 200
        second = await command("run", cwd=tmp_path)
        assert second.code == 1
        assert str(child.pid) in second.err
        publisher.items[0] = ("1", "HSBC shares plunge as regulators open fraud probe (updated)", publisher.items[0][2])
        publisher.add("4", "Oil slips")
        await _until_scored(unused_tcp_port, 5)
    finally:
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        _, err = await child.communicate()
    assert time.monotonic() - began < 25
    assert child.returncode == 0, err.decode()
    async with open_storage(Settings(data_dir=tmp_path / "data"), SystemClock()) as storage:
        page = await storage.store.search(SearchQuery(limit=10))
        assert page.total == 4
        (hsbc,) = (await storage.store.search(SearchQuery(text="HSBC fraud"))).items
        assert hsbc.article.title.endswith("(updated)")
        assert hsbc.scored.scores.sentiment == "negative"
        assert [e.name for e in hsbc.scored.entities] == ["HSBC"]
        assert (await storage.store.search(SearchQuery(text="存款准备金"))).total == 1
        assert (await storage.store.search(SearchQuery(entity="hsbc"))).total == 1
        assert (await storage.bus.lag("articles", "score")).count == 0


async def test_a_source_that_is_down_is_reported_and_others_go_on(
    tmp_path: Path, publisher: Publisher, unused_tcp_port_factory
) -> None:  # type: ignore[no-untyped-def]
    port, dead = unused_tcp_port_factory(), unused_tcp_port_factory()
    publisher.add("1", "Bank reports record profit")
    text = CONFIG.format(port=port, url=publisher.url)
    text += f'[[sources]]\nname = "dead"\nurl = "http://127.0.0.1:{dead}/"\n'
    (tmp_path / "riskwire.toml").write_text(text, encoding="utf-8")
    child = await asyncio.create_subprocess_exec(str(RISKWIRE), "run", cwd=tmp_path, stderr=asyncio.subprocess.PIPE)
    try:
        await _until_scored(port, 1)
        async with asyncio.timeout(30):
            while 'riskwire_source_failures{source="dead"} 1.0' not in await _metrics(port):
                await asyncio.sleep(0.1)
    finally:
        child.send_signal(signal.SIGTERM)
        _, err = await child.communicate()
    assert child.returncode == 0
    assert "poll_failed" in err.decode()
    report = await command("doctor", cwd=tmp_path)
    assert report.code == 1
    assert "dead" in report.out
