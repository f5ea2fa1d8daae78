"""What every store must do with what it is given: keep it, give it in order of arrival, drop it when told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from store_tools import HOUR, NOW, found, scored, whole_tail

from monitor.core.errors import StorageError, UsageError
from monitor.core.types import (
    Article,
    EntityMention,
    PutOutcome,
    Scored,
    ScoredArticle,
    Scores,
    SearchQuery,
    SeriesKey,
    SeriesQuery,
)

# --- keeping


async def test_an_article_comes_back_exactly(store, store_home):
    full = ScoredArticle(
        article=Article(
            id="full/1",
            source="路透 wire",
            title="中国银行 Ｆｅｄ \x00 'quoted' é",
            body="Body\nwith lines " * 1000,
            url="https://example.org/?a=1&b=2#c",
            lang="zh",
            published_at=datetime(2026, 3, 2, 9, 0, 0, 123457, tzinfo=UTC),
            fetched_at=datetime(2026, 3, 2, 17, 0, 1, tzinfo=timezone(timedelta(hours=8))),
            scores=Scores(topics={"banks": 0.1 + 0.2, "macro": 1 / 3}, sentiments={"negative": 1.0}),
            model="older",
            meta={"guid": "x", "half": "\ud800", "": ""},
        ),
        scored=Scored(
            article_id="full/1",
            model="artefact@sha",
            scores=Scores(
                topics={"z": 1e-300, "a": 0.1 + 0.2, "m": 5e-324}, sentiments={"positive": 2 / 3, "negative": 0.0}
            ),
            entities=(
                EntityMention(id="boc", name="中国银行", start=0, end=4),
                EntityMention(id="fed", name="Fed", start=5, end=8),
                EntityMention(id="boc", name="中国银行", start=100, end=104),
            ),
            story_signature="ff00",
            scored_at=datetime(2026, 3, 2, 9, 1, tzinfo=UTC),
            doubts=("sentiment", "language"),
        ),
    )
    plain = scored(2)
    same_scores = replace(scored(3), article=replace(scored(3).article, scores=scored(3).scored.scores))
    assert (await store.put([full, plain, same_scores])).ok
    for item in (full, plain, same_scores):
        assert await store.article(item.article.id) == item
    await store_home.stop()
    store = await store_home.open()
    assert await store.article("full/1") == full
    assert await whole_tail(store) == [full, plain, same_scores]
    assert (await store.search(SearchQuery(entity="boc"))).items == (full,)
    assert await store.article("unknown") is None
    assert await store.article("\ud800") is None


async def test_a_second_put_replaces_the_content_but_not_place_and_first_fetch(store):
    await store.put([scored(1, "Apple falls", entities=("apple",)), scored(2)])
    again = scored(
        1, "Shell rises", topic="energy", entities=("shell",), source="other", lang="zh", fetched_at=NOW + HOUR
    )
    assert (await store.put([again])).ok
    first = await store.article("a1")
    assert first == replace(again, article=replace(again.article, fetched_at=scored(1).article.fetched_at))
    assert [item.article.id for item in await whole_tail(store)] == ["a1", "a2"]
    assert await found(store, text="apple") == []
    assert await found(store, text="shell") == ["a1"]
    assert await found(store, entity="apple") == []
    assert await found(store, entity="shell") == ["a1"]
    assert await found(store, topic="energy") == ["a1"]
    assert await found(store, topic="macro") == ["a2"]
    assert await found(store, source="other") == ["a1"]
    assert await found(store) == ["a2", "a1"]


async def test_putting_the_same_again_changes_nothing(store):
    items = [scored(n, f"Bank {n}", entities=("bank",)) for n in range(10)]
    for _ in range(3):
        assert (await store.put(items)).ok
    assert await whole_tail(store) == items
    assert len(await found(store, text="bank")) == 10
    assert len(await found(store, entity="bank")) == 10


async def test_the_last_of_several_with_one_id_wins(store):
    report = await store.put([scored(1, "first"), scored(1, "second")])
    assert [result.article_id for result in report.results] == ["a1", "a1"]
    assert (await store.article("a1")).article.title == "second"
    assert await found(store, text="first") == []


def _half(item: ScoredArticle) -> ScoredArticle:
    return replace(item, article=replace(item.article, title="half \ud83d"))


def _with_scores(item: ScoredArticle, **changed: object) -> ScoredArticle:
    return replace(item, scored=replace(item.scored, **changed))


BAD = {
    "half a character": _half,
    "year 1": lambda item: replace(item, article=replace(item.article, published_at=datetime(1, 1, 1, tzinfo=UTC))),
    "year 9999": lambda item: replace(
        item, article=replace(item.article, published_at=datetime(9999, 1, 1, tzinfo=UTC))
    ),
    "no zone": lambda item: replace(item, article=replace(item.article, published_at=datetime(2026, 3, 2))),  # noqa: DTZ001
    "no id": lambda item: _with_scores(replace(item, article=replace(item.article, id="")), article_id=""),
    "another's score": lambda item: _with_scores(item, article_id="b"),
    "not a number": lambda item: _with_scores(
        item, scores=Scores(topics={"t": float("nan")}, sentiments={"neutral": 1.0})
    ),
    "no topics": lambda item: _with_scores(item, scores=Scores(topics={}, sentiments={"neutral": 1.0})),
    "unknown sentiment": lambda item: _with_scores(item, scores=Scores(topics={"t": 1.0}, sentiments={"angry": 1.0})),
    "too large": lambda item: replace(item, article=replace(item.article, body="x" * 20_000_000)),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_stored_is_rejected_with_a_reason_and_holds_up_nobody(store, name):
    bad = BAD[name](scored(2))
    report = await store.put([scored(1), bad, scored(3)])
    assert [result.outcome for result in report.results] == [PutOutcome.OK, PutOutcome.REJECT, PutOutcome.OK]
    assert report.results[1].article_id == bad.article.id
    assert report.results[1].reason.startswith("The article cannot be stored: ")
    assert not report.ok
    assert [item.article.id for item in await whole_tail(store)] == ["a1", "a3"]


async def test_an_empty_put_is_fine(store):
    assert (await store.put([])).results == ()


async def test_a_megabyte_title_is_kept_and_found(store):
    long = scored(1, "needle " + "hay " * 250_000)
    assert (await store.put([long])).ok
    assert await store.article("a1") == long
    assert await found(store, text="needle") == ["a1"]


# --- the tail


async def test_the_tail_pages_in_arrival_order_and_goes_on_where_it_stopped(store):
    items = [scored(n, published_at=NOW - timedelta(minutes=n)) for n in range(25)]
    for start in range(0, 25, 5):
        await store.put(items[start : start + 5])
    page = await store.tail("", 10)
    assert list(page.items) == items[:10]
    page = await store.tail(page.position, 10)
    assert list(page.items) == items[10:20]
    end = await store.tail(page.position, 10)
    assert list(end.items) == items[20:]
    nothing = await store.tail(end.position, 10)
    assert nothing.items == ()
    assert nothing.position == end.position
    await store.put([scored(100), scored(3)])
    assert [item.article.id for item in (await store.tail(nothing.position, 10)).items] == ["a100"]
    empty = await store.tail("", 0)
    assert empty.items == ()
    assert list((await store.tail(empty.position, 3)).items) == items[:3]


async def test_the_tail_of_an_empty_store_is_the_beginning(store):
    page = await store.tail("", 10)
    assert page.items == ()
    await store.put([scored(1)])
    assert len((await store.tail(page.position, 10)).items) == 1


@pytest.mark.parametrize("position", ["nonsense", "-1", "x:", ":", "x:-5", "x:1e3", "x:99999999999999999999", "\x00"])
async def test_a_position_that_no_store_gave_is_refused(store, position):
    with pytest.raises(UsageError):
        await store.tail(position, 10)


async def test_the_tail_misses_nothing_while_others_put(store):
    done = False
    seen: list[str] = []

    async def put(lane: int) -> None:
        for n in range(30):
            await store.put([scored(lane * 1000 + n * 3 + k) for k in range(3)])

    async def follow() -> None:
        after = ""
        while True:
            finished = done
            page = await store.tail(after, 7)
            seen.extend(item.article.id for item in page.items)
            after = page.position
            if finished and not page.items:
                return

    following = asyncio.create_task(follow())
    await asyncio.gather(*(put(lane) for lane in range(5)))
    done = True
    await following
    assert Counter(seen) == Counter(f"a{lane * 1000 + n}" for lane in range(5) for n in range(90))
    assert seen == [item.article.id for item in await whole_tail(store)]


async def test_a_position_survives_a_restart_and_retention(store, store_home):
    await store.put([scored(n) for n in range(10)])
    page = await store.tail("", 4)
    await store_home.stop()
    store = await store_home.open()
    assert await store.expire(NOW + timedelta(minutes=6)) == 6
    assert [item.article.id for item in (await store.tail(page.position, 2)).items] == ["a6", "a7"]
    assert await store.expire(NOW + HOUR) == 4
    await store.put([scored(20)])
    assert [item.article.id for item in (await store.tail(page.position, 2)).items] == ["a20"]


# --- retention


async def test_expire_removes_an_article_from_everywhere(store):
    items = [scored(n, f"Bank 银行 {n}", entities=("boc",), topic="banks") for n in range(1200)]
    await store.put(items)
    cut = NOW + timedelta(minutes=700)
    assert await store.expire(cut) == 700
    assert await store.expire(cut) == 0
    left = [f"a{n}" for n in range(1199, 699, -1)]
    for query in (
        {},
        {"text": "bank"},
        {"text": "银行"},
        {"entity": "boc"},
        {"topic": "banks"},
        {"text": "bank", "entity": "boc"},
    ):
        assert await found(store, **query) == left
    assert await store.article("a0") is None
    assert len(await whole_tail(store)) == 500
    points = await store.series(
        SeriesQuery(
            key=SeriesKey.parse("entity:boc"), since=NOW, until=NOW + timedelta(days=1), width=timedelta(days=1)
        )
    )
    assert [point.articles for point in points] == [500]
    await store.put([items[0]])
    assert (await whole_tail(store))[-1] == items[0]
    assert await found(store, text="bank", until=cut) == ["a0"]


async def test_a_closed_store_says_so(store):
    await store.close()
    await store.close()
    query = SeriesQuery(key=SeriesKey.parse("all:*"), since=NOW, until=NOW + HOUR, width=HOUR)
    for call in (
        store.put([scored(1)]),
        store.tail("", 1),
        store.search(SearchQuery()),
        store.series(query),
        store.article("a"),
        store.expire(NOW),
    ):
        with pytest.raises(StorageError, match="closed"):
            await call
