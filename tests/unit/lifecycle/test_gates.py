"""The gates: what falls is found, what only trembles is let through, and better must be shown."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator

from monitor.train.lifecycle.gates import Bounds, Gate, Paired, decide, mid_p

LABELS = ("negative", "neutral", "positive")


def paired(
    rng: Generator,
    n: int,
    *,
    was: float = 0.85,
    gained: float = 0.02,
    lost: float = 0.02,
    lost_in_zh: float = 0.0,
    name: str = "frozen",
    new: bool = False,
) -> Paired:
    """Two models that differ at random on a few texts: ``gained`` of those that were wrong become right …"""
    truth = rng.integers(3, size=n)
    lang = np.where(rng.random(n) < 0.15, "zh", "en")
    right = rng.random(n) < was
    chance = rng.random(n)
    fall = np.where(lang == "zh", np.maximum(lost, lost_in_zh), lost)
    then = np.where(right, chance >= fall, chance < gained / (1 - was) * was)
    return Paired(
        task="sentiment",
        name=name,
        labels=LABELS,
        truth=truth,
        present=probabilities(truth, right),
        candidate=probabilities(truth, then),
        groups=np.arange(n),
        slices={"lang": lang.tolist()},
        new=new,
    )


def probabilities(truth: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A verdict with probability 0.85: calibrated for models that are right as often."""
    verdict = np.where(right, truth, (truth + 1) % 3)
    table = np.full((len(truth), 3), 0.075)
    table[np.arange(len(truth)), verdict] = 0.85
    return table


def failed(gates: tuple[Gate, ...]) -> list[tuple[str, str]]:
    return [(gate.kind, gate.part) for gate in gates if gate.state == "failed"]


QUICK = Bounds(resamples=200)


def test_better_on_the_new_and_no_worse_on_the_old_is_promoted() -> None:
    rng = np.random.default_rng(1)
    new = paired(rng, 300, was=0.7, gained=0.12, lost=0.01, new=True, name="new-labels-held")
    decision = decide([new, paired(rng, 3000, gained=0.02, lost=0.01)], QUICK)
    assert decision.promote, decision.reasons
    assert "better" in decision.reasons[0]


def test_the_same_model_is_not_promoted() -> None:
    rng = np.random.default_rng(2)
    new = paired(rng, 300, gained=0.0, lost=0.0, new=True)
    decision = decide([new], QUICK)
    assert not decision.promote
    assert "not significantly better" in decision.reasons[0]
    assert "five" in decision.reasons[0]


def test_without_new_labels_nothing_is_promoted() -> None:
    decision = decide([paired(np.random.default_rng(3), 500, gained=0.1, lost=0.0)], QUICK)
    assert not decision.promote
    assert "no held-out new labels" in decision.reasons[0]


def test_a_whole_set_that_fell_blocks() -> None:
    rng = np.random.default_rng(4)
    new = paired(rng, 300, was=0.7, gained=0.15, lost=0.0, new=True)
    decision = decide([new, paired(rng, 2000, gained=0.0, lost=0.03)], QUICK)
    assert not decision.promote
    assert ("forgetting", "all") in failed(decision.gates)
    assert any("fell by more than 0.5%" in reason for reason in decision.reasons)


def test_a_slice_that_fell_is_found_though_the_whole_rose() -> None:
    rng = np.random.default_rng(5)
    new = paired(rng, 300, was=0.7, gained=0.15, lost=0.0, new=True)
    decision = decide([new, paired(rng, 2000, gained=0.06, lost=0.0, lost_in_zh=0.2)], QUICK)
    judged = tuple(gate for gate in decision.gates if gate.kind != "calibration")
    assert failed(judged) == [("slice", "lang=zh")]
    assert not decision.promote


def test_models_that_differ_by_chance_are_seldom_blocked_by_a_slice() -> None:
    """Holm at 5 % over the slices: of 40 pairs of equally good models few may have a slice that "fell"."""
    rng = np.random.default_rng(6)
    blocked = sum(
        any(kind == "slice" for kind, _ in failed(decide([paired(rng, 400)], Bounds(resamples=100)).gates))
        for _ in range(40)
    )
    assert blocked <= 6


def test_confidence_that_no_longer_means_what_it_says_blocks() -> None:
    rng = np.random.default_rng(7)
    item = paired(rng, 1000, gained=0.0, lost=0.0)
    boast = np.where(item.candidate > 0.5, 0.998, 0.001)
    new = paired(rng, 300, was=0.7, gained=0.15, lost=0.0, new=True)
    decision = decide(
        [new, Paired(task="sentiment", name="frozen", labels=LABELS, truth=item.truth, present=item.present,
                     candidate=boast, groups=item.groups)],
        QUICK,
    )  # fmt: skip
    assert ("calibration", "all") in failed(decision.gates)


def test_small_slices_are_shown_but_do_not_judge() -> None:
    rng = np.random.default_rng(8)
    item = paired(rng, 15, gained=0.0, lost=1.0)
    decision = decide([item], QUICK)
    assert all(gate.state == "shown" for gate in decision.gates if gate.kind == "slice")


@pytest.mark.parametrize(
    ("for_it", "against", "expected"), [(0, 0, 1.0), (5, 0, 0.5**6), (1, 1, 0.5), (0, 5, 1 - 0.5**6)]
)
def test_mid_p(for_it: int, against: int, expected: float) -> None:
    assert mid_p(for_it, against) == pytest.approx(expected)
