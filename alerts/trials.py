"""What detection with several configurations found: a sweep judged by labels, and two runs side by side."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.core.codec import time_from_str
from monitor.core.errors import CodecError, UsageError
from monitor.core.types import Incident, Scope, SeriesKey, Severity

__all__ = ["Comparison", "Label", "Match", "Outcome", "compare", "judge", "read_labels"]

_DAY = timedelta(days=1)
_NEAR = timedelta(hours=24)
"""Incidents that do not overlap are still one when the second opens so soon after the first is over."""
_ARTICLES = 0.3
"""Share of the driving articles of the smaller one that two incidents of different series must have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A real event: an incident that opens from ``at`` to ``until`` (of ``key``, when there is one) found it."""

    at: datetime
    until: datetime
    key: SeriesKey | None = None
    name: str = ""


def read_labels(path: Path) -> tuple[Label, ...]:
    """Labels from JSONL or CSV with the columns ``at`` and, where wanted, ``until`` (a day later when empty), ``scope``
    and ``value`` of the series, ``name``. Raises UsageError with the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The labels in {path} cannot be read: {error}.") from error
    if path.suffix.lower() == ".csv":
        rows: Iterable[tuple[int, Any]] = enumerate(csv.DictReader(text.splitlines()), 2)
    else:
        rows = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    labels = []
    for number, row in rows:
        try:
            labels.append(_label(json.loads(row) if isinstance(row, str) else row))
        except (CodecError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"{path}, line {number}: this is no label: {error}.",
                hint='Write {"at": "2016-01-07T02:00:00Z", "scope": "topic", "value": "markets", "name": "circuit"}.',
            ) from error
    if not labels:
        raise UsageError(f"{path} holds no labels.")
    return tuple(sorted(labels, key=lambda label: (label.at, label.name)))


def _label(row: Mapping[str, Any]) -> Label:
    at = time_from_str(str(row["at"]), field="at")
    until = time_from_str(str(row["until"]), field="until") if row.get("until") else at + _DAY
    if until < at:
        raise ValueError("'until' is before 'at'")
    key = SeriesKey(scope=Scope(str(row["scope"])), value=str(row.get("value") or "*")) if row.get("scope") else None
    return Label(at=at, until=until, key=key, name=str(row.get("name") or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one configuration found. Figures of labels are None without labels."""

    settings: Mapping[str, str]
    incidents: int
    """Surges."""
    per_week: float
    severities: Mapping[str, int]
    false_alarms: int | None = None
    labels: int | None = None
    caught: int | None = None
    delay: float | None = None
    """Median minutes from a label's beginning to the first incident that found it."""
    delay_p95: float | None = None
    missed: tuple[str, ...] = ()

    def to_doc(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "settings": dict(self.settings),
            "incidents": self.incidents,
            "per_week": round(self.per_week, 3),
            "severities": dict(self.severities),
            "false_alarms": self.false_alarms,
            "labels": self.labels,
            "caught": self.caught,
            "delay_median_minutes": self.delay,
            "delay_p95_minutes": self.delay_p95,
            "missed": list(self.missed),
        }


def judge(
    settings: Mapping[str, str], incidents: Sequence[Incident], weeks: float, labels: Sequence[Label] | None
) -> Outcome:
    """Counts the surges of one run and holds them against the labels."""
    surges = [incident for incident in incidents if incident.kind == "surge"]
    severities = {severity.value: sum(i.severity is severity for i in surges) for severity in Severity}
    plain = Outcome(
        settings=settings, incidents=len(surges), per_week=len(surges) / max(weeks, 1e-9), severities=severities
    )
    if labels is None:
        return plain
    delays: list[float] = []
    missed: list[str] = []
    explained: set[str] = set()
    for label in labels:
        found = [i for i in surges if label.at <= i.opened_at <= label.until and _is_of(i, label)]
        explained.update(i.id for i in found)
        if found:
            delays.append((min(i.opened_at for i in found) - label.at) / timedelta(minutes=1))
        else:
            missed.append(label.name or f"{label.at:%Y-%m-%d %H:%M}")
    delays.sort()
    return Outcome(
        settings=settings,
        incidents=plain.incidents,
        per_week=plain.per_week,
        severities=severities,
        false_alarms=sum(i.id not in explained for i in surges),
        labels=len(labels),
        caught=len(delays),
        delay=round(statistics.median(delays), 1) if delays else None,
        delay_p95=round(delays[min(len(delays) - 1, int(0.95 * len(delays)))], 1) if delays else None,
        missed=tuple(missed),
    )


def _is_of(incident: Incident, label: Label) -> bool:
    return label.key is None or label.key in (incident.key, *incident.related)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One incident as two configurations saw it."""

    a: Incident
    b: Incident
    shared: float
    """Share of the driving articles of the smaller one that both have."""

    @property
    def delay(self) -> float:
        """Minutes by which B opened later than A."""
        return round((self.b.opened_at - self.a.opened_at) / timedelta(minutes=1), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs over the same articles."""

    both: tuple[Match, ...]
    only_a: tuple[Incident, ...]
    only_b: tuple[Incident, ...]

    @property
    def delay(self) -> float | None:
        """Median minutes by which B was later, over what both found."""
        return round(statistics.median(match.delay for match in self.both), 1) if self.both else None


def compare(a: Sequence[Incident], b: Sequence[Incident]) -> Comparison:
    """Pairs the incidents of two runs, each at most once, the best pairs first: those of a common series or of common
    articles, whose times overlap or nearly do."""
    pairs = []
    for left in a:
        for right in b:
            if left.kind != right.kind or not _together(left, right):
                continue
            shared = len({*left.articles} & {*right.articles}) / max(1, min(len(left.articles), len(right.articles)))
            if shared >= _ARTICLES or not {left.key, *left.related}.isdisjoint((right.key, *right.related)):
                apart = abs((left.opened_at - right.opened_at).total_seconds())
                pairs.append(((-shared, left.key != right.key, apart, left.id, right.id), left, right, shared))
    used_a: set[str] = set()
    used_b: set[str] = set()
    both = []
    for _, left, right, shared in sorted(pairs, key=lambda row: row[0]):
        if left.id not in used_a and right.id not in used_b:
            used_a.add(left.id)
            used_b.add(right.id)
            both.append(Match(a=left, b=right, shared=round(shared, 3)))
    return Comparison(
        both=tuple(sorted(both, key=lambda match: (match.a.opened_at, match.a.id))),
        only_a=tuple(i for i in a if i.id not in used_a),
        only_b=tuple(i for i in b if i.id not in used_b),
    )


def _together(left: Incident, right: Incident) -> bool:
    ends = [(i.resolved_at or i.updated_at) + _NEAR for i in (left, right)]
    return left.opened_at <= ends[1] and right.opened_at <= ends[0]
