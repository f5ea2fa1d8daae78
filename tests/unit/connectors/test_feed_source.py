"""The feed source over loopback: identity, updates, cursors, schedule, moves, hostile feeds end to end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from website import NOW, Site

from connectors.base import ConnectorContext, SourceSpec
from connectors.feed.source import FeedSource, build
from monitor.core.clock import ManualClock
from monitor.core.errors import ConfigError, SourceError
from monitor.core.types import Cursor


def feed(*items: str, head: str = "") -> str:
    return f"<rss version='2.0'><channel><title>Wire</title>{head}{''.join(items)}</channel></rss>"


def item(number: int, title: str = "", *, date: datetime | str | None = NOW, text: str = "") -> str:
    when = format_datetime(date) if isinstance(date, datetime) else date
    return (
        f"<item><guid isPermaLink='false'>g{number}</guid><link>http://news.example/{number}</link>"
        f"<title>{title or f'Headline {number}'}</title><description>{text}</description>"
        + (f"<pubDate>{when}</pubDate>" if when is not None else "")
        + "</item>"
    )


def source(context: ConnectorContext, url: str, **options: object) -> FeedSource:
    return build(SourceSpec(name="wire", kind="feed", options={"url": url, **options}), context)


def reloaded(cursor: Cursor) -> Cursor:
    """The cursor as a store gives it back: through JSON with sorted keys."""
    return Cursor(data=json.loads(json.dumps(cursor.data, sort_keys=True)))


async def test_each_entry_is_given_once_and_once_more_when_it_changes(
    site: Site, context: ConnectorContext, clock: ManualClock
) -> None:
    url = site.put("/feed", feed(item(2), item(1)))
    wire = source(context, url)
    first = await wire.poll(None)
    assert [article.title for article in first.articles] == ["Headline 1", "Headline 2"]
    assert first.counts == {"entries": 2, "new": 2}
    clock.advance(60)
    site.put("/feed", feed(item(3), item(2, "Headline 2, corrected"), item(1)))
    second = await wire.poll(reloaded(first.cursor))
    assert [article.title for article in second.articles] == ["Headline 2, corrected", "Headline 3"]
    assert second.articles[0].id == first.articles[1].id
    assert second.counts == {"entries": 3, "new": 1, "changed": 1}
    third = await wire.poll(reloaded(second.cursor))
    assert (list(third.articles), third.counts) == ([], {"unchanged": 1})
    assert third.cursor == second.cursor


async def test_an_entry_that_drops_out_and_returns_is_not_new(site: Site, context: ConnectorContext) -> None:
    url = site.put("/feed", feed(item(1)))
    wire = source(context, url)
    page = await wire.poll(None)
    for body in (feed(item(2)), feed(item(2), item(1))):
        site.put("/feed", body)
        page = await wire.poll(reloaded(page.cursor))
    assert page.counts == {"entries": 2}


async def test_the_cursor_stays_small(site: Site, context: ConnectorContext) -> None:
    page = None
    wire = source(context, site.url("/feed"))
    for start in range(0, 2000, 200):
        site.put("/feed", feed(*(item(number) for number in range(start, start + 200))))
        page = await wire.poll(page.cursor if page else None)
    assert page is not None
    seen = page.cursor.data["seen"]
    assert isinstance(seen, list)
    assert len(seen) == 700
    assert len(json.dumps(page.cursor.data)) < 64_000


async def test_not_modified_costs_no_parse(site: Site, context: ConnectorContext) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304, headers={"ETag": '"1"'})
        return web.Response(text=feed(item(1)), headers={"ETag": '"1"'})

    wire = source(context, site.on("/feed", answer))
    first = await wire.poll(None)
    await context.workers.close()  # from here on nothing can be parsed
    second = await wire.poll(reloaded(first.cursor))
    assert second.counts == {"not_modified": 1}
    assert second.cursor.data == reloaded(first.cursor).data


async def test_an_article_holds_what_the_feed_says(site: Site, context: ConnectorContext) -> None:
    chinese = item(1, "央行宣布降息二十五个基点", text="&lt;p&gt;正文&lt;/p&gt;")
    url = site.put("/feed", feed(chinese, head="<language>en-US</language>"))
    (article,) = (await source(context, url).poll(None)).articles
    assert (article.source, article.url, article.lang) == ("wire", "http://news.example/1", "zh")
    assert (article.body, article.published_at, article.fetched_at) == ("正文", NOW, NOW)
    assert article.meta == {"feed": "Wire", "guid": "g1"}
    (forced,) = (await source(context, url, lang="ja").poll(None)).articles
    assert forced.lang == "ja"


async def test_odd_dates_fall_back_to_the_first_sight_and_are_counted(
    site: Site, context: ConnectorContext, clock: ManualClock
) -> None:
    items = [
        item(1, date=None),
        item(2, date="yesterday-ish"),
        item(3, date=NOW + timedelta(days=30)),
        item(4, date="0001-01-01T00:00:00Z"),
        item(5, date="9999-12-31T23:59:59Z"),
        item(6, date="2026-03-02T08:00:00"),
        item(7, date=NOW + timedelta(minutes=2)),
    ]
    url = site.put("/feed", feed(*items))
    wire = source(context, url)
    page = await wire.poll(None)
    by_guid = {article.meta["guid"]: article for article in page.articles}
    assert {name: page.counts[name] for name in page.counts if name.startswith("date_")} == {
        "date_missing": 1, "date_invalid": 2, "date_future": 2, "date_naive": 1,
    }  # fmt: skip
    assert all(by_guid[f"g{number}"].published_at == NOW for number in (1, 2, 3, 4, 5, 7))
    assert by_guid["g6"].published_at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert (by_guid["g3"].meta["date_flag"], by_guid["g6"].meta["date_flag"]) == ("date_future", "date_naive")
    clock.advance(3600)
    site.put("/feed", feed(item(1, "Changed", date=None)))
    (changed,) = (await wire.poll(reloaded(page.cursor))).articles
    assert (changed.published_at, changed.fetched_at) == (NOW, NOW + timedelta(hours=1))


async def test_entries_with_little_in_them(site: Site, context: ConnectorContext) -> None:
    url = site.put(
        "/feed",
        feed(
            "<item><description>Only a summary.</description></item>",
            "<item><link>http://news.example/only-a-link</link></item>",
            "<item><title>No id and no link</title></item>",
            "<item><title>No id and no link</title></item>",
        ),
    )
    page = await source(context, url).poll(None)
    assert [article.title for article in page.articles] == ["No id and no link", "Only a summary."]
    assert page.articles[1].meta["title_from"] == "body"
    assert page.counts["entry_without_text"] == 1
    assert page.counts["duplicates"] == 1


async def test_one_guid_for_all_entries_does_not_swallow_them(site: Site, context: ConnectorContext) -> None:
    items = (item(number).replace(f">g{number}<", ">same<") for number in (1, 2, 3))
    page = await source(context, site.put("/feed", feed(*items))).poll(None)
    assert len({article.id for article in page.articles}) == 3
    assert page.counts["guid_duplicate"] == 3


async def test_a_permanent_move_is_remembered_and_given_up_when_it_breaks(
    site: Site, context: ConnectorContext
) -> None:
    site.put("/new", feed(item(1)))
    old = site.redirect("/old", "/new", 301)
    wire = source(context, old)
    first = await wire.poll(None)
    second = await wire.poll(reloaded(first.cursor))
    assert [seen.path for seen in site.requests] == ["/old", "/new", "/new"]
    site.put("/new", status=410)
    site.put("/old", feed(item(1), item(2)))
    third = await wire.poll(reloaded(second.cursor))
    assert [article.title for article in third.articles] == ["Headline 2"]
    elsewhere = source(context, site.put("/elsewhere", feed(item(1), item(3))))
    fourth = await elsewhere.poll(reloaded(third.cursor))
    assert [article.title for article in fourth.articles] == ["Headline 3"]


@pytest.mark.parametrize(
    ("head", "headers", "seconds"),
    [
        ("", {}, 120),
        ("<ttl>5</ttl>", {}, 300),
        ("<ttl>60</ttl>", {}, 900),
        ("", {"Cache-Control": "max-age=400"}, 400),
        ("<ttl>5</ttl>", {"Retry-After": "600"}, 600),
        ("<ttl>1</ttl>", {"Cache-Control": "no-cache"}, 120),
        ("<skipHours><hour>9</hour></skipHours>", {}, 900),
    ],
)
async def test_the_next_poll(
    head: str, headers: dict[str, str], seconds: float, site: Site, context: ConnectorContext
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=feed(item(1), head=head), headers=headers)

    wire = source(context, site.on("/feed", answer), interval="2m", max_interval="15m")
    page = await wire.poll(None)
    assert page.not_before == NOW + timedelta(seconds=seconds)
    again = await wire.poll(reloaded(page.cursor))
    assert again.not_before == page.not_before  # the feed's own wish outlives an unchanged answer


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("<html><body>Blocked</body></html>", 200, "not_a_feed"),
        ("", 200, "empty"),
        ("<rss><channel><", 200, "malformed"),
        ("<!DOCTYPE r [<!ENTITY a 'b'>]><rss version='2.0'><channel/></rss>", 200, "entity_declaration"),
        ("", 410, "gone"),
        ("", 404, "http_404"),
        ("", 502, "http_5xx"),
    ],
)
async def test_failures_are_named(body: str, status: int, code: str, site: Site, context: ConnectorContext) -> None:
    url = site.put("/feed", body, status=status) + "?token=hush"
    with pytest.raises(SourceError) as caught:
        await source(context, url).poll(None)
    assert caught.value.code == code
    assert "/feed" in caught.value.message
    assert "hush" not in str(caught.value)


async def test_a_feed_that_runs_away_does_not_hold_the_source(site: Site, context: ConnectorContext) -> None:
    url = site.put("/feed", "<?xml version='1.0'?>" + "\n" * 2_000_000 + feed(item(1)))
    with pytest.raises(SourceError) as caught:
        await source(context, url, parse_timeout=0.3).poll(None)
    assert caught.value.code == "parse_timeout"


async def test_a_foreign_or_damaged_cursor_is_as_none(site: Site, context: ConnectorContext) -> None:
    wire = source(context, site.put("/feed", feed(item(1))))
    for data in ({}, {"v": 99}, {"v": 1, "seen": {"a": 1}, "etag": 5, "ttl": "x"}, {"v": 1, "seen": [["a"], 3]}):
        assert len((await wire.poll(Cursor(data=data))).articles) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "option 'url' must be an http or https URL"),
        ({"url": "ftp://news.example/"}, "'url'"),
        ({"url": "http://news.example/", "interval": "soon"}, "'interval' must be a duration"),
        ({"url": "http://news.example/", "intervall": 5}, "Did you mean 'interval'"),
        ({"url": "http://news.example/", "full_text": "yes"}, "'full_text' must be true or false"),
        ({"url": "http://news.example/", "headers": {"a": 1}}, "'headers' must be a table"),
        ({"url": "http://news.example/", "full_text_limit": 0}, "from 1 to 200"),
        ({"url": "http://news.example/", "min_interval": 100, "max_interval": 50}, "'min_interval'"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str, clock: ManualClock) -> None:
    with pytest.raises(ConfigError, match="Source 'wire'") as caught:
        build(SourceSpec(name="wire", kind="feed", options=options), None)  # type: ignore[arg-type]
    assert message in str(caught.value)
