"""The tests between two sets of blocks: how far apart, and further than such blocks lie apart by themselves?

News comes in bursts and copies, so texts are not independent, and a test that takes them to be so finds drift every
week. The blocks are therefore what is permuted: all of them are dealt anew into "recent" and "reference" many times,
and the statistic's values are the noise floor. A check says ``drift`` when its p-value, after Holm's correction over
all checks, is at most 0.05 *and* the shift is large enough to matter.

The place in the model's space is worked out from the stored probabilities: their centred logarithms are the logits, a
linear image of the encoder's embedding. Rabanser, Günnemann and Lipton ("Failing Loudly", 2019) found the outputs of a
classifier the best of the cheap places to look for shift. It is a proxy: what the heads do not read, it does not see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from monitor.model.drift.blocks import BINS, Block

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]

ALPHA = 0.05
LEAST_TEXTS = 200
LEAST_DEALS = 100
"""Ways to deal the blocks that there must be: with fewer, no p-value could be small."""
RESAMPLES = 999
SEED = 17
SPACE_TEXTS = 2000
_RARE = 5

THRESHOLDS = {
    "topic_labels": 0.10,
    "sentiment_labels": 0.10,
    "topic_confidence": 0.10,
    "sentiment_confidence": 0.10,
    "model_space": 0.02,
    "languages": 0.10,
    "sources": 0.25,
    "length": 0.10,
    "unknown_tokens": 0.005,
    "wording": 0.02,
}
"""The least effect that counts. Population stability index: 0.1 "some shift", 0.25 "large" by the custom of credit
scoring; Kolmogorov-Smirnov: distance; Jensen-Shannon: bits; energy: coefficient, 0 to 1; unknown tokens: rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check. ``value`` is the effect by ``statistic``; ``floor`` the 95th percentile of what chance makes of it;
    ``p`` before and ``p_holm`` after the correction. ``state``: quiet, small (real, but below ``threshold``), drift,
    or unknown with its ``reason``."""

    name: str
    statistic: str
    state: str
    threshold: float
    value: float | None = None
    floor: float | None = None
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


def compare(
    reference: Sequence[Block], recent: Sequence[Block], *, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Check]:
    """All checks of ``recent`` against ``reference``; the same for the same seed."""
    old, new = [b for b in reference if b.n], [b for b in recent if b.n]
    deals = _Deals(old, new, lambda b: b.n, resamples, seed)
    seen = _Deals([b for b in old if b.outputs], [b for b in new if b.outputs], lambda b: b.outputs, resamples, seed)
    found = [
        _categories("topic_labels", seen, lambda b: b.topics),
        _categories("sentiment_labels", seen, lambda b: b.sentiments),
        _confidence("topic", seen),
        _confidence("sentiment", seen),
        _space(seen),
        _categories("languages", deals, lambda b: b.languages),
        _categories("sources", deals, lambda b: b.sources),
        _run("length", "ks", deals, deals.table(lambda b: b.lengths), ks),
        _run(
            "unknown_tokens",
            "rate difference",
            deals,
            deals.table(lambda b: (b.unknown, b.tokens - b.unknown)),
            lambda a, b: np.abs(_rate(b) - _rate(a)),
            details=lambda a, b: {"reference": float(_rate(a)[0]), "recent": float(_rate(b)[0])},
        ),
        _run("wording", "jensen-shannon", deals, deals.table(lambda b: b.words), jensen_shannon),
    ]
    return corrected(found)


def compare_with_shares(
    shares: Mapping[str, Mapping[str, int]], recent: Sequence[Block], *, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Check]:
    """The label checks against fixed counts (task → label → count), those of the model's own labelled texts, say.

    There are no blocks to deal on that side: the noise floor is drawn from the reference's shares, with as many texts
    as the recent ones are worth given how they vary from block to block (the design effect; Kish 1965).
    """
    blocks = [b for b in recent if b.outputs]
    rng = np.random.default_rng(seed)
    found = []
    for task, name in (("topic", "topic_labels"), ("sentiment", "sentiment_labels")):
        labels = sorted(set(shares.get(task, {})))
        if not labels:
            found.append(_unknown(name, "psi", "the model's metrics name no shares of labels"))
            continue
        table = np.asarray([[_labels(b, task).get(label, 0) for label in labels] for b in blocks], dtype=np.float64)
        if len(blocks) < 3 or table.sum() < LEAST_TEXTS:
            found.append(_unknown(name, "psi", f"fewer than {LEAST_TEXTS} texts, or blocks with any, in the window"))
            continue
        old = np.asarray([shares[task][label] for label in labels], dtype=np.float64)
        n = max(20, round(float(table.sum()) / design_effect(table)))
        new = table.sum(axis=0)
        drawn = rng.multinomial(n, old / old.sum(), size=resamples).astype(np.float64)
        again = rng.multinomial(int(old.sum()), old / old.sum(), size=resamples).astype(np.float64)
        value = float(psi(old[None], new[None])[0])
        null = psi(again, drawn)
        found.append(_judged(name, "psi", value, null, _mix_details(labels, old, new)))
    return corrected(found)


def psi(old: Floats, new: Floats) -> Floats:
    """Population stability index of rows of counts: the sum of (q - p) ln(q / p), half a count added to each cell."""
    p, q = _shares(old + 0.5), _shares(new + 0.5)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=1))


def jensen_shannon(old: Floats, new: Floats) -> Floats:
    """Jensen-Shannon divergence of rows of counts, in bits: 0 to 1 (Lin 1991)."""
    p, q = _shares(old), _shares(new)
    middle = (p + q) / 2

    def to_middle(rows: Floats) -> Floats:
        ratio = np.divide(rows, middle, out=np.ones_like(rows), where=rows > 0)
        return np.asarray((rows * np.log2(ratio)).sum(axis=1))

    return np.asarray(np.maximum(0.0, (to_middle(p) + to_middle(q)) / 2))


def ks(old: Floats, new: Floats) -> Floats:
    """The Kolmogorov-Smirnov distance of rows of histograms."""
    return np.asarray(np.abs(_shares(old).cumsum(axis=1) - _shares(new).cumsum(axis=1)).max(axis=1))


def design_effect(table: Floats) -> float:
    """By how much the shares vary more from block to block than they would if texts were independent; at least 1."""
    n = table.sum(axis=1)
    table, n = table[n > 0], n[n > 0]
    shares = table.sum(axis=0) / table.sum()
    kept = shares > 0
    if len(n) < 2 or kept.sum() < 2:
        return 1.0
    chi = (((table[:, kept] - n[:, None] * shares[kept]) ** 2) / (n[:, None] * shares[kept])).sum()
    return max(1.0, float(chi) / ((len(n) - 1) * (int(kept.sum()) - 1)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted = [1.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def corrected(checks: Sequence[Check]) -> list[Check]:
    """The checks with Holm's correction over those that have a p-value, and their state."""
    known = [check for check in checks if check.p is not None and check.value is not None]
    adjusted = dict(zip([c.name for c in known], holm([float(c.p or 0.0) for c in known]), strict=True))
    done = []
    for check in checks:
        if check.name in adjusted and check.value is not None:
            real = adjusted[check.name] <= ALPHA
            state = "quiet" if not real else "drift" if check.value >= check.threshold else "small"
            done.append(replace(check, p_holm=adjusted[check.name], state=state))
        else:
            done.append(check)
    return done


class _Deals:
    """How the blocks are dealt into recent (1) and reference (0): first as they are, then at random."""

    def __init__(
        self, old: Sequence[Block], new: Sequence[Block], size: Callable[[Block], int], resamples: int, seed: int
    ) -> None:
        self.blocks = [*old, *new]
        self.sizes = np.asarray([size(block) for block in self.blocks], dtype=np.float64)
        self.rows = np.zeros((resamples + 1, len(self.blocks)))
        self.rows[0, len(old) :] = 1
        self.counts = (sum(map(size, old)), sum(map(size, new)))
        rng = np.random.default_rng(seed)
        for row in self.rows[1:]:
            row[rng.choice(len(self.blocks), size=len(new), replace=False)] = 1
        self.reason = ""
        if min(self.counts) < LEAST_TEXTS:
            self.reason = f"too few texts: {self.counts[0]} before, {self.counts[1]} now; {LEAST_TEXTS} each are needed"
        elif comb(len(self.blocks), len(new)) < LEAST_DEALS:
            self.reason = f"too few blocks: {len(old)} before, {len(new)} now"

    def table(self, cells: Callable[[Block], Sequence[int]]) -> Floats:
        return np.asarray([cells(block) for block in self.blocks], dtype=np.float64)


def _run(
    name: str,
    statistic: str,
    deals: _Deals,
    table: Floats,
    measure: Statistic,
    *,
    details: Callable[[Floats, Floats], Mapping[str, object]] = lambda _a, _b: {},
) -> Check:
    if deals.reason:
        return _unknown(name, statistic, deals.reason)
    new = deals.rows @ table
    old = table.sum(axis=0) - new
    values = measure(old, new)
    return _judged(name, statistic, float(values[0]), values[1:], details(old[:1], new[:1]))


def _judged(name: str, statistic: str, value: float, null: Floats, details: Mapping[str, object]) -> Check:
    # A little slack: equal sums in another order differ in the last digits.
    p = (1 + int((null >= value - 1e-12).sum())) / (1 + len(null))
    return Check(
        name=name,
        statistic=statistic,
        state="quiet",
        threshold=THRESHOLDS[name],
        value=value,
        floor=float(np.quantile(null, 0.95)),
        p=p,
        details=details,
    )


def _unknown(name: str, statistic: str, reason: str) -> Check:
    return Check(name=name, statistic=statistic, state="unknown", threshold=THRESHOLDS[name], reason=reason)


def _categories(name: str, deals: _Deals, pick: Callable[[Block], Mapping[str, int]]) -> Check:
    if deals.reason:
        return _unknown(name, "psi", deals.reason)
    totals: dict[str, int] = {}
    for block in deals.blocks:
        for key, count in pick(block).items():
            totals[key] = totals.get(key, 0) + count
    names = sorted(key for key, count in totals.items() if count >= _RARE)
    rare = sorted(set(totals) - set(names))

    def cells(block: Block) -> Sequence[int]:
        counts = pick(block)
        return [*(counts.get(key, 0) for key in names), *([sum(counts.get(k, 0) for k in rare)] if rare else [])]

    columns = [*names, *(["(rare)"] if rare else [])]
    return _run(
        name, "psi", deals, deals.table(cells), psi, details=lambda a, b: _mix_details(columns, a[0], b[0])
    )  # fmt: skip


def _mix_details(names: Sequence[str], old: Floats, new: Floats) -> Mapping[str, object]:
    p, q = _shares(old[None])[0], _shares(new[None])[0]
    order = sorted(range(len(names)), key=lambda i: -abs(q[i] - p[i]))
    kept = old + new > 0
    expected = (old + new)[kept] / (old.sum() + new.sum())
    chi = sum(
        float(((row[kept] - row.sum() * expected) ** 2 / (row.sum() * expected)).sum()) for row in (old, new)
    )  # fmt: skip
    return {
        "moved_most": {names[i]: [round(float(p[i]), 4), round(float(q[i]), 4)] for i in order[:5]},
        "jensen_shannon": float(jensen_shannon(old[None], new[None])[0]),
        "chi2": chi,
        "p_chi2_if_texts_were_independent": float(chi2.sf(chi, max(1, int(kept.sum()) - 1))),
    }


def _confidence(task: str, deals: _Deals) -> Check:
    name = f"{task}_confidence"
    if deals.reason:
        return _unknown(name, "ks", deals.reason)
    centres = (np.arange(BINS) + 0.5) / BINS

    def details(old: Floats, new: Floats) -> Mapping[str, object]:
        entropy = deals.table(lambda b: b.entropy[task])
        then, now = (deals.rows[0] == 0) @ entropy, deals.rows[0] @ entropy
        return {
            "mean_top_probability": [_mean(old[0], centres), _mean(new[0], centres)],
            "mean_entropy": [_mean(then, centres), _mean(now, centres)],
            "part_below_0.6": [float(row[: round(0.6 * BINS)].sum() / row.sum()) for row in (old[0], new[0])],
        }

    return _run(name, "ks", deals, deals.table(lambda b: b.confidence[task]), ks, details=details)


def _space(deals: _Deals) -> Check:
    """The energy coefficient (Székely and Rizzo 2013) between the places of texts in the model's space."""
    if deals.reason:
        return _unknown("model_space", "energy", deals.reason)
    most = max(2, SPACE_TEXTS // len(deals.blocks))
    samples = [np.asarray(block.space[:most], dtype=np.float64) for block in deals.blocks]
    usable = np.asarray([len(sample) >= 2 for sample in samples])
    rows = deals.rows[:, usable] * deals.sizes[usable]
    rest = (1 - deals.rows[:, usable]) * deals.sizes[usable]
    samples = [sample for sample in samples if len(sample) >= 2]
    if not samples or not rows[0].any() or not rest[0].any():
        return _unknown("model_space", "energy", "no stored probabilities to place texts by")
    distances = _block_distances(samples)
    # A deal whose texts all lie in blocks too small to use says nothing; it is left out.
    sound = (rows.sum(axis=1) > 0) & (rest.sum(axis=1) > 0)
    a = rows[sound] / rows[sound].sum(axis=1, keepdims=True)
    b = rest[sound] / rest[sound].sum(axis=1, keepdims=True)
    across, within_a, within_b = (
        np.einsum("ri,ij,rj->r", x, distances, y, optimize=True) for x, y in ((a, b), (a, a), (b, b))
    )
    values = (2 * across - within_a - within_b) / np.maximum(2 * across, 1e-12)
    return _judged("model_space", "energy", float(values[0]), values[1:], {"texts": sum(map(len, samples))})


def _block_distances(samples: Sequence[Floats]) -> Floats:
    """Mean distances between texts of two blocks; within a block, of different texts."""
    edges = np.cumsum([0, *map(len, samples)])
    points = np.concatenate(samples)
    squares = (points**2).sum(axis=1)
    table = np.zeros((len(samples), len(samples)))
    for i, sample in enumerate(samples):
        gram = squares[edges[i] : edges[i + 1], None] + squares[None] - 2 * sample @ points.T
        sums = np.add.reduceat(np.sqrt(np.maximum(gram, 0.0)), edges[:-1], axis=1).sum(axis=0)
        counts = len(sample) * np.diff(edges).astype(np.float64)
        counts[i] = len(sample) * (len(sample) - 1)
        table[i] = sums / counts
    return table


def _labels(block: Block, task: str) -> Mapping[str, int]:
    return block.topics if task == "topic" else block.sentiments


def _shares(rows: Floats) -> Floats:
    total = rows.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(rows, total, out=np.zeros_like(rows, dtype=np.float64), where=total > 0))


def _rate(rows: Floats) -> Floats:
    return _shares(rows)[:, 0]


def _mean(histogram: Floats, centres: Floats) -> float:
    return float((histogram * centres).sum() / max(1.0, histogram.sum()))


def drifting(checks: Iterable[Check]) -> list[str]:
    """The names of the checks that say ``drift``."""
    return [check.name for check in checks if check.state == "drift"]
