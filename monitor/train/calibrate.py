"""Calibration on texts that were neither trained nor tested on: temperature or vector scaling, operating points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from monitor.core.errors import TrainError
from monitor.model.calibration import Calibration, OperatingPoint
from monitor.train.metrics import Floats, Ints, nll

_FOLDS = 5
_BIAS_PENALTY = 2.0
"""Weight of the squared biases beside the summed log-likelihood: what a normal prior of variance 1/4 is worth."""
_LEAST = 30
"""Texts that an operating point must rest on."""


def calibrate(logits: NDArray[np.floating], truth: Ints) -> Calibration:
    """The calibration that loses least likelihood in cross-validation: temperature alone, or with a bias per label.

    Raises TrainError when there is nothing to calibrate on.
    """
    if len(truth) == 0:
        raise TrainError("There are no examples to calibrate on.", hint="Raise split.calibration in the recipe.")
    found = Calibration(temperature=temperature(logits, truth))
    if len(truth) >= 20 * logits.shape[1]:
        folds = np.arange(len(truth)) % _FOLDS
        losses = {"temperature": 0.0, "vector": 0.0}
        for fold in range(_FOLDS):
            rest, inside = folds != fold, folds == fold
            plain = Calibration(temperature=temperature(logits[rest], truth[rest]))
            for name, candidate in (("temperature", plain), ("vector", vector(logits[rest], truth[rest]))):
                losses[name] += _loss(candidate.probabilities(logits[inside]), truth[inside])
        if losses["vector"] < losses["temperature"]:
            found = vector(logits, truth)
    points = operating_points(found.probabilities(logits), truth)
    return Calibration(temperature=found.temperature, bias=found.bias, points=points)


def temperature(logits: NDArray[np.floating], truth: Ints) -> float:
    """The temperature with the least negative log-likelihood (Guo et al. 2017), between 1/2 and 10.

    The bounds matter for small sets: one without a single mistake would drive the temperature to zero.

    Raises TrainError when there is nothing to calibrate on.
    """
    if len(truth) == 0:
        raise TrainError("There are no examples to calibrate on.", hint="Raise split.calibration in the recipe.")
    found = minimize_scalar(
        lambda log: nll(logits, truth, math.exp(log)), bounds=(math.log(0.5), math.log(10.0)), method="bounded"
    )
    return float(math.exp(found.x))


def vector(logits: NDArray[np.floating], truth: Ints) -> Calibration:
    """Temperature and a bias per label with the least penalised negative log-likelihood."""
    size = logits.shape[1]
    hot = np.eye(size)[truth]

    def objective(point: Floats) -> tuple[float, Floats]:
        slope, bias = math.exp(float(point[0])), point[1:]
        probabilities = Calibration(temperature=1 / slope, bias=tuple(bias)).probabilities(logits)
        error = probabilities - hot
        value = _loss(probabilities, truth) + _BIAS_PENALTY * float(bias @ bias)
        gradient = np.concatenate(
            [[float((error * logits).sum()) * slope], error.sum(axis=0) + 2 * _BIAS_PENALTY * bias]
        )
        return value, gradient

    start = np.zeros(size + 1)
    start[0] = -math.log(temperature(logits, truth))
    bounds = [(-math.log(10.0), math.log(2.0)), *[(-4.0, 4.0)] * size]
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    bias = found.x[1:] - found.x[1:].mean()
    return Calibration(temperature=math.exp(-float(found.x[0])), bias=tuple(float(value) for value in bias))


def operating_points(probabilities: Floats, truth: Ints) -> tuple[OperatingPoint, ...]:
    """How often the verdict is right above each threshold in steps of 1/100, as long as 30 texts lie above it."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    points: list[OperatingPoint] = []
    for step in range(100):
        above = confidence >= step / 100
        if above.sum() < _LEAST:
            break
        if points and points[-1].coverage == above.mean():
            continue
        points.append(
            OperatingPoint(threshold=step / 100, coverage=float(above.mean()), precision=float(right[above].mean()))
        )
    return tuple(points)


def _loss(probabilities: Floats, truth: Ints) -> float:
    return float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, None)).sum())
