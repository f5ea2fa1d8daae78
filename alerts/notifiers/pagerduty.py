"""Sends incidents to PagerDuty's Events API v2: trigger, acknowledge and resolve under one deduplication key.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/. The key is the incident's id, so that whatever is
sent twice changes nothing there. Events are at most 512 KB; a summary at most 1,024 characters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from alerts.notifiers import http
from alerts.notifiers.figures import measured
from alerts.notifiers.options import Secret, address_of, refuse_unknown, seconds_of, secret_keys, secret_of
from alerts.notifiers.routes import RANK, severity_option
from alerts.notifiers.telling import cleaned, plain, story, summary, told_of
from monitor.core.codec import time_to_str
from monitor.core.types import Incident, IncidentState, Receipt, Severity

URL = "https://events.pagerduty.com/v2/enqueue"
_ACTIONS = {
    IncidentState.OPEN: "trigger",
    IncidentState.ACKNOWLEDGED: "acknowledge",
    IncidentState.SNOOZED: "acknowledge",
    IncidentState.RESOLVED: "resolve",
}


def event(incident: Incident, *, action: str, client_url: str = "") -> dict[str, Any]:
    """The event, without its routing key."""
    links = [{"href": item.url, "text": plain(item.title, 200)} for item in incident.evidence if _is_link(item.url)]
    return {
        "event_action": action,
        "dedup_key": f"riskwire/{incident.id}"[:255],
        "client": "Riskwire",
        **({"client_url": client_url} if client_url else {}),
        "links": links,
        "payload": {
            "summary": summary(incident, 1024),
            "source": str(incident.key),
            "severity": incident.severity.value,
            "timestamp": time_to_str(incident.opened_at),
            "component": "news",
            "class": incident.kind,
            "custom_details": {
                "reason": plain(incident.reason, 4000),
                "state": incident.state.value,
                **measured(incident),
                "headlines": [story(item) for item in incident.evidence],
                "entities": list(incident.entities),
                "sources": list(incident.sources[:20]),
                "revision": incident.revision,
            },
        },
    }


def _is_link(url: str) -> bool:
    return url.startswith(("https://", "http://")) and len(url) <= 1500


class PagerDutyNotifier:
    """Implements :class:`monitor.core.ports.Notifier`."""

    def __init__(
        self,
        *,
        routing_key: Secret,
        name: str = "pagerduty",
        url: str = URL,
        timeout: timedelta = timedelta(seconds=10),
        bar: Severity = Severity.WARNING,
    ) -> None:
        self.name = name
        self._routing_key = routing_key
        self._url = url
        self._timeout = timeout
        self._bar = bar

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Triggers, updates, acknowledges or resolves. Below the bar nothing is sent until it was once above it."""
        told = dict(previous.data) if previous is not None else {}
        known = "state" in told
        if not known and RANK[incident.severity] < RANK[self._bar]:
            return Receipt(notifier=self.name)
        action = _ACTIONS[incident.state]
        if action == "acknowledge" and not known:
            await self._post(incident, "trigger")  # what nobody triggered cannot be acknowledged
        await self._post(incident, action)
        return Receipt(notifier=self.name, data=told_of(incident))

    async def _post(self, incident: Incident, action: str) -> None:
        made = cleaned(event(incident, action=action)) | {"routing_key": self._routing_key.reveal()}
        body = json.dumps(made, ensure_ascii=False).encode()
        await http.post("PagerDuty", self._url, body, timeout=self._timeout, hint="Check the routing key.")


def build(options: Mapping[str, Any], context: Any = None) -> PagerDutyNotifier:
    """Entry point ``riskwire.notifiers``; docs/notifiers.md describes the options. Raises ConfigError."""
    where = "notifiers.pagerduty"
    refuse_unknown(options, {*secret_keys("routing_key"), "url", "timeout", "min_severity"}, where)
    hint = "Set the integration key of a service (Events API v2), best by routing_key_file."
    return PagerDutyNotifier(
        routing_key=secret_of(options, "routing_key", where, what="routing key", hint=hint),
        name=str(options.get("name", "pagerduty")),
        url=address_of(options.get("url", URL), "url", where),
        timeout=timedelta(seconds=seconds_of(options, "timeout", where, default=10, least=1, most=120)),
        bar=severity_option(options.get("min_severity", "warning"), "min_severity", where),
    )
