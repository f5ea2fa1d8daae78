"""The report of a backtest: one HTML file with its charts inside, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from alerts.notifiers.text import facts as story_facts
from alerts.notifiers.text import headline, words_of
from monitor.core.types import Bucket, Incident, SeriesKey, Severity

_HOUR = 3600
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_CHARTS = 200
"""Most incidents that get a chart."""
STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
section{border-top:1px solid #8884;margin-top:1.5rem}svg{width:100%;height:auto}
.info{color:#2a7}.warning{color:#b70}.critical{color:#c33}small{opacity:.75}li{margin:.25rem 0}
.bar{fill:#4a79b8}.hot{fill:#c94b3c}.band{fill:#9995;stroke:none}.mean{fill:none;stroke:#666;stroke-width:1.2}
.mark{stroke:#c33;stroke-width:1;stroke-dasharray:3 2}.axis{stroke:#8886}
text{font:10px system-ui,sans-serif;fill:#777}
"""


class HourSums:
    """Observed and expected negatives per series and hour: what the charts show."""

    def __init__(self) -> None:
        self._hours: dict[SeriesKey, dict[int, list[float]]] = {}

    def add(self, bucket: Bucket, expected: float, spread: float) -> None:
        """Adds a closed bucket; ``expected`` is that of the bucket, ``spread`` the standard deviation of an hour."""
        hour = int(bucket.start.timestamp()) // _HOUR
        per_hour = _HOUR / bucket.width.total_seconds()
        row = self._hours.setdefault(bucket.key, {}).setdefault(hour, [0.0, 0.0, 0.0])
        row[0] += bucket.expected_negatives
        row[1] = expected * per_hour
        row[2] = spread

    def keys(self) -> Sequence[SeriesKey]:
        """The series seen."""
        return sorted(self._hours)

    def span(self, key: SeriesKey, first: int, last: int) -> list[tuple[int, float, float, float]]:
        """Hour, observed, expected, standard deviation; where nothing came, the last expectation goes on."""
        rows = self._hours.get(key, {})
        known = [hour for hour in sorted(rows) if hour <= last]
        before = [hour for hour in known if hour < first]
        expected, spread = rows[before[-1]][1:3] if before else (0.0, 0.0)
        result = []
        for hour in range(first, last + 1):
            row = rows.get(hour)
            if row is not None:
                expected, spread = row[1], row[2]
            result.append((hour, row[0] if row else 0.0, expected, spread))
        return result

    def days(self, key: SeriesKey) -> list[tuple[int, float, float]]:
        """Day (since the Unix epoch), observed, expected, of the days on which anything came."""
        sums: dict[int, list[float]] = {}
        for hour, row in self._hours.get(key, {}).items():
            day = sums.setdefault(hour // 24, [0.0, 0.0])
            day[0] += row[0]
            day[1] += row[1]
        return [(day, value[0], value[1]) for day, value in sorted(sums.items())]


def text(value: str) -> str:
    """Foreign text as HTML text or attribute."""
    return html.escape(_CONTROL.sub(" ", value), quote=True)


def render(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    episodes: Sequence[tuple[Incident, Incident]],
    hours: HourSums,
    names: Callable[[SeriesKey], str],
) -> str:
    """The whole page. ``episodes`` are pairs of an incident as it opened and as it was last."""
    counts = {severity: sum(last.severity is severity for _, last in episodes) for severity in Severity}
    rows = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in facts)
    by_severity = ", ".join(f"{count} {severity.value}" for severity, count in counts.items())
    index = "".join(_index_row(opened, last) for opened, last in episodes)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{text(title)}</h1><table>{rows}<tr><th>by severity</th><td>{by_severity}</td></tr></table>",
        "<h2>Negative stories per day, over everything</h2>",
        _overview(hours, [last for _, last in episodes]),
        "<h2>Incidents</h2>",
    ]
    if episodes:
        parts.append(
            "<table><tr><th>opened (UTC)</th><th>severity</th><th>what</th><th>observed</th><th>expected</th>"
            f"<th>q</th><th>resolved (UTC)</th></tr>{index}</table>"
        )
    else:
        parts.append("<p>None.</p>")
    parts += [_incident(opened, last, hours, names) for opened, last in episodes[:_CHARTS]]
    if len(episodes) > _CHARTS:
        parts.append(f"<p>{len(episodes) - _CHARTS} more are in incidents.jsonl.</p>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _index_row(opened: Incident, last: Incident) -> str:
    resolved = f"{last.resolved_at:%Y-%m-%d %H:%M}" if last.resolved_at else "open"
    return (
        f'<tr><td><a href="#i{text(last.id)}">{opened.opened_at:%Y-%m-%d %H:%M}</a></td>'
        f'<td class="{last.severity.value}">{last.severity.value}</td><td>{text(last.title or str(last.key))}</td>'
        f"<td>{last.observed:.1f}</td><td>{last.expected:.1f}</td><td>{last.q_value:.1e}</td><td>{resolved}</td></tr>"
    )


def _incident(opened: Incident, last: Incident, hours: HourSums, names: Callable[[SeriesKey], str]) -> str:
    items = []
    for item in last.evidence or opened.evidence:
        head = text(item.title)
        if item.url and urlsplit(item.url).scheme in ("http", "https"):
            head = f'<a rel="noreferrer noopener" href="{text(item.url)}">{head}</a>'
        words = f" · words: {text(words_of(item))}" if words_of(item) else ""
        items.append(f"<li>{head}<br><small>{text(story_facts(item))}{words}</small></li>")
    related = f"<p>also: {text(', '.join(names(key) for key in last.related))}</p>" if last.related else ""
    chart = _chart(last, hours) if last.kind == "surge" else ""
    return (
        f'<section id="i{text(last.id)}"><h2 class="{last.severity.value}">{text(headline(last))}</h2>'
        f"<p>{text(last.reason)}</p>{related}{chart}<ul>{''.join(items)}</ul>"
        f"<small>{text(str(last.key))} · incident {text(last.id)}</small></section>"
    )


def _chart(incident: Incident, hours: HourSums, *, around: int = 24) -> str:
    start = int(incident.opened_at.timestamp()) // _HOUR
    end = int((incident.resolved_at or incident.updated_at).timestamp()) // _HOUR
    rows = hours.span(incident.key, start - around, min(end, start + 96) + around // 2)
    width, height, left, bottom = 920.0, 170.0, 34.0, 20.0
    top = max(1.0, *(max(seen, mean + 2 * sd) for _, seen, mean, sd in rows))
    step = (width - left) / len(rows)

    def y(value: float) -> float:
        return (height - bottom) * (1.0 - max(0.0, value) / top)

    bars, upper, lower, middle = [], [], [], []
    for place, (hour, seen, mean, sd) in enumerate(rows):
        x = left + place * step
        kind = "hot" if start - 1 <= hour <= end else "bar"
        if seen > 0:
            bars.append(
                f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y(seen):.1f}" width="{max(0.5, step - 1):.1f}" '
                f'height="{height - bottom - y(seen):.1f}"/>'
            )
        centre = x + step / 2
        upper.append(f"{centre:.1f},{y(mean + 2 * sd):.1f}")
        lower.append(f"{centre:.1f},{y(mean - 2 * sd):.1f}")
        middle.append(f"{centre:.1f},{y(mean):.1f}")
    mark = left + (incident.opened_at.timestamp() / _HOUR - rows[0][0]) * step
    labels = "".join(
        f'<text x="{left + place * step:.1f}" y="{height - 6:.0f}">{_hour(hour)}</text>'
        for place, (hour, *_rest) in enumerate(rows)
        if hour % 12 == 0
    )
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="negative stories per hour">'
        f'<polygon class="band" points="{" ".join(upper)} {" ".join(reversed(lower))}"/>'
        f'{"".join(bars)}<polyline class="mean" points="{" ".join(middle)}"/>'
        f'<line class="mark" x1="{mark:.1f}" x2="{mark:.1f}" y1="0" y2="{height - bottom:.0f}"/>'
        f'<line class="axis" x1="{left:.0f}" x2="{width:.0f}" y1="{height - bottom:.0f}" y2="{height - bottom:.0f}"/>'
        f'<text x="0" y="10">{top:.0f}</text><text x="0" y="{height - bottom:.0f}">0</text>{labels}</svg>'
        "<small>Negative stories per hour; line and band: expected, two standard deviations; dashed: opened.</small>"
    )


def _overview(hours: HourSums, incidents: Sequence[Incident]) -> str:
    keys = [key for key in hours.keys() if key.value == "*"]  # noqa: SIM118
    days = hours.days(keys[0]) if keys else []
    if not days:
        return "<p>No data.</p>"
    width, height, left, bottom = 920.0, 190.0, 34.0, 20.0
    top = max(1.0, *(max(seen, mean) for _, seen, mean in days))
    step = (width - left) / len(days)
    opened = Counter(int(incident.opened_at.timestamp()) // 86400 for incident in incidents)
    parts = []
    middle = []
    for place, (day, seen, mean) in enumerate(days):
        x = left + place * step
        y = (height - bottom) * (1.0 - seen / top)
        kind = "hot" if opened[day] else "bar"
        parts.append(
            f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(0.5, step - 1):.1f}" '
            f'height="{height - bottom - y:.1f}"><title>{_day(day)}: {seen:.0f} negative stories, {mean:.0f} expected, '
            f"{opened[day]} incidents opened</title></rect>"
        )
        middle.append(f"{x + step / 2:.1f},{(height - bottom) * (1.0 - mean / top):.1f}")
        if place % max(1, -(-len(days) // 9)) == 0:  # a date needs a ninth of the width
            parts.append(f'<text x="{x:.1f}" y="{height - 6:.0f}">{_day(day)}</text>')
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="negative stories per day">{"".join(parts)}'
        f'<polyline class="mean" points="{" ".join(middle)}"/><text x="0" y="10">{top:.0f}</text></svg>'
        "<small>Days on which an incident opened are red; the line is what was expected.</small>"
    )


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * 86400, UTC).strftime("%Y-%m-%d")


def _hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * _HOUR, UTC).strftime("%m-%d %H:%M")
