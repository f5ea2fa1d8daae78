"""The index template: what it is, and applying it. Idempotent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_errors import RefusedError

VERSION = 1
"""Of the mappings. Grows when a field is added or changed."""
PRIORITY = 500
"""Above Elasticsearch's own templates (100) and the usual site-wide ones."""
SMARTCN = "analysis-smartcn"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyReport:
    """What applying did. ``changes`` is empty when everything was as it should be."""

    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    chinese: str
    """The analyzer of the Chinese sub-fields: ``smartcn`` or ``cjk``."""
    lifecycle: bool
    """Whether the cluster offers lifecycle policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a cluster has of what not every cluster has."""

    chinese: str
    lifecycle: bool


async def offered(client: ElasticClient) -> Offer:
    """Looks at the cluster. A login without the right to list plugins counts as a cluster without them."""
    return Offer(chinese=await _chinese(client), lifecycle=await _has_lifecycle(client))


async def _chinese(client: ElasticClient) -> str:
    try:
        answer = await client.request(
            "GET", "/_nodes/plugins", params={"filter_path": "nodes.*.plugins.name,nodes.*.roles"}
        )
    except RefusedError:
        return "cjk"
    nodes = [node for node in answer.get("nodes", {}).values() if _keeps_data(node)]
    every = bool(nodes) and all(SMARTCN in {plugin["name"] for plugin in node.get("plugins", ())} for node in nodes)
    return "smartcn" if every else "cjk"


def _keeps_data(node: Mapping[str, Any]) -> bool:
    roles = node.get("roles")
    return roles is None or any(str(role).startswith("data") for role in roles)


async def _has_lifecycle(client: ElasticClient) -> bool:
    try:
        answer = await client.request("GET", "/_ilm/status")
    except RefusedError:
        return False
    return answer.get("operation_mode") in ("RUNNING", "STOPPING", "STOPPED")


def template(config: ElasticConfig, offer: Offer) -> dict[str, Any]:
    """The composable index template."""
    parts = json.loads(files("monitor.store.mappings").joinpath("articles.json").read_text("utf-8"))
    settings, mappings = parts["settings"], parts["mappings"]
    for name in ("title", "body"):
        mappings["properties"][name]["fields"]["zh"]["analyzer"] = offer.chinese
    settings["index.number_of_shards"] = config.shards
    settings["index.number_of_replicas"] = config.replicas
    settings["index.refresh_interval"] = f"{round(config.refresh_seconds * 1000)}ms"
    if offer.lifecycle:
        settings["index.lifecycle.name"] = config.alias
    body: dict[str, Any] = {
        "index_patterns": [config.pattern],
        "priority": PRIORITY,
        "version": VERSION,
        "allow_auto_create": True,
        "template": {"aliases": {config.alias: {}}, "settings": settings, "mappings": mappings},
    }
    body["template"]["mappings"]["_meta"] = {"riskwire": VERSION}
    body["_meta"] = {
        "description": "Articles of Riskwire; written by 'riskwire store apply'.",
        "version": VERSION,
        "chinese": offer.chinese,
        "lifecycle": offer.lifecycle,
        "digest": _digest(body),
    }
    return body


def _digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def policy(config: ElasticConfig) -> dict[str, Any]:
    """The lifecycle policy. It leaves data tiers alone and deletes a month only long after retention has."""
    phases: dict[str, Any] = {"hot": {"min_age": "0ms", "actions": {}}}
    if config.retention_days:
        # A month's index also holds articles whose date moved to a later month: one more month is left to them.
        phases["delete"] = {"min_age": f"{config.retention_days + 31}d", "actions": {"delete": {}}}
    meta = {"description": "Articles of Riskwire.", "version": VERSION, "digest": _digest(phases)}
    return {"policy": {"_meta": meta, "phases": phases}}


async def installed(client: ElasticClient) -> Mapping[str, Any] | None:
    """``_meta`` of the installed template, or None when there is none."""
    found = await installed_template(client)
    return None if found is None else found.get("_meta", {})


async def installed_template(client: ElasticClient) -> Mapping[str, Any] | None:
    """The installed template, or None."""
    answer = await client.find("GET", path("_index_template", client.config.alias))
    for entry in (answer or {}).get("index_templates", ()):
        found: Mapping[str, Any] = entry["index_template"]
        return found
    return None


async def apply(config: ElasticConfig) -> ApplyReport:
    """Installs template and lifecycle policy, brings existing indices up to them, and makes the index of incidents.
    Raises StorageError."""
    from monitor.store import elastic_incidents  # it builds on this module

    client = await ElasticClient.connect(config)
    try:
        report = await apply_with(client)
        return replace(report, changes=(*report.changes, *await elastic_incidents.ensure(client)))
    finally:
        await client.close()


async def apply_with(client: ElasticClient) -> ApplyReport:
    """As :func:`apply`, over an open connection."""
    config = client.config
    offer = await offered(client)
    changes: list[str] = []
    warnings: list[str] = []
    if offer.lifecycle and await _apply_policy(client):
        changes.append(f"lifecycle policy {config.alias}")
    wanted = template(config, offer)
    has = await installed_template(client)
    if has is None or has.get("_meta", {}).get("digest") != wanted["_meta"]["digest"] or drift(has, wanted):
        await client.request("PUT", path("_index_template", config.alias), wanted)
        changes.append(f"index template {config.alias}")
    await _apply_to_indices(client, wanted, changes, warnings)
    return ApplyReport(
        changes=tuple(changes), warnings=tuple(warnings), chinese=offer.chinese, lifecycle=offer.lifecycle
    )


async def _apply_policy(client: ElasticClient) -> bool:
    name = client.config.alias
    wanted = policy(client.config)
    found = await client.find("GET", path("_ilm", "policy", name))
    if found and same_policy(found.get(name, {}), wanted):
        return False
    await client.request("PUT", path("_ilm", "policy", name), wanted)
    return True


def same_policy(has: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a lifecycle policy is ours and unchanged. The cluster adds defaults to what it is given, so the digest is
    compared, and of the phases what was asked for."""
    policy: Mapping[str, Any] = has.get("policy", {})
    same = policy.get("_meta", {}).get("digest") == wanted["policy"]["_meta"]["digest"]
    phases = policy.get("phases", {})
    return same and set(phases) == set(wanted["policy"]["phases"]) and not differs(phases, wanted["policy"]["phases"])


async def existing(client: ElasticClient) -> dict[str, Mapping[str, Any]]:
    """Every month's index with its mappings, settings and aliases."""
    answer = await client.find("GET", path(client.config.pattern), flat_settings="true")
    return dict(sorted((answer or {}).items()))


def fields_for(index: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted fields for an index that exists: it keeps the Chinese analyzer it was made with."""
    fields: dict[str, Any] = deepcopy(wanted["template"]["mappings"]["properties"])
    has = index.get("mappings", {}).get("properties", {})
    for name in ("title", "body"):
        made_with = has.get(name, {}).get("fields", {}).get("zh", {}).get("analyzer")
        if made_with:
            fields[name]["fields"]["zh"]["analyzer"] = made_with
    return fields


def differs(has: Any, wanted: Any) -> bool:
    """Whether a field's mapping lacks or contradicts something of the wanted one."""
    if isinstance(wanted, Mapping):
        return not isinstance(has, Mapping) or any(differs(has.get(name), value) for name, value in wanted.items())
    return bool(str(has).lower() != str(wanted).lower())


def drift(has: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What of an installed template's mappings is not as wanted."""
    mappings = has.get("template", {}).get("mappings", {})
    fields = wanted["template"]["mappings"]["properties"]
    found = [name for name in fields if differs(mappings.get("properties", {}).get(name), fields[name])]
    return found if str(mappings.get("dynamic")) == "strict" else [*found, "dynamic"]


def setting(index: Mapping[str, Any], name: str) -> str:
    """A setting of an index, whichever way the cluster writes it down."""
    settings: Any = index.get("settings", {})
    if f"index.{name}" in settings:
        return str(settings[f"index.{name}"])
    settings = settings.get("index", {})
    if name in settings:
        return str(settings[name])
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return "" if settings is None else str(settings)


async def _apply_to_indices(
    client: ElasticClient, wanted: Mapping[str, Any], changes: list[str], warnings: list[str]
) -> None:
    config = client.config
    for name, index in (await existing(client)).items():
        fields = fields_for(index, wanted)
        has = index.get("mappings", {}).get("properties", {})
        missing = {field: fields[field] for field in fields if differs(has.get(field), fields[field])}
        if missing:
            try:
                await client.request("PUT", path(name, "_mapping"), {"properties": missing})
                changes.append(f"mapping of {name}: {', '.join(missing)}")
            except RefusedError as error:
                warnings.append(f"The mapping of {name} cannot be changed in place: {error.message}")
        live = {
            key: str(wanted["template"]["settings"][f"index.{key}"])
            for key in ("number_of_replicas", "refresh_interval", "max_result_window")
        }
        stale = {f"index.{key}": value for key, value in live.items() if setting(index, key) != value}
        if stale:
            await client.request("PUT", path(name, "_settings"), stale)
            changes.append(f"settings of {name}: {', '.join(stale)}")
        if config.alias not in index.get("aliases", {}):
            await client.request("PUT", path(name, "_alias", config.alias), {})
            changes.append(f"alias of {name}")
