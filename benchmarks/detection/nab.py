"""Numenta's Anomaly Benchmark by its published rules (Lavin & Ahmad 2015; ``nab/scorer.py``, ``nab/sweeper.py``).

Our detector counts stories and looks upwards only. A series of measurements becomes counts by scaling its median to
ten; dips are invisible. So this is a sanity check, not a contest: it says how a count detector fares outside its trade.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from alerts.detector import DetectorConfig, SurgeDetector
from monitor.core.types import Scope, SeriesKey

PROFILES = {"standard": (1.0, 0.11, 1.0), "few false alarms": (1.0, 0.22, 1.0), "few misses": (1.0, 0.11, 2.0)}
"""Weights of a hit, a false alarm and a miss (``config/profiles.json``)."""
PROBATION = 0.15
_KEY = SeriesKey(scope=Scope.ALL, value="nab")
Values = NDArray[np.float64]


def sigmoid(position: float) -> float:
    """NAB's scaled sigmoid: nearly 1 at a window's beginning, 0 at its end, -1 long after it."""
    return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def probation(length: int) -> int:
    """Records at the beginning that are not scored."""
    return math.floor(min(PROBATION * length, PROBATION * 5000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A series with its anomaly windows as pairs of record numbers, both inside."""

    name: str
    times: tuple[datetime, ...]
    values: Values
    windows: tuple[tuple[int, int], ...]


def score_file(item: Labelled, scores: Values, threshold: float, weights: tuple[float, float, float]) -> float:
    """The raw NAB score of one file: only the first hit in a window counts, by how early it is."""
    hit, false, miss = weights
    total = 0.0
    found: set[int] = set()
    for at in np.flatnonzero(scores >= threshold).tolist():
        if at < probation(len(item.values)):
            continue
        inside = [n for n, (low, high) in enumerate(item.windows) if low <= at <= high]
        if inside:
            if inside[0] in found:
                continue
            found.add(inside[0])
            low, high = item.windows[inside[0]]
            position = -(high - at + 1) / (high - low + 1)
            total += hit * sigmoid(position) / sigmoid(-1.0)
            continue
        before = [(low, high) for low, high in item.windows if high < at]
        if not before:
            total -= false
        else:
            low, high = before[-1]
            total += false * sigmoid((at - high) / max(1.0, high - low))
    return total - miss * (len(item.windows) - len(found))


def read(folder: Path) -> list[Labelled]:
    """The series under ``folder/data`` that ``folder/windows.json`` names."""
    result = []
    for name, windows in sorted(json.loads((folder / "windows.json").read_text()).items()):
        path = folder / "data" / name
        if not path.exists():
            continue
        with path.open() as file:
            rows = list(csv.DictReader(file))
        times = tuple(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC) for row in rows)
        spans = []
        for low, high in windows:
            inside = [
                n
                for n, t in enumerate(times)
                if datetime.fromisoformat(low).replace(tzinfo=UTC)
                <= t
                <= datetime.fromisoformat(high).replace(tzinfo=UTC)
            ]
            spans.append((inside[0], inside[-1]))
        result.append(
            Labelled(
                name=name,
                times=times,
                values=np.array([float(row["value"]) for row in rows]),
                windows=tuple(spans),
            )
        )
    return result


def ours(item: Labelled) -> Values:
    """-ln p of our detector at every record."""
    detector = SurgeDetector(DetectorConfig())
    median = float(np.median(np.abs(item.values[: max(10, probation(len(item.values)))]))) or 1.0
    counts = np.maximum(0, np.rint(10.0 * item.values / median)).astype(int)
    # A record stands for all the time until the next: an hour's worth in one bucket would look like twelvefold news.
    step = np.median([(b - a) / timedelta(minutes=5) for a, b in pairwise(item.times)])
    spread = max(1, round(float(step)))
    scores = np.zeros(len(counts))
    state = detector.begin(detector.index_of(item.times[0]))
    for number, (moment, count) in enumerate(zip(item.times, counts.tolist(), strict=True)):
        first = max(detector.index_of(moment), state.index + 1)
        for index in range(first, first + spread):
            state = detector.advance(state, index, count, float(count))
        finding = detector.best(detector.assess(state, _KEY))
        if finding is not None:
            scores[number] = -math.log(finding.p_value)
    return scores


def daily(item: Labelled, scores: Values, level: float) -> Values:
    """1 where an alarm begins: as in the product, what follows within a day is the same alarm."""
    alarms = np.zeros(len(scores))
    last: datetime | None = None
    for number in np.flatnonzero(scores >= level).tolist():
        if last is None or item.times[number] - last >= timedelta(days=1):
            last = item.times[number]
            alarms[number] = 1.0
    return alarms


def deviation(item: Labelled) -> Values:
    """How many standard deviations a record lies from the mean of the last hundred: what one writes in five minutes."""
    values, scores = item.values, np.zeros(len(item.values))
    for n in range(20, len(values)):
        near = values[max(0, n - 100) : n]
        scores[n] = abs(values[n] - near.mean()) / (near.std() + 1e-9)
    return scores


def nab(folder: Path, console: Console) -> None:
    """Prints the normalised scores: 0 is to say nothing, 100 is perfect. One threshold for all files, the best one."""
    items = read(folder)
    methods = {"riskwire": [ours(item) for item in items], "z-score over 100 records": [deviation(i) for i in items]}
    groups = sorted({item.name.split("/")[0] for item in items})
    for profile, weights in PROFILES.items():
        table = Table(title=f"NAB, profile '{profile}', {len(items)} series")
        table.add_column("method")
        for group in ("all", *groups):
            table.add_column(group, justify="right")
        for (name, scores), once in product(methods.items(), (False, True)):
            steps = np.unique([*np.quantile(np.concatenate(scores), np.linspace(0.9, 1.0, 200)), np.inf])
            totals = {
                level: [
                    score_file(i, daily(i, s, level), 0.5, weights) if once else score_file(i, s, level, weights)
                    for i, s in zip(items, scores, strict=True)
                ]
                for level in steps
            }
            best = max(totals, key=lambda level: sum(totals[level]))
            cells = []
            for group in ("all", *groups):
                chosen = [n for n, i in enumerate(items) if group in ("all", i.name.split("/")[0])]
                count = sum(len(items[n].windows) for n in chosen)
                null = -weights[2] * count
                raw = sum(totals[best][n] for n in chosen)
                cells.append(f"{100 * (raw - null) / (weights[0] * count - null):.1f}")
            table.add_row(f"{name}, one alarm a day" if once else name, *cells)
        console.print(table)
