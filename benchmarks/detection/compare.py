"""The comparison: every contender tuned on the earlier half, all judged on the later one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bursts import DURATIONS, NEGATIVE, SIZES, Burst, Field, bursts_of, field_of, volume_surges_of
from contenders import CONTENDERS
from judge import Result, background_of, quiet_of
from ours import run_field
from rich.console import Console
from rich.table import Table
from tuning import RATES, Run, run_contender, run_oracle, tuned
from worlds import World, load_world

from alerts.config import PipelineConfig

EARLIER = ("reuters_2010_deepwater_flashcrash", "reuters_2011_03_fukushima")
LATER = ("reuters_2013_cyprus_ap_hack", "reuters_2016_01_china_selloff")
EVENTS = (
    ("Deepwater Horizon fire", "2010-04-21T10:45+00:00"),
    ("Flash crash", "2010-05-06T18:43+00:00"),
    ("Tohoku earthquake", "2011-03-11T06:01+00:00"),
    ("Cyprus bank levy", "2013-03-16T01:50+00:00"),
    ("Hacked AP tweet", "2013-04-23T17:07+00:00"),
    ("China sell-off", "2016-01-04T01:55+00:00"),
    ("China circuit breaker", "2016-01-07T01:36+00:00"),
)
"""Named events: when the first headline came."""
OURS, ORACLE = "riskwire", "oracle CUSUM"
CURVE = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def worlds_of(archives: Path, scores: Path, names: tuple[str, ...]) -> list[World]:
    """Builds or loads the series of some windows; the scores lie beside them as NAME.jsonl.gz."""
    return [load_world(archives / f"{name}.csv.gz", scores / f"{name}.jsonl.gz", scores) for name in names]


def pool_of(worlds: list[World]) -> np.ndarray:
    """p(negative) of all headlines of bad news."""
    return np.concatenate([w.p[(w.key == w.keys.index("all:*")) & (w.p >= NEGATIVE)] for w in worlds])


def compare(
    archives: Path, scores: Path, console: Console, copies: int, seed: int, only: str, out: Path | None
) -> None:
    """Runs everything and prints the tables."""
    config = PipelineConfig()
    earlier, later = worlds_of(archives, scores, EARLIER), worlds_of(archives, scores, LATER)
    first = field_of(earlier, list(EVENTS), config.series.abstain)
    second = field_of(later, list(EVENTS), config.series.abstain)
    # The bursts of one half are made of headlines of the other.
    practice = bursts_of(first, pool_of(later), copies=max(2, copies // 3), seed=seed)
    bursts = bursts_of(second, pool_of(earlier), copies=copies, seed=seed + 1)
    bursts += volume_surges_of(second, copies=10 * copies, factor=8.0, seed=seed + 2)
    console.print(
        f"tuned on {first.key_weeks:,.0f} key-weeks and {len(practice):,} bursts, reported on "
        f"{second.key_weeks:,.0f} key-weeks and {len(bursts):,} bursts"
    )
    # Per method and rate: at the threshold that the earlier half gave, and at that of equal false alarms on the later.
    carried: dict[str, dict[float, Result]] = {}
    equal: dict[str, dict[float, Result]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    constants: dict[str, dict[float, Any]] = {}
    began = time.monotonic()
    own = _ours(first, practice, config)
    levels = {rate: own.background.threshold(rate) for rate in RATES}
    own = _ours(second, bursts, config)
    carried[OURS] = {rate: own.result(bursts, levels[rate]) for rate in RATES}
    equal[OURS] = {rate: own.result(bursts, own.background.threshold(rate)) for rate in RATES}
    curves[OURS] = _curve(own, bursts)
    console.print(f"{OURS}: {time.monotonic() - began:.0f} s")
    for contender in CONTENDERS:
        if only and only.lower() not in contender.name.lower():
            continue
        began = time.monotonic()
        try:
            chosen = tuned(contender, first, practice)
        except ImportError as error:
            console.print(f"{contender.name}: left out, {error}")
            continue
        runs: dict[str, Run] = {}
        carried[contender.name], equal[contender.name], constants[contender.name] = {}, {}, {}
        for rate, (values, threshold) in chosen.items():
            name = repr(sorted(values.items()))
            run = runs.get(name) or run_contender(contender, values, second, bursts)
            runs[name] = run
            carried[contender.name][rate] = run.result(bursts, threshold)
            equal[contender.name][rate] = run.result(bursts, run.background.threshold(rate))
            constants[contender.name][rate] = dict(values)
            if rate == RATES[-1]:
                curves[contender.name] = _curve(run, bursts)
        console.print(f"{contender.name}: {constants[contender.name]}, {time.monotonic() - began:.0f} s")
    equal[ORACLE] = run_oracle(second, [burst for burst in bursts if not burst.trap])
    count = sum(burst.trap for burst in bursts)  # they come last
    for rate, result in equal[ORACLE].items():
        equal[ORACLE][rate] = replace(result, delays=np.concatenate([result.delays, np.full(count, np.nan)]))
    _show(console, bursts, equal, carried, curves)
    if out is not None:
        out.write_text(json.dumps(_document(bursts, equal, carried, curves, constants, second), indent=1) + "\n")


def _ours(field: Field, bursts: list[Burst], config: PipelineConfig) -> Run:
    began = time.monotonic()
    scores, runs = run_field(field, bursts, config)
    return Run(
        background=background_of(field, scores),
        runs=runs,
        quiet=quiet_of(bursts, field, scores),
        seconds=time.monotonic() - began,
    )


def _curve(run: Run, bursts: list[Burst]) -> list[tuple[float, float]]:
    everything = np.array([not b.trap for b in bursts])
    points = []
    for rate in CURVE:
        result = run.result(bursts, run.background.threshold(rate))
        points.append((rate, result.recall(everything)))
    return points


Results = dict[str, dict[float, Result]]


def _show(
    console: Console,
    bursts: list[Burst],
    equal: Results,
    carried: Results,
    curves: dict[str, list[tuple[float, float]]],
) -> None:
    everything = np.array([not b.trap for b in bursts])
    size = np.array([0 if b.trap else b.size for b in bursts])
    duration = np.array(["" if b.trap else b.duration for b in bursts])
    kind = np.array([b.kind for b in bursts])
    for rate in RATES:
        _table(
            console,
            f"Recall by size (%), {rate:g} false alarms per 100 key-weeks on the later half",
            equal,
            rate,
            {
                "all": everything,
                **{str(s): size == s for s in SIZES},
                **{k: kind == k for k in ("quiet", "middling", "busy")},
                "volume only": ~everything,
            },
            lambda result, chosen: f"{100 * result.recall(chosen):.0f}",
        )
        _table(
            console,
            f"Recall by duration (%) and delay in minutes, median / p95 of what was found, {rate:g} per 100 key-weeks",
            equal,
            rate,
            {name: duration == name for name in DURATIONS},
            lambda result, chosen: (
                f"{100 * result.recall(chosen):.0f}  {result.delay(chosen, 0.5):.0f} / {result.delay(chosen, 0.95):.0f}"
            ),
        )
    table = Table(title="Threshold carried over from the earlier half: false alarms per 100 key-weeks, recall (%)")
    table.add_column("method")
    for rate in RATES:
        table.add_column(f"aimed at {rate:g}", justify="right")
    for name, results in carried.items():
        cells = [f"{results[r].rate:.1f}: {100 * results[r].recall(everything):.0f}" for r in RATES]
        table.add_row(name, *cells)
    console.print(table)
    console.print("'volume only': share of surges of volume alone that raised an alarm; lower is better")
    table = Table(title="Operating curve: recall (%) at so many false alarms per 100 key-weeks")
    table.add_column("method")
    for rate in CURVE:
        table.add_column(f"{rate:g}", justify="right")
    for name, points in curves.items():
        table.add_row(name, *(f"{100 * recall:.0f}" for _, recall in points))
    console.print(table)
    _same_bursts(console, bursts, equal)


def _same_bursts(console: Console, bursts: list[Burst], equal: Results) -> None:
    """Delays are fairly compared on what both found."""
    if OURS not in equal or ORACLE not in equal:
        return
    table = Table(
        title="Against the oracle, on the bursts that both found: median delay in minutes, ours / the oracle's"
    )
    table.add_column("per 100 key-weeks")
    for name in DURATIONS:
        table.add_column(name, justify="right")
    table.add_column("all, mean ratio", justify="right")
    duration = np.array(["" if b.trap else b.duration for b in bursts])
    for rate in RATES:
        mine, theirs = equal[OURS][rate].delays, equal[ORACLE][rate].delays
        both = np.isfinite(mine) & np.isfinite(theirs)
        cells = [
            f"{np.median(mine[both & (duration == n)]):.0f} / {np.median(theirs[both & (duration == n)]):.0f}"
            for n in DURATIONS
            if (both & (duration == n)).any()
        ]
        table.add_row(f"{rate:g}", *cells, f"{mine[both].mean() / theirs[both].mean():.2f}")
    console.print(table)


def _table(
    console: Console,
    title: str,
    results: Results,
    rate: float,
    columns: dict[str, np.ndarray],
    cell: Callable[[Result, np.ndarray], str],
) -> None:
    table = Table(title=title)
    table.add_column("method")
    for name in columns:
        table.add_column(name, justify="right")
    for name, by_rate in results.items():
        table.add_row(name, *(cell(by_rate[rate], chosen) for chosen in columns.values()))
    console.print(table)


def _document(
    bursts: list[Burst],
    equal: Results,
    carried: Results,
    curves: dict[str, list[tuple[float, float]]],
    constants: dict[str, dict[float, Any]],
    field: Field,
) -> dict[str, Any]:
    size = np.array([b.size for b in bursts])
    duration = np.array([b.duration for b in bursts])
    kind = np.array([b.kind for b in bursts])
    cells: dict[str, Any] = {}
    for name, by_rate in equal.items():
        cells[name] = {
            f"{rate:g}": {
                f"{k}|{d}|{s}": [
                    result.recall((kind == k) & (duration == d) & (size == s)),
                    result.delay((kind == k) & (duration == d) & (size == s), 0.5),
                    result.delay((kind == k) & (duration == d) & (size == s), 0.95),
                ]
                for k in ("quiet", "middling", "busy")
                for d in DURATIONS
                for s in SIZES
            }
            for rate, result in by_rate.items()
        }
    return {
        "key_weeks": field.key_weeks,
        "bursts": len(bursts),
        "cells": {"columns": ["recall", "median delay", "p95 delay"], "equal": cells},
        "carried": {
            n: {f"{r:g}": [x.rate, x.recall(np.array([not b.trap for b in bursts]))] for r, x in v.items()}
            for n, v in carried.items()
        },
        "curves": curves,
        "constants": {n: {f"{r:g}": c for r, c in v.items()} for n, v in constants.items()},
    }
