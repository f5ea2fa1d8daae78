"""A loopback publisher and a way to run the real command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from monitor.core.errors import ArtefactMissingError
from monitor.model.artefact import packaged

RISKWIRE = Path(sys.executable).with_name("riskwire")


def needs_model() -> pytest.MarkDecorator:
    """Skips where no packaged model is (a source checkout without the weights)."""
    try:
        packaged()
    except ArtefactMissingError as error:
        return pytest.mark.skipif(True, reason=str(error))
    return pytest.mark.skipif(False, reason="")


@dataclass
class Publisher:
    """Serves one RSS feed whose items a test adds."""

    url: str = ""
    items: list[tuple[str, str, datetime]] = field(default_factory=list)
    asked: int = 0

    def add(self, guid: str, title: str, at: datetime | None = None) -> None:
        self.items.append((guid, title, at or datetime.now(UTC)))

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        entries = "".join(
            f"<item><guid isPermaLink='false'>{guid}</guid><title><![CDATA[{title}]]></title>"
            f"<pubDate>{format_datetime(at)}</pubDate></item>"
            for guid, title, at in reversed(self.items)
        )
        return web.Response(
            text=f"<rss version='2.0'><channel><title>t</title>{entries}</channel></rss>",
            content_type="application/rss+xml",
        )


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    served = Publisher()
    app = web.Application()
    app.router.add_get("/feed", served.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/feed"
    yield served
    await runner.cleanup()


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


async def command(
    *words: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None, timeout: float = 100
) -> Result:
    """Runs ``riskwire`` with ``words`` in ``cwd``."""
    child = await asyncio.create_subprocess_exec(
        str(RISKWIRE),
        *words,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(timeout):
        out, err = await child.communicate(stdin.encode("utf-8", "surrogateescape"))
    return Result(child.returncode or 0, out.decode(), err.decode())
