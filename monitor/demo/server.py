"""Serves the scenario's feeds over loopback HTTP as they stand at the clock's time, as real publishers do."""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from aiohttp import web

from monitor.core.clock import Clock
from monitor.core.errors import UsageError
from monitor.core.ids import digest
from monitor.demo.feeds import DemoFeed
from monitor.demo.render import render
from monitor.demo.scenario import Scenario

ITEMS = 60
"""Items that a feed shows at least, as far as it has so many …"""
HOLD = timedelta(hours=6)
"""… and everything of this time, so that a reader who comes once in a few hours misses nothing in a flood."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Document:
    count: int
    body: bytes
    packed: bytes
    etag: str
    modified: datetime


class FeedServer:
    """A web server on 127.0.0.1 with one address per feed (``DemoFeed.path``)."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        self._scenario = scenario
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._documents: dict[str, _Document] = {}
        self.requests: dict[str, int] = {feed.name: 0 for feed in scenario.feeds}
        """Answers given per feed, redirects not counted."""

    async def start(self) -> str:
        """Listens on a free port and returns the base URL, e.g. ``http://127.0.0.1:43211``. Raises UsageError."""
        app = web.Application()
        for feed in self._scenario.feeds:
            if feed.moved_to:
                app.router.add_get(feed.path, self._moved(feed))
            app.router.add_get(feed.moved_to or feed.path, self._serve(feed))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(
                f"The demo's feeds cannot listen on 127.0.0.1: {error.strerror or error}.",
                hint="Allow this program to open a local port.",
            ) from error
        self._runner = runner
        port = runner.addresses[0][1]
        return f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Stops listening. May be called twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _moved(self, feed: DemoFeed) -> _Handler:
        async def handler(request: web.Request) -> web.Response:
            return web.Response(status=301, headers={"Location": feed.moved_to})

        return handler

    def _serve(self, feed: DemoFeed) -> _Handler:
        async def handler(request: web.Request) -> web.Response:
            self.requests[feed.name] += 1
            return self._answer(feed, request)

        return handler

    def _answer(self, feed: DemoFeed, request: web.Request) -> web.Response:
        document = self._document(feed)
        headers = {"Content-Type": feed.content_type, "Vary": "Accept-Encoding"}
        if feed.cache_seconds:
            headers["Cache-Control"] = f"public, max-age={feed.cache_seconds}"
        if feed.validators:
            headers["ETag"] = document.etag
            headers["Last-Modified"] = format_datetime(document.modified, usegmt=True)
            if _unchanged(request, document):
                del headers["Content-Type"]
                return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return web.Response(body=document.packed, headers=headers)
        return web.Response(body=document.body, headers=headers)

    def _document(self, feed: DemoFeed) -> _Document:
        """The feed as of now; made anew only when it has published since."""
        now = self._clock.now()
        count = self._scenario.count_until(feed.name, now)
        known = self._documents.get(feed.name)
        if known is not None and known.count == count:
            return known
        articles = self._scenario.articles_until(feed.name, now)
        newest = articles[-1].published_at if articles else self._scenario.start
        recent = bisect_left(articles, newest - HOLD, key=lambda article: article.published_at)
        body = render(feed, articles[max(0, min(recent, count - ITEMS)) :])
        document = _Document(
            count, body, gzip.compress(body, 1, mtime=0), f'"{digest(feed.name, str(count), size=8)}"', newest
        )
        self._documents[feed.name] = document
        return document


def _unchanged(request: web.Request, document: _Document) -> bool:
    tags = request.headers.get("If-None-Match")
    if tags is not None:  # takes precedence (RFC 9110, 13.2.2)
        return any(tag.strip().removeprefix("W/") in (document.etag, "*") for tag in tags.split(","))
    since = request.headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except ValueError:
        return False
    return document.modified <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
