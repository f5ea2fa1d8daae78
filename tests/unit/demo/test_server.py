from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import feedparser
import pytest

from monitor.core.clock import ManualClock
from monitor.demo.feeds import SILENT_FEED, DemoFeed, Format
from monitor.demo.scenario import Scenario
from monitor.demo.server import ITEMS, FeedServer


@pytest.fixture
def clock(scenario: Scenario) -> ManualClock:
    return ManualClock(scenario.start)


@pytest.fixture
async def base(scenario: Scenario, clock: ManualClock) -> AsyncIterator[str]:
    server = FeedServer(scenario, clock)
    try:
        yield await server.start()
    finally:
        await server.close()
        await server.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def _read(feed: DemoFeed, body: bytes, content_type: str) -> list[tuple[str, str]]:
    """(identity, title) of the items, newest first."""
    if feed.format is Format.JSON:
        data = json.loads(body)
        assert data["version"].startswith("https://jsonfeed.org/version/1")
        return [(item["id"], item["title"]) for item in data["items"]]
    parsed = feedparser.parse(body, response_headers={"content-type": content_type})
    assert not parsed.bozo, parsed.get("bozo_exception")
    assert all(entry.get("published_parsed") or entry.get("updated_parsed") for entry in parsed.entries)
    return [(entry.id, entry.title) for entry in parsed.entries]


async def test_every_feed_parses_and_shows_the_newest(
    scenario: Scenario, clock: ManualClock, base: str, http: aiohttp.ClientSession
) -> None:
    clock.set(scenario.start + timedelta(days=12))
    for feed in scenario.feeds:
        async with http.get(base + feed.path) as response:
            assert response.status == 200
            items = _read(feed, await response.read(), response.headers["Content-Type"])
        expected = scenario.articles_until(feed.name, clock.now())[::-1][:ITEMS]
        assert [title for _, title in items][: len(expected)] == [article.title for article in expected]
        assert len({identity for identity, _ in items}) == len(items) >= ITEMS


async def test_a_feed_is_empty_but_valid_at_the_start(
    scenario: Scenario, base: str, http: aiohttp.ClientSession
) -> None:
    for feed in scenario.feeds:
        async with http.get(base + feed.path) as response:
            assert len(_read(feed, await response.read(), response.headers["Content-Type"])) <= 2


async def test_conditional_requests(
    scenario: Scenario, clock: ManualClock, base: str, http: aiohttp.ClientSession
) -> None:
    clock.set(scenario.start + timedelta(days=3))
    url = base + scenario.feed("harbour-wire").path
    async with http.get(url) as response:
        etag, modified = response.headers["ETag"], response.headers["Last-Modified"]
    for headers in ({"If-None-Match": etag}, {"If-None-Match": f"W/{etag}"}, {"If-Modified-Since": modified}):
        async with http.get(url, headers=headers) as response:
            assert response.status == 304
            assert await response.read() == b""
    for headers in ({"If-None-Match": '"other"', "If-Modified-Since": modified}, {"If-Modified-Since": "nonsense"}):
        async with http.get(url, headers=headers) as response:
            assert response.status == 200
    clock.advance(24 * 3600)
    async with http.get(url, headers={"If-None-Match": etag}) as response:
        assert response.status == 200


async def test_gzip_only_for_those_who_take_it(scenario: Scenario, clock: ManualClock, base: str) -> None:
    clock.set(scenario.end)
    url = base + scenario.feed("dongan-caijing").path
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(url, headers={"Accept-Encoding": "identity"}) as response:
            plain = await response.read()
            assert "Content-Encoding" not in response.headers
        async with session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert len(await response.read()) < len(plain) / 2


async def test_a_moved_feed_redirects_for_good(scenario: Scenario, base: str, http: aiohttp.ClientSession) -> None:
    feed = scenario.feed("continental-brief")
    async with http.get(base + feed.path, allow_redirects=False) as response:
        assert response.status == 301
        assert response.headers["Location"] == feed.moved_to


async def test_hints_how_often_to_come(scenario: Scenario, base: str, http: aiohttp.ClientSession) -> None:
    async with http.get(base + scenario.feed("treasury-desk").path) as response:
        assert response.headers["Cache-Control"] == "public, max-age=900"
        assert b"<sy:updateFrequency>2<" in await response.read()
    async with http.get(base + scenario.feed("continental-brief").path) as response:
        assert b"<ttl>20</ttl>" in await response.read()


async def test_the_silent_feed_answers_200_with_old_news(
    scenario: Scenario, clock: ManualClock, base: str, http: aiohttp.ClientSession
) -> None:
    bodies = set()
    for days in (1.9, 1, 0):
        clock.set(scenario.end - timedelta(days=days))
        async with http.get(base + scenario.feed(SILENT_FEED).path, headers={"If-None-Match": '"x"'}) as response:
            assert response.status == 200
            bodies.add(await response.read())
    assert len(bodies) == 1


@pytest.mark.parametrize("hours", [1.0, 3.0])
async def test_polling_loses_nothing(scenario: Scenario, hours: float) -> None:
    clock = ManualClock(scenario.start)
    server = FeedServer(scenario, clock)
    seen: dict[str, set[str]] = {feed.name: set() for feed in scenario.feeds}
    began = time.process_time()
    polls = 0
    while clock.now() <= scenario.end:
        for feed in scenario.feeds:
            body = server._document(feed).body.decode(feed.encoding)
            polls += 1
            count = scenario.count_until(feed.name, clock.now())
            for article in scenario.articles_until(feed.name, clock.now())[-90:]:
                if article.guid in body or (feed.format is Format.RDF and article.url in body):
                    seen[feed.name].add(article.guid)
            assert len(seen[feed.name]) == count, (feed.name, clock.now())
        clock.advance(hours * 3600)
    assert polls > 1700
    assert time.process_time() - began < 60
