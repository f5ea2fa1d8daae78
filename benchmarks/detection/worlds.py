"""Real news as series: archives scored by the packaged model, clustered and counted by the product's own code.

A *world* is one archive. For every series (all, topics, watch-listed entities) it holds the stories that are new in it,
by five-minute bucket, with the calibrated probability that each is negative: what the detector sees, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from alerts.config import PipelineConfig
from alerts.drives import Drives
from alerts.series import effective_time
from connectors.archive import read_archive
from monitor.core.errors import UsageError
from monitor.core.types import Article, Scored, ScoredArticle, SeriesKey

WIDTH = timedelta(minutes=5)
SECONDS = int(WIDTH.total_seconds())
DAY = 288
WEEK = 7 * DAY
_VERSION = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The stories of one archive. Of story row ``i``: its series, its bucket (from ``first``) and its p(negative)."""

    name: str
    first: int
    """Number of the first bucket since the Unix epoch."""
    buckets: int
    keys: tuple[str, ...]
    key: np.ndarray
    bucket: np.ndarray
    p: np.ndarray

    @property
    def weeks(self) -> float:
        """Length."""
        return self.buckets / WEEK

    def counts(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Stories and expected negative stories per bucket of series ``number``."""
        mine = self.key == number
        where = self.bucket[mine]
        stories = np.bincount(where, minlength=self.buckets).astype(np.float64)
        return stories, np.bincount(where, weights=self.p[mine], minlength=self.buckets)

    def at(self, bucket: int) -> datetime:
        """Start of a bucket."""
        return datetime.fromtimestamp((self.first + bucket) * SECONDS, UTC)

    def index(self, moment: datetime) -> int:
        """The bucket that holds a moment."""
        return int(moment.timestamp()) // SECONDS - self.first


def scored_archive(archive: Path, scores: Path | None) -> Iterator[ScoredArticle]:
    """The archive with its scores: from ``scores`` when it is there, else made with the packaged model and kept."""
    from monitor.app import build_scorer
    from monitor.cli.backtest import scored_articles, with_cache
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock

    runner = asyncio.Runner()
    made: list[Callable[[list[Article]], list[Scored]]] = []

    def score(batch: list[Article]) -> list[Scored]:
        if not made:
            scorer = build_scorer(load_settings(None), SystemClock())
            made.append(lambda articles: list(runner.run(scorer.score(articles))))  # type: ignore[arg-type]
        return made[0](batch)

    articles = read_archive(archive)
    with runner:
        yield from scored_articles(articles, score) if scores is None else with_cache(articles, score, scores)


def load_world(archive: Path, scores: Path | None, cache: Path) -> World:
    """The world of an archive, built once and kept in the folder ``cache``."""
    stamp = f"{_VERSION}|{archive.name}|{archive.stat().st_size}"
    if scores is not None and scores.exists():
        stamp += f"|{scores.stat().st_size}"
    path = cache / f"world-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        with np.load(path) as data:
            return World(
                name=archive.name.split(".")[0],
                first=int(data["first"]),
                buckets=int(data["buckets"]),
                keys=tuple(str(key) for key in data["keys"]),
                key=data["key"],
                bucket=data["bucket"],
                p=data["p"],
            )
    world = build_world(archive.name.split(".")[0], scored_archive(archive, scores))
    cache.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        first=world.first,
        buckets=world.buckets,
        keys=np.array(world.keys),
        key=world.key,
        bucket=world.bucket,
        p=world.p,
    )
    return world


def build_world(name: str, items: Iterator[ScoredArticle], config: PipelineConfig | None = None) -> World:
    """Clusters and counts scored articles as the pipeline does; an article is fetched when it is published."""
    config = config or PipelineConfig()
    drives = Drives(config)
    numbers: dict[SeriesKey, int] = {}
    rows: list[tuple[int, int, float]] = []
    first = last = None
    for item in items:
        at = effective_time(item.article, config.series) or item.article.published_at
        at = max(at, item.article.published_at)
        index = int(at.timestamp()) // SECONDS
        if last is not None and index > last:
            drives.prune(last, at)
            drives.written()
        first = index if first is None else min(first, index)
        last = index if last is None else max(last, index)
        if drives.knows(item.article.id):
            continue
        member = drives.take(item, at, index)
        rows += [(numbers.setdefault(key, len(numbers)), index, member.negative) for key in member.fresh]
    if first is None or last is None:
        raise UsageError(f"The archive {name} holds no articles.")
    names = [str(key) for key in sorted(numbers)]
    order = {numbers[key]: number for number, key in enumerate(sorted(numbers))}
    return World(
        name=name,
        first=first,
        buckets=last - first + 1,
        keys=tuple(names),
        key=np.array([order[key] for key, _, _ in rows], dtype=np.int32),
        bucket=np.array([index - first for _, index, _ in rows], dtype=np.int32),
        p=np.array([p for _, _, p in rows], dtype=np.float64),
    )
