"""Intervals, abstention and McNemar against what is known of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from monitor.train.evaluation.abstention import abstention
from monitor.train.evaluation.compare import mcnemar
from monitor.train.evaluation.intervals import (
    _accuracy,
    _ece,
    _group_sums,
    _macro_f1,
    _parts,
    _weighted_f1,
    bca,
    intervals,
    mean_interval,
    wilson,
)
from monitor.train.metrics import brier, confusion, ece, reliability, summary


def _random(n: int, labels: int = 3, seed: int = 0, skill: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(labels, size=n)
    raw = rng.normal(size=(n, labels))
    raw[np.arange(n), truth] += skill
    powers = np.exp(raw)
    return powers / powers.sum(axis=1, keepdims=True), truth


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 10_000))
def test_the_sums_give_the_figures_themselves(n: int, labels: int, seed: int) -> None:
    probabilities, truth = _random(n, labels, seed, skill=1.0)
    total = np.asarray(_group_sums(_parts(probabilities, truth), np.arange(n)).sum(axis=0)).reshape(1, -1)
    figures = summary(probabilities, truth, [str(i) for i in range(labels)])
    for name, statistic in (("accuracy", _accuracy), ("macro_f1", _macro_f1), ("weighted_f1", _weighted_f1)):
        assert statistic(total, labels)[0] == pytest.approx(figures[name])
    assert _ece(total, labels)[0] == pytest.approx(figures["ece"], abs=1e-12)


def test_intervals_hold_the_estimate_and_are_the_same_every_time() -> None:
    probabilities, truth = _random(400)
    first = intervals(probabilities, truth, np.arange(400), resamples=500)
    assert first == intervals(probabilities, truth, np.arange(400), resamples=500)
    assert first != intervals(probabilities, truth, np.arange(400), resamples=500, seed=4)
    figures = summary(probabilities, truth, ["a", "b", "c"])
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        low, high = first[name]
        assert low < figures[name] < high


def test_the_interval_of_accuracy_is_about_that_of_a_proportion() -> None:
    probabilities, truth = _random(600, seed=3)
    right = int((probabilities.argmax(axis=1) == truth).sum())
    assert intervals(probabilities, truth, np.arange(600))["accuracy"] == pytest.approx(wilson(right, 600), abs=0.008)


def test_repeated_texts_widen_the_interval() -> None:
    probabilities, truth = _random(100, seed=5)
    tenfold, same = np.repeat(probabilities, 10, axis=0), np.repeat(truth, 10)
    apart = intervals(tenfold, same, np.arange(1000), resamples=500)["accuracy"]
    together = intervals(tenfold, same, np.repeat(np.arange(100), 10), resamples=500)["accuracy"]
    once = intervals(probabilities, truth, np.arange(100), resamples=500)["accuracy"]
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])
    assert together == pytest.approx(once, abs=0.02)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_perfect_or_tiny_set_has_an_interval_all_the_same(n: int) -> None:
    found = intervals(np.eye(3)[[0] * n], np.zeros(n, dtype=np.int64), np.arange(n), resamples=100)
    assert found["accuracy"] == (1.0, 1.0)
    assert found["macro_f1"] == (1.0, 1.0)


def test_bca_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(150):
        sample = rng.exponential(size=60)
        draws = rng.choice(sample, size=(400, 60)).mean(axis=1)
        left_out = (sample.sum() - sample) / 59
        low, high = bca(float(sample.mean()), draws, left_out)
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 150 <= 0.99


def test_wilson_by_hand() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_interval_of_a_mean_with_one_group_is_a_point() -> None:
    assert mean_interval(np.array([1.0, 0.0, 1.0]), np.zeros(3, dtype=np.int64), resamples=100) == pytest.approx(
        (2 / 3, 2 / 3)
    )


def test_aurc_is_the_mean_risk_over_all_coverages() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    right = [True, False, True, False]
    probabilities = np.column_stack([confidence, 1 - confidence])
    truth = np.array([0 if hit else 1 for hit in right])
    found = abstention(probabilities, truth)
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert found["curve"][-1] == pytest.approx({"coverage": 1.0, "precision": 0.5, "threshold": 0.6})


def test_equal_confidence_counts_as_the_mean_of_all_orders() -> None:
    truth = np.array([0, 1, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1]] + [[0.7, 0.3]] * 3 + [[0.6, 0.4]])
    risks = []
    for order in itertools.permutations([1, 2, 3]):
        right = [truth[0] == 0, *(truth[i] == 0 for i in order), truth[4] == 0]
        risks.append(np.mean([1 - np.mean(right[: k + 1]) for k in range(5)]))
    assert abstention(probabilities, truth)["aurc"] == pytest.approx(np.mean(risks))


@settings(max_examples=25)
@given(st.integers(1, 80), st.integers(0, 1000))
def test_a_threshold_keeps_its_promise(n: int, seed: int) -> None:
    probabilities, truth = _random(n, seed=seed)
    probabilities = np.round(probabilities, 1) + 0.0
    right = probabilities.argmax(axis=1) == truth
    for row in abstention(probabilities, truth)["at_precision"]:
        if row["threshold"] is None:
            assert row["coverage"] == 0.0
            continue
        decided = probabilities.max(axis=1) >= row["threshold"]
        assert decided.mean() == pytest.approx(row["coverage"])
        assert right[decided].mean() >= row["precision"] - 1e-9


def test_no_threshold_makes_a_wrong_model_right() -> None:
    found = abstention(np.array([[0.9, 0.1]] * 3), np.ones(3, dtype=np.int64))
    assert all(row["threshold"] is None for row in found["at_precision"])
    assert found["aurc"] == 1.0


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_sign_test(first: int, second: int) -> None:
    exact, mid = mcnemar(first, second)
    if first + second == 0:
        assert (exact, mid) == (1.0, 1.0)
        return
    assert exact == pytest.approx(binomtest(first, first + second, 0.5).pvalue)
    assert mid <= exact
    assert mcnemar(second, first) == (exact, mid)


def test_mcnemar_mid_p_by_hand() -> None:
    # 2 * (C(6,0) + C(6,1) / 2) / 64
    assert mcnemar(1, 5) == pytest.approx((14 / 64, 2 * (1 + 3) / 64))


def test_confusion_reliability_and_brier_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    truth = np.array([0, 1, 1])
    assert confusion(truth, probabilities.argmax(axis=1), 2) == [[1, 0], [1, 1]]
    assert brier(probabilities, truth) == pytest.approx((0.08 + 0.72 + 0.18) / 3)
    bins = reliability(probabilities, truth)
    assert sum(row["n"] for row in bins) == 3
    gaps = sum(row["n"] / 3 * abs(row["accuracy"] - row["confidence"]) for row in bins)
    assert gaps == pytest.approx(ece(probabilities, truth))
