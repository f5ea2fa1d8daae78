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
    """``WARNING: bad news surges on Fed | Central Banks (topic)``."""
    title = incident.title or incident.key.value
    what = {"silence": "is silent", "rule": "a rule matched"}.get(incident.kind, "bad news surges")
    scope = _SCOPE[incident.key.scope]
    text = f"{title} ({scope}) {what}" if incident.kind == "silence" else f"{what}: {title} ({scope})"
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
    parts.append(f"p(negative) {item.negative:.2f}")
    return ", ".join(parts)
