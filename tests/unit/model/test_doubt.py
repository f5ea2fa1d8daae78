"""Verdicts that abstain, and texts in languages that the model was not made for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from monitor.core.clock import ManualClock
from monitor.core.codec import score_line, scored_from_dict, scored_to_dict
from monitor.core.errors import ConfigError
from monitor.core.types import UNCERTAIN, Article, Scored, ScoredArticle, Scores
from monitor.model.artefact import Artefact
from monitor.model.calibration import Calibration, OperatingPoint
from monitor.model.doubt import Doubter
from monitor.model.engines import choose_engine
from monitor.model.scorer import ModelScorer

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
POINTS = (
    OperatingPoint(threshold=0.0, coverage=1.0, precision=0.8),
    OperatingPoint(threshold=0.6, coverage=0.7, precision=0.9),
    OperatingPoint(threshold=0.8, coverage=0.4, precision=0.97),
)


def _with_points(tiny: Artefact) -> Artefact:
    tasks = {
        name: replace(task, calibration=replace(task.calibration, points=POINTS)) for name, task in tiny.tasks.items()
    }
    return replace(tiny, tasks=tasks)


def _scores(top: float) -> Scores:
    rest = 1 - top
    return Scores(
        topics={"earnings": top, "energy_oil": rest},
        sentiments={"negative": top, "neutral": rest, "positive": 0.0},
    )


def test_a_verdict_is_in_doubt_below_the_precision_asked_for(tiny: Artefact) -> None:
    doubter = Doubter(_with_points(tiny), min_precision=0.9)
    assert doubter.doubts(_scores(0.59), "Profit fell after the recall") == ("topic", "sentiment")
    assert doubter.doubts(_scores(0.61), "Profit fell after the recall") == ()
    assert Doubter(_with_points(tiny)).doubts(_scores(0.51), "Profit fell after the recall") == ()


@pytest.mark.parametrize(("text", "doubt"), [("今日股价大跌", False), ("業績は好調です", True), ("😀", True)])
def test_a_language_that_the_model_does_not_support_is_in_doubt(tiny: Artefact, text: str, doubt: bool) -> None:
    artefact = replace(tiny, languages=("en", "zh"))
    assert (Doubter(artefact).doubts(_scores(0.9), text) == ("language",)) is doubt


def test_a_precision_that_no_threshold_reaches_is_refused(tiny: Artefact) -> None:
    with pytest.raises(ConfigError, match=r"cannot promise for 'topic'.*0\.970") as caught:
        Doubter(_with_points(tiny), min_precision=0.99)
    assert "0.970" in caught.value.hint
    bare = {name: replace(task, calibration=Calibration()) for name, task in tiny.tasks.items()}
    with pytest.raises(ConfigError, match="no operating points"):
        Doubter(replace(tiny, tasks=bare), min_precision=0.5)


async def test_scored_articles_carry_their_doubts(tiny: Artefact) -> None:
    demanding = tuple(replace(point, precision=1.0, threshold=1.1) for point in POINTS[-1:])
    tasks = {
        name: replace(task, calibration=replace(task.calibration, points=demanding))
        for name, task in tiny.tasks.items()
    }
    artefact = replace(tiny, tasks=tasks)
    scorer = ModelScorer(
        engine=choose_engine(artefact, "onnx", threads=1), artefact=artefact, clock=ManualClock(NOW), min_precision=0.9
    )
    article = Article(id="a", source="s", title="Acme plunges after fraud probe", published_at=NOW, fetched_at=NOW)
    try:
        scored = (await scorer.score([article]))[0]
        given = (await scorer.score([replace(article, scores=_scores(0.51))]))[0]
    finally:
        await scorer.close()
    assert scored.doubts == ("topic", "sentiment")
    assert scored.verdict("sentiment") == scored.verdict("topic") == UNCERTAIN
    line = score_line(ScoredArticle(article=article, scored=scored))
    assert line["sentiment"] == line["topic"] == UNCERTAIN
    assert line["doubts"] == ["topic", "sentiment"]
    assert sum(line["sentiments"].values()) == pytest.approx(1, abs=1e-5)  # type: ignore[attr-defined]
    assert scored_from_dict(scored_to_dict(scored)) == scored
    assert given.doubts == ()  # whoever scored it answers for it


def test_without_doubts_lines_are_as_before() -> None:
    article = Article(id="a", source="s", title="t", published_at=NOW, fetched_at=NOW)
    line = score_line(
        ScoredArticle(article=article, scored=Scored(article_id="a", model="m", scores=_scores(0.9), scored_at=NOW))
    )
    assert "doubts" not in line
    assert (line["topic"], line["sentiment"]) == ("earnings", "negative")
