"""What a model is worth that may say "uncertain": precision against the part of texts that it decides.

The texts are taken in the order of confidence. AURC is the mean, over all numbers of texts decided, of the part that is
wrong among them (Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017, and Geifman, Uziel
and El-Yaniv 2019, who name it). Texts of equal confidence count as the mean of any order among them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from monitor.train.metrics import Floats, Ints

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))
PRECISIONS = (0.85, 0.90, 0.95, 0.98, 0.99)


def abstention(probabilities: Floats, truth: Ints) -> dict[str, object]:
    """``aurc``, ``curve`` (coverage, precision, threshold) and ``at_precision``: the largest part of texts decided with
    at least that precision, and the confidence below which to say "uncertain"; None when no threshold reaches it."""
    confidence, precision = _curve(probabilities, truth)
    n = len(truth)
    curve: list[dict[str, float]] = []
    for coverage in COVERAGES:
        count = max(1, round(coverage * n))
        point = {"coverage": count / n, "precision": precision[count - 1], "threshold": confidence[count - 1]}
        if not curve or curve[-1]["coverage"] < point["coverage"]:
            curve.append({name: float(value) for name, value in point.items()})
    # A threshold can only be put between different confidences.
    ends = [place for place in range(n) if place + 1 == n or confidence[place + 1] < confidence[place]]
    table = []
    for wanted in PRECISIONS:
        reached = [place for place in ends if precision[place] >= wanted]
        last = reached[-1] if reached else None
        table.append({
            "precision": wanted,
            "coverage": 0.0 if last is None else (last + 1) / n,
            "threshold": None if last is None else float(confidence[last]),
            "reached": None if last is None else float(precision[last]),
        })  # fmt: skip
    return {"aurc": float((1 - precision).mean()), "curve": curve, "at_precision": table}


def _curve(probabilities: Floats, truth: Ints) -> tuple[Floats, Floats]:
    """Confidences in falling order, and the precision of all down to each."""
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    edges = np.flatnonzero(np.diff(confidence)) + 1
    for start, end in pairwise([0, *edges.tolist(), len(right)]):
        if end - start > 1:
            right[start:end] = right[start:end].mean()
    return confidence, np.cumsum(right) / np.arange(1, len(right) + 1)
