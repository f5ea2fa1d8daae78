"""What is injected into the real series, and which series take it: the same bursts for every contender."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from worlds import DAY, World

SIZES = (3, 5, 8, 12, 20, 40, 80)
"""Negative stories of a burst, from barely visible to a flood."""
DURATIONS = {"5 min": 1, "1 h": 12, "6 h": 72, "1 d": 288, "2 d": 576}
"""Length of a burst in buckets."""
WARM_UP = 7 * DAY
"""Buckets at the beginning in which nothing counts: every method may learn."""
TAIL = 12
"""Buckets after a burst in which its alarm still counts."""
VOLUME = "volume"
"""Kind of a surge of volume alone."""
NEGATIVE = 0.5
"""p(negative) from which a headline is one of bad news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Stories put into one series. ``buckets`` and ``p`` are those of its stories, the first at ``start``; ``p`` is 0
    where the product takes a story for not negative."""

    world: int
    key: int
    kind: str
    size: int
    duration: str
    start: int
    buckets: np.ndarray
    p: np.ndarray

    @property
    def trap(self) -> bool:
        """Whether it must not alarm: more stories, but no larger share of bad ones."""
        return self.kind == VOLUME

    @property
    def end(self) -> int:
        """The first bucket in which an alarm no longer counts."""
        return self.start + DURATIONS[self.duration] + TAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The series of several worlds as matrices, and what of them counts."""

    worlds: tuple[World, ...]
    stories: tuple[np.ndarray, ...]
    negatives: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...]
    """Per world, whether a bucket counts: after the warm-up, outside the named events."""

    @property
    def key_weeks(self) -> float:
        """How much is watched in all."""
        return sum(len(w.keys) * m.sum() / (7 * DAY) for w, m in zip(self.worlds, self.masks, strict=True))


def field_of(worlds: list[World], events: list[tuple[str, str]], abstain: float) -> Field:
    """``events`` are the named ones (name, ISO moment): two days from each are no false alarms and take no bursts."""
    from datetime import datetime

    stories, negatives, masks = [], [], []
    for world in worlds:
        v = np.zeros((len(world.keys), world.buckets))
        x = np.zeros_like(v)
        np.add.at(v, (world.key, world.bucket), 1.0)
        np.add.at(x, (world.key, world.bucket), np.where(world.p >= abstain, world.p, 0.0))
        mask = np.arange(world.buckets) >= WARM_UP
        for _, moment in events:
            index = world.index(datetime.fromisoformat(moment))
            if 0 <= index < world.buckets:
                mask[index : index + 2 * DAY] = False
        stories.append(v)
        negatives.append(x)
        masks.append(mask)
    return Field(worlds=tuple(worlds), stories=tuple(stories), negatives=tuple(negatives), masks=tuple(masks))


def kinds_of(world: World, stories: np.ndarray) -> dict[str, list[int]]:
    """The series by how busy they are: quiet entities, middling topics, busy series (five stories an hour or more)."""
    weekly = stories.sum(axis=1) / world.weeks
    return {
        "quiet": [k for k, key in enumerate(world.keys) if key.startswith("entity:") and 0.2 <= weekly[k] < 20],
        "middling": [k for k in range(len(world.keys)) if 60 <= weekly[k] < 500],
        "busy": [k for k in range(len(world.keys)) if weekly[k] >= 5 * 168],
    }


def bursts_of(field: Field, pool: np.ndarray, *, copies: int, seed: int) -> list[Burst]:
    """``copies`` bursts of every size, duration and kind of series; ``pool``: p(negative) of real bad headlines."""
    rng = np.random.default_rng(seed)
    made: list[Burst] = []
    kinds = [kinds_of(w, v) for w, v in zip(field.worlds, field.stories, strict=True)]
    room = np.array([mask.sum() for mask in field.masks], dtype=float)
    for size in SIZES:
        for duration, length in DURATIONS.items():
            for kind in ("quiet", "middling", "busy"):
                for _ in range(copies):
                    here = np.array([bool(names[kind]) for names in kinds]) * room
                    world = int(rng.choice(len(field.worlds), p=here / here.sum()))
                    mask = field.masks[world]
                    while True:
                        start = int(rng.integers(WARM_UP, len(mask) - length - TAIL))
                        if mask[start : start + length + TAIL].all():
                            break
                    where = np.sort(rng.integers(start, start + length, size))
                    where += start - where[0]
                    made.append(
                        Burst(
                            world=world,
                            key=int(rng.choice(kinds[world][kind])),
                            kind=kind,
                            size=size,
                            duration=duration,
                            start=start,
                            buckets=where,
                            p=rng.choice(pool, size),
                        )
                    )
    return made


def volume_surges_of(field: Field, *, copies: int, factor: float, seed: int) -> list[Burst]:
    """Surges of volume alone: for an hour or six, ``factor`` times the stories that the series usually has in that
    time, drawn from its own stories of all times, good and bad alike: an election, an earnings season."""
    rng = np.random.default_rng(seed)
    made: list[Burst] = []
    for number in range(copies):
        which = int(rng.integers(len(field.worlds)))
        world, mask, stories = field.worlds[which], field.masks[which], field.stories[which]
        weekly = stories.sum(axis=1) / world.weeks
        key = int(rng.choice([k for k in range(len(world.keys)) if weekly[k] >= 60]))
        duration = ("1 h", "6 h")[number % 2]
        length = DURATIONS[duration]
        while True:
            start = int(rng.integers(WARM_UP, len(mask) - length - TAIL))
            if mask[start : start + length + TAIL].all():
                break
        size = max(
            10,
            round((factor - 1.0) * max(weekly[key] * length / (7 * DAY), stories[key, start : start + length].sum())),
        )
        p = rng.choice(world.p[world.key == key], size)
        where = np.sort(rng.integers(start, start + length, size))
        where += start - where[0]
        made.append(
            Burst(
                world=which,
                key=key,
                kind=VOLUME,
                size=size,
                duration=duration,
                start=start,
                buckets=where,
                p=np.where(p >= NEGATIVE, p, 0.0),
            )
        )
    return made
