"""Sources are polled as the daemon would, and their servers tell the time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from website import Site, open_site

from monitor.config import IngestSection, Settings, SourceEntry
from monitor.core.clock import SystemClock
from monitor.doctor.examination import examine
from monitor.doctor.sources import source_checks
from monitor.doctor.verdict import Verdict

RSS = "<rss version='2.0'><channel><title>t</title>{}</channel></rss>"
ITEM = (
    "<item><guid>1</guid><title>Bank fails</title><link>http://x.example/1</link>"
    "<pubDate>Mon, 02 Mar 2026 09:00:00 GMT</pubDate></item>"
)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site, runner = await open_site()
    yield site
    await runner.cleanup()


async def _look(**urls: str) -> tuple[dict[str, Verdict], list[Verdict]]:
    settings = Settings(
        ingest=IngestSection(allow_networks=("127.0.0.0/8",), per_host_spacing=0),
        sources=tuple(SourceEntry.model_validate({"name": name, "url": url}) for name, url in urls.items()),
    )
    async with source_checks(settings, SystemClock()) as asked:
        found = await examine(asked.checks)
        return {one.part.removeprefix("source: "): one for one in found.verdicts}, asked.clock()


def _dated(site: Site, path: str, ahead: float, **headers: str) -> str:
    async def answer(_: web.Request) -> web.Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        return web.Response(text=RSS.format(ITEM), headers={"Content-Type": "application/rss+xml", "Date": date}
                            | headers)  # fmt: skip

    return site.on(path, answer)


async def test_each_source_has_its_verdict(site: Site) -> None:
    found, _ = await _look(
        good=site.put("/good", RSS.format(ITEM)),
        empty=site.put("/empty", RSS.format("")),
        gone=site.put("/gone", "", status=410),
    )
    assert {name: verdict.status for name, verdict in found.items()} == {"good": "ok", "empty": "warn", "gone": "fail"}
    assert "1 entries, newest 2026-03-02 09:00 UTC" in found["good"].finding
    assert all(verdict.advice for verdict in found.values() if verdict.status != "ok")


@pytest.mark.parametrize(("ahead", "status"), [(0.0, "ok"), (-8.0, "warn"), (45.0, "warn")])
async def test_the_servers_tell_the_time(site: Site, ahead: float, status: str) -> None:
    _, clock = await _look(one=_dated(site, "/one", ahead))
    assert [verdict.status for verdict in clock] == [status]


async def test_a_cached_answer_tells_no_time(site: Site) -> None:
    _, clock = await _look(one=_dated(site, "/one", -500.0, Age="500"))
    assert clock == []
