"""An incident as Slack's Block Kit, within its limits by construction.

Limits (https://docs.slack.dev/reference/block-kit/blocks): 50 blocks a message; 3,000 characters a section or context
element, 2,000 a field, 150 a header, 10 elements a context, 255 a block id, 75 an option's text and 150 its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from alerts.notifiers.figures import SURGE, figures, heading
from alerts.notifiers.text import facts, headline, sentences, words_of
from monitor.core.types import Evidence, Incident, IncidentState, Severity

BLOCK_LIMIT = 50
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
HEADER_LIMIT = 150
ACKNOWLEDGE, SNOOZE, FEEDBACK = "riskwire_acknowledge", "riskwire_snooze", "riskwire_feedback"
SNOOZES = {"1h": "1 hour", "8h": "8 hours", "monday": "until Monday"}
FEEDBACKS = {"wrong_label": "Wrong label", "not_relevant": "Not relevant"}

_EMOJI = {Severity.INFO: ":information_source:", Severity.WARNING: ":warning:", Severity.CRITICAL: ":rotating_light:"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a message shows beside the incident. ``links``: label → address with {id}, {scope}, {value}, {severity}."""

    buttons: bool = False
    links: Mapping[str, str] | None = None


def escape(text: str) -> str:
    """Text as Slack's mrkdwn shows it literally: control characters removed, ``&``, ``<``, ``>`` escaped."""
    text = _CONTROL.sub(" ", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, limit: int) -> str:
    """Escaped text within ``limit`` characters, never cut inside an entity."""
    if len(text) <= limit:
        return text
    text = text[: limit - 1]
    ampersand = text.rfind("&")
    if ampersand >= 0 and ";" not in text[ampersand:]:
        text = text[:ampersand]
    return text + "…"


def address(pattern: str, incident: Incident) -> str:
    """The pattern with what it names filled in, quoted."""
    values = {
        "id": incident.id,
        "scope": incident.key.scope.value,
        "value": incident.key.value,
        "severity": incident.severity.value,
    }
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", quote(value, safe=""))
    return pattern


def _url(url: str) -> str:
    return quote(url, safe=":/?#[]@!$&()*+,;=%~-._").replace("&", "&amp;")


def _link(item: Evidence) -> str:
    title = cut(escape(item.title).replace("|", "¦").replace("\n", " ") or "(no title)", 300)
    parts = urlsplit(item.url) if item.url else None
    if parts is None or parts.scheme not in ("http", "https") or len(item.url) > 1500:
        return f"*{title}*"
    return f"<{_url(item.url)}|{title}>"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION_LIMIT)}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(text, SECTION_LIMIT)}]}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def _option(text: str, value: str) -> dict[str, Any]:
    return {"text": _plain(text), "value": value}


def blocks(incident: Incident, look: Look | None = None) -> list[dict[str, Any]]:
    """The Block Kit blocks of an incident."""
    look = look or Look()
    resolved = incident.state is IncidentState.RESOLVED
    emoji = ":white_check_mark:" if resolved else _EMOJI[incident.severity]
    head = f"{emoji} {_CONTROL.sub(' ', headline(incident))}"
    result: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": head[:HEADER_LIMIT], "emoji": True}},
        _section(_lead(incident)),
        {"type": "section", "fields": [{"type": "mrkdwn", "text": cut(t, FIELD_LIMIT)} for t in _fields(incident)]},
    ]
    if incident.evidence:
        count = len(incident.evidence)
        part = f" (the newest {count} of {incident.stories})" if incident.stories > count else ""
        result.append(_section(f"*{heading(incident)}*{part}"))
    tail: list[dict[str, Any]] = []
    if incident.entities:
        tail.append(_context(f"Names in these stories: {escape(', '.join(incident.entities))}"))
    if incident.related:
        tail.append(_context(f"Also out of the ordinary: {escape(', '.join(str(key) for key in incident.related))}"))
    if details := _details(incident):
        tail.append(_context(details))
    if incident.sources:
        tail.append(_context(f"Sources: {escape(', '.join(incident.sources[:20]))}"))
    if people := _people(incident):
        tail.append(_context(people))
    if links := _links(incident, look.links or {}):
        tail.append(_context(links))
    if look.buttons and not resolved:
        tail.append(_actions(incident))
    tail.append(_context(f"incident {escape(incident.id)} · revision {incident.revision} · {incident.state.value}"))
    for place, item in enumerate(incident.evidence[: BLOCK_LIMIT - len(result) - len(tail)]):
        lines = [f"• {_link(item)}", escape(facts(item))]
        if words := words_of(item):
            lines[1] += f" because of: {escape(words)}"
        shown = _section("\n".join(lines))
        if look.buttons and len(item.article_id) <= 100:
            shown["block_id"] = f"headline|{incident.id}|{place}"[:255]
            shown["accessory"] = {
                "type": "overflow",
                "action_id": FEEDBACK,
                "options": [_option(text, f"{kind}|{item.article_id}") for kind, text in FEEDBACKS.items()],
            }
        result.append(shown)
    return result + tail


def _fields(incident: Incident) -> list[str]:
    fields = [f"*{name}*\n{value}" for name, value in figures(incident)]
    since = f"*Open since*\n{incident.opened_at:%Y-%m-%d %H:%M} UTC"
    if incident.resolved_at is not None:
        since += f", over {incident.resolved_at:%Y-%m-%d %H:%M} UTC"
    return [*fields, since]


def _lead(incident: Incident) -> str:
    """The first sentence of the reason: what happened. In bold where that cannot break, being one line."""
    first = escape(sentences(incident.reason)[0]).strip() or "No reason given."
    return first if "\n" in first or "*" in first or len(first) > 1000 else f"*{first}*"


def _details(incident: Incident) -> str:
    """The rest of the reason, and what makes the figures of a surge odd to read."""
    rest = escape(sentences(incident.reason)[1]).strip()
    if incident.kind != SURGE:
        return rest
    return f"{rest} A story counts by how surely it is negative, so that counts have decimals.".strip()


def _people(incident: Incident) -> str:
    shown = []
    for entry in incident.history[-3:]:
        note = f" ({escape(entry.note)})" if entry.note else ""
        shown.append(f"{entry.at:%H:%M} UTC {escape(entry.by)}: {escape(entry.what)}{note}")
    return " · ".join(shown)


def _links(incident: Incident, links: Mapping[str, str]) -> str:
    return " · ".join(f"<{_url(address(pattern, incident))}|{escape(label)}>" for label, pattern in links.items())


def _actions(incident: Incident) -> dict[str, Any]:
    elements: list[dict[str, Any]] = []
    if incident.state is not IncidentState.ACKNOWLEDGED:
        elements.append(
            {"type": "button", "action_id": ACKNOWLEDGE, "text": _plain("Acknowledge"), "value": incident.id[:2000]}
        )
    elements.append(
        {
            "type": "static_select",
            "action_id": SNOOZE,
            "placeholder": _plain("Snooze"),
            "options": [_option(text, key) for key, text in SNOOZES.items()],
        }
    )
    return {"type": "actions", "block_id": f"act|{incident.id}"[:255], "elements": elements}


def changes(told: Mapping[str, str], incident: Incident) -> tuple[list[str], int]:
    """What changed since ``told`` (see :func:`told_of`) that the thread is told at once, and how many stories more."""
    lines: list[str] = []
    rank = {severity.value: place for place, severity in enumerate(Severity)}
    if rank[incident.severity.value] > rank.get(told.get("severity", ""), 9):
        lines.append(f"Severity up: {told['severity']} → *{incident.severity.value}*")
    if told.get("state", incident.state.value) != incident.state.value:
        last = incident.history[-1] if incident.history else None
        by = f" by {escape(last.by)}" if last is not None and last.by != "riskwire" else ""
        lines.append(f"Now *{incident.state.value}*{by}")
        if incident.state is IncidentState.SNOOZED and incident.snoozed_until is not None:
            lines[-1] += f" until {incident.snoozed_until:%Y-%m-%d %H:%M} UTC"
    more = incident.stories - int(told.get("stories", incident.stories))
    return lines, max(0, more)


def digest_blocks(begin: datetime, end: datetime, incidents: Sequence[Incident]) -> list[dict[str, Any]]:
    """The blocks of a digest: the most unlikely incidents first, as many as fit."""
    count = len(incidents)
    head = f"{count} {'incident' if count == 1 else 'incidents'} below the bar"
    span = f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    result: list[dict[str, Any]] = [{"type": "header", "text": _plain(head)}, _context(span)]
    room = BLOCK_LIMIT - len(result) - 1
    for incident in incidents[:room]:
        lines = [f"*{escape(cut(headline(incident), 300))}*", cut(escape(incident.reason), 1000)]
        lines += [_link(item) for item in incident.evidence[:1]]
        result.append(_section("\n".join(lines)))
    if count > room:
        result.append(_context(f"and {count - room} more: riskwire incidents ls --state all"))
    return result
