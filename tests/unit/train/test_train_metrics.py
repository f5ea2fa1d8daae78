import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.errors import TrainError
from monitor.train.calibrate import temperature
from monitor.train.metrics import ece, nll, per_class, softmax, summary


def _one_hot(predicted: list[int], labels: int) -> np.ndarray:
    return np.eye(labels)[predicted]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_figures_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth = np.array([t for t, _ in pairs])
    predicted = [p for _, p in pairs]
    got = summary(_one_hot(predicted, 4), truth, ["a", "b", "c", "d"])
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    for key, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        assert got[key] == pytest.approx(metrics.f1_score(truth, predicted, average=average, zero_division=0))


def test_per_class_by_hand() -> None:
    table = per_class(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert table["a"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert table["b"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1})
    assert table["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_ece_is_the_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10)
    truth = np.array([0] * 6 + [1] * 4)
    assert ece(probabilities, truth) == pytest.approx(0.3)
    assert ece(np.array([[1.0, 0.0]] * 4), np.zeros(4, dtype=np.int64)) == pytest.approx(0.0)


def test_the_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.normal(size=(4000, 5))
    truth = np.array([rng.choice(5, p=row) for row in softmax(sharp)])
    overconfident = sharp * 3.0
    found = temperature(overconfident, truth)
    assert found == pytest.approx(3.0, rel=0.1)
    assert ece(softmax(overconfident, found), truth) < ece(softmax(overconfident), truth) / 3
    assert nll(overconfident, truth, found) < nll(overconfident, truth, 1.0)


def test_nothing_to_calibrate_on_is_an_error() -> None:
    with pytest.raises(TrainError):
        temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
