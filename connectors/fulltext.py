"""The text of a linked page: opt-in per source, robots.txt obeyed, extracted by trafilatura in a worker process."""

from __future__ import annotations

from typing import Any

from connectors.http.fetcher import Fetcher
from connectors.http.robots import Robots
from connectors.http.urls import origin, redact_url
from connectors.workers import WorkerPool
from monitor.core.clock import Clock
from monitor.core.errors import MalformedError, SourceError
from monitor.core.text import clean

TEXT_LIMIT = 100_000
PAGE_LIMIT = 4 * 1024 * 1024
_DEADLINE = 15.0


class FullText:
    """Fetches pages and extracts their main text."""

    def __init__(self, fetcher: Fetcher, workers: WorkerPool, clock: Clock) -> None:
        self._fetcher = fetcher
        self._workers = workers
        self._robots = Robots(fetcher, clock)

    async def text(self, url: str) -> str:
        """The main text of the page. Raises SourceError: ``robots`` when forbidden, ``not_a_page`` for other media,
        ``no_text`` when nothing readable is there, and the fetcher's codes."""
        shown = redact_url(url)
        if not await self._robots.allows(url):
            raise SourceError(f"{shown}: robots.txt forbids fetching this page.", code="robots")
        response = await self._fetcher.get(
            url,
            accept="text/html, application/xhtml+xml;q=0.9",
            max_bytes=min(PAGE_LIMIT, self._fetcher.policy.max_bytes),
        )
        if origin(response.url) != origin(url) and not await self._robots.allows(response.url):
            raise SourceError(f"{shown}: robots.txt of the site it redirects to forbids it.", code="robots")
        kind = response.headers.get("content-type", "text/html").split(";")[0].strip().lower()
        if "html" not in kind and kind != "text/plain":
            raise MalformedError(f"{shown}: this is {kind[:60]}, not a page.", code="not_a_page")
        text = await self._workers.call(
            "connectors.fulltext:extract_for_worker",
            {"url": response.url},
            response.body,
            deadline=_DEADLINE,
            what=shown,
        )
        if not text:
            raise MalformedError(f"{shown}: no readable text on this page.", code="no_text")
        return str(text)


def extract_for_worker(payload: bytes, args: dict[str, Any]) -> str:
    """The worker's entry: the main text of an HTML page as one line, "" when there is none."""
    import trafilatura  # heavy; only the worker needs it

    found = trafilatura.extract(
        payload,
        url=args["url"],
        include_comments=False,
        include_tables=False,
        favor_precision=True,
        with_metadata=False,
    )
    return clean(found or "", limit=TEXT_LIMIT)
