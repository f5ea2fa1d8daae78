"""The drift checks: quiet on news that only has its good and bad days, loud on a planted shift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from scipy.stats import ks_2samp

from monitor.core.errors import UsageError
from monitor.model.drift.blocks import BINS, LENGTHS, WORD_BUCKETS, Block, load, save
from monitor.model.drift.checks import (
    Check,
    compare,
    compare_with_shares,
    design_effect,
    drifting,
    holm,
    jensen_shannon,
    ks,
    psi,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
TOPICS = ("earnings", "macro", "banks", "energy")
MOODS = ("negative", "neutral", "positive")
TOPIC_SHARES, MOOD_SHARES = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.3, 0.5, 0.2])
WORDS = np.random.default_rng(0).dirichlet(np.full(WORD_BUCKETS, 0.5))
ROUGH = 60.0
"""How even the days are: each day's shares are drawn from a Dirichlet distribution of this weight."""


def day(
    rng: Generator,
    number: int,
    *,
    n: int = 150,
    topics: np.ndarray = TOPIC_SHARES,
    moods: np.ndarray = MOOD_SHARES,
    sure: float = 8.0,
    words: np.ndarray = WORDS,
    long: float = 0.0,
    unknown: float = 0.001,
    place: float = 0.0,
) -> Block:
    """A day of news with its own mix of topics and moods: more uneven than independent texts would be."""
    topic = rng.multinomial(n, rng.dirichlet(topics * ROUGH))
    mood = rng.multinomial(n, rng.dirichlet(moods * ROUGH))
    tops = np.clip(rng.beta(sure, 2.0, size=n), 0.34, 0.999)
    entropy = 1 - tops
    lengths = np.searchsorted(LENGTHS, rng.poisson(14 * np.exp(rng.normal(0, 0.05) + long), size=n))
    tokens = 14 * n
    centre = rng.normal(0, 0.15, size=5)
    points = rng.normal(0, 1, size=(40, 5)) + centre + np.array([place, 0, 0, 0, 0])
    histogram = tuple(np.bincount((tops * BINS).astype(int), minlength=BINS).tolist())
    spread = tuple(np.bincount((entropy * BINS).astype(int), minlength=BINS).tolist())
    return Block(
        start=START + timedelta(days=number),
        n=n,
        outputs=n,
        topics=dict(zip(TOPICS, topic.tolist(), strict=True)),
        sentiments=dict(zip(MOODS, mood.tolist(), strict=True)),
        languages={"en": n - n // 5, "zh": n // 5},
        sources={"wire": n // 2, "paper": n - n // 2},
        confidence={"topic": histogram, "sentiment": histogram},
        entropy={"topic": spread, "sentiment": spread},
        lengths=tuple(np.bincount(lengths, minlength=len(LENGTHS) + 1).tolist()),
        tokens=tokens,
        unknown=int(rng.binomial(tokens, unknown)),
        words=tuple(rng.multinomial(12 * n, rng.dirichlet(words * 5000 + 1e-9)).tolist()),
        space=tuple(tuple(row) for row in points.round(3).tolist()),
    )


def month(rng: Generator, *, days: int = 28, **fields: object) -> list[Block]:
    return [day(rng, number, **fields) for number in range(days)]  # type: ignore[arg-type]


def states(checks: list[Check]) -> Mapping[str, str]:
    return {check.name: check.state for check in checks}


def test_quiet_on_a_resample() -> None:
    """Weeks from the same source: Holm at 5 % over all checks, so at most a few of 30 say anything at all."""
    rng = np.random.default_rng(1)
    loud = real = 0
    for _ in range(30):
        checks = compare(month(rng), month(rng, days=7), resamples=299)
        assert all(check.state != "unknown" for check in checks)
        loud += bool(drifting(checks))
        real += any(check.state == "small" for check in checks)
    assert loud <= 2
    assert loud + real <= 5


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"topics": np.array([0.15, 0.3, 0.2, 0.35])}, "topic_labels"),
        ({"moods": np.array([0.6, 0.3, 0.1])}, "sentiment_labels"),
        ({"sure": 3.0}, "topic_confidence"),
        ({"sure": 3.0}, "sentiment_confidence"),
        ({"place": 1.0}, "model_space"),
        ({"long": 0.4}, "length"),
        ({"unknown": 0.02}, "unknown_tokens"),
        ({"words": np.roll(WORDS, 200) * 0.5 + WORDS * 0.5}, "wording"),
    ],
)
def test_a_planted_shift_is_found(fields: dict[str, object], expected: str) -> None:
    rng = np.random.default_rng(2)
    checks = compare(month(rng), month(rng, days=7, **fields))
    assert states(checks)[expected] == "drift", [(c.name, c.value, c.p_holm) for c in checks]
    found = next(check for check in checks if check.name == expected)
    assert found.value is not None
    assert found.floor is not None
    assert found.value > found.floor


def test_a_new_language_and_a_new_source_are_found() -> None:
    rng = np.random.default_rng(3)
    new = [
        replace(block, languages={"en": 60, "zh": 60, "fr": 30}, sources={"wire": 10, "blog": 140})
        for block in month(rng, days=7)
    ]
    found = states(compare(month(rng), new))
    assert (found["languages"], found["sources"]) == ("drift", "drift")


def test_a_real_but_slight_shift_is_small_not_drift() -> None:
    rng = np.random.default_rng(4)
    old = month(rng, n=4000)
    new = [replace(b, lengths=_nudged(b.lengths)) for b in month(rng, days=7, n=4000)]
    checks = compare(old, new)
    assert states(checks)["length"] in ("small", "quiet")
    assert not drifting(checks)


def _nudged(histogram: tuple[int, ...]) -> tuple[int, ...]:
    moved = histogram[2] // 20
    return (*histogram[:2], histogram[2] - moved, histogram[3] + moved, *histogram[4:])


def test_too_little_is_said_to_be_too_little() -> None:
    rng = np.random.default_rng(5)
    assert all("too few texts" in check.reason for check in compare(month(rng, n=5), month(rng, days=7, n=5)))
    few = compare(month(rng, days=1, n=900), month(rng, days=1, n=900))
    assert all("too few blocks" in check.reason for check in few)
    assert not drifting(few)
    assert all(check.state == "unknown" for check in compare([], []))


def test_verdicts_of_another_model_are_not_compared() -> None:
    rng = np.random.default_rng(6)
    old = [replace(block, outputs=0, topics={}, sentiments={}, space=()) for block in month(rng)]
    found = states(compare(old, month(rng, days=7)))
    assert found["topic_labels"] == found["model_space"] == found["topic_confidence"] == "unknown"
    assert found["length"] == "quiet"


def test_against_training_shares() -> None:
    rng = np.random.default_rng(7)
    shares = {
        "topic": dict(zip(TOPICS, (800, 600, 400, 200), strict=True)),
        "sentiment": dict(zip(MOODS, (600, 1000, 400), strict=True)),
    }
    quiet = sum(bool(drifting(compare_with_shares(shares, month(rng, days=7), resamples=299))) for _ in range(20))
    assert quiet <= 2
    shifted = compare_with_shares(shares, month(rng, days=7, moods=np.array([0.7, 0.2, 0.1])))
    assert states(shifted)["sentiment_labels"] == "drift"
    assert all(check.state == "unknown" for check in compare_with_shares({}, month(rng, days=7)))


def test_the_same_seed_gives_the_same_report() -> None:
    old, new = month(np.random.default_rng(8)), month(np.random.default_rng(9), days=7)
    assert compare(old, new, resamples=99) == compare(old, new, resamples=99)


def test_a_saved_reference_gives_the_same_report(tmp_path: Path) -> None:
    old, new = month(np.random.default_rng(8)), month(np.random.default_rng(9), days=7)
    save(tmp_path / "reference.json", old, model="m@1", made_at=START)
    again, model = load(tmp_path / "reference.json")
    assert (again, model) == (old, "m@1")
    assert compare(again, new, resamples=99) == compare(old, new, resamples=99)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "model": "m", "blocks": [{}]}'])
def test_a_file_that_is_no_reference_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "reference.json").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"reference\.json"):
        load(tmp_path / "reference.json")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_the_statistics_are_what_they_are_called() -> None:
    even, odd = np.array([[50.0, 50.0]]), np.array([[90.0, 10.0]])
    assert psi(even, even)[0] == 0
    assert psi(even * 1e6, odd * 1e6)[0] == pytest.approx(0.4 * np.log(0.9 / 0.5) - 0.4 * np.log(0.1 / 0.5), abs=1e-4)
    assert jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))[0] == pytest.approx(1.0)
    rng = np.random.default_rng(10)
    a, b = rng.integers(0, 10, 300), rng.integers(2, 12, 200)
    counts = [np.bincount(x, minlength=12)[None].astype(float) for x in (a, b)]
    assert ks(*counts)[0] == pytest.approx(ks_2samp(a, b).statistic)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    flat = rng.multinomial(100, [0.5, 0.3, 0.2], size=400).astype(float)
    assert 0.9 <= design_effect(flat) <= 1.1
    assert design_effect(np.array([[100.0, 0.0], [0.0, 100.0]])) == pytest.approx(200 / 1, rel=0.01)
