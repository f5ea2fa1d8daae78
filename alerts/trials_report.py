"""Sweeps and comparisons as files: JSON and CSV for programs, one HTML page without scripts for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from alerts.report import STYLE, text
from alerts.trials import Comparison, Match, Outcome
from monitor.core.codec import incident_line
from monitor.core.types import Incident

__all__ = ["compare_doc", "compare_page", "shown", "sweep_csv", "sweep_page", "sweep_rows"]

_NONE = "–"


def shown(settings: Mapping[str, str]) -> str:
    """Settings for people."""
    return ", ".join(f"{name} = {value}" for name, value in settings.items()) or "as configured"


def sweep_rows(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """The table of a sweep: its columns, and a row for each combination."""
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.settings))
    columns = [*names, "incidents", "per week", "critical", "warning", "info"]
    labelled = any(outcome.labels is not None for outcome in outcomes)
    if labelled:
        columns += ["false alarms", "caught", "of", "delay (min)", "p95 (min)"]
    rows = []
    for outcome in outcomes:
        row = [outcome.settings.get(name, "") for name in names]
        row += [str(outcome.incidents), f"{outcome.per_week:.2f}"]
        row += [str(outcome.severities[name]) for name in ("critical", "warning", "info")]
        if labelled:
            figures = (outcome.false_alarms, outcome.caught, outcome.labels, outcome.delay, outcome.delay_p95)
            row += [_NONE if figure is None else f"{figure:g}" for figure in figures]
        rows.append(row)
    return columns, rows


def sweep_csv(outcomes: Sequence[Outcome]) -> str:
    """The table of a sweep as CSV."""
    columns, rows = sweep_rows(outcomes)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if cell == _NONE else cell for cell in row] for row in rows)
    return out.getvalue()


def sweep_page(title: str, outcomes: Sequence[Outcome]) -> str:
    """The table of a sweep as a page."""
    columns, rows = sweep_rows(outcomes)
    missed = [
        f"<li>{text(shown(outcome.settings))}: {text(', '.join(outcome.missed))}</li>"
        for outcome in outcomes
        if outcome.missed
    ]
    return _page(title, [_table(columns, rows), *(["<h2>Missed</h2><ul>", *missed, "</ul>"] if missed else [])])


def compare_doc(found: Comparison, a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, Any]:
    """A comparison as a JSON object."""
    return {
        "a": dict(a),
        "b": dict(b),
        "both": [
            {"a": incident_line(m.a), "b": incident_line(m.b), "delay_minutes": m.delay, "shared_articles": m.shared}
            for m in found.both
        ],
        "only_a": [incident_line(incident) for incident in found.only_a],
        "only_b": [incident_line(incident) for incident in found.only_b],
        "delay_median_minutes": found.delay,
    }


def compare_page(title: str, found: Comparison, a: str, b: str) -> str:
    """A comparison as a page."""
    later = sum(match.delay > 0 for match in found.both)
    earlier = sum(match.delay < 0 for match in found.both)
    delay = "" if found.delay is None else f"; in the median {_later(found.delay)}"
    parts = [
        f"<p>A: {text(a)}<br>B: {text(b)}</p>",
        f"<p>{len(found.both)} in both, {len(found.only_a)} only in A, {len(found.only_b)} only in B. Of those in "
        f"both, B opened {later} later and {earlier} earlier{delay}.</p>",
        "<h2>Only in A</h2>",
        _incidents(found.only_a),
        "<h2>Only in B</h2>",
        _incidents(found.only_b),
        "<h2>In both</h2>",
        _table(
            [
                "opened in A (UTC)",
                "opened in B",
                "B later by (min)",
                "in A",
                "in B",
                "severity A / B",
                "common articles",
            ],
            [_match(match) for match in found.both],
        )
        if found.both
        else "<p>None.</p>",
    ]
    return _page(title, parts)


def _later(minutes: float) -> str:
    if minutes == 0:
        return "at the same time"
    return f"{abs(minutes):g} minutes {'later' if minutes > 0 else 'earlier'}"


def _match(match: Match) -> list[str]:
    return [
        f"{match.a.opened_at:%Y-%m-%d %H:%M}",
        f"{match.b.opened_at:%Y-%m-%d %H:%M}",
        f"{match.delay:g}",
        match.a.title or str(match.a.key),
        match.b.title or str(match.b.key),
        f"{match.a.severity.value} / {match.b.severity.value}",
        f"{100 * match.shared:.0f} %",
    ]


def _incidents(incidents: Sequence[Incident]) -> str:
    if not incidents:
        return "<p>None.</p>"
    rows = []
    for incident in incidents:
        first = min(incident.evidence, key=lambda item: item.published_at).title if incident.evidence else ""
        rows.append(
            [
                f"{incident.opened_at:%Y-%m-%d %H:%M}",
                incident.severity.value,
                incident.title or str(incident.key),
                f"{incident.observed:.1f}",
                f"{incident.expected:.1f}",
                f"{incident.q_value:.1e}",
                first,
            ]
        )
    return _table(["opened (UTC)", "severity", "what", "observed", "expected", "q", "a driving headline"], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _page(title: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width">',
            f"<title>{text(title)}</title><style>{STYLE}</style></head><body><h1>{text(title)}</h1>",
            *parts,
            "</body></html>\n",
        ]
    )
