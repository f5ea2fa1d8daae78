"""Posts incidents as JSON to an address of the user's: signed, in Riskwire's own form or in Alertmanager's.

Signature: ``Riskwire-Signature: v1=<hex>`` is the HMAC-SHA256 (RFC 2104) of ``<timestamp>.<body>`` with the shared
secret, where the timestamp (Unix seconds) is that of ``Riskwire-Timestamp``. A receiver computes it over the raw body,
compares in constant time and refuses timestamps older than five minutes. ``Idempotency-Key`` is the same when the same
revision is sent again.

Forms: ``riskwire`` (the whole incident), ``alertmanager`` (what Alertmanager sends to its web hook receivers, version
4) and ``alertmanager-api`` (what Prometheus sends to Alertmanager's ``/api/v2/alerts``: silences, inhibition and routes
that are there already apply).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from alerts.notifiers import http
from alerts.notifiers.figures import RULE
from alerts.notifiers.options import (
    Secret,
    address_of,
    clock_of,
    refuse_unknown,
    seconds_of,
    secret_keys,
    secret_of,
    text_of,
)
from alerts.notifiers.routes import RANK, severity_option
from alerts.notifiers.telling import cleaned, plain, story, summary
from monitor.core.clock import Clock, SystemClock
from monitor.core.codec import incident_to_dict, time_to_str
from monitor.core.errors import ConfigError
from monitor.core.types import Incident, IncidentState, Receipt, Severity

FORMS = ("riskwire", "alertmanager", "alertmanager-api")
_NEVER = "0001-01-01T00:00:00Z"
_STORIES = 12
_KEEP = timedelta(days=7)
"""How long Alertmanager keeps an alert of which it hears no more; each change of the incident renews it."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of ``Riskwire-Signature``."""
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"


def own(incident: Incident) -> dict[str, Any]:
    """Riskwire's own form."""
    incident = replace(incident, evidence=incident.evidence[:_STORIES])
    doc = dict(incident_to_dict(incident))
    if incident.kind == RULE:  # a rule expects nothing; what the type needs there would read as a measurement
        doc |= dict.fromkeys(("observed", "expected", "low", "high", "p_value", "q_value"))
    return {
        "version": 1,
        "text": summary(incident),
        "lines": [incident.reason, *(story(item) for item in incident.evidence)],
        "incident": doc,
    }


def alert(incident: Incident) -> dict[str, Any]:
    """The incident as an alert of Alertmanager. Labels identify it and never change during its life; severity, which
    does, is a label too since routes ask for it: an incident that gets worse is another alert there."""
    resolved = incident.state is IncidentState.RESOLVED
    ends = incident.resolved_at or incident.updated_at
    return {
        "status": "resolved" if resolved else "firing",
        "labels": {
            "alertname": f"Riskwire{incident.kind.capitalize()}",
            "severity": incident.severity.value,
            "scope": incident.key.scope.value,
            "value": incident.key.value,
            "incident": incident.id,
        },
        "annotations": {
            "summary": summary(incident),
            "description": plain(incident.reason, 4000),
            "headlines": "\n".join(story(item) for item in incident.evidence),
            "entities": ", ".join(incident.entities),
            "sources": ", ".join(incident.sources[:20]),
            "state": incident.state.value,
        },
        "startsAt": time_to_str(incident.opened_at),
        "endsAt": time_to_str(ends) if resolved else _NEVER,
        "generatorURL": "",
        "fingerprint": incident.id[:16],
    }


def alertmanager(incident: Incident, receiver: str) -> dict[str, Any]:
    """What Alertmanager posts to its web hook receivers (version 4)."""
    one = alert(incident)
    return {
        "version": "4",
        "groupKey": f"riskwire:{incident.id}",
        "truncatedAlerts": 0,
        "status": one["status"],
        "receiver": receiver,
        "groupLabels": {"alertname": one["labels"]["alertname"]},
        "commonLabels": one["labels"],
        "commonAnnotations": one["annotations"],
        "externalURL": "",
        "alerts": [one],
    }


def alertmanager_api(incident: Incident) -> list[dict[str, Any]]:
    """What Prometheus posts to Alertmanager."""
    one = alert(incident)
    if one["endsAt"] == _NEVER:
        one["endsAt"] = time_to_str(incident.updated_at + _KEEP)
    return [{key: one[key] for key in ("labels", "annotations", "startsAt", "endsAt")}]


class WebhookNotifier:
    """Implements :class:`monitor.core.ports.Notifier` with one POST for each revision."""

    def __init__(
        self,
        *,
        url: str,
        secret: Secret | None = None,
        name: str = "webhook",
        form: str = "riskwire",
        headers: Mapping[str, Secret] | None = None,
        timeout: timedelta = timedelta(seconds=10),
        bar: Severity = Severity.INFO,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self._url = Secret(url)
        self._secret = secret
        self._form = form
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._bar = bar
        self._clock = clock or SystemClock()

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Posts the revision. Below the bar nothing is sent, until the incident was once above it."""
        told = dict(previous.data) if previous is not None else {}
        sent = [severity for severity in told.get("severities", "").split() if severity in set(Severity)]
        if not sent and RANK[incident.severity] < RANK[self._bar]:
            return Receipt(notifier=self.name)
        body = json.dumps(cleaned(self._payload(incident, sent)), ensure_ascii=False, separators=(",", ":")).encode()
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {name: value.reveal() for name, value in self._headers.items()}
        headers |= {"Riskwire-Timestamp": timestamp, "Idempotency-Key": f"{incident.id}/{incident.revision}"}
        if self._secret is not None:
            headers["Riskwire-Signature"] = signature(self._secret.reveal(), timestamp, body)
        await http.post(f"The web hook '{self.name}'", self._url.reveal(), body, headers=headers, timeout=self._timeout)
        severities = " ".join(dict.fromkeys([*sent, incident.severity.value]))
        return Receipt(notifier=self.name, data={"revision": str(incident.revision), "severities": severities})

    def _payload(self, incident: Incident, sent: list[str]) -> Any:
        if self._form == "alertmanager":
            return alertmanager(incident, self.name)
        if self._form == "riskwire":
            return own(incident)
        # What was sent under a lower severity is another alert: it ends when this one begins.
        alerts = alertmanager_api(incident)
        for severity in sent:
            if severity != incident.severity.value:
                old = alertmanager_api(incident)[0]
                old["labels"] = {**old["labels"], "severity": severity}
                alerts.append({**old, "endsAt": time_to_str(incident.updated_at)})
        return alerts


def build(options: Mapping[str, Any], context: Any = None) -> WebhookNotifier:
    """Entry point ``riskwire.notifiers``; docs/notifiers.md describes the options. Raises ConfigError."""
    where = "notifiers.webhook"
    keys = {*secret_keys("secret"), *secret_keys("bearer"), "url", "url_file", "url_env", "format", "timeout"}
    refuse_unknown(options, keys | {"min_severity"}, where)
    form = text_of(options, "format", where, default="riskwire")
    if form not in FORMS:
        raise ConfigError(f"{where}: 'format' must be one of {', '.join(FORMS)}, got {form!r}.")
    url = secret_of(options, "url", where, what="address", hint="Set the address to post to.")
    secret = secret_of(options, "secret", where, what="shared secret") if _any(options, "secret") else None
    bearer = secret_of(options, "bearer", where, what="bearer token") if _any(options, "bearer") else None
    return WebhookNotifier(
        url=address_of(url.reveal(), "url", where),
        secret=secret,
        name=str(options.get("name", "webhook")),
        form=form,
        headers={"Authorization": Secret(f"Bearer {bearer.reveal()}")} if bearer is not None else {},
        timeout=timedelta(seconds=seconds_of(options, "timeout", where, default=10, least=1, most=120)),
        bar=severity_option(options.get("min_severity", "info"), "min_severity", where),
        clock=clock_of(context),
    )


def _any(options: Mapping[str, Any], key: str) -> bool:
    return any(options.get(name) for name in secret_keys(key))
