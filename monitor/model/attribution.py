"""How much each word moves a verdict, from the model's answers to texts with some of the words left out.

A plan says which words each variant of a text keeps (one row per variant), and turns the probabilities of the variants
into one weight per word. Every method is linear in the probabilities, so one set of variants serves all labels and
tasks, and none needs gradients: they run on any engine. ``benchmarks/explain.py`` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]
"""[variants, words]; True: the variant keeps the word."""
Table = NDArray[np.float64]
"""[variants, columns] of probabilities, or [words, columns] of weights."""

MAX_VARIANTS = 128
"""The most texts that the model is asked for one explanation."""
DEFAULT_METHOD = "first-and-last"
SEED = 20
"""The draws of the sampling methods are fixed: a text gets the same weights every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Variants of one text and the linear map from their values to weights: ``weights = solve @ values``."""

    masks: Masks
    solve: Table

    def weights(self, values: Table) -> Table:
        """[words, columns] from the values of the variants, [variants, columns]."""
        return np.asarray(self.solve @ values, dtype=np.float64)


Planner = Callable[[int], Plan]
"""From the number of words (at least one) to a plan."""


def leave_one_out(words: int) -> Plan:
    """With the word minus without it (Li, Monroe and Jurafsky, "Understanding Neural Networks through Representation
    Erasure", 2016). Blind to words that say the same twice: without either the other still stands."""
    masks = np.vstack([np.ones((1, words), bool), ~np.eye(words, dtype=bool)])
    return Plan(masks=masks, solve=np.hstack([np.ones((words, 1)), -np.eye(words)]))


def first_and_last(words: int) -> Plan:
    """The mean of what a word adds to nothing and what its loss takes from the whole: the two ends of the Shapley
    value's average, for two variants a word."""
    eye = np.eye(words, dtype=bool)
    masks = np.vstack([np.ones((1, words), bool), np.zeros((1, words), bool), ~eye, eye])
    half = np.full((words, 1), 0.5)
    return Plan(masks=masks, solve=np.hstack([half, -half, -0.5 * np.eye(words), 0.5 * np.eye(words)]))


def windows(words: int, *, widest: int = 3) -> Plan:
    """Occlusion of all windows of one to ``widest`` words; a window's weight is shared evenly among its words, and a
    word's weight is the mean over the windows that hold it (Zeiler and Fergus, 2014, moved to text)."""
    spans = [(a, a + size) for size in range(1, min(widest, words) + 1) for a in range(words - size + 1)]
    masks = np.ones((1 + len(spans), words), bool)
    share = np.zeros((words, len(spans)))
    for number, (start, end) in enumerate(spans):
        masks[1 + number, start:end] = False
        share[start:end, number] = 1.0 / (end - start)
    share /= (share > 0).sum(axis=1, keepdims=True)
    return Plan(masks=masks, solve=np.hstack([share.sum(axis=1, keepdims=True), -share]))


def hierarchical(words: int) -> Plan:
    """Occlusion of every segment of a halving of the text. What a segment loses beyond the losses of its halves is
    shared evenly among its words, so that words that only count together get their part."""
    segments: list[tuple[int, int]] = []

    def divide(start: int, end: int) -> None:
        segments.append((start, end))
        if end - start > 1:
            middle = (start + end + 1) // 2
            divide(start, middle)
            divide(middle, end)

    divide(0, words)
    index = {segment: number for number, segment in enumerate(segments)}
    masks = np.ones((1 + len(segments), words), bool)
    loss = np.zeros((words, len(segments)))  # word's weight as a combination of the losses of segments
    for (start, end), number in index.items():
        masks[1 + number, start:end] = False
        part = 1.0 / (end - start)
        loss[start:end, number] += part
        if end - start > 1:
            middle = (start + end + 1) // 2
            loss[start:end, index[start, middle]] -= part
            loss[start:end, index[middle, end]] -= part
    return Plan(masks=masks, solve=np.hstack([loss.sum(axis=1, keepdims=True), -loss]))


def linear_fit(words: int, *, budget: int, seed: int = SEED) -> Plan:
    """A ridge regression of the values on the words kept, variants drawn evenly over how many words are dropped and
    weighed by their nearness to the whole text (Ribeiro, Singh and Guestrin, "Why Should I Trust You?", 2016)."""
    if words == 1:
        return leave_one_out(words)
    rng = np.random.default_rng(seed)
    masks = np.ones((budget, words), bool)
    for row in range(1, budget):
        masks[row, rng.permutation(words)[: rng.integers(1, words + 1)]] = False
    kept = masks.mean(axis=1)
    nearness = np.exp(-((1 - np.sqrt(kept)) ** 2) / 0.25**2)  # cosine distance to the whole, width as in LIME's texts
    return Plan(masks=masks, solve=_least_squares(masks.astype(np.float64), nearness, ridge=1e-2))


def kernel_shap(words: int, *, budget: int, seed: int = SEED) -> Plan:
    """Shapley values by weighted least squares (Lundberg and Lee, 2017; paired sampling and the exact sum as in Covert
    and Lee, "Improving KernelSHAP", 2021). Weights add up to whole text minus empty text.

    Sizes of coalitions are enumerated from the ends while they fit the ``budget``; the rest of it is drawn in pairs of
    a coalition and its complement. With few words everything is enumerated, and the values are exact. With many, each
    word alone and the text without each are asked at least, whatever the budget: less would not tell the words apart.
    """
    full, empty = np.ones(words, bool), np.zeros(words, bool)
    if words == 1:
        return Plan(masks=np.vstack([full, empty]), solve=np.array([[1.0, -1.0]]))
    rows: list[Masks] = []
    importance: list[float] = []
    left = max(budget, 2 * words + 2) - 2
    sizes = [(size, words - size) for size in range(1, words // 2 + 1)]
    done = 0
    for size, other in sizes:
        count = math.comb(words, size) * (1 if size == other else 2)
        if count > left:
            break
        for chosen in _combinations(words, size):
            rows.append(chosen)
            importance.append(_kernel(words, size))
            if size != other:
                rows.append(~chosen)
                importance.append(_kernel(words, size))
        left -= count
        done += 1
    rest = sizes[done:]
    if rest and left >= 2:
        mass = np.array([
            _kernel(words, size) * math.comb(words, size) * (1 if size == other else 2) for size, other in rest
        ])  # fmt: skip
        rng = np.random.default_rng(seed)
        pairs = left // 2
        for _ in range(pairs):
            size = rest[int(rng.choice(len(rest), p=mass / mass.sum()))][0]
            chosen = empty.copy()
            chosen[rng.permutation(words)[:size]] = True
            rows += [chosen, ~chosen]
            importance += [float(mass.sum()) / (2 * pairs)] * 2
    masks = np.vstack([full, empty, *rows])
    return Plan(masks=masks, solve=_constrained(masks, np.array(importance)))


def _kernel(words: int, size: int) -> float:
    return (words - 1) / (math.comb(words, size) * size * (words - size))


def _combinations(words: int, size: int) -> list[Masks]:
    from itertools import combinations

    found = []
    for chosen in combinations(range(words), size):
        mask = np.zeros(words, bool)
        mask[list(chosen)] = True
        found.append(mask)
    return found


def _least_squares(design: Table, importance: Table, *, ridge: float) -> Table:
    """The linear map from values to the slopes of a weighted ridge regression with an intercept."""
    full = np.hstack([design, np.ones((len(design), 1))])
    penalty = np.diag([ridge] * design.shape[1] + [0.0])
    weighted = full.T * importance
    return np.asarray(np.linalg.solve(weighted @ full + penalty, weighted)[:-1], dtype=np.float64)


def _constrained(masks: Masks, importance: Table) -> Table:
    """The linear map of KernelSHAP: least squares on all rows but the first two (whole and empty text), slopes bound
    to add up to the first row's value minus the second's (Covert and Lee 2021, equation 7)."""
    words = masks.shape[1]
    design = masks[2:].astype(np.float64)
    # A trace of ridge, for two words, of which one alone is the text without the other.
    gram = (design.T * importance) @ design + 1e-9 * np.eye(words)
    inverse = np.linalg.inv(gram)
    ones = np.ones(words)
    spread = inverse @ ones
    # slopes = inverse (b - ones * (ones' inverse b - total) / (ones' inverse ones)), b = design' W (values - empty)
    project = inverse - np.outer(spread, spread) / spread.sum()
    effect = project @ (design.T * importance)
    total = spread / spread.sum()
    return np.hstack([total[:, None], (-total - effect.sum(axis=1))[:, None], effect])


METHODS: Mapping[str, Planner] = {
    "leave-one-out": leave_one_out,
    "first-and-last": first_and_last,
    "windows": windows,
    "hierarchical": hierarchical,
    "linear-32": lambda words: linear_fit(words, budget=32),
    "linear-64": lambda words: linear_fit(words, budget=64),
    "shap-32": lambda words: kernel_shap(words, budget=32),
    "shap-64": lambda words: kernel_shap(words, budget=64),
    "shap-128": lambda words: kernel_shap(words, budget=128),
}
"""The methods by name."""
