"""What people read from a store: searches and series."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_tools import HOUR, NOW, TOPICS, found, scored

from monitor.core.errors import UsageError
from monitor.core.types import SENTIMENTS, SearchQuery, SeriesKey, SeriesQuery

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
