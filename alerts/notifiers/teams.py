"""Posts incidents to Microsoft Teams as adaptive cards, through a workflow ("When a webhook request is received").

A workflow cannot edit what it posted, so a card comes when an incident opens, gets worse, changes its state or ends,
not with every update. Payloads are at most 28 KB (https://learn.microsoft.com/microsoftteams/limits-specifications-teams).
Cards show text as Markdown: what could be taken for it is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from alerts.notifiers import http
from alerts.notifiers.figures import figures
from alerts.notifiers.options import Secret, address_of, refuse_unknown, seconds_of, secret_keys, secret_of
from alerts.notifiers.routes import RANK, severity_option
from alerts.notifiers.telling import is_news, plain, story, summary, told_of
from monitor.core.types import Incident, Receipt, Severity

LIMIT = 28_000
_COLOUR = {Severity.INFO: "Accent", Severity.WARNING: "Warning", Severity.CRITICAL: "Attention"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~])")


def escaped(text: str) -> str:
    """Text that a card shows as it is."""
    return _MARKDOWN.sub(r"\\\1", text)


def card(incident: Incident, stories: int) -> dict[str, Any]:
    """The message with ``stories`` driving headlines at most."""
    body: list[dict[str, Any]] = [
        _text(summary(incident), size="Medium", weight="Bolder", color=_COLOUR[incident.severity]),
        _text(plain(incident.reason, 3000)),
    ]
    body.append({"type": "FactSet", "facts": [{"title": name, "value": value} for name, value in figures(incident)]})
    body += [_text(f"• {story(item)}") for item in incident.evidence[:stories]]
    if incident.entities:
        body.append(_text(f"Entities: {plain(', '.join(incident.entities), 500)}"))
    if incident.sources:
        body.append(_text(f"Sources: {plain(', '.join(incident.sources[:20]), 500)}", isSubtle=True))
    body.append(_text(f"incident {incident.id}, {incident.state.value}", isSubtle=True, size="Small"))
    actions = [
        {"type": "Action.OpenUrl", "title": plain(item.title, 40), "url": item.url}
        for item in incident.evidence[: min(stories, 3)]
        if item.url.startswith(("https://", "http://")) and len(item.url) <= 1500
    ]
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [attachment]}


def _text(text: str, **looks: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": escaped(text) or " ", "wrap": True, **looks}


class TeamsNotifier:
    """Implements :class:`monitor.core.ports.Notifier`."""

    def __init__(
        self,
        *,
        url: str,
        name: str = "teams",
        timeout: timedelta = timedelta(seconds=15),
        bar: Severity = Severity.INFO,
    ) -> None:
        self.name = name
        self._url = Secret(url)
        self._timeout = timeout
        self._bar = bar

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Posts a card when there is news for people; what is below the bar waits until it is not."""
        told = dict(previous.data) if previous is not None else {}
        if "state" not in told and RANK[incident.severity] < RANK[self._bar]:
            return Receipt(notifier=self.name)
        if "state" in told and not is_news(told, incident):
            return Receipt(notifier=self.name, data=told)
        for stories in range(6, -1, -1):
            body = json.dumps(card(incident, stories), ensure_ascii=False).encode()
            if len(body) <= LIMIT:
                break
        hint = "Copy the workflow's address anew."
        await http.post("The Teams workflow", self._url.reveal(), body, timeout=self._timeout, hint=hint)
        return Receipt(notifier=self.name, data=told_of(incident))


def build(options: Mapping[str, Any], context: Any = None) -> TeamsNotifier:
    """Entry point ``riskwire.notifiers``; docs/notifiers.md describes the options. Raises ConfigError."""
    where = "notifiers.teams"
    refuse_unknown(options, {*secret_keys("url"), "timeout", "min_severity"}, where)
    url = secret_of(options, "url", where, what="workflow's address", hint="Set the address of the workflow.")
    return TeamsNotifier(
        url=address_of(url.reveal(), "url", where),
        name=str(options.get("name", "teams")),
        timeout=timedelta(seconds=seconds_of(options, "timeout", where, default=15, least=1, most=120)),
        bar=severity_option(options.get("min_severity", "info"), "min_severity", where),
    )
