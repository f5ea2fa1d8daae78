"""Weights from variants: each method against what it is meant to compute."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.model.attribution import METHODS, Masks, kernel_shap, leave_one_out, linear_fit

ADDITIVE = [name for name in METHODS if name not in ("windows",)]


def _values(masks: Masks, worth: dict[bytes, float]) -> NDArray[np.float64]:
    return np.array([[worth[mask.tobytes()]] for mask in masks])


def _game(words: int, seed: int) -> dict[bytes, float]:
    """A value for every set of words, drawn at random."""
    rng = np.random.default_rng(seed)
    return {
        np.array([number >> bit & 1 for bit in range(words)], dtype=bool).tobytes(): float(rng.random())
        for number in range(2**words)
    }


def _shapley(words: int, worth: dict[bytes, float]) -> NDArray[np.float64]:
    """By its definition: the mean over all orders of what a word adds."""
    total = np.zeros(words)
    for order in permutations(range(words)):
        kept = np.zeros(words, dtype=bool)
        for word in order:
            before = worth[kept.tobytes()]
            kept[word] = True
            total[word] += worth[kept.tobytes()] - before
    return total / math.factorial(words)


@pytest.mark.parametrize("name", ADDITIVE)
@pytest.mark.parametrize("words", [1, 2, 3, 10, 20])
def test_words_that_act_alone_get_what_they_add(name: str, words: int) -> None:
    adds = np.random.default_rng(words).normal(size=words)
    plan = METHODS[name](words)
    weights = plan.weights(np.array([[float(mask @ adds)] for mask in plan.masks]))[:, 0]
    assert weights == pytest.approx(adds, abs=0.15 if name.startswith("linear") else 1e-4)


def test_windows_keep_the_sum_of_words_that_act_alone_and_smooth_it() -> None:
    plan = METHODS["windows"](9)
    weights = plan.weights(np.array([[float(mask[4])] for mask in plan.masks]))[:, 0]
    assert int(np.argmax(weights)) == 4
    assert weights[0] == pytest.approx(0)
    assert weights[3] == pytest.approx(weights[5])


@pytest.mark.parametrize("words", [2, 3, 5, 6])
def test_with_few_words_shapley_values_are_exact(words: int) -> None:
    worth = _game(words, seed=words)
    plan = kernel_shap(words, budget=64)
    assert plan.weights(_values(plan.masks, worth))[:, 0] == pytest.approx(_shapley(words, worth), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(words=st.integers(1, 30), budget=st.integers(16, 128), seed=st.integers(0, 99))
def test_shapley_weights_add_up_to_whole_minus_nothing(words: int, budget: int, seed: int) -> None:
    plan = kernel_shap(words, budget=budget, seed=seed)
    values = np.random.default_rng(seed).random((len(plan.masks), 2))
    assert len(plan.masks) <= max(budget, 2 * words + 2)
    assert plan.weights(values).sum(axis=0) == pytest.approx(values[0] - values[1], abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("words", [1, 2, 7, 40])
def test_the_first_variant_is_the_whole_text_and_draws_never_change(name: str, words: int) -> None:
    one, other = METHODS[name](words), METHODS[name](words)
    assert one.masks[0].all()
    assert np.array_equal(one.masks, other.masks)
    assert np.array_equal(one.solve, other.solve)
    assert one.solve.shape == (words, len(one.masks))


def test_leave_one_out_is_blind_to_what_is_said_twice_and_shapley_values_are_not() -> None:
    said = {mask: float(np.frombuffer(mask, dtype=bool)[:2].any()) for mask in _game(3, seed=0)}
    blind, fair = leave_one_out(3), kernel_shap(3, budget=64)
    assert blind.weights(_values(blind.masks, said))[:, 0] == pytest.approx([0, 0, 0])
    assert fair.weights(_values(fair.masks, said))[:, 0] == pytest.approx([0.5, 0.5, 0], abs=1e-6)


def test_a_linear_fit_finds_the_word_that_decides_alone() -> None:
    plan = linear_fit(12, budget=64)
    weights = plan.weights(plan.masks[:, [7]].astype(np.float64))[:, 0]
    assert int(np.argmax(weights)) == 7
    assert weights[7] > 0.8
