"""The copy of incidents in Elasticsearch: what its documents hold, and that nothing old replaces what is newer."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import doubles
import pytest
from elastic_home import elastic_config, remove
from scripted_elastic import ScriptedElastic, error

from alerts.commands import Command, Verb, act
from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import IncidentState
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_incidents import ElasticIncidents, ensure, index_body, index_name, to_document
from monitor.store.elastic_template import apply


def test_a_document_tells_who_did_what_and_how_long_it_took() -> None:
    opened = doubles.START
    incident = doubles.incident(
        evidence=(doubles.evidence(published_at=opened - timedelta(minutes=7)),), p_value=math.inf, title=""
    )
    plain = to_document(incident)
    assert plain["open_delay_seconds"] == 420
    assert plain["p_value"] is None
    assert plain["title"] == "all:*"
    assert not {"acknowledged_at", "resolved_at", "snoozed_until"} & set(plain)
    acked = act(
        incident,
        Command(incident=incident.id, verb=Verb.ACKNOWLEDGE, by="ana", at=opened + timedelta(seconds=90)),
    )
    over = act(acked, Command(incident=incident.id, verb=Verb.RESOLVE, by="ana", at=opened + timedelta(hours=1)))
    told = to_document(over)
    assert (told["acknowledged_by"], told["acknowledge_seconds"], told["lasted_seconds"]) == ("ana", 90, 3600)
    assert told["open"] is False


def test_every_field_of_a_document_is_mapped() -> None:
    fields = index_body(ElasticConfig())["mappings"]["properties"]
    incident = doubles.incident(
        evidence=(doubles.evidence(),), snoozed_until=doubles.START, resolved_at=doubles.START,
        state=IncidentState.RESOLVED,
    )  # fmt: skip
    acked = act(doubles.incident(), Command(incident="one", verb=Verb.ACKNOWLEDGE, by="b", at=doubles.START))
    assert set(to_document(incident)) | set(to_document(acked)) == set(fields)


@pytest.fixture
async def config(elastic_server: str) -> AsyncIterator[ElasticConfig]:
    config = elastic_config(elastic_server)
    yield config
    await remove(config)


async def _read(config: ElasticConfig, name: str) -> dict[str, Any]:
    client = ElasticClient(config)
    try:
        answer = await client.request("GET", path(index_name(config), "_doc", name))
        return dict(answer["_source"])
    finally:
        await client.close()


async def test_written_again_it_is_the_same_and_old_revisions_are_not_taken(config: ElasticConfig) -> None:
    mirror = ElasticIncidents(config)
    first = doubles.incident("a", revision=1)
    third = replace(first, revision=3, reason="worse")
    assert await mirror.write([first, doubles.incident("b")]) == {}
    assert await mirror.write([third]) == {}
    assert await mirror.write([first, third]) == {}
    assert await mirror.write([replace(third, reason="with words")]) == {}
    assert await mirror.write([]) == {}
    await mirror.close()
    found = await _read(config, "a")
    assert (found["revision"], found["reason"]) == (3, "with words")
    assert found == json.loads(json.dumps(to_document(replace(third, reason="with words"))))
    assert (await _read(config, "b"))["revision"] == 1


async def test_store_apply_makes_the_index_and_adds_what_an_old_one_lacks(config: ElasticConfig) -> None:
    assert f"index {index_name(config)}" in (await apply(config)).changes
    assert (await apply(config)).changes == ()
    client = ElasticClient(config)
    await client.request("DELETE", path(index_name(config)))
    old = index_body(config)
    del old["mappings"]["properties"]["entities"]
    await client.request("PUT", path(index_name(config)), old)
    assert await ensure(client) == (f"mapping of {index_name(config)}: entities",)
    assert await ensure(client) == ()
    await client.close()


@pytest.mark.parametrize(
    ("item", "raised"),
    [
        ({"status": 503, "error": {"type": "unavailable_shards_exception", "reason": "x"}}, UnavailableError),
        ({"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "x"}}, UnavailableError),
        ({"status": 403, "error": {"type": "security_exception", "reason": "x"}}, StorageError),
        ({"status": 400, "error": {"type": "strict_dynamic_mapping_exception", "reason": "x"}}, StorageError),
        ({"status": 400, "error": {"type": "document_parsing_exception", "reason": "x"}}, None),
        ({"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "x"}}, None),
    ],
)
async def test_what_the_cluster_answers_is_told_apart(item: dict[str, Any], raised: type[StorageError] | None) -> None:
    async with ScriptedElastic() as server:
        name = "riskwire-incidents"
        server.replies["GET", f"/{name}"] = (200, {name: {"mappings": index_body(ElasticConfig())["mappings"]}})
        server.replies["POST", "/_bulk"] = (200, {"errors": True, "items": [{"index": item}]})
        mirror = ElasticIncidents(ElasticConfig(urls=(server.url,)))
        try:
            if raised is not None:
                with pytest.raises(raised):
                    await mirror.write([doubles.incident()])
            else:
                refused = await mirror.write([doubles.incident()])
                assert set(refused) == (set() if item["status"] == 409 else {"one"})
        finally:
            await mirror.close()


async def test_without_the_right_to_make_the_index_it_says_so() -> None:
    async with ScriptedElastic() as server:
        server.replies["PUT", "/riskwire-incidents"] = error(403, "security_exception", "no create_index")
        mirror = ElasticIncidents(ElasticConfig(urls=(server.url,)))
        with pytest.raises(StorageError, match="no create_index"):
            await mirror.write([doubles.incident()])
        await mirror.close()
