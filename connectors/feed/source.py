"""The ``feed`` connector: one feed, polled politely, each entry given out once and once more when it changes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import ConnectorContext, SourceSpec
from connectors.feed.dates import FeedDate, settle
from connectors.feed.memory import FeedMemory
from connectors.feed.schedule import next_poll, wait_seconds
from connectors.fulltext import FullText
from connectors.http import Response
from connectors.http.headers import freshness, retry_after
from connectors.http.urls import redact_url
from connectors.options import Options
from monitor.core.errors import ConfigError, FetchError, SourceError
from monitor.core.ids import article_id, canonical_url, digest
from monitor.core.text import guess_language
from monitor.core.types import Article, Cursor, Page

_STALE_MOVE = frozenset({"gone", "http_404", "dns"})
_TITLE_FROM_BODY = 200
_PARSE_HEADERS = ("content-type", "content-location", "content-language")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedOptions:
    """The options of the ``feed`` connector. Times are seconds.

    ``interval`` is the time between polls, ``max_interval`` how far server and feed may stretch it,
    ``parse_timeout`` the real time that reading one response may take.
    """

    url: str
    interval: float = 120.0
    min_interval: float = 10.0
    max_interval: float = 900.0
    lang: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    parse_timeout: float = 20.0
    full_text: bool = False
    full_text_limit: int = 20
    full_text_timeout: float = 60.0

    @classmethod
    def read(cls, spec: SourceSpec) -> FeedOptions:
        """Reads and checks a source's options. Raises ConfigError."""
        options = Options(spec)
        result = cls(
            url=options.url("url"),
            interval=options.duration("interval", 120.0, low=1),
            min_interval=options.duration("min_interval", 10.0, low=1),
            max_interval=options.duration("max_interval", 900.0, low=1),
            lang=options.text("lang", ""),
            headers=options.texts("headers"),
            parse_timeout=options.duration("parse_timeout", 20.0, low=0.1, high=600),
            full_text=options.flag("full_text", default=False),
            full_text_limit=options.whole("full_text_limit", 20, low=1, high=200),
            full_text_timeout=options.duration("full_text_timeout", 60.0, low=1, high=600),
        )
        options.finish()
        if result.min_interval > result.max_interval:
            raise ConfigError(f"Source '{spec.name}': option 'min_interval' must not be greater than 'max_interval'.")
        return result


def build(spec: SourceSpec, context: ConnectorContext) -> FeedSource:
    """The entry point ``feed``. Raises ConfigError."""
    return FeedSource(spec.name, FeedOptions.read(spec), context)


class FeedSource:
    """A :class:`~monitor.core.ports.Source` over one feed.

    Counts of a page: ``entries new changed`` and, when they occur, ``not_modified unchanged empty_feed
    date_missing date_naive date_future date_invalid entry_without_text guid_duplicate duplicates link_unusable
    entries_over_limit feed_not_well_formed encoding_mismatch content_type_mismatch full_text_*``.
    """

    def __init__(self, name: str, options: FeedOptions, context: ConnectorContext) -> None:
        self.name = name
        self._options = options
        self._clock = context.clock
        self._fetcher = context.fetcher
        self._workers = context.workers
        self._full_text = FullText(context.fetcher, context.workers, context.clock) if options.full_text else None

    async def poll(self, cursor: Cursor | None) -> Page:
        """Polls the feed once.

        When nothing has changed the page holds an equal cursor. Raises SourceError (codes: those of
        :mod:`connectors.http.fetcher`, ``empty malformed entity_declaration not_a_feed parse_timeout parse_crash``).
        """
        memory = FeedMemory.load(cursor, self._options.url)
        response = await self._fetch(memory)
        if response.permanent_url:
            memory.url = response.permanent_url if response.permanent_url != self._options.url else ""
        if response.not_modified:
            return self._page([], memory, response, {"not_modified": 1})
        body = hashlib.blake2b(response.body, digest_size=16).hexdigest()
        memory.etag = response.headers.get("etag", "")[:500]
        memory.last_modified = response.headers.get("last-modified", "")[:100]
        if body == memory.body:
            return self._page([], memory, response, {"unchanged": 1})
        parsed = await self._workers.call(
            "connectors.feed.parse:parse_for_worker",
            {
                "url": response.url,
                "headers": {name: response.headers[name] for name in _PARSE_HEADERS if name in response.headers},
            },
            response.body,
            deadline=self._options.parse_timeout,
            what=redact_url(response.url),
        )
        memory.body = body
        memory.ttl, memory.skip_hours, memory.skip_days = parsed["ttl"], parsed["skip_hours"], parsed["skip_days"]
        counts: Counter[str] = Counter(parsed["counts"])
        articles = self._articles(parsed, memory, counts)
        if self._full_text is not None and articles:
            articles = await self._with_full_text(self._full_text, articles, counts)
        return self._page(articles, memory, response, counts)

    async def _fetch(self, memory: FeedMemory) -> Response:
        options = self._options
        try:
            return await self._fetcher.get(
                memory.url or options.url,
                etag=memory.etag,
                last_modified=memory.last_modified,
                headers=options.headers if not memory.url else None,
            )
        except FetchError as error:
            if not memory.url or error.code not in _STALE_MOVE:
                raise
        # The place the feed had moved to for good is no more: ask the configured one again.
        memory.url = ""
        return await self._fetcher.get(options.url, headers=options.headers)

    def _articles(self, parsed: Mapping[str, Any], memory: FeedMemory, counts: Counter[str]) -> list[Article]:
        now = self._clock.now()
        entries: Sequence[Mapping[str, Any]] = parsed["entries"]
        ambiguous = _ambiguous_guids(entries)
        counts["entries"] += len(entries)
        if not entries:
            counts["empty_feed"] += 1
        result: list[Article] = []
        given: set[str] = set()
        # Oldest first (feeds put the newest on top): articles leave in about the order in which they appeared.
        for item in reversed(entries):
            if not item["title"] and not item["body"]:
                counts["entry_without_text"] += 1
                continue
            guid = item["guid"]
            if guid in ambiguous:
                counts["guid_duplicate"] += 1
                guid = f"{guid} {canonical_url(item['url'])}"
            date = _date(item)
            identity = article_id(
                self.name, guid=guid, url=item["url"], title=item["title"] or item["body"][:500],
                published=date.at.isoformat() if date.at else "",
            )  # fmt: skip
            if identity in given:
                counts["duplicates"] += 1
                continue
            given.add(identity)
            dated = settle(date, fetched_at=now, first_seen=memory.first_seen(identity))
            if dated.flag:
                counts[dated.flag] += 1
            content = digest(item["title"], item["body"], canonical_url(item["url"]) if item["url"] else "", size=6)
            state = memory.note(identity, content, now)
            if state == "same":
                continue
            counts[state] += 1
            result.append(self._article(item, parsed, identity=identity, at=dated.at, flag=dated.flag, now=now))
        memory.trim(len(entries))
        return result

    def _article(
        self, item: Mapping[str, Any], parsed: Mapping[str, Any], *, identity: str, at: datetime, flag: str,
        now: datetime,
    ) -> Article:  # fmt: skip
        title, body = item["title"], item["body"]
        meta = {"feed": parsed["title"], "guid": item["guid"][:500], "date_flag": flag}
        if flag in ("date_invalid", "date_future"):
            meta["date_raw"] = item["date"]
        if not title:
            title = body[:_TITLE_FROM_BODY].rstrip()
            meta["title_from"] = "body"
        return Article(
            id=identity,
            source=self.name,
            title=title,
            body=body,
            url=item["url"],
            published_at=at,
            fetched_at=now,
            lang=self._options.lang or _language(f"{title} {body[:1000]}", item["lang"] or parsed["lang"]),
            meta={name: value for name, value in meta.items() if value},
        )

    async def _with_full_text(
        self, full_text: FullText, articles: list[Article], counts: Counter[str]
    ) -> list[Article]:
        """Replaces bodies by the linked pages' text where it can be had; else the feed's text stays, counted."""
        result = list(articles)
        wanted = [index for index in reversed(range(len(articles))) if articles[index].url]
        chosen, rest = wanted[: self._options.full_text_limit], wanted[self._options.full_text_limit :]
        if rest:
            counts["full_text_skipped"] += len(rest)
        pending = set(chosen)
        try:
            async with asyncio.timeout(self._options.full_text_timeout):
                for index in chosen:
                    try:
                        text = await full_text.text(articles[index].url)
                    except SourceError as error:
                        counts[f"full_text_{error.code}"] += 1
                    else:
                        counts["full_text_ok"] += 1
                        result[index] = replace(
                            articles[index], body=text, meta={**articles[index].meta, "full_text": "yes"}
                        )
                    pending.discard(index)
        except TimeoutError:
            counts["full_text_timeout"] += len(pending)
        return result

    def _page(self, articles: list[Article], memory: FeedMemory, response: Response, counts: Mapping[str, int]) -> Page:
        now = self._clock.now()
        options = self._options
        wait = wait_seconds(
            interval=options.interval,
            hints=(memory.ttl, freshness(response.headers, now), retry_after(response.headers, now) or 0.0),
            low=options.min_interval,
            high=options.max_interval,
        )
        return Page(
            articles=articles,
            cursor=memory.cursor(),
            not_before=next_poll(
                now,
                wait=wait,
                high=options.max_interval,
                skip_hours=memory.skip_hours,
                skip_days=memory.skip_days,
            ),
            counts={name: count for name, count in counts.items() if count},
        )


def _date(item: Mapping[str, Any]) -> FeedDate:
    at = item["at"]
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at) if at is not None else None
    return FeedDate(raw=item["date"], at=moment, naive=item["naive"])


def _ambiguous_guids(entries: Sequence[Mapping[str, Any]]) -> set[str]:
    """Guids that stand for several links: the publisher's mistake, by which entries would swallow one another."""
    links: dict[str, str] = {}
    ambiguous: set[str] = set()
    for item in entries:
        if item["guid"] and links.setdefault(item["guid"], item["url"]) != item["url"]:
            ambiguous.add(item["guid"])
    return ambiguous


def _language(text: str, declared: str) -> str:
    """The declared language, unless the script speaks against it: templates often say "en" of Chinese text."""
    guessed = guess_language(text)
    primary = declared.replace("_", "-").split("-")[0].strip().lower()
    if guessed in ("zh", "ja", "ko") or not (2 <= len(primary) <= 3 and primary.isascii() and primary.isalpha()):
        return guessed
    return primary
