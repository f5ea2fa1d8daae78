"""The named events of the windows, through the whole pipeline as it is shipped: when did people hear, and what?"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

from compare import EARLIER, EVENTS, LATER
from rich.console import Console
from worlds import scored_archive

from alerts.pipeline import DetectPipeline
from monitor.core.errors import UsageError
from monitor.core.types import Incident

WITHIN = timedelta(hours=24)


def incidents_of(archive: Path, scores: Path) -> tuple[list[Incident], int, datetime, datetime]:
    """Every incident as it opened, the number of series, and the time watched."""
    pipeline = DetectPipeline(alerting=False, persist=False)
    opened: dict[str, Incident] = {}
    first = last = None
    for item in scored_archive(archive, scores):
        at = item.article.published_at
        first = at if first is None else min(first, at)
        last = at if last is None else max(last, at)
        if pipeline.due(last):
            for incident in pipeline.advance(last).incidents:
                opened.setdefault(incident.id, incident)
        pipeline.feed([item])
    if first is None or last is None:
        raise UsageError(f"{archive} holds no articles.")
    for incident in pipeline.advance(last + timedelta(hours=1)).incidents:
        opened.setdefault(incident.id, incident)
    return list(opened.values()), len(pipeline.states), first, last


def events(archives: Path, scores: Path, console: Console, only: str = "") -> None:
    """Prints, for every window, what was opened after each event, and how many incidents there were in all."""
    for name in (n for n in (*EARLIER, *LATER) if only in n):
        began = time.monotonic()
        opened, series, first, last = incidents_of(archives / f"{name}.csv.gz", scores / f"{name}.jsonl.gz")
        surges = [i for i in opened if i.kind == "surge"]
        weeks = (last - first) / timedelta(weeks=1)
        key_weeks = series * weeks
        console.print(
            f"\n[bold]{name}[/]: {len(surges)} surges over {series} series "
            f"({100 * len(surges) / key_weeks:.1f} per 100 key-weeks, {len(surges) / weeks:.1f} a week in all), "
            f"{len(opened) - len(surges)} silent sources; {time.monotonic() - began:.0f} s"
        )
        for title, moment in EVENTS:
            at = datetime.fromisoformat(moment)
            if not first <= at <= last:
                continue
            console.print(f"  {title}, first headline {at:%Y-%m-%d %H:%M}")
            after = [i for i in surges if at <= i.opened_at <= at + WITHIN]
            for incident in after:
                minutes = (incident.opened_at - at) / timedelta(minutes=1)
                console.print(
                    f"    +{minutes:4.0f} min {incident.severity.value:8} {incident.key!s:34} {incident.reason}",
                    markup=False, highlight=False, soft_wrap=True,
                )  # fmt: skip
                for story in incident.evidence[:3]:
                    console.print(f"        {story.published_at:%H:%M} {story.title}", markup=False, highlight=False)
            if not after:
                console.print("    nothing within a day")
        console.print(
            "  all: " + ", ".join(f"{i.opened_at:%m-%d %H:%M} {i.key} {i.severity.value[0]}" for i in surges),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
