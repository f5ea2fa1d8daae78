"""Runs the detector over history in event time: the same pipeline as live, no clock, no alerts sent.

Writes ``incidents.jsonl`` (one line per incident in its last state), ``series.csv.gz`` (every closed non-empty bucket
of every series) and ``report.html``. Equal input and configuration give equal bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from alerts.pipeline import DetectPipeline, PipelineConfig, Point, Step
from alerts.report import HourSums, render
from alerts.rules.engine import RuleSet
from monitor.core.codec import dumps, incident_line, time_to_str
from monitor.core.errors import DiskFullError, StorageError, UsageError
from monitor.core.types import Incident, ScoredArticle, SeriesKey

Progress = Callable[[int, datetime], None]
COLUMNS = ("start", "scope", "value", "stories", "articles", "expected_negatives", "expected")


@dataclass(slots=True)
class Episode:
    """One incident as it opened and as it was last."""

    opened: Incident
    last: Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a backtest saw and found."""

    articles: int
    first: datetime | None
    last: datetime | None
    series: int
    buckets: int
    counts: Mapping[str, int]
    """Articles counted, duplicates, backfills, late."""
    episodes: tuple[Episode, ...]

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents in their last state, in the order of their opening."""
        return tuple(episode.last for episode in self.episodes)

    @property
    def weeks(self) -> float:
        """The time covered."""
        return (self.last - self.first) / timedelta(weeks=1) if self.first and self.last else 0.0


@dataclass(slots=True)
class _Run:
    rows: int = 0
    buckets: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    episodes: dict[str, Episode] = field(default_factory=dict)


def run_pipeline(
    items: Iterable[ScoredArticle],
    pipeline: DetectPipeline,
    *,
    progress: Progress | None = None,
    every: int = 2000,
    take: Callable[[Step], None] = lambda _step: None,
) -> Summary:
    """Runs ``items``, in order of time, through a pipeline and says what it found; ``take`` is given every step."""
    run = _Run()
    first: datetime | None = None
    watermark: datetime | None = None

    def taken(step: Step) -> None:
        _take(run, step)
        take(step)

    for item in items:
        at = item.article.published_at
        first = at if first is None else min(first, at)
        watermark = at if watermark is None else max(watermark, at)
        if pipeline.due(watermark):
            taken(pipeline.advance(watermark))
        pipeline.feed([_as_published(item)])
        run.rows += 1
        if progress is not None and run.rows % every == 0:
            progress(run.rows, at)
    if watermark is not None:
        taken(pipeline.advance(watermark + pipeline.config.grace + pipeline.config.detector.width))
    return Summary(
        articles=run.rows,
        first=first,
        last=watermark,
        series=len(pipeline.states),
        buckets=run.buckets,
        counts=dict(sorted(run.counts.items())),
        episodes=tuple(sorted(run.episodes.values(), key=lambda e: (e.last.opened_at, e.last.id))),
    )


def run_backtest(
    items: Iterable[ScoredArticle],
    out: Path | str,
    *,
    config: PipelineConfig | None = None,
    display_names: Mapping[SeriesKey, str] | None = None,
    title: str = "Backtest",
    progress: Progress | None = None,
    every: int = 2000,
    rules: RuleSet | None = None,
) -> Summary:
    """Runs ``items``, in order of time, and writes the three files into ``out``.

    Items that come out of order count in the oldest bucket that is still open. An article is taken to be fetched when
    it was published. The files appear when the run is complete, not before. Raises UsageError when ``out`` cannot be
    a folder, StorageError when it cannot be written.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be made: {error.strerror}.", hint="Give another --out."
        ) from error
    pipeline = DetectPipeline(
        config, display_names=display_names, alerting=False, points=True, persist=False, rules=rules
    )
    hours = HourSums()
    with (
        written(folder / "series.csv.gz") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as table,
    ):
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)

        def take(step: Step) -> None:
            for point in step.points:
                hours.add(point.bucket, point.expected, point.spread)
                writer.writerow(_row(point))

        summary = run_pipeline(items, pipeline, progress=progress, every=every, take=take)
    episodes = summary.episodes
    summary = replace(summary, series=len(hours.keys()))
    with written(folder / "incidents.jsonl") as raw:
        for incident in summary.incidents:
            raw.write(f"{dumps(incident_line(incident))}\n".encode())
    page = render(
        title=title,
        facts=_facts(summary),
        episodes=[(episode.opened, episode.last) for episode in episodes],
        hours=hours,
        names=pipeline.book.title,
    )
    with written(folder / "report.html") as raw:
        raw.write(page.encode("utf-8", "replace"))
    return summary


def _as_published(item: ScoredArticle) -> ScoredArticle:
    article = item.article
    if article.fetched_at == article.published_at:
        return item
    return replace(item, article=replace(article, fetched_at=article.published_at))


def _take(run: _Run, step: Step) -> None:
    run.buckets += step.closed
    for name, count in step.counts.items():
        run.counts[name] = run.counts.get(name, 0) + count
    for incident in step.incidents:
        known = run.episodes.get(incident.id)
        if known is None:
            run.episodes[incident.id] = Episode(opened=incident, last=incident)
        else:
            known.last = incident


def _row(point: Point) -> tuple[str, str, str, int, int, str, str]:
    bucket = point.bucket
    return (
        time_to_str(bucket.start),
        bucket.key.scope.value,
        bucket.key.value,
        bucket.stories,
        bucket.articles,
        f"{bucket.expected_negatives:.4f}",
        f"{point.expected:.4f}",
    )


def _facts(summary: Summary) -> list[tuple[str, str]]:
    facts = [("articles", f"{summary.articles:,}")]
    if summary.first is not None and summary.last is not None:
        facts.append(("from", f"{summary.first:%Y-%m-%d %H:%M} UTC"))
        facts.append(("to", f"{summary.last:%Y-%m-%d %H:%M} UTC"))
    facts.append(("series", f"{summary.series:,}"))
    facts.append(("buckets closed", f"{summary.buckets:,}"))
    facts.append(("incidents", f"{len(summary.episodes):,}"))
    facts += [(name, f"{count:,}") for name, count in summary.counts.items() if name != "articles"]
    return facts


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when it is complete."""
    partial = path.with_name(f"{path.name}.part")
    try:
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno == 28:
            raise DiskFullError(
                f"There is no room for {path}.", hint="Free some space or give another --out."
            ) from error
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error


__all__ = ["COLUMNS", "Episode", "Summary", "run_backtest", "run_pipeline", "written"]
