"""What every notifier says of an incident, as plain lines."""

from __future__ import annotations

from monitor.core.types import Evidence, Incident, IncidentState, Scope, Severity

LABEL = {Severity.INFO: "INFO", Severity.WARNING: "WARNING", Severity.CRITICAL: "CRITICAL"}
_SCOPE = {
    Scope.TOPIC: "topic",
    Scope.ENTITY: "entity",
    Scope.ALL: "everything",
    Scope.SOURCE: "source",
    Scope.RULE: "rule",
    Scope.PAIR: "entity within a topic",
    Scope.LANGUAGE: "language",
}


def headline(incident: Incident) -> str:
    """``WARNING: bad news surges: Apple (entity)``, ``CRITICAL: rule matched: Run on a bank``."""
    title = incident.title or incident.key.value
    scope = _SCOPE[incident.key.scope]
    if incident.kind == "silence":
        text = f"{title} ({scope}) is silent"
    elif incident.kind == "rule":
        text = f"rule matched: {title}"
    else:
        text = f"bad news surges: {title}" + ("" if incident.key.scope is Scope.ALL else f" ({scope})")
    if incident.state is IncidentState.RESOLVED:
        return f"RESOLVED: {text}"
    suffix = "" if incident.state is IncidentState.OPEN else f" [{incident.state.value}]"
    return f"{LABEL[incident.severity]}: {text}{suffix}"


def words_of(item: Evidence, limit: int = 4) -> str:
    """The words that weighed most for the verdict, strongest first."""
    strongest = sorted((w for w in item.words if w.weight > 0), key=lambda w: (-w.weight, w.start))
    return ", ".join(dict.fromkeys(w.word for w in strongest[:limit]))


def facts(item: Evidence) -> str:
    """Source, time, copies and probability of one driving story."""
    parts = [item.source, item.published_at.strftime("%Y-%m-%d %H:%M UTC")]
    if item.heat > 1:
        parts.append(f"{item.heat} copies")
    parts.append(f"reads {item.negative:.0%} negative")
    return ", ".join(parts)


def sentences(reason: str) -> tuple[str, str]:
    """A reason's first sentence, which says what happened, and the rest."""
    first, end, rest = reason.partition(". ")
    return (f"{first}.", rest) if end else (reason, "")
