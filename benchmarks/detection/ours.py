"""Our detector over a field: the product's own states and tests, bucket by bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from bursts import Burst, Field
from worlds import World

from alerts.config import PipelineConfig
from alerts.detector import SurgeDetector, SurgeState
from alerts.series import OpenBucket
from alerts.states import SeriesStates
from monitor.core.types import SeriesKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A world after our detector has seen it: its scores, and the states from which bursts are run."""

    scores: np.ndarray
    """(series, bucket, score) of every test, score = -ln p."""
    states: dict[tuple[int, int], tuple[SurgeDetector, SurgeState | None]]


def score_of(p: float) -> float:
    """Larger is more alarming."""
    return -math.log(max(p, 1e-300))


def watch(
    world: World, stories: np.ndarray, negatives: np.ndarray, wanted: set[tuple[int, int]], config: PipelineConfig
) -> Watched:
    """Runs a whole world. ``wanted`` are the (series, bucket) before which a state is kept."""
    states = SeriesStates(config)
    states.origin = world.first
    keys = [SeriesKey.parse(name) for name in world.keys]
    rows: list[tuple[int, int, float]] = []
    kept: dict[tuple[int, int], tuple[SurgeDetector, SurgeState | None]] = {}
    by_bucket: dict[int, list[int]] = {}
    for key, bucket in wanted:
        by_bucket.setdefault(bucket, []).append(key)
    active = [np.flatnonzero(stories[:, bucket]) for bucket in range(world.buckets)]
    for bucket in range(world.buckets):
        for key in by_bucket.get(bucket, ()):
            detector = states.detector if str(keys[key]) != "all:*" else states.plain
            kept[key, bucket] = (detector, states.get(keys[key]))
        if not len(active[bucket]):
            continue
        index = world.first + bucket
        states.hear(index, OpenBucket(index=index))
        for key in active[bucket]:
            state = states.advance(keys[key], index, int(stories[key, bucket]), float(negatives[key, bucket]))
            finding = states.detector.best(states.detector.assess(state, keys[key]))
            if finding is not None:
                rows.append((int(key), bucket, score_of(finding.p_value)))
    return Watched(scores=np.array(rows).reshape(-1, 3), states=kept)


def rerun(burst: Burst, world: World, v: np.ndarray, x: np.ndarray, watched: Watched) -> list[tuple[int, float]]:
    """The (bucket, score) of the tests from the burst's start on. ``v`` and ``x``: the series without the burst."""
    detector, state = watched.states[burst.key, burst.start]
    if state is None:
        state = detector.begin(world.first)
    v, x = v[burst.start : burst.end].copy(), x[burst.start : burst.end].copy()
    np.add.at(v, burst.buckets - burst.start, 1.0)
    np.add.at(x, burst.buckets - burst.start, burst.p)
    key = SeriesKey.parse(world.keys[burst.key])
    found: list[tuple[int, float]] = []
    for offset in np.flatnonzero(v):
        state = detector.advance(state, world.first + burst.start + int(offset), int(v[offset]), float(x[offset]))
        finding = detector.best(detector.assess(state, key))
        if finding is not None:
            found.append((burst.start + int(offset), score_of(finding.p_value)))
    return found


def run_field(
    field: Field, bursts: list[Burst], config: PipelineConfig
) -> tuple[list[np.ndarray], list[list[tuple[int, float]]]]:
    """Background scores per world, and the scores of each burst's series from its start on."""
    watched = [
        watch(world, v, x, {(b.key, b.start) for b in bursts if b.world == number}, config)
        for number, (world, v, x) in enumerate(zip(field.worlds, field.stories, field.negatives, strict=True))
    ]
    runs = [
        rerun(
            burst,
            field.worlds[burst.world],
            field.stories[burst.world][burst.key],
            field.negatives[burst.world][burst.key],
            watched[burst.world],
        )
        for burst in bursts
    ]
    return [w.scores for w in watched], runs
