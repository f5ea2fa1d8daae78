"""Incidents in Elasticsearch, for people who look at them with Kibana. The state store has the truth; this is a copy.

A document's id is the incident's, and its version the incident's revision (``external_gte``): writing one again changes
nothing, and an older revision that comes late is refused. So copies can be written at least once, in any order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from monitor.core.codec import dumps, time_to_str
from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import Incident, IncidentState
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_errors import RefusedError, reason_of
from monitor.store.elastic_template import VERSION, differs

HEADLINES = 20
"""Most headlines that a document holds."""


def index_name(config: ElasticConfig) -> str:
    """The one index of incidents."""
    return f"{config.prefix}-incidents"


def index_body(config: ElasticConfig) -> dict[str, Any]:
    """What the index is created with."""
    body: dict[str, Any] = json.loads(files("monitor.store.mappings").joinpath("incidents.json").read_text("utf-8"))
    body["settings"]["index.number_of_shards"] = 1
    body["settings"]["index.number_of_replicas"] = config.replicas
    body["mappings"]["_meta"] = {"riskwire": VERSION}
    return body


async def ensure(client: ElasticClient) -> tuple[str, ...]:
    """Creates the index, or adds the fields that it lacks; returns what was changed. Raises StorageError."""
    name, wanted = index_name(client.config), index_body(client.config)
    found = await client.find("GET", path(name))
    if found is None:
        try:
            await client.request("PUT", path(name), wanted)
        except RefusedError as error:
            if error.kind != "resource_already_exists_exception":  # another process was faster
                raise
        return (f"index {name}",)
    fields = wanted["mappings"]["properties"]
    index: Mapping[str, Any] = next(iter(found.values()), {})
    has = index.get("mappings", {}).get("properties", {})
    missing = {field: fields[field] for field in fields if differs(has.get(field), fields[field])}
    if not missing:
        return ()
    await client.request("PUT", path(name, "_mapping"), {"properties": missing})
    return (f"mapping of {name}: {', '.join(missing)}",)


def to_document(incident: Incident) -> dict[str, Any]:
    """An incident as people filter and count it. Times a person or the incident has not had yet are left out."""
    acknowledged = next((action for action in incident.history if action.what == "acknowledged"), None)
    first = min((item.published_at for item in incident.evidence), default=None)
    document: dict[str, Any] = {
        "id": incident.id,
        "revision": incident.revision,
        "kind": incident.kind,
        "scope": incident.key.scope.value,
        "value": incident.key.value,
        "title": incident.title or str(incident.key),
        "reason": incident.reason,
        "state": incident.state.value,
        "open": incident.state is not IncidentState.RESOLVED,
        "severity": incident.severity.value,
        "observed": _number(incident.observed),
        "expected": _number(incident.expected),
        "low": _number(incident.low),
        "high": _number(incident.high),
        "p_value": _number(incident.p_value),
        "q_value": _number(incident.q_value),
        "stories": incident.stories,
        "article_count": len(incident.articles),
        "source_count": len(incident.sources),
        "articles": list(incident.articles),
        "sources": list(incident.sources),
        "entities": list(incident.entities),
        "related": [str(key) for key in incident.related],
        "headlines": [item.title for item in incident.evidence[:HEADLINES]],
        "model": incident.model,
        "opened_at": time_to_str(incident.opened_at),
        "updated_at": time_to_str(incident.updated_at),
    }
    if incident.resolved_at is not None:
        document["resolved_at"] = time_to_str(incident.resolved_at)
        document["lasted_seconds"] = (incident.resolved_at - incident.opened_at).total_seconds()
    if incident.snoozed_until is not None:
        document["snoozed_until"] = time_to_str(incident.snoozed_until)
    if acknowledged is not None:
        document["acknowledged_at"] = time_to_str(acknowledged.at)
        document["acknowledged_by"] = acknowledged.by
        document["acknowledge_seconds"] = (acknowledged.at - incident.opened_at).total_seconds()
    if first is not None:
        document["first_published_at"] = time_to_str(first)
        document["open_delay_seconds"] = (incident.opened_at - first).total_seconds()
    return document


def _number(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


class ElasticIncidents:
    """An :class:`~monitor.core.ports.IncidentMirror` in an Elasticsearch cluster. Connects with its first write."""

    def __init__(self, config: ElasticConfig) -> None:
        self.name = index_name(config)
        self._config = config
        self._client: ElasticClient | None = None

    async def write(self, incidents: Sequence[Incident]) -> Mapping[str, str]:
        """See the port."""
        if not incidents:
            return {}
        client = await self._connected()
        lines: list[bytes] = []
        for incident in incidents:
            target = {
                "_index": self.name, "_id": incident.id, "version": incident.revision, "version_type": "external_gte",
            }  # fmt: skip
            # Half characters, which JSON can hold and Elasticsearch refuses, as question marks.
            document = dumps(to_document(incident)).encode(errors="replace")
            lines += [dumps({"index": target}).encode(), document]
        answer = await client.lines("/_bulk", lines)
        results = answer.get("items") or ()
        if len(results) != len(incidents):
            raise UnavailableError(f"A bulk of {len(incidents)} incidents was answered with {len(results)} results.")
        refused: dict[str, str] = {}
        for incident, result in zip(incidents, results, strict=True):
            if reason := self._judge(next(iter(result.values()))):
                refused[incident.id] = reason
        return refused

    async def _connected(self) -> ElasticClient:
        if self._client is None:
            client = await ElasticClient.connect(self._config)
            try:
                await ensure(client)
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client

    def _judge(self, result: Mapping[str, Any]) -> str:
        """Why the cluster will never take a document; "" when it has it, or a newer one. Raises StorageError."""
        status = int(result.get("status", 500))
        if status < 300 or status == 409:
            return ""
        kind, reason = reason_of(result.get("error"))
        if kind == "cluster_block_exception" or status == 429 or status >= 500:
            raise UnavailableError(f"Elasticsearch cannot take incidents now ({kind}: {reason}).")
        if status in (401, 403, 404) or kind == "strict_dynamic_mapping_exception":
            raise StorageError(
                f"Incidents cannot be written to {self.name}: {reason}.",
                hint="Run 'riskwire store apply', and grant the privileges that docs/elastic.md lists.",
            )
        return f"{kind}: {reason}"

    async def close(self) -> None:
        """Closes the connection; may be called again."""
        if self._client is not None:
            await self._client.close()
