"""Entities within topics: who becomes a series, who does not, and that others are not diluted by it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from news import MONDAY, background, scored

from alerts import fdr
from alerts.config import PipelineConfig
from alerts.pairs import PairConfig, Pairs
from alerts.pipeline import DetectPipeline
from alerts.series import SeriesConfig
from monitor.core.codec import dumps, loads
from monitor.core.errors import CodecError
from monitor.core.types import Scope, ScoredArticle, SeriesKey

WIDTH = timedelta(minutes=5)
KEY = SeriesKey(scope=Scope.PAIR, value="macro/acme")


def free(_: SeriesKey) -> bool:
    return False


def article(number: int, topic: str = "macro", entities: tuple[str, ...] = ("acme",)) -> ScoredArticle:
    return scored(number, MONDAY, topic=topic, entities=entities)


def feed(pairs: Pairs, count: int, topic: str = "macro", entity: str = "acme", index: int = 0) -> None:
    for number in range(count):
        item = article(number, topic, (entity,))
        pairs.count(item, pairs.names(item), index, free)


def made(**fields: object) -> Pairs:
    return Pairs(PairConfig(**{"admit": 5.0, **fields}), SeriesConfig(), WIDTH)  # type: ignore[arg-type]


def test_a_busy_pair_of_a_many_sided_entity_becomes_a_series() -> None:
    pairs = made()
    feed(pairs, 4, topic="markets")
    feed(pairs, 4)
    assert not pairs.begun
    feed(pairs, 1)
    assert pairs.begun == {KEY}
    assert pairs.keys(pairs.names(article(1))) == (KEY,)
    assert pairs.keys(pairs.names(article(1, "markets"))) == ()


def test_a_pair_that_is_nearly_all_of_its_entity_does_not() -> None:
    pairs = made()
    feed(pairs, 100)
    assert len(pairs) == 0


def test_old_stories_count_less() -> None:
    pairs = made()
    feed(pairs, 4, topic="markets")
    feed(pairs, 4)
    month = int(PairConfig().half_life / WIDTH)
    feed(pairs, 2, index=month)
    assert len(pairs) == 0
    feed(pairs, 1, index=month)
    assert len(pairs) == 0  # 2 of 4 and three new ones, but only 2 of the others: too much of its entity
    feed(pairs, 1, topic="markets", index=month)
    feed(pairs, 1, index=month)
    assert len(pairs) == 1


def test_the_number_of_series_is_bounded_and_the_idlest_gives_way() -> None:
    pairs = made(limit=2)
    for entity, count in (("a", 6), ("b", 9), ("c", 7), ("d", 20)):
        feed(pairs, count, topic="markets", entity=entity)
        feed(pairs, count, entity=entity)
    assert len(pairs) == 2
    assert pairs.dropped == {SeriesKey(scope=Scope.PAIR, value="macro/a")} or len(pairs.dropped) >= 1
    assert pairs.keys(pairs.names(article(1, entities=("d",))))


def test_a_series_with_an_open_incident_stays() -> None:
    pairs = made(limit=1)
    feed(pairs, 6, topic="markets")
    feed(pairs, 6)
    for number in range(60):
        for topic in ("markets", "macro"):
            item = article(number, topic, ("big",))
            pairs.count(item, pairs.names(item), 0, lambda key: key == KEY)
    assert pairs.keys(pairs.names(article(1))) == (KEY,)
    assert len(pairs) == 1


def test_what_is_counted_is_bounded() -> None:
    pairs = made(counters=40)
    for number in range(300):
        feed(pairs, 1, entity=f"e{number}")
    kept = [name for number in range(300) for name in (f"/e{number}", f"macro/e{number}") if pairs.to_doc(name)]
    assert 0 < len(kept) <= 40


def test_it_goes_on_after_a_restart() -> None:
    pairs, again = made(), made()
    feed(pairs, 6, topic="markets")
    feed(pairs, 6)
    docs = {name: loads(dumps(pairs.to_doc(name))) for name in sorted(pairs.changed)}
    again.load(docs)
    assert len(again) == len(pairs) == 1
    for both in (pairs, again):
        feed(both, 3, entity="other", index=700)
    assert {name: pairs.to_doc(name) for name in pairs.changed} == {name: again.to_doc(name) for name in pairs.changed}
    with pytest.raises(CodecError):
        again.load({"x": {"count": 1}})


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 40), st.floats(1e-12, 1.0), min_size=1, max_size=20), st.integers(0, 30), st.data()
)
def test_narrow_hypotheses_change_nothing_for_the_others(p: dict[int, float], more: int, data: st.DataObject) -> None:
    narrow = set(data.draw(st.lists(st.sampled_from(sorted(p)), unique=True)))
    tests, narrow_tests = len(p) + more, len(narrow)
    found = fdr.q_by_family(p, lambda key: key in narrow, tests=tests, narrow_tests=narrow_tests)
    wide = {key: value for key, value in p.items() if key not in narrow}
    assert {key: found[key] for key in wide} == fdr.q_values(wide, tests=tests - narrow_tests)
    everything = fdr.q_values(p, tests=tests)
    assert all(found[key] == everything[key] for key in narrow)


def test_the_pipeline_watches_them_and_forgets_them_in_its_documents() -> None:
    config = PipelineConfig(pairs=PairConfig(admit=10.0))
    items = [
        scored(f"p{n}", item.article.published_at, topic="macro" if n % 2 else "markets", entities=("acme",))
        for n, item in enumerate(background(MONDAY, 1))
    ]
    pipeline = DetectPipeline(config)
    pipeline.feed(items)
    step = pipeline.advance(MONDAY + timedelta(days=2))
    written = {(change.kind, change.key) for change in step.changes}
    assert ("detect.series", "pair:macro/acme") in written
    assert ("detect.pair", "macro/acme") in written
    assert pipeline.states.get(KEY) is not None
    pipeline.states.drop(KEY)
    gone = {(change.kind, change.key) for change in pipeline.advance(MONDAY + timedelta(days=2)).changes}
    assert ("detect.series", "pair:macro/acme") in gone
    off = DetectPipeline(PipelineConfig(pairs=PairConfig(enabled=False, admit=10.0)))
    off.feed(items)
    off.advance(MONDAY + timedelta(days=2))
    assert off.states.get(KEY) is None
    assert pipeline.book.title(KEY) == "acme: macro"
