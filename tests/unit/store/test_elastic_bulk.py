"""Writing: item by item, in the month where an article was first written, nothing sent twice without need."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from doubles import article, scored
from elastic_home import refresh
from fault.elastic_proxy import Answer, items, lost_answers, partly, rejected, slow, too_large, too_many, unavailable

from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import PutOutcome, PutReport, ScoredArticle, SearchQuery
from monitor.store.elastic_client import path

OK, RETRY, REJECT = PutOutcome.OK, PutOutcome.RETRY, PutOutcome.REJECT


def some(*numbers: int, **fields: object) -> list[ScoredArticle]:
    return [scored(article(n, **fields)) for n in numbers]


def outcomes(report: PutReport) -> list[PutOutcome]:
    return [result.outcome for result in report.results]


async def documents(store) -> dict[str, list[str]]:
    """The indices that hold each document."""
    await refresh(store.client)
    answer = await store.client.request("POST", path(store.config.alias, "_search"), {"size": 10_000})
    found: dict[str, list[str]] = {}
    for hit in answer["hits"]["hits"]:
        found.setdefault(hit["_id"], []).append(hit["_index"].rpartition("-")[2])
    return found


async def test_every_month_has_its_index(world):
    store = await world.store()
    dates = [
        datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(1999, 12, 31, tzinfo=UTC),
    ]
    await store.put([scored(article(n, published_at=date)) for n, date in enumerate(dates)])
    assert await documents(store) == {"a00000": ["2026.02"], "a00001": ["2026.03"], "a00002": ["1999.12"]}
    assert world.proxy.sent == Counter(["a00000", "a00001", "a00002"])


@pytest.mark.parametrize("writer", ["the same", "another, later", "another, before the refresh"])
async def test_a_date_that_moves_to_another_month_leaves_one_document(world, writer):
    store = await world.store()
    await store.put(some(1, 2))
    if writer == "another, later":
        await refresh(store.client)
        store = await world.store()
    elif writer == "another, before the refresh":
        # Its record is redelivered whole: the old date first. Only then may a new one follow.
        store = await world.store()
        await store.put(some(1))
    moved = some(1, published_at=datetime(2026, 4, 7, tzinfo=UTC))
    assert (await store.put(moved)).ok
    assert await documents(store) == {"a00001": ["2026.03"], "a00002": ["2026.03"]}
    found = await store.article("a00001")
    assert found is not None
    assert found.article.published_at == datetime(2026, 4, 7, tzinfo=UTC)


async def test_writers_of_one_article_at_the_same_time_leave_one_document(world):
    stores = [await world.store() for _ in range(4)]
    await stores[0].put(some(0))
    batches = [some(*range(1, 40), title=f"by {n}") for n in range(4)]
    reports = await asyncio.gather(*(store.put(batch) for store, batch in zip(stores, batches, strict=True)))
    assert all(report.ok for report in reports)
    found = await documents(stores[0])
    assert len(found) == 40
    assert all(len(where) == 1 for where in found.values())


async def test_a_connection_that_was_closed_meanwhile_is_no_failure_of_a_search(world):
    store = await world.store()
    await store.put(some(0))
    await world.proxy.refuse()
    await world.proxy.heal()  # same address, new process: the old connection is dead
    assert (await store.search(SearchQuery())).total <= 1


async def test_a_very_long_id_is_kept(world):
    store = await world.store()
    long = "路" * 400
    assert (await store.put([scored(article(1, id=long))])).ok
    await refresh(store.client)
    for reader in (store, await world.store()):
        found = await reader.article(long)
        assert found is not None
        assert found.article.id == long


# --- parts of a request fail


async def test_of_a_bulk_that_fails_in_parts_only_the_failed_items_are_sent_again(world):
    store = await world.store()
    batch = some(*range(60))
    world.proxy.fault = partly(0.4, once=True)
    report = await store.put(batch)
    failed = [item for item, outcome in zip(batch, outcomes(report), strict=True) if outcome is RETRY]
    assert 10 < len(failed) < 40
    assert set(outcomes(report)) == {OK, RETRY}
    assert all(
        "es_rejected_execution_exception" in result.reason for result in report.results if result.outcome is RETRY
    )
    assert (await store.put(failed)).ok
    again = {item.article.id for item in failed}
    assert world.proxy.sent == Counter({item.article.id: 2 if item.article.id in again else 1 for item in batch})
    assert len(await documents(store)) == 60


async def test_unavailable_shards_ask_for_another_try(world):
    store = await world.store()
    world.proxy.fault = partly(1.0, 503)
    assert outcomes(await store.put(some(1, 2))) == [RETRY, RETRY]
    world.proxy.fault = None
    assert (await store.put(some(1, 2))).ok


async def test_what_does_not_fit_the_mapping_is_rejected_with_the_reason(world):
    store = await world.store()
    world.proxy.fault = rejected(b"poison", "[1:17] failed to parse field [topic_p] of type [float]")
    report = await store.put([*some(1), *some(2, title="poison"), *some(3)])
    assert outcomes(report) == [OK, REJECT, OK]
    assert "failed to parse field [topic_p]" in report.results[1].reason
    assert "document_parsing_exception" in report.results[1].reason
    assert set(await documents(store)) == {"a00001", "a00003"}


async def test_the_clusters_own_refusal_of_a_document_is_a_rejection(world):
    """A real mapping conflict, not one that the proxy makes up."""
    store = await world.store()
    await store.put(some(1))
    index = store.config.index(datetime(2026, 4, 1, tzinfo=UTC))
    wrong = {
        "mappings": {"dynamic": "false", "properties": {"lang": {"type": "date"}}},
        "aliases": {store.config.alias: {}},
    }
    await store.client.request("PUT", path(index), wrong)
    april = {"published_at": datetime(2026, 4, 2, tzinfo=UTC)}
    report = await store.put([*some(2), *some(3, **april)])
    assert outcomes(report) == [OK, REJECT]
    assert "lang" in report.results[1].reason


async def test_an_index_that_lacks_a_field_stops_the_writer_with_the_next_step(world):
    store = await world.store()
    reason = "mapping set to strict, dynamic introduction of [story] within [_doc] is not allowed"
    world.proxy.fault = items(lambda item: item.refused(400, "strict_dynamic_mapping_exception", reason))
    with pytest.raises(StorageError, match="riskwire store apply"):
        await store.put(some(1))


async def test_a_missing_privilege_stops_the_writer_with_the_next_step(world):
    store = await world.store()
    reason = "action [indices:data/write/bulk[s]] is unauthorized for API key id [x]"
    world.proxy.fault = items(lambda item: item.refused(403, "security_exception", reason))
    with pytest.raises(StorageError, match=r"is unauthorized.*docs/elastic.md"):
        await store.put(some(1))


async def test_a_full_disk_asks_for_another_try(world):
    store = await world.store()
    reason = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark];"
    for status in (429, 403):
        world.proxy.fault = items(lambda item, status=status: item.refused(status, "cluster_block_exception", reason))
        report = await store.put(some(1))
        assert outcomes(report) == [RETRY]
        assert "flood-stage" in report.results[0].reason


async def test_conflicts_that_do_not_end_ask_for_another_try(world):
    store = await world.store()
    world.proxy.fault = items(lambda item: item.refused(409, "version_conflict_engine_exception", "version conflict"))
    assert outcomes(await store.put(some(1))) == [RETRY]
    assert world.proxy.sent["a00001"] <= 6


# --- whole requests fail


async def test_a_cluster_that_is_down_asks_for_another_try_and_says_what_to_look_at(world):
    store = await world.store()
    await store.put(some(0))
    await world.proxy.refuse()
    report = await store.put(some(1, 2))
    assert outcomes(report) == [RETRY, RETRY]
    assert "Is it running?" in report.results[0].reason
    with pytest.raises(UnavailableError, match="refused the connection"):
        await store.search(SearchQuery())
    await world.proxy.heal()
    assert (await store.put(some(1, 2))).ok


@pytest.mark.parametrize("fault", [unavailable(), too_many()], ids=["503", "429"])
async def test_a_cluster_that_cannot_now_asks_for_another_try(world, fault):
    store = await world.store()
    await store.put(some(0))
    world.proxy.fault = fault
    assert outcomes(await store.put(some(1, 2))) == [RETRY, RETRY]
    world.proxy.fault = None
    assert (await store.put(some(1, 2))).ok


async def test_writes_whose_answers_are_lost_are_stored_once(world):
    store = await world.store(bulk_items=3)
    world.proxy.fault = lost_answers(0.5)
    pending, rounds = some(*range(30)), 0
    while pending:
        report = await store.put(pending)
        pending = [item for item, outcome in zip(pending, outcomes(report), strict=True) if outcome is RETRY]
        rounds += 1
        assert rounds < 100
    assert rounds > 1
    found = await documents(store)
    assert len(found) == 30
    assert all(len(where) == 1 for where in found.values())


async def test_after_an_unanswered_bulk_the_rest_is_not_tried_one_by_one(world):
    store = await world.store(bulk_items=10)
    await store.put(some(100))
    world.proxy.fault = lost_answers(1.0)
    assert set(outcomes(await store.put(some(*range(50))))) == {RETRY}
    assert sum(world.proxy.sent.values()) == 1 + 10


async def test_a_slow_cluster_is_waited_for_up_to_the_timeout(world):
    store = await world.store(timeout=1.0)
    await store.put(some(0))
    world.proxy.fault = slow(0.3)
    assert (await store.put(some(1))).ok
    world.proxy.fault = slow(3.0)
    began = time.monotonic()
    report = await store.put(some(2))
    assert outcomes(report) == [RETRY]
    assert "did not answer in time" in report.results[0].reason
    assert time.monotonic() - began < 2.5


async def test_too_large_a_bulk_is_split_and_an_article_too_large_alone_is_rejected(world):
    store = await world.store()
    world.proxy.fault = too_large(20_000)
    batch = [*some(*range(20), body="x" * 3_000), *some(50, body="y" * 30_000)]
    report = await store.put(batch)
    assert outcomes(report) == [OK] * 20 + [REJECT]
    assert "larger than the cluster takes" in report.results[-1].reason
    assert len(await documents(store)) == 20


async def test_bulks_keep_to_their_sizes(world):
    store = await world.store(bulk_items=7, bulk_bytes=20_000)
    sizes: list[tuple[int, int]] = []

    async def count(asked, forward):
        if asked.is_bulk:
            sizes.append((len(asked.items()), len(asked.body)))
        return await forward(asked)

    world.proxy.fault = count
    assert (await store.put([*some(*range(20)), *some(*range(20, 30), body="x" * 6_000)])).ok
    assert sum(number for number, _ in sizes) == 30
    assert max(number for number, _ in sizes) == 7
    assert max(size for _, size in sizes) < 21_000
    assert len(await documents(store)) == 30


async def test_retry_after_is_honoured(world, monkeypatch):
    store = await world.store()
    await store.put(some(0))
    headers = {"Content-Type": "application/json", "Retry-After": "7"}

    async def busy(asked, forward):
        return Answer(status=429, headers=headers, body=b'{"error":{"type":"too_many","reason":"later"},"status":429}')

    world.proxy.fault = busy
    assert outcomes(await store.put(some(1))) == [RETRY]
    world.proxy.fault = None
    now, waits = time.monotonic(), []

    async def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        now += seconds

    monkeypatch.setattr("monitor.store.elastic_bulk.asyncio.sleep", sleep)
    monkeypatch.setattr("monitor.store.elastic_bulk.time.monotonic", lambda: now)
    assert (await store.put(some(1))).ok
    assert sum(waits) == pytest.approx(7, abs=1.0)
    waits.clear()
    assert (await store.put(some(2))).ok
    assert waits == []


# --- the indices


async def test_without_the_template_nothing_is_written_and_nothing_is_made(world):
    store = await world.store()
    await store.put(some(1))
    await store.client.request("DELETE", path("_index_template", store.config.alias))
    april = some(2, published_at=datetime(2026, 4, 2, tzinfo=UTC))
    with pytest.raises(StorageError, match="riskwire store apply"):
        await store.put(april)
    assert await documents(store) == {"a00001": ["2026.03"]}
    with pytest.raises(StorageError, match="riskwire store apply"):
        await world.store()


async def test_an_index_that_another_process_dropped_is_made_anew(world):
    store = await world.store()
    await store.put(some(1))

    def missing(item):
        made = world.proxy.sent[item.meta["_id"]]
        return (
            item.refused(404, "index_not_found_exception", "no such index and [action.auto_create_index] is [false]")
            if made < 2
            else None
        )

    await store.client.request("DELETE", path(store.config.index(article(1).published_at)))
    world.proxy.fault = items(missing)
    assert (await store.put(some(2))).ok
    assert await documents(store) == {"a00002": ["2026.03"]}
    mapping = await store.client.request("GET", path(store.config.index(article(1).published_at), "_mapping"))
    assert next(iter(mapping.values()))["mappings"]["dynamic"] == "strict"


async def test_an_update_of_what_retention_removed_stores_it_again(world):
    store, other = await world.store(), await world.store()
    await store.put(some(1, 2, 3))
    assert await other.expire(article(3).published_at) == 2
    assert (await store.put(some(1))).ok
    assert set(await documents(store)) == {"a00001", "a00003"}


async def test_whole_months_go_as_one_index_and_what_moved_stays(world):
    store = await world.store()
    january, march = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)
    await store.put(some(*range(5), published_at=january))
    await store.put(some(*range(10, 15), published_at=datetime(2025, 12, 5, tzinfo=UTC)))
    await store.put(some(20, published_at=march))
    await store.put(some(3, published_at=march))  # written to January's index, and still there
    requests: Counter[str] = Counter()

    async def count(asked, forward):
        requests[f"{asked.method} {asked.path.rpartition('-')[2]}"] += 1
        return await forward(asked)

    world.proxy.fault = count
    assert await store.expire(datetime(2026, 2, 10, tzinfo=UTC)) == 9
    assert requests["DELETE 2025.12"] == 1
    assert requests["DELETE 2026.01"] == 0
    assert await documents(store) == {"a00003": ["2026.01"], "a00020": ["2026.03"]}
    assert await store.expire(datetime(2026, 2, 10, tzinfo=UTC)) == 0
    assert (await store.put(some(11, published_at=datetime(2025, 12, 5, tzinfo=UTC)))).ok
    assert (await documents(store))["a00011"] == ["2025.12"]


async def test_a_month_is_not_dropped_under_a_writer(world):
    """Between looking and dropping somebody writes a newer date: the month stays, and is open for writing again."""
    store, writer = await world.store(), await world.store(direct=True)
    january, march = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)
    await writer.put(some(1, 2, published_at=january))
    looked = 0

    async def intrude(asked, forward):
        nonlocal looked
        answer = await forward(asked)
        if asked.path.endswith("_count"):
            looked += 1
            if looked == 1:
                await writer.put(some(2, published_at=march))
        return answer

    world.proxy.fault = intrude
    assert await store.expire(datetime(2026, 2, 10, tzinfo=UTC)) == 1
    world.proxy.fault = None
    assert await documents(store) == {"a00002": ["2026.01"]}
    assert (await writer.put(some(3, published_at=january))).ok


async def test_a_writer_waits_while_a_month_is_being_dropped(world):
    store = await world.store()
    january = datetime(2026, 1, 5, tzinfo=UTC)
    await store.put(some(1, published_at=january))
    index = store.config.index(january)
    await store.client.request("PUT", path(index, "_settings"), {"index.blocks.write": True})
    assert outcomes(await store.put(some(2, published_at=january))) == [RETRY]
    assert await store.expire(datetime(2026, 2, 10, tzinfo=UTC)) == 1
    assert (await store.put(some(2, published_at=january))).ok
    assert await documents(store) == {"a00002": ["2026.01"]}


async def test_a_shard_that_cannot_be_read_is_no_empty_answer(world):
    """Otherwise a node's outage would look like articles that do not exist, and be written a second time."""
    asked_for: list[str] = []

    async def note(asked, forward):
        if asked.path.endswith("_search"):
            asked_for.append(asked.query)
        return await forward(asked)

    store = await world.store()
    await store.put(some(1))
    world.clock.advance(10)
    world.proxy.fault = note
    await store.put(some(2))
    await store.tail("", 10)
    await store.article("a00005")
    assert len(asked_for) == 3  # where article 2 is, the tail, article 5
    assert all("allow_partial_search_results=false" in query for query in asked_for)


async def test_nothing_forces_a_refresh_while_writing(world):
    asked_for: list[str] = []

    async def note(asked, forward):
        asked_for.append(f"{asked.path}?{asked.query}")
        return await forward(asked)

    store = await world.store()
    world.proxy.fault = note
    await store.put(some(1, 2))
    await store.put(some(1, 2))
    assert asked_for
    assert not [one for one in asked_for if "refresh" in one]


async def test_the_memory_of_recent_ids_is_bounded(world, monkeypatch):
    monkeypatch.setattr("monitor.store.elastic_bulk.KNOWN_IDS", 5)
    store = await world.store()
    await store.put(some(*range(20)))
    assert sum(store._writer.index_of(f"a{n:05d}") is not None for n in range(20)) == 5
    await refresh(store.client)
    assert (await store.put([replace(item) for item in some(*range(20))])).ok
    assert len(await documents(store)) == 20
