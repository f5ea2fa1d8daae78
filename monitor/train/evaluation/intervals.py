"""Confidence intervals by resampling groups of texts with replacement.

Equal texts are one group, for they are right or wrong together. Accuracy and F1 get the BCa interval (bias-corrected
and accelerated; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 14), the calibration error the
percentile interval. All are functions of sums over texts, so a resample is one product of counts and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse
from scipy.stats import norm

from monitor.train.metrics import ECE_BINS, Floats, Ints, bin_of

LEVEL = 0.95
RESAMPLES = 2000
SEED = 17
_CHUNK = 100
Interval = tuple[float, float]


def intervals(
    probabilities: Floats, truth: Ints, groups: Ints, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """95 % intervals of ``accuracy``, ``macro_f1``, ``weighted_f1`` and ``ece``; the same for the same seed."""
    labels = probabilities.shape[1]
    sums = _group_sums(_parts(probabilities, truth), groups)
    total = np.asarray(sums.sum(axis=0)).reshape(1, -1)
    draws = np.concatenate([np.asarray(counts @ sums) for counts in _counts(sums.shape[0], resamples, seed)])
    names: dict[str, Callable[[Floats], Floats]] = {
        "accuracy": lambda rows: _accuracy(rows, labels),
        "macro_f1": lambda rows: _macro_f1(rows, labels),
        "weighted_f1": lambda rows: _weighted_f1(rows, labels),
    }
    found = {}
    for name, statistic in names.items():
        left_out = np.concatenate([
            statistic(total - sums[start : start + 1000].toarray()) for start in range(0, sums.shape[0], 1000)
        ]) if sums.shape[0] > 1 else np.zeros(0)  # fmt: skip
        found[name] = bca(float(statistic(total)[0]), statistic(draws), left_out)
    found["ece"] = _percentile(_ece(draws, labels))
    return found


def mean_interval(values: Floats, groups: Ints, *, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """The 95 % percentile interval of the mean of ``values``, resampled in groups."""
    sums = _group_sums(sparse.csr_matrix(np.column_stack([values, np.ones(len(values))])), groups)
    draws = np.concatenate([np.asarray(counts @ sums) for counts in _counts(sums.shape[0], resamples, seed)])
    return _percentile(draws[:, 0] / draws[:, 1])


def wilson(right: int, n: int) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson 1927): good for small n, where resampling is not."""
    if n == 0:
        return 0.0, 1.0
    z = float(norm.ppf((1 + LEVEL) / 2))
    p, scale = right / n, 1 + z * z / n
    centre, half = (p + z * z / (2 * n)) / scale, z / scale * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def bca(estimate: float, draws: Floats, left_out: Floats) -> Interval:
    """The BCa interval from resampled values and the leave-one-group-out values; the percentile interval where the
    correction is not defined (all resamples alike, or all on one side of the estimate)."""
    below = (np.sum(draws < estimate) + 0.5 * np.sum(draws == estimate)) / len(draws)
    away = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = float(np.sum(away**2))
    if not 0 < below < 1 or spread <= 1e-18:
        return _percentile(draws)
    bias = norm.ppf(below)
    speed = float(np.sum(away**3)) / (6 * spread**1.5)
    edges = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        shifted = bias + norm.ppf(tail)
        edges.append(float(norm.cdf(bias + shifted / (1 - speed * shifted))))
    low, high = np.quantile(draws, edges)
    return float(low), float(high)


def _percentile(draws: Floats) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _parts(probabilities: Floats, truth: Ints) -> sparse.csr_matrix:
    """One row a text: a one in its cell of the confusion matrix, and right minus confidence in its bin."""
    n, labels = probabilities.shape
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    gap = (predicted == truth) - confidence
    columns = np.concatenate([truth * labels + predicted, labels * labels + bin_of(confidence)])
    rows = np.tile(np.arange(n), 2)
    return sparse.csr_matrix(
        (np.concatenate([np.ones(n), gap]), (rows, columns)), shape=(n, labels * labels + ECE_BINS)
    )


def _group_sums(parts: sparse.csr_matrix, groups: Ints) -> sparse.csr_matrix:
    n = len(groups)
    member = sparse.csr_matrix((np.ones(n), (groups, np.arange(n))), shape=(int(groups.max()) + 1, n))
    return (member @ parts).tocsr()


def _counts(groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each group is drawn, some resamples at a time: what they hold does not depend on how many."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(groups, size=(size, groups))
        offsets = np.arange(size)[:, None] * groups
        counted = np.bincount((drawn + offsets).ravel(), minlength=size * groups)
        yield counted.reshape(size, groups).astype(np.float64)


def _tables(rows: Floats, labels: int) -> Floats:
    return rows[:, : labels * labels].reshape(len(rows), labels, labels)


def _accuracy(rows: Floats, labels: int) -> Floats:
    tables = _tables(rows, labels)
    return np.asarray(np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2)))


def _f1(rows: Floats, labels: int) -> tuple[Floats, Floats, Floats]:
    tables = _tables(rows, labels)
    support, claimed = tables.sum(axis=2), tables.sum(axis=1)
    hits = np.diagonal(tables, axis1=1, axis2=2)
    f1 = np.divide(2 * hits, support + claimed, out=np.zeros_like(hits), where=support + claimed > 0)
    return f1, support, claimed


def _macro_f1(rows: Floats, labels: int) -> Floats:
    f1, support, claimed = _f1(rows, labels)
    present = support + claimed > 0
    return np.asarray((f1 * present).sum(axis=1) / present.sum(axis=1))


def _weighted_f1(rows: Floats, labels: int) -> Floats:
    f1, support, _ = _f1(rows, labels)
    return np.asarray((f1 * support).sum(axis=1) / support.sum(axis=1))


def _ece(rows: Floats, labels: int) -> Floats:
    n = _tables(rows, labels).sum(axis=(1, 2))
    return np.asarray(np.abs(rows[:, labels * labels :]).sum(axis=1) / n)
