import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fake_engine import WatchedEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.clock import ManualClock
from monitor.core.errors import ModelError, ModelInputError, UsageError
from monitor.core.ports import Explainer, Scorer
from monitor.core.types import Article, EntityMention, Scores
from monitor.model.artefact import Artefact
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TokenEngine
from monitor.model.explain import occlusions, units
from monitor.model.scorer import ModelScorer

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def inner(tiny: Artefact) -> TokenEngine:
    return choose_engine(tiny, "onnx", threads=1)


@pytest.fixture
def engine(inner: TokenEngine) -> WatchedEngine:
    return WatchedEngine(inner)


@pytest.fixture
async def scorer(tiny: Artefact, engine: WatchedEngine) -> AsyncIterator[ModelScorer]:
    made = ModelScorer(
        engine=engine,
        artefact=tiny,
        clock=ManualClock(NOW),
        find_entities=lambda a: (EntityMention(id="acme", name="Acme", start=0, end=4),) if "Acme" in a.title else (),
        signature=lambda a: f"sig:{a.title}",
        max_wait_seconds=0.002,
        cache_size=100,
    )
    yield made
    await made.close()


def article(title: str, *, body: str = "", scores: Scores | None = None, model: str = "") -> Article:
    return Article(
        id=f"id-{title[:20]}", source="test", title=title, body=body, published_at=NOW, fetched_at=NOW, scores=scores,
        model=model,
    )  # fmt: skip


async def test_articles_are_scored_in_order(scorer: ModelScorer, tiny: Artefact) -> None:
    port: Scorer = scorer
    titles = ["Acme plunges after fraud probe", "Cobalt surges to a record high", "Garrow moves its office"]
    scored = await port.score([article(title) for title in titles])
    assert [item.scores.sentiment for item in scored] == ["negative", "positive", "neutral"]
    assert [item.article_id for item in scored] == [f"id-{title[:20]}" for title in titles]
    assert {item.model for item in scored} == {tiny.id}
    assert {item.scored_at for item in scored} == {NOW}
    assert [item.story_signature for item in scored] == [f"sig:{title}" for title in titles]
    assert [len(item.entities) for item in scored] == [1, 0, 0]


async def test_nothing_to_score_is_nothing(scorer: ModelScorer) -> None:
    assert await scorer.score([]) == []


async def test_articles_that_carry_scores_skip_the_model(scorer: ModelScorer, engine: WatchedEngine) -> None:
    given = Scores(topics={"macro": 1.0}, sentiments={"negative": 0.9, "neutral": 0.1, "positive": 0.0})
    scored = await scorer.score(
        [article("Acme one", scores=given, model="other@1"), article("Two", scores=given), article("", scores=given)]
    )
    assert [item.model for item in scored] == ["other@1", "given", "given"]
    assert all(item.scores is given for item in scored)
    assert scored[0].entities
    assert sum(engine.batches) == 0


async def test_equal_texts_are_computed_once(scorer: ModelScorer, engine: WatchedEngine) -> None:
    await scorer.score(
        [article("Fed rate decision"), article("Fed  rate\tdecision"), article("Fed rate decision http://x.y")]
    )
    assert sum(engine.batches) == 1
    await scorer.score([article("Fed rate decision")])
    assert sum(engine.batches) == 1
    assert scorer.stats.cache_hits == 1
    await scorer.score([article("FED RATE DECISION")])  # letters' case is part of what the model reads
    assert sum(engine.batches) == 2


async def test_concurrent_callers_are_joined(tiny: Artefact, engine: WatchedEngine) -> None:
    scorer = ModelScorer(engine=engine, artefact=tiny, clock=ManualClock(NOW), max_wait_seconds=0.2)
    results = await asyncio.gather(*(scorer.score([article(f"Acme wins order {n}")]) for n in range(12)))
    assert [items[0].article_id for items in results] == [f"id-Acme wins order {n}" for n in range(12)]
    assert len(engine.batches) < 12
    await scorer.close()


@pytest.mark.parametrize("title", ["", "   ", "\x00"])
async def test_an_article_with_nothing_to_read_is_named(scorer: ModelScorer, title: str) -> None:
    bad = replace(article(title), id="bad-one")
    with pytest.raises(ModelInputError, match="bad-one"):
        await scorer.score([article("Acme fine"), bad])
    assert len(await scorer.score([article("Acme fine")])) == 1


@pytest.mark.parametrize(
    "title", ["📉", "https://example.com/x", "a" * 1_000_000, "跌" * 1_000_000, "A\x00B", "مرحبا", "\ud800 lone"]
)
async def test_odd_texts_are_answered(scorer: ModelScorer, title: str) -> None:
    (item,) = await scorer.score([article(title)])
    assert sum(item.scores.sentiments.values()) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_answered_or_refused(inner: TokenEngine, text: str) -> None:
    try:
        (scores,) = inner.predict([text])
    except ModelInputError:
        assert not inner.artefact.preprocessing.readable(text)
    else:
        assert sum(scores.topics.values()) == pytest.approx(1.0)


async def test_the_body_helps_a_title_that_says_nothing(scorer: ModelScorer) -> None:
    (item,) = await scorer.score([article("Acme", body="plunges after fraud probe")])
    assert item.scores.sentiment == "negative"


async def test_after_close_it_refuses_and_the_engine_is_released(tiny: Artefact, engine: WatchedEngine) -> None:
    scorer = ModelScorer(engine=engine, artefact=tiny, clock=ManualClock(NOW))
    await scorer.score([article("Acme wins")])
    await scorer.close()
    await scorer.close()
    assert engine.closed
    with pytest.raises(ModelError, match="closed"):
        await scorer.score([article("Acme wins")])


def test_an_engine_of_another_model_is_refused(tiny: Artefact, engine: WatchedEngine) -> None:
    with pytest.raises(ModelError, match="not other@0"):
        ModelScorer(engine=engine, artefact=replace(tiny, id="other@0"), clock=ManualClock(NOW))


async def test_the_words_that_decide_weigh_most_and_sit_where_they_say(scorer: ModelScorer) -> None:
    port: Explainer = scorer
    text = "Acme  plunges after fraud probe"
    (words,) = await port.explain([text], task="sentiment", label="negative")
    assert [w.word for w in words] == ["Acme", "plunges", "after", "fraud", "probe"]
    assert all(text[w.start : w.end] == w.word for w in words)
    assert max(words, key=lambda w: w.weight).word in ("plunges", "after", "fraud", "probe")
    assert max(w.weight for w in words) > 0


async def test_a_word_against_the_label_weighs_negative(scorer: ModelScorer) -> None:
    (words,) = await scorer.explain(["Acme surges to a record high"], task="sentiment", label="negative")
    assert min(w.weight for w in words) < 0


async def test_chinese_is_weighed_in_groups_that_cover_the_text(scorer: ModelScorer) -> None:
    text = "北辰暴跌,亏损扩大"
    (words,) = await scorer.explain([text], task="sentiment", label="negative")
    assert "".join(w.word for w in words) == "北辰暴跌亏损扩大"
    assert all(text[w.start : w.end] == w.word for w in words)


async def test_explaining_nothing_or_something_huge(scorer: ModelScorer) -> None:
    assert list(await scorer.explain([], task="topic", label="energy_oil")) == []
    texts = ["", "📉 !!", "loss " * 200_000]
    empty, wordless, huge = await scorer.explain(texts, task="topic", label="energy_oil")
    assert len(empty) == len(wordless) == 0 < len(huge) <= 96
    with pytest.raises(UsageError, match="no label 'sports'"):
        await scorer.explain(["x"], task="topic", label="sports")
    with pytest.raises(UsageError, match="task 'mood'"):
        await scorer.explain(["x"], task="mood", label="good")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=200))
def test_units_are_in_order_do_not_overlap_and_match_the_text(inner: TokenEngine, text: str) -> None:
    words = units(text, inner.tokenizer)
    end = 0
    for word in words:
        assert end <= word.start < word.end
        assert text[word.start : word.end] == word.word
        end = word.end
    assert len(occlusions(text, words)) == len(words)
