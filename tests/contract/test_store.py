"""What every store must do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.errors import StorageError, UsageError
from monitor.core.types import (
    SENTIMENTS,
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

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOPICS = ("macro", "banks", "energy")


def scored(
    number: int,
    title: str = "",
    *,
    body: str = "",
    topic: str = "macro",
    negative: float = 0.5,
    sentiment: str = "",
    entities: tuple[str, ...] = (),
    **fields: object,
) -> ScoredArticle:
    article = Article(
        **{  # type: ignore[arg-type]
            "id": f"a{number}",
            "source": f"s{number % 3}",
            "title": title or f"Headline {number}",
            "body": body,
            "published_at": NOW + timedelta(minutes=number),
            "fetched_at": NOW + timedelta(minutes=number, seconds=5),
            "lang": "en",
        }
        | fields
    )
    rest = 1.0 - negative
    sentiments = {"negative": negative, "neutral": rest * 0.6, "positive": rest * 0.4}
    if sentiment:
        sentiments = {name: 0.8 if name == sentiment else 0.1 for name in SENTIMENTS}
    topics = {name: 0.7 if name == topic else 0.1 for name in (*TOPICS, topic)}
    return ScoredArticle(
        article=article,
        scored=Scored(
            article_id=article.id,
            model="model-1",
            scores=Scores(topics=topics, sentiments=sentiments),
            entities=tuple(EntityMention(id=e, name=e.title(), start=0, end=len(e)) for e in entities),
            story_signature=f"sig{number}",
            scored_at=NOW + timedelta(hours=2),
        ),
    )


async def found(store, **query) -> list[str]:
    page = await store.search(SearchQuery(limit=1000, **query))
    assert page.total == len(page.items)
    return [item.article.id for item in page.items]


async def whole_tail(store, after: str = "", limit: int = 100) -> list[ScoredArticle]:
    items: list[ScoredArticle] = []
    while (page := await store.tail(after, limit)).items:
        items += page.items
        after = page.position
    return items


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


# --- searching


async def test_english_is_found_by_words_and_their_stems(store):
    await store.put([
        scored(1, "Banks warned of losses", body="Regulators are worried."),
        scored(2, "The embankment is closed"),
        scored(3, "A bank warning", body="loss of trust"),
    ])  # fmt: skip
    assert await found(store, text="bank") == ["a3", "a1"]
    assert await found(store, text="BANKS") == ["a3", "a1"]
    assert await found(store, text="warning bank loss") == ["a3", "a1"]
    assert await found(store, text="worry bank") == ["a1"]
    assert await found(store, text="bank embankment") == []
    assert await found(store, text="ban") == []


async def test_chinese_is_found_by_substrings_of_any_length(store):
    await store.put([
        scored(1, "中国银行业利润下降", lang="zh"),
        scored(2, "央行宣布降息", body="市场预期银行贷款利率将下调。", lang="zh"),
        scored(3, "A股大跌，投资者恐慌", lang="zh"),
        scored(4, "行", lang="zh"),
        scored(5, "人民币兑USD汇率跌破7.2", lang="zh"),
    ])  # fmt: skip
    assert await found(store, text="银行") == ["a2", "a1"]
    assert await found(store, text="银行业") == ["a1"]
    assert await found(store, text="中国银行业利润下降") == ["a1"]
    assert await found(store, text="国银") == ["a1"]
    assert await found(store, text="行") == ["a4", "a2", "a1"]
    assert await found(store, text="降") == ["a2", "a1"]
    assert await found(store, text="业银") == []
    assert await found(store, text="央行 贷款") == ["a2"]
    assert await found(store, text="A股") == ["a3"]
    assert await found(store, text="usd汇率") == ["a5"]
    assert await found(store, text="恐慌。") == ["a3"]


HAN = "银行央中国业利降息股市跌大"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(st.text(alphabet=HAN + "，ab ", min_size=1, max_size=14), min_size=1, max_size=6),
    wanted=st.text(alphabet=HAN, min_size=1, max_size=4),
    run=st.integers(0, 10**9),
)
async def test_a_chinese_word_is_found_exactly_where_it_occurs(store, titles, wanted, run):
    source = f"run{run}"
    await store.put([scored(n, title, id=f"{source}-{n}", source=source) for n, title in enumerate(titles)] or [])
    hits = {item.article.title for item in (await store.search(SearchQuery(text=wanted, source=source))).items}
    current = {item.article.title for item in (await store.search(SearchQuery(source=source))).items}
    assert hits == {title for title in current if wanted in title}


HOSTILE = [
    '"', "'", '""', 'a"b', "AND", "OR", "NOT", "bank AND", "NEAR(a b)", "NEAR/2", "title:bank", "{title}: bank", "*",
    "ban*", "^bank", "-bank", "+bank", "(", ")", "((", "a OR (b", "\x00", "bank\x00", "\ud800", "bank \udfff", "\\",
    "%", "_", ";--", "'; DROP TABLE articles; --", "!!!", "。，", "\u200b", "\U0001f600", "\u0301", "a" * 100_000,
    "银" * 5_000, "x " * 5_000, "ａｎｄ", "[bank]", "bank, regulators", "<b>", "\n\t", "ﷺ",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
async def test_whatever_people_type_is_data(store, text):
    await store.put([scored(1, "Bank and regulators"), scored(2, "Other")])
    page = await store.search(SearchQuery(text=text))
    assert page.total == len(page.items)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40) | st.text(alphabet='"*()^:-+ ANDORNEAR{}ab银\x00\ud800', max_size=25))
async def test_no_text_is_a_syntax_error(store, text):
    page = await store.search(
        SearchQuery(text=text, topic=text[:3], entity=text[3:5], source=text[5:7], lang=text[7:9])
    )
    assert page.total >= 0
    assert (await store.search(SearchQuery(text=text))).total >= 0


async def test_operators_are_words(store):
    await store.put([scored(1, "Supply and demand"), scored(2, "Supply or demand"), scored(3, "Demand")])
    assert await found(store, text="supply AND demand") == ["a1"]
    assert await found(store, text="supply OR demand") == ["a2"]
    assert await found(store, text='"supply demand"') == ["a2", "a1"]
    assert await found(store, text="title:demand") == []
    assert await found(store, text="!!!") == []


async def test_filters_restrict_and_combine(store):
    random_ = random.Random(5)
    items = [
        scored(
            n,
            random_.choice(["Bank profit", "Oil price", "银行 bank"]),
            topic=random_.choice(TOPICS),
            sentiment=random_.choice(SENTIMENTS),
            entities=tuple(random_.sample(["apple", "shell", "boc"], random_.randrange(3))),
            lang=random_.choice(["en", "zh"]),
            published_at=NOW + timedelta(minutes=random_.randrange(600)),
        )
        for n in range(300)
    ]
    await store.put(items)

    def expected(keep) -> list[str]:
        kept = [(item.article.published_at, place, item) for place, item in enumerate(items) if keep(item)]
        return [item.article.id for _, _, item in sorted(kept, key=lambda entry: entry[:2], reverse=True)]

    def entity_ids(item) -> set[str]:
        return {entity.id for entity in item.scored.entities}

    since, until = NOW + 2 * HOUR, NOW + 6 * HOUR
    assert await found(store) == expected(lambda i: True)
    assert await found(store, topic="banks") == expected(lambda i: i.scored.scores.topic == "banks")
    assert await found(store, sentiment="negative") == expected(lambda i: i.scored.scores.sentiment == "negative")
    assert await found(store, entity="shell") == expected(lambda i: "shell" in entity_ids(i))
    assert await found(store, source="s1", lang="zh") == expected(
        lambda i: i.article.source == "s1" and i.article.lang == "zh"
    )
    assert await found(store, since=since, until=until) == expected(lambda i: since <= i.article.published_at < until)
    assert await found(store, text="bank", topic="macro", since=since, entity="boc") == expected(
        lambda i: (
            "ank" in i.article.title
            and i.scored.scores.topic == "macro"
            and i.article.published_at >= since
            and "boc" in entity_ids(i)
        )
    )
    for nothing in ({"topic": "nope"}, {"entity": "nope"}, {"source": "nope"}, {"lang": "xx"}, {"sentiment": "angry"}):
        assert await found(store, **nothing) == []


async def test_pages_of_a_search_fit_together(store):
    await store.put([scored(n, "bank", published_at=NOW + timedelta(minutes=n // 4)) for n in range(50)])
    everything = await found(store, text="bank")
    pages = [await store.search(SearchQuery(text="bank", limit=7, offset=offset)) for offset in range(0, 56, 7)]
    assert [item.article.id for page in pages for item in page.items] == everything
    assert {page.total for page in pages} == {50}
    assert (await store.search(SearchQuery(limit=0))).total == 50


@pytest.mark.parametrize("query", [SearchQuery(limit=-1), SearchQuery(limit=10**9), SearchQuery(offset=-1)])
async def test_a_search_that_cannot_be_served_is_refused(store, query):
    with pytest.raises(UsageError):
        await store.search(query)


# --- series


async def test_series_agree_with_counting_by_hand(store):
    random_ = random.Random(7)
    items = [
        scored(
            n,
            topic=random_.choice(TOPICS),
            negative=random_.random(),
            entities=tuple(random_.sample(["apple", "shell"], random_.randrange(3))),
            source=f"s{random_.randrange(4)}",
            published_at=NOW
            + timedelta(seconds=random_.randrange(-7200, 36_000), microseconds=random_.randrange(10**6)),
        )
        for n in range(400)
    ]
    await store.put(items)
    await store.put(items[:100])
    keys = {
        "all:*": lambda i: True,
        "topic:banks": lambda i: i.scored.scores.topic == "banks",
        "entity:apple": lambda i: any(e.id == "apple" for e in i.scored.entities),
        "source:s2": lambda i: i.article.source == "s2",
        "topic:none": lambda i: False,
    }
    since, until, width = NOW, NOW + timedelta(hours=9, minutes=50), timedelta(minutes=30)
    for key, keep in keys.items():
        points = await store.series(SeriesQuery(key=SeriesKey.parse(key), since=since, until=until, width=width))
        assert [point.start for point in points] == [since + step * width for step in range(20)]
        for point in points:
            end = min(point.start + width, until)
            inside = [i for i in items if keep(i) and point.start <= i.article.published_at < end]
            assert point.articles == len(inside)
            assert point.sources == len({i.article.source for i in inside})
            assert point.expected_negatives == pytest.approx(sum(i.scored.scores.negative for i in inside))


async def test_series_of_no_time_or_too_much(store):
    key = SeriesKey.parse("all:*")
    assert list(await store.series(SeriesQuery(key=key, since=NOW, until=NOW, width=HOUR))) == []
    assert list(await store.series(SeriesQuery(key=key, since=NOW, until=NOW - HOUR, width=HOUR))) == []
    assert len(await store.series(SeriesQuery(key=key, since=NOW, until=NOW + HOUR / 2, width=HOUR))) == 1
    with pytest.raises(UsageError):
        await store.series(SeriesQuery(key=key, since=NOW, until=NOW + HOUR, width=timedelta(0)))
    with pytest.raises(UsageError):
        await store.series(SeriesQuery(key=key, since=NOW, until=NOW + 10_000 * HOUR, width=timedelta(seconds=1)))


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
