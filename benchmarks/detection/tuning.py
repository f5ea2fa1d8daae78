"""Runs a contender over a field and its bursts; picks its constants on one half and judges them on the other."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracle
from bursts import DURATIONS, SIZES, Burst, Field
from contenders import Contender, Matrix
from judge import Background, Result, background_of, delays_of, quiet_of

RATES = (1.0, 10.0)
"""False alarms per 100 key-weeks at which all are compared."""
MEAN_P = 0.83
"""Mean p(negative) of a headline above one half: what the oracle is told that a story adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The scores of one method with fixed constants over a field."""

    background: Background
    runs: Sequence[Sequence[tuple[int, float]]]
    quiet: Sequence[np.ndarray]
    seconds: float

    def result(self, bursts: Sequence[Burst], threshold: float) -> Result:
        """What a threshold gives."""
        return Result(rate=self.background.rate(threshold), delays=delays_of(bursts, self.runs, self.quiet, threshold))


def run_contender(
    contender: Contender, constants: Mapping[str, Any], field: Field, bursts: Sequence[Burst], batch: int = 150
) -> Run:
    """Scores every series without bursts, and every burst's series with it."""
    began = time.monotonic()
    scores = [np.float32(contender.score(x, **constants)) for x in field.negatives]
    runs: list[list[tuple[int, float]]] = [[] for _ in bursts]
    selective = "where" in inspect.signature(contender.score).parameters
    groups: dict[tuple[int, str], list[int]] = {}
    for number, burst in enumerate(bursts):
        groups.setdefault((burst.world, burst.duration if contender.reach else ""), []).append(number)
    for (world, _), members in groups.items():
        for begin in range(0, len(members), batch):
            chosen = members[begin : begin + batch]
            _run_batch(contender, constants, field.negatives[world], bursts, chosen, runs, selective)
    return Run(
        background=background_of(field, scores),
        runs=runs,
        quiet=quiet_of(bursts, field, scores),
        seconds=time.monotonic() - began,
    )


def _run_batch(
    contender: Contender,
    constants: Mapping[str, Any],
    negatives: Matrix,
    bursts: Sequence[Burst],
    chosen: Sequence[int],
    runs: list[list[tuple[int, float]]],
    selective: bool,
) -> None:
    """Short-sighted methods get the end of the series only, aligned by the bursts' starts; the others all of it."""
    rows = []
    offsets = []
    length = max(bursts[n].end for n in chosen)
    for number in chosen:
        burst = bursts[number]
        x = negatives[burst.key].copy()
        np.add.at(x, burst.buckets, burst.p)
        low = max(0, burst.start - contender.reach) if contender.reach else 0
        if contender.reach:
            x = np.concatenate([np.zeros(max(0, contender.reach - burst.start)), x[low : burst.end]])
            low = burst.start - contender.reach
        else:
            x = x[:length]
        rows.append(x)
        offsets.append(low)
    matrix = np.stack(rows)
    extra: dict[str, Any] = {}
    if selective:
        where = np.zeros(matrix.shape, dtype=bool)
        for row, number in enumerate(chosen):
            where[row, bursts[number].start - offsets[row] : bursts[number].end - offsets[row]] = True
        extra["where"] = where
    scores = contender.score(matrix, **constants, **extra)
    for row, number in enumerate(chosen):
        burst = bursts[number]
        part = np.float32(scores[row, burst.start - offsets[row] : burst.end - offsets[row]])
        runs[number] = [(burst.start + int(i), float(part[i])) for i in np.flatnonzero(np.isfinite(part))]


def tuned(contender: Contender, field: Field, bursts: Sequence[Burst]) -> dict[float, tuple[Mapping[str, Any], float]]:
    """Per false-alarm rate, the constants with the best recall and their threshold."""
    best: dict[float, tuple[float, Mapping[str, Any], float]] = {}
    everything = np.ones(len(bursts), dtype=bool)
    for constants in contender.grid:
        run = run_contender(contender, constants, field, bursts)
        for rate in RATES:
            threshold = run.background.threshold(rate)
            recall = run.result(bursts, threshold).recall(everything)
            if rate not in best or recall > best[rate][0]:
                best[rate] = (recall, constants, threshold)
    return {rate: (constants, threshold) for rate, (_, constants, threshold) in best.items()}


def run_oracle(field: Field, bursts: Sequence[Burst]) -> dict[float, Result]:
    """The oracle, its threshold set on this very field for each size and duration."""
    truth = [oracle.truth_of(world, x) for world, x in zip(field.worlds, field.negatives, strict=True)]
    delays = {rate: np.full(len(bursts), np.inf) for rate in RATES}
    for size in SIZES:
        for duration, length in DURATIONS.items():
            chosen = [n for n, b in enumerate(bursts) if b.size == size and b.duration == duration]
            mine = [bursts[n] for n in chosen]
            excess = size * MEAN_P / length
            scores = [
                np.float32(oracle.cusum(x, rate, phi, excess, length))
                for x, (rate, phi) in zip(field.negatives, truth, strict=True)
            ]
            runs = []
            for burst in mine:
                key = slice(burst.key, burst.key + 1)
                x = field.negatives[burst.world][key].copy()
                np.add.at(x[0], burst.buckets, burst.p)
                rate, phi = truth[burst.world]
                row = oracle.cusum(x[:, : burst.end], rate[key, : burst.end], phi[key], excess, length)[0]
                runs.append([(t, float(np.float32(row[t]))) for t in range(burst.start, burst.end)])
            background = background_of(field, scores)
            quiet = quiet_of(mine, field, scores)
            for wanted in RATES:
                delays[wanted][chosen] = delays_of(mine, runs, quiet, background.threshold(wanted))
    return {rate: Result(rate=rate, delays=found) for rate, found in delays.items()}
