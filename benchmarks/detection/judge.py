"""False alarms, recall and delay, the same for every contender.

An alarm is the first bucket in which a series' score reaches the threshold; what follows within a day is the same
alarm, what comes later is another: who alarms without end alarms daily. False alarms are counted over all series, in
alarms per 100 key-weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bursts import Burst, Field

GAP = 288
MINUTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """The scores of the real series, as rows (series over all worlds, bucket, score), sorted."""

    rows: np.ndarray
    key_weeks: float

    def alarms(self, threshold: float) -> int:
        """How many alarms a threshold gives."""
        rows = self.rows[self.rows[:, 2] >= threshold]
        # One number line for all series, far enough apart; the next alarm is the first row a day or more after this.
        line = rows[:, 0] * (1 << 20) + rows[:, 1]
        count = at = 0
        while at < len(line):
            count += 1
            at = int(np.searchsorted(line, line[at] + GAP))
        return count

    def rate(self, threshold: float) -> float:
        """Alarms per 100 key-weeks."""
        return 100.0 * self.alarms(threshold) / self.key_weeks

    def threshold(self, rate: float) -> float:
        """The lowest threshold that gives at most ``rate`` alarms per 100 key-weeks, by bisection."""
        scores = np.unique(self.rows[:, 2])
        if not len(scores):
            return -np.inf
        low, high = 0, len(scores)  # the answer's index; at ``high`` nothing alarms
        while low < high:
            middle = (low + high) // 2
            if self.rate(float(scores[middle])) <= rate:
                high = middle
            else:
                low = middle + 1
        return float(scores[low]) if low < len(scores) else float(np.nextafter(scores[-1], np.inf))


def background_of(field: Field, scores: Sequence[np.ndarray]) -> Background:
    """``scores`` per world: rows (series, bucket, score), or a matrix series × bucket, -inf where nothing is said."""
    parts, offset = [], 0
    for world, mask, found in zip(field.worlds, field.masks, scores, strict=True):
        if found.shape == (len(world.keys), world.buckets) and found.shape[1] != 3:
            key, bucket = np.nonzero(np.isfinite(found) & mask[None, :])
            rows = np.column_stack([key, bucket, found[key, bucket]])
        else:
            rows = found[mask[found[:, 1].astype(int)]]
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))].astype(np.float64)
        rows[:, 0] += offset
        offset += len(world.keys)
        parts.append(rows)
    rows = np.concatenate(parts)
    if len(rows) > 60_000:  # far more than any threshold of interest keeps
        floor = np.partition(rows[:, 2], len(rows) - 60_000)[len(rows) - 60_000]
        rows = rows[rows[:, 2] >= floor]
    return Background(rows=rows, key_weeks=field.key_weeks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one contender did with the bursts at one threshold."""

    rate: float
    """Alarms per 100 key-weeks on the real series."""
    delays: np.ndarray
    """Minutes from each burst's first story to the alarm (the end of its bucket); infinite when missed."""

    def recall(self, chosen: np.ndarray) -> float:
        """Share of the chosen bursts that were found."""
        delays = self.delays[chosen]
        return float("nan") if np.isnan(delays).all() else float(np.isfinite(delays).mean())

    def delay(self, chosen: np.ndarray, quantile: float) -> float:
        """Quantile of the delays of what was found."""
        found = self.delays[chosen]
        found = found[np.isfinite(found)]
        return float(np.quantile(found, quantile)) if len(found) else float("nan")


def delays_of(
    bursts: Sequence[Burst],
    runs: Sequence[Sequence[tuple[int, float]]],
    quiet: Sequence[np.ndarray],
    thresholds: float | np.ndarray,
) -> np.ndarray:
    """``quiet``: per burst, the scores of the same buckets without it: what alarms anyway is no detection."""
    delays = np.full(len(bursts), np.inf)
    levels = np.broadcast_to(np.asarray(thresholds, dtype=float), (len(bursts),))
    for number, (burst, run, calm, level) in enumerate(zip(bursts, runs, quiet, levels, strict=True)):
        for bucket, score in run:
            if score >= level and calm[bucket - burst.start] < level:
                delays[number] = (bucket - burst.start + 1) * MINUTES
                break
    return delays


def quiet_of(bursts: Sequence[Burst], field: Field, scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The scores without the bursts, in the buckets where each burst may be found."""
    dense: list[np.ndarray] = []
    for world, found in zip(field.worlds, scores, strict=True):
        if found.shape == (len(world.keys), world.buckets):
            dense.append(found)
            continue
        matrix = np.full((len(world.keys), world.buckets), -np.inf, dtype=np.float32)
        matrix[found[:, 0].astype(int), found[:, 1].astype(int)] = found[:, 2]
        dense.append(matrix)
    return [dense[b.world][b.key, b.start : b.end] for b in bursts]
