"""How stored articles are spread: facets of a search, and breakdowns by topic, entity and source."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from store_tools import HOUR, NOW, scored

from monitor.core.errors import UsageError
from monitor.core.types import BreakdownQuery, Scope, SearchQuery

ITEMS = [
    scored(1, "Bank fails", topic="banks", negative=0.9, entities=("acme", "big")),
    scored(2, "Bank thrives", topic="banks", negative=0.1, entities=("acme",)),
    scored(61, "银行破产", topic="banks", negative=0.8, lang="zh"),
    scored(62, "Oil falls", topic="energy", negative=0.7, entities=("oil",)),
    scored(130, "Rates rise", topic="macro", negative=0.6),
]


async def test_facets_count_every_match_by_what_it_is(store):
    await store.put(ITEMS)
    found = await store.facets(SearchQuery())
    assert found.total == 5
    assert not found.sampled
    assert list(found.topics.items()) == [("banks", 3), ("energy", 1), ("macro", 1)]
    assert sum(found.sentiments.values()) == 5
    assert found.sentiments["negative"] == 4
    assert found.languages == {"en": 4, "zh": 1}
    assert found.sources == Counter(item.article.source for item in ITEMS)
    assert list(found.entities.items()) == [("acme", 2), ("big", 1), ("oil", 1)]


@pytest.mark.parametrize(
    ("query", "total", "topics"),
    [
        ({"text": "bank"}, 2, {"banks": 2}),
        ({"text": "银行"}, 1, {"banks": 1}),
        ({"text": "bank", "sentiment": "negative"}, 1, {"banks": 1}),
        ({"entity": "acme"}, 2, {"banks": 2}),
        ({"topic": "energy"}, 1, {"energy": 1}),
        ({"since": NOW + HOUR}, 3, {"banks": 1, "energy": 1, "macro": 1}),
        ({"until": NOW + HOUR, "limit": 1, "offset": 1}, 2, {"banks": 2}),
        ({"source": "nobody"}, 0, {}),
        ({"text": "!!!"}, 0, {}),
    ],
)
async def test_facets_are_those_of_the_search(store, query, total, topics):
    await store.put(ITEMS)
    found = await store.facets(SearchQuery(**query))
    assert (found.total, dict(found.topics)) == (total, topics)
    assert (await store.search(SearchQuery(**{**query, "limit": 100, "offset": 0}))).total == total


async def test_facets_follow_a_second_put(store):
    await store.put([ITEMS[0]])
    await store.put([scored(1, "Bank fails", topic="energy", negative=0.9, entities=("oil",))])
    found = await store.facets(SearchQuery())
    assert (dict(found.topics), dict(found.entities)) == ({"energy": 1}, {"oil": 1})


async def test_a_breakdown_counts_by_value_and_step(store):
    await store.put(ITEMS)
    asked = BreakdownQuery(scope=Scope.TOPIC, since=NOW, until=NOW + 2.5 * HOUR, width=HOUR)
    rows = {row.value: row for row in await store.breakdown(asked)}
    assert list(rows) == ["banks", "energy", "macro"]
    assert [articles for articles, _ in rows["banks"].steps] == [2, 1, 0]
    assert [negatives for _, negatives in rows["banks"].steps] == pytest.approx([1.0, 0.8, 0.0])
    assert (rows["banks"].articles, rows["banks"].expected_negatives) == (3, pytest.approx(1.8))
    assert [articles for articles, _ in rows["macro"].steps] == [0, 0, 1]


async def test_a_breakdown_by_entity_and_by_source(store):
    await store.put(ITEMS)
    window = {"since": NOW, "until": NOW + HOUR, "width": HOUR}
    rows = await store.breakdown(BreakdownQuery(scope=Scope.ENTITY, **window))
    assert [(row.value, row.articles) for row in rows] == [("acme", 2), ("big", 1)]
    rows = await store.breakdown(BreakdownQuery(scope=Scope.SOURCE, **window))
    assert {row.value: row.articles for row in rows} == {"s1": 1, "s2": 1}


async def test_the_end_of_a_breakdown_is_not_in_it(store):
    await store.put([scored(0), scored(59), scored(60)])
    (row,) = await store.breakdown(BreakdownQuery(scope=Scope.TOPIC, since=NOW, until=NOW + HOUR, width=HOUR))
    assert row.articles == 2
    assert await store.breakdown(
        BreakdownQuery(scope=Scope.TOPIC, since=NOW + 5 * HOUR, until=NOW + 6 * HOUR, width=HOUR)
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": Scope.ALL},
        {"scope": Scope.RULE},
        {"width": timedelta(0)},
        {"until": NOW},
        {"width": timedelta(seconds=1)},
    ],
)
async def test_a_breakdown_that_cannot_be_served_is_refused(store, fields):
    asked = {"scope": Scope.TOPIC, "since": NOW, "until": NOW + HOUR, "width": HOUR} | fields
    with pytest.raises(UsageError):
        await store.breakdown(BreakdownQuery(**asked))
