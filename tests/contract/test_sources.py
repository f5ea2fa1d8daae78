"""What every polled source must do (``monitor.core.ports.Source``), over the built-in ones and a minimal third."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from website import NOW, loopback, open_site

from connectors.archive import ArchiveSource
from connectors.base import ConnectorContext, SourceSpec, open_context
from connectors.registry import make_source
from monitor.core.clock import ManualClock
from monitor.core.codec import decode_article, encode_article
from monitor.core.errors import ConfigError, SourceError
from monitor.core.ids import article_id
from monitor.core.ports import Source
from monitor.core.types import Article, Cursor, Page


class Listed:
    """A minimal third source: a list of titles, given out two at a time."""

    def __init__(self, name: str, titles: list[str], clock: ManualClock) -> None:
        self.name = name
        self.titles = titles
        self.broken = False
        self._clock = clock

    async def poll(self, cursor: Cursor | None) -> Page:
        if self.broken:
            raise SourceError("The list is broken.", code="broken")
        at = cursor.data.get("at", 0) if cursor else 0
        assert isinstance(at, int)
        now = self._clock.now()
        chosen = self.titles[at : at + 2]
        articles = [
            Article(
                id=article_id(self.name, title=title), source=self.name, title=title, published_at=NOW, fetched_at=now
            )
            for title in chosen
        ]
        return Page(articles=articles, cursor=Cursor(data={"at": at + len(chosen)}), not_before=now)


@dataclass
class Case:
    """A source, the way to give it titles, and the way to break it."""

    source: Source
    publish: Callable[[list[str]], None]
    break_it: Callable[[], None]


def _rss(titles: list[str]) -> str:
    items = "".join(f"<item><guid isPermaLink='false'>{t}</guid><title>{t}</title></item>" for t in reversed(titles))
    return f"<rss version='2.0'><channel><title>Wire</title>{items}</channel></rss>"


@pytest.fixture
async def context() -> AsyncIterator[ConnectorContext]:
    async with open_context(ManualClock(NOW), loopback()) as context:
        yield context


@pytest.fixture(params=["feed", "archive", "listed"])
async def case(request: pytest.FixtureRequest, context: ConnectorContext, tmp_path: Path) -> AsyncIterator[Case]:
    if request.param == "feed":
        site, runner = await open_site()
        spec = SourceSpec(name="wire", kind="feed", options={"url": site.url("/feed")})
        source = make_source(spec, context)
        assert isinstance(source, Source)
        yield Case(
            source,
            lambda titles: void(site.put("/feed", _rss(titles))),
            lambda: void(site.put("/feed", "<html></html>")),
        )
        await runner.cleanup()
    elif request.param == "archive":
        path = tmp_path / "wire.jsonl"
        spec = SourceSpec(name="wire", kind="archive", options={"path": str(path), "page_size": 2})
        source = make_source(spec, context)
        assert isinstance(source, ArchiveSource)
        rows = [{"published_at": "2026-03-02T08:00:00Z"}]
        yield Case(
            source,
            lambda titles: void(path.write_text("".join(json.dumps(rows[0] | {"title": t}) + "\n" for t in titles))),
            lambda: path.unlink(),
        )
    else:
        clock = context.clock
        assert isinstance(clock, ManualClock)
        listed = Listed("wire", [], clock)
        yield Case(listed, lambda titles: setattr(listed, "titles", titles), lambda: setattr(listed, "broken", True))


def void(_: object) -> None:
    """Drops a result, so that a lambda returns nothing."""


def stored(cursor: Cursor) -> Cursor:
    """A cursor as it comes back from a store: JSON, keys sorted."""
    return Cursor(data=json.loads(json.dumps(dict(cursor.data), sort_keys=True)))


async def drain(source: Source, cursor: Cursor | None) -> tuple[list[Article], Cursor]:
    """Polls until a page is empty."""
    found: list[Article] = []
    for _ in range(50):
        page = await source.poll(cursor)
        cursor = stored(page.cursor)
        if not page.articles:
            return found, cursor
        found += page.articles
    raise AssertionError("the source never runs dry")


async def test_every_article_comes_once_in_order(case: Case) -> None:
    case.publish(["One", "Two", "Three"])
    first, cursor = await drain(case.source, None)
    assert [article.title for article in first] == ["One", "Two", "Three"]
    case.publish(["One", "Two", "Three", "Four"])
    second, _ = await drain(case.source, cursor)
    assert [article.title for article in second] == ["Four"]


async def test_a_page_is_repeated_from_the_same_cursor(case: Case) -> None:
    """A crash between publishing and saving the cursor repeats a page with the same ids."""
    case.publish(["One", "Two", "Three"])
    first = await case.source.poll(None)
    again = await case.source.poll(None)
    assert [article.id for article in first.articles] == [article.id for article in again.articles]
    assert first.articles
    after = await case.source.poll(stored(first.cursor))
    assert [a.id for a in after.articles] == [a.id for a in (await case.source.poll(stored(first.cursor))).articles]


async def test_articles_are_valid(case: Case) -> None:
    case.publish(["One", "央行降息"])
    articles, _ = await drain(case.source, None)
    assert len({article.id for article in articles}) == len(articles) == 2
    for article in articles:
        assert (article.source, case.source.name) == ("wire", "wire")
        assert article.published_at.tzinfo is UTC
        assert article.fetched_at.tzinfo is UTC
        assert datetime(1971, 1, 1, tzinfo=UTC) <= article.published_at <= NOW
        assert decode_article(encode_article(article)) == article


async def test_a_failure_is_a_source_error_with_a_code_and_passes(case: Case) -> None:
    case.publish(["One"])
    _, cursor = await drain(case.source, None)
    case.break_it()
    with pytest.raises(SourceError) as caught:
        await case.source.poll(cursor)
    assert caught.value.code
    assert caught.value.code != "source"
    case.publish(["One", "Two"])
    if isinstance(case.source, Listed):
        case.source.broken = False
    found, _ = await drain(case.source, cursor)
    assert [article.title for article in found] == ["Two"]


async def test_a_poll_can_be_cancelled(case: Case) -> None:
    case.publish(["One"])
    task = asyncio.create_task(case.source.poll(None))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert len((await case.source.poll(None)).articles) == 1


async def test_not_before_is_aware_and_not_in_the_past(case: Case) -> None:
    case.publish(["One"])
    page = await case.source.poll(None)
    assert page.not_before is not None
    assert page.not_before >= NOW
    assert all(count >= 0 for count in page.counts.values())


@pytest.mark.parametrize("kind", ["feed", "archive", "push"])
async def test_an_unknown_option_is_refused(kind: str, context: ConnectorContext) -> None:
    good = {
        "feed": {"url": "http://news.example/feed"},
        "archive": {"path": "x.csv"},
        "push": {"token": "0123456789abcdef"},
    }
    with pytest.raises(ConfigError, match="Source 'wire': there is no option 'nonsense'"):
        make_source(SourceSpec(name="wire", kind=kind, options={**good[kind], "nonsense": 1}), context)
