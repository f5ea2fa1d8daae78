"""Calibration: temperature against vector scaling, operating points, and what an artefact holds of them."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.errors import ArtefactMismatchError
from monitor.model.calibration import Calibration, OperatingPoint
from monitor.train.calibrate import calibrate, operating_points, vector
from monitor.train.metrics import ece, softmax


def _drawn(rng: np.random.Generator, logits: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.asarray([rng.choice(len(row), p=row) for row in probabilities], dtype=np.int64)


def test_a_shifted_class_is_calibrated_by_a_bias_and_an_unshifted_one_by_a_temperature() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (4000, 3))
    shifted = _drawn(rng, logits, softmax(logits + np.array([0.0, 1.5, 0.0])))
    found = calibrate(logits, shifted)
    assert found.bias
    assert found.bias[1] - found.bias[0] == pytest.approx(1.5, abs=0.3)
    assert ece(found.probabilities(logits), shifted) < 0.02 < ece(softmax(logits), shifted)

    even = _drawn(rng, logits, softmax(logits, 2.0))
    assert calibrate(logits, even).temperature == pytest.approx(2.0, rel=0.15)


def test_the_gradient_of_vector_scaling_leads_to_the_optimum() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (500, 4))
    truth = _drawn(rng, logits, softmax(logits + np.array([1.0, 0.0, -1.0, 0.0]), 1.4))
    found = vector(logits, truth)

    def loss(temperature: float, bias: np.ndarray) -> float:
        probabilities = Calibration(temperature=temperature, bias=tuple(bias)).probabilities(logits)
        return float(-np.log(probabilities[np.arange(500), truth]).sum() + 2.0 * bias @ bias)

    best = loss(found.temperature, np.asarray(found.bias))
    for place in range(4):
        for step in (-0.1, 0.1):
            moved = np.asarray(found.bias)
            moved[place] += step
            assert loss(found.temperature, moved) > best
    assert loss(found.temperature * 1.1, np.asarray(found.bias)) > best
    assert loss(found.temperature / 1.1, np.asarray(found.bias)) > best


def test_few_examples_get_a_temperature_only() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (40, 3))
    assert calibrate(logits, _drawn(rng, logits, softmax(logits))).bias == ()


def test_operating_points_say_what_lies_above_each_threshold() -> None:
    confidence = np.linspace(0.5, 0.999, 200)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    truth = np.where(confidence > 0.7, 0, 1).astype(np.int64)  # everything above 0.7 is right, nothing below
    points = operating_points(probabilities, truth)
    assert points[0].coverage == 1.0
    for point in points:
        above = confidence >= point.threshold
        assert point.coverage == pytest.approx(above.mean())
        assert point.precision == pytest.approx((truth[above] == 0).mean())
        assert above.sum() >= 30
    threshold = Calibration(points=points).threshold(0.999)
    assert threshold is not None
    assert 0.69 <= threshold <= 0.71


def test_a_precision_out_of_reach_has_no_threshold_and_a_dip_above_it_counts() -> None:
    def point(threshold: float, precision: float) -> OperatingPoint:
        return OperatingPoint(threshold=threshold, coverage=0.5, precision=precision)

    dipping = Calibration(points=(point(0.3, 0.8), point(0.5, 0.95), point(0.7, 0.9), point(0.9, 0.97)))
    assert dipping.threshold(0.93) == 0.9
    assert dipping.threshold(0.8) == 0.3
    assert dipping.threshold(0.99) is None
    assert Calibration().threshold(0.5) is None


def test_round_trip_and_old_artefacts() -> None:
    full = Calibration(
        temperature=1.3, bias=(0.1, -0.1), points=(OperatingPoint(threshold=0.5, coverage=0.9, precision=0.8),)
    )
    assert Calibration.from_dict(full.to_dict(), labels=("a", "b"), task="t") == full
    old = Calibration.from_dict({"temperature": 1.2}, labels=("a", "b"), task="t")
    assert old == Calibration(temperature=1.2)
    assert np.allclose(old.probabilities(np.array([[1.2, 0.0]])), softmax(np.array([[1.2, 0.0]]), 1.2))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"temperature": 0.0},
        {"temperature": "warm"},
        {"temperature": 1.0, "bias": [0.1]},
        {"temperature": 1.0, "bias": [0.1, float("nan")]},
        {"temperature": 1.0, "operating_points": [[0.5, 0.9]]},
    ],
)
def test_unsound_calibration_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ArtefactMismatchError, match="'sentiment': the calibration is unsound"):
        Calibration.from_dict(data, labels=("a", "b"), task="sentiment")
