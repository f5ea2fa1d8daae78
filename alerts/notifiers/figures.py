"""The figures of an incident that mean something: which there are depends on what opened it."""

from __future__ import annotations

import math

from monitor.core.types import Incident

SURGE, SILENCE, RULE = "surge", "silence", "rule"


def figures(incident: Incident) -> list[tuple[str, str]]:
    """Names and values for people, the weightiest first.

    A surge is seen against what is usual. A silence saw nothing, against five-minute periods in which something
    usually comes. A rule expects nothing: it has stories, and neither interval nor probability.
    """
    if incident.kind == RULE:
        return [("Stories that matched", str(incident.stories)), ("Sources", str(len(incident.sources)))]
    if incident.kind == SILENCE:
        return [
            ("Seen", "nothing"),
            ("Usual", f"{incident.expected:.0f} active five-minute periods in that time"),
            ("Chance of a false alarm", chance(incident.q_value)),
        ]
    rows = [
        ("Seen", f"{number(incident.observed)} negative stories"),
        ("Usual", f"{number(incident.expected)} (95 % of the time {incident.low:.0f} to {incident.high:.0f})"),
    ]
    if incident.expected >= 0.05:
        rows.append(("That is", f"{number(incident.observed / incident.expected)} times the usual"))
    rows.append(("Chance of a false alarm", chance(incident.q_value)))
    if incident.stories:
        rows.append(("Stories", f"{incident.stories} new, from {_many(len(incident.sources), 'source')}"))
    return rows


def heading(incident: Incident) -> str:
    """What stands above the headlines."""
    return "Stories that matched" if incident.kind == RULE else "What drives it"


def measured(incident: Incident) -> dict[str, float]:
    """The figures for machines; without those that the kind of incident does not have."""
    if incident.kind == RULE:
        return {"stories": incident.stories}
    return {"observed": incident.observed, "expected": incident.expected, "q_value": incident.q_value}


def number(value: float) -> str:
    """One decimal below ten, none above; as the reason says it."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def chance(q: float) -> str:
    """``about 1 in 56``: a false discovery rate as people read it, with the number itself."""
    if q < 1e-6:
        return f"less than 1 in 1,000,000 (q = {q:.1e})"
    odds = 1.0 / q
    rounded = round(odds, 1 - math.floor(math.log10(odds))) if odds >= 100 else round(odds)
    return f"about 1 in {rounded:,.0f} (q = {q:.1e})"


def _many(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"
