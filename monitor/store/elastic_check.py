"""Looks at a cluster and says what is not as it should be, with the next step. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from monitor.core.clock import Clock
from monitor.core.errors import StorageError
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_disk import Watermarks
from monitor.store.elastic_errors import RefusedError
from monitor.store.elastic_skew import measure
from monitor.store.elastic_template import (
    VERSION,
    Offer,
    differs,
    drift,
    existing,
    fields_for,
    installed_template,
    offered,
    policy,
    same_policy,
    setting,
    template,
)

APPLY = "Run 'riskwire store apply'."
_PASSED = {
    "low": "no more shards are placed there",
    "high": "shards are moved away from there",
    "flood_stage": "indices with a shard there take no writes",
}
SKEW_NOTED = 5.0
"""Seconds of clock difference that are worth a word, though harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """What was found of one part: ``status`` is ok, warn or fail; ``hint`` is the next step."""

    part: str
    status: Literal["ok", "warn", "fail"]
    message: str
    hint: str = ""


def _ok(part: str, message: str) -> StoreCheck:
    return StoreCheck(part=part, status="ok", message=message)


def _warn(part: str, message: str, hint: str = "") -> StoreCheck:
    return StoreCheck(part=part, status="warn", message=message, hint=hint)


def _fail(part: str, message: str, hint: str = "") -> StoreCheck:
    return StoreCheck(part=part, status="fail", message=message, hint=hint)


async def check(config: ElasticConfig, *, clock: Clock) -> tuple[StoreCheck, ...]:
    """Server, template, lifecycle, indices, health, disk and clock. Raises ConfigError only; what the cluster does not
    answer is a finding."""
    client = ElasticClient(config)
    try:
        return await check_with(client, clock)
    finally:
        await client.close()


async def check_with(client: ElasticClient, clock: Clock) -> tuple[StoreCheck, ...]:
    """As :func:`check`, over an open connection."""
    try:
        await client.check_server()
    except StorageError as error:
        return (_fail("server", error.message, error.hint),)
    found = [_ok("server", f"Elasticsearch {'.'.join(map(str, client.version))} at {client.config.address}.")]
    for part, look in (
        ("template", _template),
        ("lifecycle", _lifecycle),
        ("indices", _indices),
        ("health", _health),
        ("disk", _disk),
    ):
        try:
            found += await look(client)
        except RefusedError as error:
            found.append(_warn(part, f"It cannot be checked: {error.message}", error.hint))
        except StorageError as error:
            found.append(_fail(part, error.message, error.hint))
    try:
        found += await _clock(client, clock)
    except StorageError as error:
        found.append(_fail("clock", error.message, error.hint))
    return tuple(found)


async def _template(client: ElasticClient) -> list[StoreCheck]:
    config = client.config
    has = await installed_template(client)
    if has is None:
        return [_fail("template", f"There is no index template '{config.alias}'.", APPLY)]
    meta = has.get("_meta", {})
    version = meta.get("version")
    if not isinstance(version, int) or version < VERSION:
        return [_fail("template", f"Index template '{config.alias}' is of version {version}, not {VERSION}.", APPLY)]
    if version > VERSION:
        return [_fail("template", f"Index template '{config.alias}' is of version {version}.", "Upgrade Riskwire.")]
    found: list[StoreCheck] = []
    offer = await offered(client)
    remembered = Offer(chinese=str(meta.get("chinese", "cjk")), lifecycle=bool(meta.get("lifecycle")))
    if remembered.chinese != offer.chinese:
        missing = remembered.chinese == "smartcn"
        text = f"Chinese is analysed with {remembered.chinese}, the cluster now has {offer.chinese}."
        found.append((_fail if missing else _warn)("template", text, APPLY))
    if remembered.lifecycle != offer.lifecycle:
        found.append(_warn("template", "Lifecycle policies are offered differently than when it was applied.", APPLY))
    wanted = template(config, remembered)
    if meta.get("digest") != wanted["_meta"]["digest"]:
        found.append(_warn("template", "Shards, replicas, refresh or mapping differ from the configuration.", APPLY))
    if changed := drift(has, wanted):
        found.append(_fail("template", f"It was changed by hand: {', '.join(changed)}.", APPLY))
    if stranger := await _overruled(client, wanted):
        found.append(
            _fail("template", stranger, f"Remove the other template or give it a priority below {has.get('priority')}.")
        )
    return found or [_ok("template", f"Index template '{config.alias}' version {VERSION}, {remembered.chinese}.")]


async def _overruled(client: ElasticClient, wanted: Mapping[str, Any]) -> str:
    """What a new index would get from somebody else's template of higher priority, where the cluster can tell."""
    try:
        answer = await client.find("POST", path("_index_template", "_simulate_index", f"{client.config.alias}-2000.01"))
    except RefusedError:
        return ""
    fields = (answer or {}).get("template", {}).get("mappings", {}).get("properties")
    if answer and "template" in answer and differs(fields, {"arrival": {"type": "long"}}):
        return f"Another index template overrules '{client.config.alias}'."
    return ""


async def _lifecycle(client: ElasticClient) -> list[StoreCheck]:
    if not (await offered(client)).lifecycle:
        return [_ok("lifecycle", "The cluster offers no lifecycle policies; retention is Riskwire's own.")]
    name = client.config.alias
    answer = await client.find("GET", path("_ilm", "policy", name))
    has = (answer or {}).get(name)
    if has is None:
        return [_fail("lifecycle", f"There is no lifecycle policy '{name}'.", APPLY)]
    if not same_policy(has, policy(client.config)):
        return [_warn("lifecycle", f"Lifecycle policy '{name}' is not as configured.", APPLY)]
    explained = await client.find("GET", path(client.config.pattern, "_ilm", "explain"), only_errors="true")
    stuck = sorted((explained or {}).get("indices", {}))
    if stuck:
        return [
            _warn("lifecycle", f"The policy does not go on for {', '.join(stuck[:5])}.", "GET <index>/_ilm/explain")
        ]
    return [_ok("lifecycle", f"Lifecycle policy '{name}' is as configured.")]


async def _indices(client: ElasticClient) -> list[StoreCheck]:
    config = client.config
    found: list[StoreCheck] = []
    indices = await existing(client)
    has_template = await installed_template(client)
    meta = (has_template or {}).get("_meta", {})
    wanted = template(config, Offer(chinese=str(meta.get("chinese", "cjk")), lifecycle=bool(meta.get("lifecycle"))))
    for name, index in indices.items():
        fields = fields_for(index, wanted)
        has = index.get("mappings", {}).get("properties", {})
        if wrong := [field for field in fields if differs(has.get(field), fields[field])]:
            found.append(_fail("indices", f"The mapping of {name} differs in: {', '.join(wrong)}.", APPLY))
        if config.alias not in index.get("aliases", {}):
            found.append(_fail("indices", f"{name} is not under the alias '{config.alias}': nobody reads it.", APPLY))
        if setting(index, "blocks.write") == "true":
            hint = "Retention removes it in its next run; otherwise set index.blocks.write to null."
            found.append(_warn("indices", f"{name} is blocked for writing.", hint))
        if setting(index, "blocks.read_only_allow_delete") == "true":
            found.append(_fail("indices", f"{name} is read-only: the disk was full.", "Free space on the nodes."))
    return found or [_ok("indices", f"{len(indices)} month(s), mapping and alias as they should be.")]


async def _health(client: ElasticClient) -> list[StoreCheck]:
    answer = await client.find("GET", path("_cluster", "health", client.config.pattern))
    status = str((answer or {}).get("status", ""))
    unassigned = (answer or {}).get("unassigned_shards", 0)
    if status == "red":
        hint = "GET _cluster/allocation/explain says why."
        return [_fail("health", f"Red: {unassigned} shard(s) unassigned, some articles cannot be read.", hint)]
    if status == "yellow":
        hint = "Set elastic.replicas to fewer than there are data nodes, or add one."
        return [_warn("health", f"Yellow: {unassigned} copies of shards have no node.", hint)]
    return [_ok("health", f"Status {status or 'unknown'}.")]


async def _disk(client: ElasticClient) -> list[StoreCheck]:
    """Each node's disk by the cluster's own watermarks."""
    shown = {"filter_path": "nodes.*.name,nodes.*.fs.total"}
    answer = await client.request("GET", "/_nodes/stats/fs", params=shown)
    try:
        settings = await client.request(
            "GET",
            "/_cluster/settings",
            params={"include_defaults": "true", "filter_path": "*.cluster.routing.allocation.disk"},
        )
    except RefusedError:  # to see them is a right that no role needs
        settings = {}
    marks = Watermarks.of(settings)
    found = []
    for node in answer.get("nodes", {}).values():
        total = node.get("fs", {}).get("total", {})
        size, free = int(total.get("total_in_bytes", 0)), int(total.get("available_in_bytes", 0))
        stage = marks.passed(free, size) if size else None
        if stage is not None:
            text = f"Node {node.get('name', '?')} has {free / 1e9:.0f} GB left of {size / 1e9:.0f}: {_PASSED[stage]}."
            tell = _fail if stage == "flood_stage" else _warn
            found.append(tell("disk", text, "Add space, or shorten retention.articles_days."))
    if not marks.enabled:
        hint = "Set cluster.routing.allocation.disk.threshold_enabled to true, or watch the disks yourself."
        found.append(_warn("disk", "The cluster does not look at its disks: a full one would corrupt shards.", hint))
    return found or [_ok("disk", "Every node has space.")]


async def _clock(client: ElasticClient, clock: Clock) -> list[StoreCheck]:
    skew = await measure(client, clock)
    if skew is None:
        return [_ok("clock", "The cluster does not tell its time.")]
    text = f"This machine's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the cluster's."
    limit = client.config.max_skew_seconds
    if limit and abs(skew) > limit:
        return [_fail("clock", text, "Synchronise the clocks (NTP); articles are not written until then.")]
    if abs(skew) > SKEW_NOTED:
        return [_warn("clock", text, "Synchronise the clocks (NTP).")]
    return [_ok("clock", text)]
