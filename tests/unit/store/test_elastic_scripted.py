"""What the stand-in server lacks, against documented answers: security, lifecycle, smartcn, versions, Retry-After."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from doubles import article, scored
from scripted_elastic import ScriptedElastic, error, info

from monitor.core.clock import ManualClock, SystemClock
from monitor.core.errors import ConfigError, SchemaVersionError, StorageError, UnavailableError
from monitor.core.types import PutOutcome, SearchQuery
from monitor.store.elastic import ElasticStore
from monitor.store.elastic_check import StoreCheck, check
from monitor.store.elastic_client import ElasticClient
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_errors import retry_after
from monitor.store.elastic_template import Offer, apply, policy, template

ALIAS = "news-articles"
TEMPLATE = f"/_index_template/{ALIAS}"
SECRET = "c2VjcmV0LWtleQ=="


@pytest.fixture
async def server() -> AsyncIterator[ScriptedElastic]:
    async with ScriptedElastic() as server:
        server.replies |= {
            ("PUT", TEMPLATE): (200, {"acknowledged": True}),
            ("PUT", "/news-incidents"): (200, {"acknowledged": True, "shards_acknowledged": True}),
            ("GET", f"/{ALIAS}-*"): (200, {}),
            ("GET", "/_nodes/plugins"): (200, {"nodes": {"a": {"roles": ["data_hot", "master"], "plugins": []}}}),
            ("GET", "/_ilm/status"): error(
                400, "illegal_argument_exception", "no handler found for uri [/_ilm/status]"
            ),
            ("GET", f"/_cluster/health/{ALIAS}-*"): (200, {"status": "green", "unassigned_shards": 0}),
            ("GET", "/_nodes/stats/fs"): (200, {"nodes": {}}),
        }
        yield server


def config(server: ScriptedElastic, **fields: object) -> ElasticConfig:
    return replace(ElasticConfig(urls=(server.url,), prefix="news", max_skew_seconds=0), **fields)  # type: ignore[arg-type]


def installed(wanted: dict[str, object]) -> tuple[int, dict[str, object]]:
    return 200, {"index_templates": [{"name": ALIAS, "index_template": {**wanted, "composed_of": []}}]}


def ready(server: ScriptedElastic, **fields: object) -> ElasticConfig:
    """A cluster on which everything has been applied."""
    keys = config(server, **fields)
    server.replies["GET", TEMPLATE] = installed(template(keys, Offer(chinese="cjk", lifecycle=False)))
    return keys


async def opened(keys: ElasticConfig) -> ElasticStore:
    return await ElasticStore.open(keys, clock=SystemClock())


def found(checks: tuple[StoreCheck, ...], part: str) -> list[StoreCheck]:
    return [one for one in checks if one.part == part]


# --- product and version


@pytest.mark.parametrize("number", ["8.15.0", "8.19.2", "9.0.0", "9.2.1", "9.5.0-SNAPSHOT"])
async def test_supported_servers_are_taken_and_asked_as_version_8(server, number):
    server.replies["GET", "/"] = 200, info(number)
    client = await ElasticClient.connect(config(server))
    await client.request("PUT", TEMPLATE, {"priority": 1})
    await client.close()
    assert all(
        request.headers["Accept"] == "application/vnd.elasticsearch+json; compatible-with=8"
        for request in server.requests
    )
    (put,) = server.asked("PUT", TEMPLATE)
    assert put.headers["Content-Type"] == "application/vnd.elasticsearch+json; compatible-with=8"


@pytest.mark.parametrize("number", ["7.17.28", "8.0.0", "8.14.3", "10.0.0"])
async def test_other_servers_are_refused_with_the_range(server, number):
    server.replies["GET", "/"] = 200, info(number)
    with pytest.raises(StorageError, match=rf"Elasticsearch {number} .* not supported.*8\.15 and later, below 10\.0"):
        await opened(config(server))


async def test_serverless_is_refused(server):
    server.replies["GET", "/"] = 200, info("8.11.0", "serverless")
    with pytest.raises(StorageError, match="Serverless"):
        await opened(config(server))


async def test_another_product_is_refused(server):
    opensearch = {"version": {"distribution": "opensearch", "number": "2.19.0"}, "tagline": "The OpenSearch Project"}
    server.replies["GET", "/"] = 200, opensearch, {}
    with pytest.raises(StorageError, match=r"not Elasticsearch.*OpenSearch is not supported"):
        await opened(config(server))


async def test_a_server_that_does_not_take_the_headers_says_which_are_supported(server):
    reason = "Invalid media-type value on headers [Accept]"
    server.replies["GET", "/"] = error(400, "media_type_header_exception", reason)
    with pytest.raises(StorageError, match="outside the supported range"):
        await opened(config(server))


# --- logins


async def test_an_api_key_is_sent_and_a_basic_login_too(server):
    for keys in (config(server, api_key=SECRET), config(server, username="risk", password="päss")):
        await (await ElasticClient.connect(keys)).close()
    key, basic = (request.headers["Authorization"] for request in server.requests)
    assert key == f"ApiKey {SECRET}"
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "risk:päss"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_login_says_what_to_do_and_tells_no_secret(server, status, caplog, capsys):
    reason = "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
    server.replies["GET", "/"] = error(
        status, "security_exception", reason, header={"WWW-Authenticate": ['Basic realm="security"', "ApiKey"]}
    )
    keys = config(server, api_key=SECRET)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StorageError, match=r"api_key_file|docs/elastic.md") as caught:
        await opened(keys)
    (verdict,) = await check(keys, clock=SystemClock())
    assert verdict.status == "fail"
    seen = [
        str(caught.value),
        repr(caught.value),
        repr(caught.value.__context__),
        repr(keys),
        repr(verdict),
        caplog.text,
        *capsys.readouterr(),
    ]
    assert not [text for text in seen if SECRET in text or "hunter2" in text]
    assert "hunter2" not in repr(config(server, username="risk", password="hunter2"))


async def test_a_login_that_may_not_write_stops_the_writer(server):
    store = await opened(ready(server))
    reason = "action [indices:data/read/search] is unauthorized for user [risk] with effective roles [reader]"
    server.replies["POST", f"/{ALIAS}/_search"] = error(403, "security_exception", reason)
    with pytest.raises(StorageError, match=r"unauthorized.*docs/elastic.md"):
        await store.put([scored(article(1))])
    await store.close()


# --- configuration


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"urls": ()}, "empty"),
        ({"urls": ("localhost:9200",)}, "no address"),
        ({"urls": ("ftp://host",)}, "no address"),
        ({"urls": ("http://[::1",)}, "no address"),
        ({"urls": ("https://risk:hunter2@host:9200",)}, "login for host"),
        ({"api_key": "k", "username": "u"}, "both"),
        ({"fingerprint": "ab" * 32, "ca_file": "/x.pem"}, "both"),
        ({"fingerprint": "hunter2"}, "64 hexadecimal"),
        ({"api_key": "hunter2\nX-Evil: 1"}, "no API key"),
        ({"username": "a:b"}, "colon"),
    ],
)
def test_contradicting_settings_are_refused_without_telling_secrets(fields, said):
    with pytest.raises(ConfigError, match=said) as caught:
        ElasticConfig(**fields)
    assert "hunter2" not in str(caught.value)


async def test_an_unusable_authority_is_a_configuration_error(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(ConfigError, match="ca_file"):
            ElasticClient(ElasticConfig(urls=("https://localhost",), ca_file=tmp_path / name))


# --- answers


async def test_waiting_is_what_unavailable_answers_ask_for(server):
    store = await opened(ready(server))
    for status in (429, 502, 503, 504):
        server.replies["POST", f"/{ALIAS}/_search"] = status, b"<html>gateway</html>", {"Content-Type": "text/html"}
        with pytest.raises(UnavailableError, match=f"HTTP {status}"):
            await store.search(SearchQuery())
    await store.close()


def test_retry_after_is_read_in_both_forms_and_bounded():
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "100000"}) == 60
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for wrong in ("", "soon", "nan", "-5", "inf inf"):
        assert retry_after({"retry-after": wrong}) == 0


async def test_a_bulk_with_every_kind_of_answer(server):
    """Shapes: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk and the errors of 8.17."""
    store = await opened(ready(server))
    index = f"{ALIAS}-2026.03"
    server.replies["POST", f"/{ALIAS}/_search"] = 200, {"hits": {"hits": [], "total": {"value": 0}}}
    server.replies["PUT", f"/{index}"] = error(
        400, "resource_already_exists_exception", f"index [{index}/x] already exists"
    )
    now = int(datetime.now(UTC).timestamp() * 1e6)
    rejected = {
        "type": "es_rejected_execution_exception",
        "reason": "rejected execution of coordinating operation [coordinating_and_primary_bytes=53687091]",
    }
    parsing = {
        "type": "document_parsing_exception",
        "reason": "[1:90] failed to parse field [topic_p] of type [float]",
        "caused_by": {"type": "number_format_exception", "reason": 'For input string: "x"'},
    }
    unavailable = {
        "type": "unavailable_shards_exception",
        "reason": f"[{index}][0] primary shard is not active Timeout: [1m]",
    }
    conflict = {
        "type": "version_conflict_engine_exception",
        "reason": "[a00004]: version conflict, document already exists (current version [1])",
        "shard": "0",
        "index": index,
    }
    answers = {
        "a00001": {"status": 201, "result": "created", "_version": 1, "_seq_no": 0},
        "a00002": {"status": 429, "error": rejected},
        "a00003": {"status": 400, "error": parsing},
        "a00004": {"status": 409, "error": conflict},
        "a00005": {"status": 503, "error": unavailable},
    }  # fmt: skip

    def bulk(request):
        lines = [json.loads(line) for line in request.body.splitlines()]
        items = []
        for action in lines[::2]:
            ((name, meta),) = action.items()
            answer = answers[meta["_id"]]
            if name == "update":
                source = {"arrival": now, "fetched_at": "2026-03-02T09:00:09Z"}
                answer = {"status": 200, "result": "noop", "get": {"found": True, "_source": source}}
            items.append({name: {"_index": index, "_id": meta["_id"], **answer}})
        return 200, {"took": 3, "errors": True, "items": items}

    server.replies["POST", "/_bulk"] = bulk
    report = await store.put([scored(article(n)) for n in range(1, 6)])
    ok, retry, reject = PutOutcome.OK, PutOutcome.RETRY, PutOutcome.REJECT
    assert [result.outcome for result in report.results] == [ok, retry, reject, ok, retry]
    assert 'For input string: "x"' in report.results[2].reason
    first, second = server.asked("POST", "/_bulk")
    assert first.headers["Content-Type"] == "application/vnd.elasticsearch+x-ndjson; compatible-with=8"
    assert len(first.body.splitlines()) == 10
    assert json.loads(second.body.splitlines()[0]) == {
        "update": {"_index": index, "_id": "a00004", "retry_on_conflict": 3}
    }
    await store.close()


async def test_a_template_of_another_version_is_neither_written_through_nor_overlooked(server):
    keys = ready(server)
    for version, raised in ((0, StorageError), (None, StorageError), (2, SchemaVersionError)):
        server.replies["GET", TEMPLATE] = installed({"_meta": {"version": version}})
        with pytest.raises(raised):
            await opened(keys)
        assert found(await check(keys, clock=SystemClock()), "template")[0].status == "fail"


# --- smartcn


async def test_smartcn_is_used_where_every_data_node_has_it(server):
    smartcn = {
        "name": "analysis-smartcn",
        "version": "8.17.4",
        "classname": "org.elasticsearch.plugin.analysis.smartcn.AnalysisSmartChinesePlugin",
    }
    nodes = {
        "a": {"roles": ["data_hot", "data_content"], "plugins": [smartcn]},
        "b": {"roles": ["master"], "plugins": []},
    }
    server.replies["GET", "/_nodes/plugins"] = 200, {"nodes": nodes}
    report = await apply(config(server))
    assert report.chinese == "smartcn"
    (put,) = server.asked("PUT", TEMPLATE)
    body = put.json()
    assert body["template"]["mappings"]["properties"]["title"]["fields"]["zh"]["analyzer"] == "smartcn"
    assert body["template"]["mappings"]["properties"]["title"]["analyzer"] == "riskwire_text"
    assert body["_meta"]["chinese"] == "smartcn"
    nodes["b"]["roles"] = ["data"]
    assert (await apply(config(server))).chinese == "cjk"
    server.replies["GET", TEMPLATE] = installed(body)
    (verdict,) = found(await check(config(server), clock=SystemClock()), "template")
    assert verdict.status == "fail"  # new indices would be refused: their analyzer is gone
    server.replies["GET", "/_nodes/plugins"] = error(
        403, "security_exception", "action [cluster:monitor/nodes/info] is unauthorized"
    )
    assert (await apply(config(server))).chinese == "cjk"


async def test_a_month_keeps_the_analyzer_it_was_made_with(server):
    keys = config(server)
    made = template(keys, Offer(chinese="cjk", lifecycle=False))["template"]
    name = f"{ALIAS}-2026.03"
    flat = {key: str(value) for key, value in made["settings"].items() if key.startswith("index.")}
    server.replies["GET", f"/{ALIAS}-*"] = (
        200,
        {name: {"aliases": {ALIAS: {}}, "mappings": made["mappings"], "settings": flat}},
    )
    smartcn = {"nodes": {"a": {"roles": ["data"], "plugins": [{"name": "analysis-smartcn"}]}}}
    server.replies["GET", "/_nodes/plugins"] = 200, smartcn
    report = await apply(keys)
    assert report.changes == (f"index template {ALIAS}", "index news-incidents")
    assert report.warnings == ()


# --- lifecycle


def with_lifecycle(server: ScriptedElastic) -> None:
    server.replies["GET", "/_ilm/status"] = 200, {"operation_mode": "RUNNING"}
    server.replies["PUT", f"/_ilm/policy/{ALIAS}"] = 200, {"acknowledged": True}


def stored_policy(keys: ElasticConfig) -> dict[str, object]:
    """As the cluster gives it back: with its defaults."""
    wanted = json.loads(json.dumps(policy(keys)["policy"]))
    if "delete" in wanted["phases"]:
        wanted["phases"]["delete"]["actions"]["delete"]["delete_searchable_snapshot"] = True
    return {ALIAS: {"version": 3, "modified_date": "2026-03-02T09:00:00.000Z", "policy": wanted, "in_use_by": {}}}


async def test_a_lifecycle_policy_is_applied_where_it_is_offered_and_only_once(server):
    with_lifecycle(server)
    keys = config(server, retention_days=400)
    report = await apply(keys)
    assert report.lifecycle
    assert set(report.changes) == {f"lifecycle policy {ALIAS}", f"index template {ALIAS}", "index news-incidents"}
    (put,) = server.asked("PUT", f"/_ilm/policy/{ALIAS}")
    assert put.json()["policy"]["phases"] == {
        "hot": {"min_age": "0ms", "actions": {}},
        "delete": {"min_age": "431d", "actions": {"delete": {}}},
    }
    (put,) = server.asked("PUT", TEMPLATE)
    assert put.json()["template"]["settings"]["index.lifecycle.name"] == ALIAS
    server.replies["GET", f"/_ilm/policy/{ALIAS}"] = 200, stored_policy(keys)
    server.replies["GET", TEMPLATE] = installed(put.json())
    (incidents,) = server.asked("PUT", "/news-incidents")
    server.replies["GET", "/news-incidents"] = 200, {"news-incidents": incidents.json()}
    assert (await apply(keys)).changes == ()
    assert (await apply(replace(keys, retention_days=100))).changes == (f"lifecycle policy {ALIAS}",)


async def test_without_retention_nothing_is_ever_deleted_by_the_policy(server):
    with_lifecycle(server)
    await apply(config(server))
    (put,) = server.asked("PUT", f"/_ilm/policy/{ALIAS}")
    assert set(put.json()["policy"]["phases"]) == {"hot"}


async def test_a_month_made_under_a_policy_is_as_old_as_its_end(server):
    keys = config(server)
    server.replies["GET", TEMPLATE] = installed(template(keys, Offer(chinese="cjk", lifecycle=True)))
    server.replies["POST", f"/{ALIAS}/_search"] = 200, {"hits": {"hits": [], "total": {"value": 0}}}
    server.replies["PUT", f"/{ALIAS}-2025.12"] = 200, {"acknowledged": True, "shards_acknowledged": True}
    server.replies["POST", "/_bulk"] = (
        200,
        {"errors": False, "items": [{"create": {"status": 201, "result": "created"}}]},
    )
    store = await opened(keys)
    assert (await store.put([scored(article(1, published_at=datetime(2025, 12, 9, tzinfo=UTC)))])).ok
    await store.close()
    (put,) = server.asked("PUT", f"/{ALIAS}-2025.12")
    end = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    assert put.json() == {"settings": {"index.lifecycle.origination_date": end}}


async def test_the_check_of_a_lifecycle(server):
    with_lifecycle(server)
    keys = config(server, retention_days=30)
    server.replies["GET", TEMPLATE] = installed(template(keys, Offer(chinese="cjk", lifecycle=True)))
    assert found(await check(keys, clock=SystemClock()), "lifecycle")[0].status == "fail"
    server.replies["GET", f"/_ilm/policy/{ALIAS}"] = 200, stored_policy(replace(keys, retention_days=31))
    assert found(await check(keys, clock=SystemClock()), "lifecycle")[0].status == "warn"
    server.replies["GET", f"/_ilm/policy/{ALIAS}"] = 200, stored_policy(keys)
    explained = {
        "indices": {
            f"{ALIAS}-2026.01": {
                "managed": True,
                "policy": ALIAS,
                "phase": "delete",
                "step": "ERROR",
                "failed_step": "delete",
            }
        }
    }
    server.replies["GET", f"/{ALIAS}-*/_ilm/explain"] = 200, explained
    (verdict,) = found(await check(keys, clock=SystemClock()), "lifecycle")
    assert verdict.status == "warn"
    assert f"{ALIAS}-2026.01" in verdict.message
    server.replies["GET", f"/{ALIAS}-*/_ilm/explain"] = 200, {"indices": {}}
    assert found(await check(keys, clock=SystemClock()), "lifecycle")[0].status == "ok"


# --- the rest of the check


async def test_the_check_of_health_disk_and_clock(server):
    keys = replace(ready(server), max_skew_seconds=60.0)
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    millis = int(at.timestamp() * 1000)
    server.replies["GET", "/_nodes/stats/os"] = 200, {"nodes": {"a": {"timestamp": millis}, "b": {"timestamp": millis}}}
    total = {"total_in_bytes": 100 * 10**9, "free_in_bytes": 9 * 10**9, "available_in_bytes": 9 * 10**9}
    server.replies["GET", "/_nodes/stats/fs"] = 200, {"nodes": {"a": {"name": "node-0", "fs": {"total": total}}}}
    for status, verdict in (("green", "ok"), ("yellow", "warn"), ("red", "fail")):
        server.replies["GET", f"/_cluster/health/{ALIAS}-*"] = 200, {"status": status, "unassigned_shards": 2}
        checks = await check(keys, clock=ManualClock(at))
        assert [one.status for one in found(checks, "health")] == [verdict]
    assert [(one.part, one.status) for one in checks if one.part in ("disk", "clock")] == [
        ("disk", "warn"),
        ("clock", "ok"),
    ]
    assert "node-0" in found(checks, "disk")[0].message
    late = ManualClock(at.replace(minute=2))
    assert found(await check(keys, clock=late), "clock")[0].status == "fail"
    with pytest.raises(StorageError, match=r"120 s ahead.*NTP"):
        await ElasticStore.open(keys, clock=late, wall=late)


async def test_a_cluster_that_may_not_be_looked_at_is_no_failure(server):
    keys = ready(server)
    for part in (f"/_cluster/health/{ALIAS}-*", "/_nodes/stats/fs", "/_nodes/stats/os", "/_nodes/plugins"):
        server.replies["GET", part] = error(403, "security_exception", "action [cluster:monitor/x] is unauthorized")
    checks = await check(keys, clock=SystemClock())
    assert {one.status for one in checks} == {"ok", "warn"}
    assert [one.part for one in checks if one.status == "warn"] == ["health", "disk"]


async def test_another_template_that_overrules_ours_is_found(server):
    keys = ready(server)
    path = f"/_index_template/_simulate_index/{ALIAS}-2000.01"
    theirs = {"template": {"settings": {}, "mappings": {"dynamic_templates": []}, "aliases": {}}, "overlapping": []}
    server.replies["POST", path] = 200, theirs
    (verdict,) = found(await check(keys, clock=SystemClock()), "template")
    assert verdict.status == "fail"
    assert "overrules" in verdict.message
    ours = template(keys, Offer(chinese="cjk", lifecycle=False))["template"]
    server.replies["POST", path] = 200, {"template": ours, "overlapping": []}
    assert found(await check(keys, clock=SystemClock()), "template")[0].status == "ok"
