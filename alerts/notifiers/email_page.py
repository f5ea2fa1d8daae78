"""The mail of an incident as a page: the same as in Slack, in tables and inline styles, which mail programs understand.

Nothing is loaded from outside: the chart is part of the mail. Text of the news is escaped.
"""

from __future__ import annotations

from html import escape

from alerts.notifiers.figures import SURGE, figures, heading
from alerts.notifiers.telling import plain
from alerts.notifiers.text import facts, headline, sentences, words_of
from monitor.core.types import Evidence, Incident, IncidentState, Severity

_COLOUR = {Severity.INFO: "#2563eb", Severity.WARNING: "#b45309", Severity.CRITICAL: "#b91c1c"}
_OVER = "#15803d"
_GREY = "color:#6b7280;font-size:13px"


def page(incident: Incident, *, picture: str = "") -> str:
    """HTML of one revision. ``picture``: the content id of the chart, if the mail holds one."""
    resolved = incident.state is IncidentState.RESOLVED
    colour = _OVER if resolved else _COLOUR[incident.severity]
    first, rest = sentences(plain(incident.reason, 4000))
    parts = [
        f'<div style="border-left:6px solid {colour};padding:4px 0 4px 14px">'
        f'<div style="font-size:19px;font-weight:bold;color:{colour}">{_text(headline(incident))}</div>'
        f'<div style="margin-top:6px;font-weight:bold">{_text(first)}</div></div>',
        _table(incident),
    ]
    if picture:
        parts.append(
            f'<p style="margin:14px 0 2px"><img src="cid:{escape(picture)}" width="640" alt="Negative stories an hour" '
            'style="max-width:100%"></p>'
            f'<p style="{_GREY};margin:0">Negative stories an hour, the last 24 hours (UTC). Blue band: what is usual; '
            "red: above it.</p>"
        )
    if incident.evidence:
        parts.append(f'<p style="margin:18px 0 6px;font-weight:bold">{heading(incident)}</p>')
        parts += [_story(item) for item in incident.evidence]
    more = []
    if incident.entities:
        more.append(f"Names in these stories: {_text(', '.join(incident.entities))}")
    if incident.related:
        more.append(f"Also out of the ordinary: {_text(', '.join(str(key) for key in incident.related))}")
    if rest:
        more.append(_text(rest))
    if incident.kind == SURGE:
        more.append("A story counts by how surely it is negative, so that counts have decimals.")
    if incident.sources:
        more.append(f"Sources: {_text(', '.join(incident.sources[:20]))}")
    more.append(f"Incident {_text(incident.id)}, revision {incident.revision}, {incident.state.value}")
    parts.append(f'<p style="{_GREY};margin-top:18px">{"<br>".join(more)}</p>')
    return (
        '<!doctype html><html><body style="margin:0;padding:16px;background:#ffffff;color:#111827;'
        f'font:15px/1.45 Arial,Helvetica,sans-serif"><div style="max-width:680px">{"".join(parts)}</div></body></html>'
    )


def _table(incident: Incident) -> str:
    rows = [*figures(incident), ("Open since", f"{incident.opened_at:%Y-%m-%d %H:%M} UTC")]
    if incident.resolved_at is not None:
        rows.append(("Over", f"{incident.resolved_at:%Y-%m-%d %H:%M} UTC"))
    cells = "".join(
        f'<tr><td style="{_GREY};padding:2px 18px 2px 0;white-space:nowrap">{_text(name)}</td>'
        f"<td>{_text(value)}</td></tr>"
        for name, value in rows
    )
    return f'<table cellspacing="0" cellpadding="0" style="margin-top:12px">{cells}</table>'


def _story(item: Evidence) -> str:
    title = _text(plain(item.title, 300)) or "(no title)"
    if item.url.startswith(("https://", "http://")) and len(item.url) <= 1500:
        title = f'<a href="{escape(item.url)}" style="color:#1d4ed8">{title}</a>'
    words = words_of(item)
    why = f" because of: {_text(words)}" if words else ""
    return f'<div style="margin:0 0 9px">{title}<div style="{_GREY}">{_text(facts(item))}{why}</div></div>'


def _text(text: str) -> str:
    return escape(plain(text))
