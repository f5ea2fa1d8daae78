"""Figures of a classifier: accuracy, F1, calibration error. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ECE_BINS = 15


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Row-wise probabilities of logits divided by ``temperature``."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def per_class(truth: Ints, predicted: Ints, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support by label; a ratio without a denominator counts as 0."""
    table: dict[str, dict[str, float]] = {}
    for index, label in enumerate(labels):
        hits = int(((predicted == index) & (truth == index)).sum())
        claimed, support = int((predicted == index).sum()), int((truth == index).sum())
        precision = hits / claimed if claimed else 0.0
        recall = hits / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        table[label] = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    return table


def bin_of(confidence: Floats, bins: int = ECE_BINS) -> Ints:
    """The number of the equal-width bin of each confidence."""
    return np.asarray(np.minimum((confidence * bins).astype(np.int64), bins - 1), dtype=np.int64)


def reliability(probabilities: Floats, truth: Ints, *, bins: int = ECE_BINS) -> list[dict[str, float]]:
    """The bins of :func:`ece` that hold any text: their edges, ``n``, mean ``confidence`` and ``accuracy``."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    places = bin_of(confidence, bins)
    return [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "n": int((places == number).sum()),
            "confidence": float(confidence[places == number].mean()),
            "accuracy": float(correct[places == number].mean()),
        }
        for number in range(bins)
        if (places == number).any()
    ]


def confusion(truth: Ints, predicted: Ints, labels: int) -> list[list[int]]:
    """Texts by true label (rows) and predicted label (columns)."""
    table = np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)
    return [[int(value) for value in row] for row in table]


def brier(probabilities: Floats, truth: Ints) -> float:
    """Brier's score over all labels (Brier 1950): the mean squared distance from the truth, 0 to 2."""
    wanted = np.zeros_like(probabilities)
    wanted[np.arange(len(truth)), truth] = 1.0
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def ece(probabilities: Floats, truth: Ints, *, bins: int = ECE_BINS) -> float:
    """Expected calibration error of the top label: the mean over equal-width confidence bins, weighted by size, of
    |accuracy - confidence| (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    places = bin_of(confidence, bins)
    error = 0.0
    for number in range(bins):
        inside = places == number
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(error)


def summary(probabilities: Floats, truth: Ints, labels: Sequence[str]) -> dict[str, object]:
    """``n``, ``accuracy``, ``macro_f1`` and ``weighted_f1`` (over the labels that occur in the truth or are
    predicted), ``ece`` and ``per_class``."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    table = per_class(truth, predicted, labels)
    present = [label for i, label in enumerate(labels) if (truth == i).any() or (predicted == i).any()]
    support = sum(table[label]["support"] for label in present)
    return {
        "n": len(truth),
        "accuracy": float((predicted == truth).mean()),
        "macro_f1": float(np.mean([table[label]["f1"] for label in present])),
        "weighted_f1": float(sum(table[label]["f1"] * table[label]["support"] for label in present) / support),
        "ece": ece(probabilities, truth),
        "per_class": {label: table[label] for label in labels},
    }


def nll(logits: NDArray[np.floating], truth: Ints, temperature: float) -> float:
    """Mean negative log-likelihood at a temperature."""
    probabilities = softmax(logits, temperature)
    return float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, None)).mean())
