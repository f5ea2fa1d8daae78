"""The sources, each polled once as the daemon would, and this machine's clock by what their servers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from connectors.http.fetcher import Fetcher, Response
from connectors.http.policy import HttpPolicy
from connectors.http.urls import origin
from monitor.app import build_sources, connector_context
from monitor.config import Settings
from monitor.core.clock import Clock
from monitor.core.ports import Source
from monitor.doctor.skew import Skew, from_http_date, judge_many
from monitor.doctor.verdict import LIMIT_SECONDS, Check, Verdict, ok, warn


class DateWatch(Fetcher):
    """The polite client of the daemon, which also notes what time each server says it is."""

    def __init__(self, policy: HttpPolicy, clock: Clock) -> None:
        super().__init__(policy, clock)
        self._watch = clock
        self.skews: dict[str, Skew] = {}
        """By host; the narrowest bounds when a host was asked more than once."""

    async def get(self, url: str, **given: Any) -> Response:
        """As :meth:`Fetcher.get`."""
        asked = self._watch.now()
        response = await super().get(url, **given)
        date, age = response.headers.get("date", ""), response.headers.get("age", "")
        skew = from_http_date(date, asked, self._watch.now(), age=age)
        if skew is not None:
            host = origin(response.url)[1]
            known = self.skews.get(host)
            if known is None or skew.high - skew.low < known.high - known.low:
                self.skews[host] = skew
        return response


class SourceChecks:
    """The checks of all sources. They share one client, so that the doctor is as polite as the daemon."""

    def __init__(self, settings: Settings, sources: Sequence[Source], watch: DateWatch) -> None:
        self._watch = watch
        hosts = Counter(map(_host, (entry.options for entry in settings.sources)))
        crowd = {entry.name: hosts[_host(entry.options)] for entry in settings.sources}
        self.checks = [
            Check(
                part=f"source: {source.name}",
                look=partial(_poll, source),
                # Requests to one host are spaced; waiting for one's turn is not the host's fault.
                limit=LIMIT_SECONDS + settings.ingest.per_host_spacing * crowd.get(source.name, 1),
                remedy="Open its URL in a browser; a slow publisher does no harm, its articles only come later.",
            )
            for source in sources
        ]

    def clock(self) -> list[Verdict]:
        """This machine's clock by the servers' ``Date`` headers; empty when none told a time. Ask after the checks."""
        skews = list(self._watch.skews.values())
        if not skews:
            return []
        whose = f"{len(skews)} server{'s' if len(skews) != 1 else ''} of the sources"
        return [judge_many("clock: sources", whose, skews)]


@asynccontextmanager
async def source_checks(settings: Settings, clock: Clock) -> AsyncIterator[SourceChecks]:
    """The checks of every polled source (a listener is asked nothing). Raises ConfigError for a wrong option."""
    async with connector_context(settings, clock) as context:
        watch = DateWatch(context.fetcher.policy, clock)
        try:
            sources = build_sources(settings, replace(context, fetcher=watch))
            yield SourceChecks(settings, [source for source in sources if isinstance(source, Source)], watch)
        finally:
            await watch.close()


def _host(options: Mapping[str, object]) -> str:
    return urlsplit(str(options.get("url", ""))).netloc.rpartition("@")[2]


async def _poll(source: Source) -> Sequence[Verdict]:
    part = f"source: {source.name}"
    page = await source.poll(None)
    if not page.articles:
        return [warn(part, "Answers, but holds no entries.", "Open its URL in a browser: is it still the right one?")]
    newest = max(article.published_at for article in page.articles)
    return [ok(part, f"{len(page.articles)} entries, newest {newest:%Y-%m-%d %H:%M} UTC.")]
