"""May a new model replace the present one? Both are asked the same texts; what the new one forgets is counted.

Two kinds of gate, over paired verdicts:

- *improvement*, on the held-out part of the new labels: for one task at least, better by McNemar's one-sided mid-p test
  (see :mod:`monitor.train.evaluation.compare`), after Holm's correction over the tasks.
- *forgetting*, on every frozen set and the new labels: a whole set may not fall by more than ``Bounds.whole``; a slice
  of it (language, class) not by more than ``Bounds.piece``. A whole set that falls further blocks whatever the cause,
  for its size makes chance small; a slice blocks when chance is an unlikely cause too (Holm over all slices at 5 %),
  since among dozens of small slices some always fall. The expected calibration error of a set may not rise by more
  than ``Bounds.ece``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import binom

from monitor.model.drift.checks import holm
from monitor.train.evaluation.intervals import mean_interval
from monitor.train.metrics import Floats, Ints, ece

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far things may fall, in parts of the texts (0.005: half a point)."""

    whole: float = 0.005
    piece: float = 0.02
    ece: float = 0.02
    alpha: float = 0.05
    least: int = 20
    """Texts below which a slice is only shown."""
    resamples: int = 2000
    seed: int = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One task on one set: truth, and both models' probabilities, text by text. ``new``: the set is the held-out part
    of the new labels. ``slices``: column → its value for each text. ``groups``: texts that are resampled together."""

    task: str
    name: str
    labels: tuple[str, ...]
    truth: Ints
    present: Floats
    candidate: Floats
    groups: Ints
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One row of the report. ``state``: passed, failed, or shown (too few texts to judge, or no gate)."""

    kind: str
    task: str
    name: str
    part: str
    n: int
    present: float
    candidate: float
    difference: float
    interval: tuple[float, float] = (0.0, 0.0)
    gained: int = 0
    lost: int = 0
    p: float = 1.0
    bound: float = 0.0
    state: str = "shown"
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``promote``, and in ``reasons`` why or why not."""

    promote: bool
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "promote": self.promote,
            "reasons": list(self.reasons),
            "gates": [asdict(gate) for gate in self.gates],
        }


def mid_p(for_it: int, against: int) -> float:
    """One-sided McNemar mid-p: how likely chance alone makes at least as many of the discordant texts speak for it."""
    n = for_it + against
    if n == 0:
        return 1.0
    return float(binom.sf(for_it, n, 0.5) + 0.5 * binom.pmf(for_it, n, 0.5))


def decide(sets: Sequence[Paired], bounds: Bounds | None = None) -> Decision:
    """Runs every gate. Deterministic."""
    limits = bounds or Bounds()
    kept = [item for item in sets if len(item.truth)]
    improvements = _improvements([item for item in kept if item.new], limits)
    whole = [_whole(item, limits) for item in kept]
    pieces = _pieces(kept, limits)
    errors = [_calibration(item, limits) for item in kept]
    gates = (*improvements, *whole, *pieces, *errors)
    reasons = [gate.why for gate in gates if gate.state == "failed"]
    better = [gate for gate in improvements if gate.state == "passed"]
    if not better:
        reasons.insert(0, _not_better(improvements))
    elif not reasons:
        reasons = [gate.why for gate in better] + ["no frozen set and no slice of one fell beyond its bound"]
    blocked = not better or any(gate.state == "failed" for gate in (*whole, *pieces, *errors))
    return Decision(promote=not blocked, reasons=tuple(reasons), gates=gates)


def _row(item: Paired, inside: Any, *, kind: str, part: str, limits: Bounds) -> Gate:
    truth = item.truth[inside]
    was, now = item.present[inside].argmax(axis=1) == truth, item.candidate[inside].argmax(axis=1) == truth
    gap = now.astype(np.float64) - was
    _, groups = np.unique(item.groups[inside], return_inverse=True)
    interval = mean_interval(gap, groups, resamples=limits.resamples, seed=limits.seed) if part == ALL else (0.0, 0.0)
    return Gate(
        kind=kind,
        task=item.task,
        name=item.name,
        part=part,
        n=len(truth),
        present=float(was.mean()),
        candidate=float(now.mean()),
        difference=float(gap.mean()),
        interval=interval,
        gained=int((now & ~was).sum()),
        lost=int((was & ~now).sum()),
    )


def _improvements(new: Sequence[Paired], limits: Bounds) -> list[Gate]:
    rows = [_row(item, slice(None), kind="improvement", part=ALL, limits=limits) for item in new]
    adjusted = holm([mid_p(row.gained, row.lost) for row in rows])
    done = []
    for row, p in zip(rows, adjusted, strict=True):
        better = p <= limits.alpha and row.difference > 0
        word = "better" if better else "not significantly better"
        why = (
            f"{row.task} on the held-out new labels: {row.present:.1%} > {row.candidate:.1%} of {row.n} texts, "
            f"{row.gained} gained, {row.lost} lost, p = {p:.3f}: {word}"
        )
        done.append(replace(row, p=p, state="passed" if better else "shown", why=why))
    return done


def _not_better(rows: Sequence[Gate]) -> str:
    if not rows:
        return "there are no held-out new labels: nothing shows that it is better"
    most = max(row.gained + row.lost for row in rows)
    few = f" (the models differ on {most} texts at most; five that all speak for it are the least)" if most < 5 else ""
    return "on no task significantly better on the held-out new labels" + few + ": " + "; ".join(r.why for r in rows)


def _whole(item: Paired, limits: Bounds) -> Gate:
    row = _row(item, slice(None), kind="forgetting", part=ALL, limits=limits)
    p = mid_p(row.lost, row.gained)
    fell = row.difference < -limits.whole - 1e-12
    low, high = row.interval
    why = (
        f"{row.task} on {row.name}: {row.present:.1%} > {row.candidate:.1%} of {row.n} texts, "
        f"{row.lost} lost, {row.gained} gained ({low:+.1%} to {high:+.1%})"
    )
    if fell:
        why += f": it fell by more than {limits.whole:.1%}" + ("" if p <= limits.alpha else ", chance not ruled out")
    return replace(row, p=p, bound=limits.whole, state="failed" if fell else "passed", why=why)


def _pieces(sets: Sequence[Paired], limits: Bounds) -> list[Gate]:
    rows: list[Gate] = []
    for item in sets:
        columns = {**item.slices, "class": [item.labels[i] for i in item.truth]}
        for column, values in columns.items():
            for value in sorted(set(values)):
                inside = np.asarray([one == value for one in values])
                if column == "class" or not inside.all():
                    rows.append(_row(item, inside, kind="slice", part=f"{column}={value}", limits=limits))
    judged = [place for place, row in enumerate(rows) if row.n >= limits.least]
    adjusted = dict(zip(judged, holm([mid_p(rows[i].lost, rows[i].gained) for i in judged]), strict=True))
    done = []
    for place, row in enumerate(rows):
        if place not in adjusted:
            done.append(replace(row, bound=limits.piece, why=f"fewer than {limits.least} texts"))
            continue
        fell = row.difference < -limits.piece - 1e-12 and adjusted[place] <= limits.alpha
        why = (
            f"{row.task} on {row.name}, {row.part}: {row.present:.1%} > {row.candidate:.1%} of {row.n} texts, "
            f"{row.lost} lost, {row.gained} gained, p = {adjusted[place]:.3f}"
        )
        state = "failed" if fell else "passed"
        done.append(replace(row, p=adjusted[place], bound=limits.piece, state=state, why=why))
    return done


def _calibration(item: Paired, limits: Bounds) -> Gate:
    was, now = ece(item.present, item.truth), ece(item.candidate, item.truth)
    # The error's own bias falls with the root of n: below some hundreds of texts it is mostly noise.
    judged = len(item.truth) >= 300
    rose = now - was > limits.ece
    why = f"{item.task} on {item.name}: calibration error {was:.3f} > {now:.3f}"
    state = "shown" if not judged else "failed" if rose else "passed"
    return Gate(
        kind="calibration", task=item.task, name=item.name, part=ALL, n=len(item.truth), present=was, candidate=now,
        difference=now - was, bound=limits.ece, state=state, why=why,
    )  # fmt: skip
