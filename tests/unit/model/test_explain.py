"""Explaining articles: many at once, what of them is read, bounded, beside the stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import numpy as np
import pytest
from fake_engine import WatchedEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.clock import ManualClock
from monitor.core.errors import UsageError
from monitor.core.types import Article
from monitor.model.artefact import Artefact
from monitor.model.attribution import MAX_VARIANTS, METHODS
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TokenEngine
from monitor.model.explain import Reading, Unit, ask, variant
from monitor.model.scorer import EXPLAIN_PIECE, ModelScorer

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def inner(tiny: Artefact) -> TokenEngine:
    return choose_engine(tiny, "onnx", threads=1)


@pytest.fixture
def engine(inner: TokenEngine) -> WatchedEngine:
    return WatchedEngine(inner)


@pytest.fixture
async def scorer(tiny: Artefact, engine: WatchedEngine) -> AsyncIterator[ModelScorer]:
    made = ModelScorer(engine=engine, artefact=tiny, clock=ManualClock(NOW), max_wait_seconds=0.001)
    yield made
    await made.close()


def article(title: str, body: str = "") -> Article:
    return Article(id=title[:20], source="test", title=title, body=body, published_at=NOW, fetched_at=NOW)


LABELS = {"topic": "earnings", "sentiment": "negative"}


async def test_many_articles_get_what_each_would_get_alone(scorer: ModelScorer) -> None:
    titles = ["Acme plunges after fraud probe", "北辰暴跌,亏损扩大", "📉", "Acme surges to a record high"]
    together = await scorer.explain_articles([article(title) for title in titles], [LABELS] * len(titles))
    for title, found in zip(titles, together, strict=True):
        assert {task: item.label for task, item in found.items()} == LABELS
        for task, label in LABELS.items():
            (alone,) = await scorer.explain([title], task=task, label=label)
            assert [w.word for w in found[task].words] == [w.word for w in alone]
            assert [w.weight for w in found[task].words] == pytest.approx([w.weight for w in alone], abs=1e-5)


async def test_a_weight_is_what_the_word_brings_to_the_rest_and_to_nothing(scorer: ModelScorer, tiny: Artefact) -> None:
    text = "Acme plunges after fraud probe"

    async def negative(part: str) -> float:
        return (await scorer.predict(part)).sentiments["negative"]

    whole = await negative(text)
    (words,) = await scorer.explain([text], task="sentiment", label="negative")
    alone = {word.word: await negative(word.word) for word in words}
    without = {word.word: await negative(text[: word.start] + text[word.end :]) for word in words}
    # What the model says of nothing is the same for all words: differences between words are free of it.
    first = words[0].word
    for word in words:
        wanted = (without[first] - without[word.word] + alone[word.word] - alone[first]) / 2
        assert word.weight - words[0].weight == pytest.approx(wanted, abs=1e-4)

    one_out = ModelScorer(
        engine=choose_engine(tiny, "onnx", threads=1),
        artefact=tiny,
        clock=ManualClock(NOW),
        max_wait_seconds=0.001,
        explain_method="leave-one-out",
    )
    try:
        (words,) = await one_out.explain([text], task="sentiment", label="negative")
        for word in words:
            assert word.weight == pytest.approx(whole - without[word.word], abs=1e-4)
    finally:
        await one_out.close()


async def test_a_body_that_is_read_is_explained_with_offsets_into_the_articles_text(scorer: ModelScorer) -> None:
    item = article("Acme", "plunges after fraud probe")
    (found,) = await scorer.explain_articles([item], [LABELS])
    words = found["sentiment"].words
    assert [w.word for w in words] == ["Acme", "plunges", "after", "fraud", "probe"]
    assert all(item.text[w.start : w.end] == w.word for w in words)
    unread = article("Acme plunges after the fraud probe of Monday", "Borealis wins a large order")
    (found,) = await scorer.explain_articles([unread], [LABELS])
    assert "Borealis" not in [w.word for w in found["sentiment"].words]


async def test_the_stream_waits_behind_one_piece_of_explanations_at_most(tiny: Artefact, inner: TokenEngine) -> None:
    engine = WatchedEngine(inner)
    scorer = ModelScorer(engine=engine, artefact=tiny, clock=ManualClock(NOW), max_wait_seconds=0.001, capacity=100_000)
    many = [article(f"Acme {n} plunges after fraud probe and warns of heavy losses") for n in range(60)]
    explaining = asyncio.create_task(scorer.explain_articles(many, [LABELS] * 60))
    while not engine.batches:
        await asyncio.sleep(0)
    before = sum(engine.batches)
    await scorer.score([article("Cobalt wins a large order")])
    # What was under way, what was queued before it, and its own window.
    assert sum(engine.batches) - before <= 2 * EXPLAIN_PIECE + 1
    assert not explaining.done()
    await explaining
    assert max(engine.batches) <= EXPLAIN_PIECE + 1
    await scorer.close()


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_is_bounded_and_answers_a_megabyte_soon(
    tiny: Artefact, inner: TokenEngine, method: str
) -> None:
    engine = WatchedEngine(inner)
    scorer = ModelScorer(engine=engine, artefact=tiny, clock=ManualClock(NOW), explain_method=method)
    began = time.process_time()
    for text in ("heavy losses " * 80_000, "亏损" * 500_000, "x" * 1_000_000):
        engine.batches.clear()
        (words,) = await scorer.explain([text], task="sentiment", label="negative")
        assert 0 < len(words) <= 96
        assert sum(engine.batches) <= MAX_VARIANTS
        assert np.isfinite([word.weight for word in words]).all()
    assert time.process_time() - began < 20
    await scorer.close()


def test_an_unknown_method_is_refused(tiny: Artefact, inner: TokenEngine) -> None:
    with pytest.raises(UsageError, match=r"method 'tea leaves'.*leave-one-out"):
        ModelScorer(engine=WatchedEngine(inner), artefact=tiny, clock=ManualClock(NOW), explain_method="tea leaves")


async def test_unknown_labels_are_refused_before_anything_is_asked(scorer: ModelScorer, engine: WatchedEngine) -> None:
    with pytest.raises(UsageError, match="no label 'sports'"):
        await scorer.explain_articles([article("a"), article("b")], [LABELS, {"topic": "sports"}])
    assert engine.batches == []


async def test_the_strongest_words_come_first_with_their_signs(scorer: ModelScorer) -> None:
    (found,) = await scorer.explain_articles([article("Acme plunges after fraud probe")], [LABELS])
    data = found["sentiment"].to_dict(2)
    assert data["label"] == "negative"
    assert isinstance(words := data["words"], list)
    assert len(words) == 2
    assert abs(words[0]["weight"]) >= abs(words[1]["weight"])
    assert set(words[0]) == {"word", "start", "end", "weight"}


@settings(max_examples=100, deadline=None)
@given(title=st.text(max_size=60), body=st.text(max_size=60), drop=st.sets(st.integers(0, 30)))
def test_without_nothing_it_reads_what_is_scored(inner: TokenEngine, title: str, body: str, drop: set[int]) -> None:
    steps = inner.artefact.preprocessing
    reading = Reading(title, body, steps)
    assert reading.whole == steps.article(title, body)
    assert reading.without([]) == reading.whole
    words = reading.units(inner.tokenizer)
    assert all(reading.text[w.start : w.end] == w.word for w in words)
    reading.without([word for number, word in enumerate(words) if number in drop])  # any of them may go
    asked = ask(reading, inner.tokenizer, METHODS["leave-one-out"])
    assert (asked is None) == (not words)


@pytest.mark.parametrize(
    ("text", "dropped", "left"),
    [
        ("Acme fell hard", [(5, 9)], "Acme   hard"),
        ("公司利润大跌", [(2, 4)], "公司大跌"),
        ("Acme fell", [(0, 4), (5, 9)], "   "),
        ("Acme", [], "Acme"),
    ],
)
def test_a_dropped_word_leaves_a_space_and_a_chinese_one_none(
    text: str, dropped: list[tuple[int, int]], left: str
) -> None:
    assert variant(text, [Unit(word=text[a:b], start=a, end=b) for a, b in dropped]) == left
