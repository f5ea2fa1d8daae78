"""Applying and checking over a real server: idempotent, repairs drift, finds what was changed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from doubles import article, scored
from elastic_home import refresh

from monitor.core.clock import SystemClock
from monitor.core.types import SearchQuery
from monitor.store import elastic_template
from monitor.store.elastic_check import check
from monitor.store.elastic_client import path
from monitor.store.elastic_template import apply

MARCH = datetime(2026, 3, 2, tzinfo=UTC)


async def statuses(config) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in await check(config, clock=SystemClock()):
        found.setdefault(one.part, set()).add(one.status)
        assert one.status == "ok" or one.hint, one
    return found


async def test_applying_twice_changes_nothing_the_second_time(world):
    assert (await apply(world.config)).changes == ()
    store = await world.store(direct=True)
    await store.put([scored(article(1))])
    assert (await apply(world.config)).changes == ()
    assert all(found == {"ok"} for found in (await statuses(world.config)).values())


async def test_another_configuration_reaches_template_and_months(world):
    store = await world.store(direct=True)
    await store.put([scored(article(1))])
    other = replace(world.config, replicas=1, refresh_seconds=2.5)
    assert (await statuses(other))["template"] == {"warn"}
    changes = (await apply(other)).changes
    assert any(change.startswith("index template") for change in changes)
    assert any("number_of_replicas, index.refresh_interval" in change for change in changes)
    assert (await apply(other)).changes == ()
    index = world.config.index(MARCH)
    settings = await store.client.request("GET", path(index, "_settings"))
    assert settings[index]["settings"]["index"]["refresh_interval"] == "2500ms"


async def test_a_field_of_a_newer_version_reaches_the_months_and_old_articles_stay(world, monkeypatch):
    store = await world.store(direct=True)
    await store.put([scored(article(1))])
    real = elastic_template.template

    def newer(config, offer):
        body = real(config, offer)
        body["template"]["mappings"]["properties"]["region"] = {"type": "keyword"}
        body["_meta"]["digest"] = "newer"
        return body

    monkeypatch.setattr("monitor.store.elastic_template.template", newer)
    monkeypatch.setattr("monitor.store.elastic_check.template", newer)
    assert (await statuses(world.config))["indices"] == {"fail"}
    report = await apply(world.config)
    assert f"mapping of {world.config.index(MARCH)}: region" in report.changes
    assert all(found == {"ok"} for found in (await statuses(world.config)).values())
    await refresh(store.client)
    assert (await store.search(SearchQuery())).total == 1


async def test_a_template_changed_by_hand_is_found_and_repaired(world):
    client = (await world.store(direct=True)).client
    target = path("_index_template", world.config.alias)
    entry = (await client.request("GET", target))["index_templates"][0]["index_template"]
    body = json.loads(json.dumps(entry))
    body["template"]["mappings"]["dynamic"] = "true"
    body["template"]["mappings"]["properties"]["topic"] = {"type": "text"}
    await client.request("PUT", target, body)
    found = [one for one in await check(world.config, clock=SystemClock()) if one.part == "template"]
    assert [one.status for one in found] == ["fail"]
    assert "topic, dynamic" in found[0].message
    assert (await apply(world.config)).changes == (f"index template {world.config.alias}",)
    assert (await statuses(world.config))["template"] == {"ok"}


async def test_an_index_outside_the_alias_is_found_and_taken_in(world):
    store = await world.store(direct=True)
    await store.put([scored(article(1))])
    index = world.config.index(MARCH)
    await store.client.request("DELETE", path(index, "_alias", world.config.alias))
    assert (await statuses(world.config))["indices"] == {"fail"}
    assert (await apply(world.config)).changes == (f"alias of {index}",)
    await refresh(store.client)
    assert (await store.search(SearchQuery())).total == 1


async def test_an_index_that_cannot_be_mended_in_place_is_a_warning(world):
    store = await world.store(direct=True)
    index = world.config.index(datetime(2026, 4, 2, tzinfo=UTC))
    await store.client.request("PUT", path(index), {"mappings": {"properties": {"lang": {"type": "date"}}}})
    found = [one for one in await check(world.config, clock=SystemClock()) if one.part == "indices"]
    assert any(one.status == "fail" and "lang" in one.message for one in found)


async def test_a_month_that_is_left_blocked_is_found(world):
    store = await world.store(direct=True)
    await store.put([scored(article(1))])
    target = path(world.config.index(MARCH), "_settings")
    await store.client.request("PUT", target, {"index.blocks.write": True})
    assert (await statuses(world.config))["indices"] == {"warn"}


async def test_a_cluster_that_is_not_there_is_one_finding(world):
    await world.proxy.refuse()
    (one,) = await check(replace(world.config, urls=(world.proxy.url,)), clock=SystemClock())
    assert (one.part, one.status) == ("server", "fail")
    assert "Is it running?" in one.hint
