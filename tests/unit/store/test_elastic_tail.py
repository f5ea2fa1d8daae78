"""The tail leaves nothing out, whatever is late: slow writes, dead writers, wrong clocks, new readers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from doubles import article, scored
from elastic_home import refresh
from held import hold

from monitor.core.errors import UsageError
from monitor.core.types import PutOutcome, ScoredArticle
from monitor.store import elastic_tail
from monitor.store.elastic import ElasticStore
from monitor.store.elastic_client import path
from monitor.store.elastic_document import check_of
from monitor.store.elastic_tail import Position, Tally


def items(*numbers: int, **fields: object) -> list[ScoredArticle]:
    return [scored(article(n, **fields)) for n in numbers]


def ids(*numbers: int) -> list[str]:
    return [f"a{n:05d}" for n in numbers]


async def stored_arrivals(store: ElasticStore) -> dict[str, int]:
    await refresh(store.client)
    answer = await store.client.request("POST", path(store.config.alias, "_search"), {"size": 1000})
    return {hit["_id"]: hit["_source"]["arrival"] for hit in answer["hits"]["hits"]}


async def test_what_arrived_just_now_is_not_given_yet(world):
    store = await world.store(direct=True)
    await store.put(items(1))
    assert (await world.read(store, ""))[0] == []
    page = await store.tail("", 10)
    assert page.behind == store.config.settle == 3.0
    world.clock.advance(2.9)
    assert (await world.read(store, ""))[0] == []
    world.clock.advance(0.2)
    assert (await world.read(store, ""))[0] == ids(1)


async def test_a_write_that_comes_through_after_the_reader_has_passed_is_given_once(world):
    slow, fast, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await slow.put(items(0))  # the month's index is there
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(slow.put(items(1, 2)))
        await held.reached.wait()
        world.clock.advance(10)
        await fast.put(items(3))
        world.clock.advance(10)
        given, position = await world.read(reader, "")
        assert given == ids(0, 3)
    assert (await writing).ok
    given, position = await world.read(reader, position)
    assert given == ids(1, 2)
    arrivals = await stored_arrivals(reader)
    assert arrivals["a00001"] < arrivals["a00003"]
    assert (await world.read(reader, position)) == ([], position)
    await fast.put(items(4))
    world.clock.advance(10)
    assert (await world.read(reader, position))[0] == ids(4)


async def test_a_write_that_hung_for_longer_than_readers_look_back_is_stamped_anew(world):
    slow, fast, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await slow.put(items(0))
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(slow.put(items(1)))
        await held.reached.wait()
        world.clock.advance(3600)
        await fast.put(items(2))
        world.clock.advance(10)
        given, position = await world.read(reader, "")
        assert given == ids(0, 2)
    assert (await writing).ok
    world.clock.advance(10)
    assert (await world.read(reader, position))[0] == ids(1)
    assert (await stored_arrivals(reader))["a00001"] > (await stored_arrivals(reader))["a00002"]


async def test_a_write_of_a_dead_worker_that_comes_through_much_later_is_given_after_the_redelivery(world):
    dead, heir, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await dead.put(items(0))
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(dead.put(items(1)))
        await held.reached.wait()
        writing.cancel()  # the worker is gone, its request is not
        world.clock.advance(3600)
        await heir.put(items(2))
        world.clock.advance(10)
        given, position = await world.read(reader, "")
        assert given == ids(0, 2)
    while "a00001" not in await stored_arrivals(reader):  # the request has come through
        await asyncio.sleep(0.01)
    assert (await world.read(reader, position))[0] == []  # too old to be seen: nobody was told that it is stored
    assert (await heir.put(items(1))).ok  # the record was not committed
    world.clock.advance(10)
    given, position = await world.read(reader, position)
    assert given == ids(1)
    assert (await world.read(reader, ""))[0] == ids(0, 2, 1)


async def test_an_old_article_that_is_fetched_again_keeps_its_place(world):
    store = await world.store(direct=True)
    await store.put(items(1, 2))
    world.clock.advance(86_400)
    before = await stored_arrivals(store)
    edited = items(1, title="Edited", fetched_at=world.clock.now())
    for writer in (store, await world.store(direct=True)):
        assert (await writer.put(edited)).ok
    assert await stored_arrivals(store) == before
    found = await store.article("a00001")
    assert found is not None
    assert found.article.title == "Edited"
    assert found.article.fetched_at == article(1).fetched_at


async def test_a_redelivery_soon_after_changes_neither_place_nor_document(world):
    store, other = await world.store(direct=True), await world.store(direct=True)
    await store.put(items(1, 2))
    await refresh(store.client)
    before = await store.client.request("POST", path(store.config.alias, "_search"), {"version": True})
    world.clock.advance(100)
    for writer in (store, other):
        assert (await writer.put(items(1, 2))).ok
    await refresh(store.client)
    after = await store.client.request("POST", path(store.config.alias, "_search"), {"version": True})
    assert after["hits"]["hits"] == before["hits"]["hits"]  # versions and all: a noop


async def test_a_new_reader_goes_on_without_repeating_and_finds_what_is_late(world):
    slow, fast, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await slow.put(items(0))
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(slow.put(items(1)))
        await held.reached.wait()
        world.clock.advance(5)
        await fast.put(items(2, 3))
        world.clock.advance(10)
        given, position = await world.read(reader, "")
        assert given == ids(0, 2, 3)
        restarted = await world.store(direct=True)
        assert await world.read(restarted, position) == ([], position)  # it has learnt what was given
    await writing
    assert (await world.read(restarted, position))[0] == ids(1)


async def test_a_reader_that_starts_anew_after_something_came_late_repeats_rather_than_omits(world):
    slow, fast, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await slow.put(items(0))
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(slow.put(items(1)))
        await held.reached.wait()
        world.clock.advance(5)
        await fast.put(items(2, 3))
        world.clock.advance(10)
        _, position = await world.read(reader, "")
    await writing
    restarted = await world.store(direct=True)
    given, position = await world.read(restarted, position, limit=2)
    assert sorted(given) == ids(0, 1, 2, 3)
    assert (await world.read(restarted, position))[0] == []


async def test_one_removed_and_one_late_do_not_cancel_each_other_out(world):
    slow, fast, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await slow.put(items(0))
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(slow.put(items(1)))
        await held.reached.wait()
        world.clock.advance(5)
        await fast.put(items(2, 3))
        world.clock.advance(10)
        given, position = await world.read(reader, "")
        assert given == ids(0, 2, 3)
    await writing
    await reader.client.find("DELETE", path(reader.config.index(world.clock.now()), "_doc", "a00002"))
    assert (await world.read(reader, position))[0] == ids(1)


async def test_removal_alone_repeats_nothing(world):
    store = await world.store(direct=True)
    await store.put(items(*range(10)))
    world.clock.advance(10)
    given, position = await world.read(store, "", limit=4)
    assert given == ids(*range(10))
    assert await store.expire(article(5).published_at) == 5
    assert (await world.read(store, position))[0] == []
    await store.put(items(11))
    world.clock.advance(10)
    assert (await world.read(store, position))[0] == ids(11)


async def test_going_back_to_an_earlier_position_gives_the_rest_again(world):
    store = await world.store(direct=True)
    await store.put(items(*range(9)))
    world.clock.advance(10)
    first = await store.tail("", 0)
    await refresh(store.client)
    first = await store.tail("", 3)
    second = await store.tail(first.position, 3)
    again = await store.tail(first.position, 6)
    assert [item.article.id for item in second.items] == ids(3, 4, 5)
    assert [item.article.id for item in again.items] == ids(3, 4, 5, 6, 7, 8)
    assert (await world.read(store, second.position))[0] == ids(6, 7, 8)


async def test_articles_of_the_same_microsecond_are_not_torn_apart(world):
    writers = [await world.store(direct=True) for _ in range(5)]
    for n, writer in enumerate(writers):  # the clock stands still
        await writer.put(items(n, n + 10))
    world.clock.advance(10)
    given, _ = await world.read(writers[0], "", limit=1)
    assert Counter(given) == Counter(ids(*range(5), *range(10, 15)))


async def test_articles_of_all_months_are_given(world):
    store = await world.store(direct=True)
    dates = [datetime(2026, month, 7, tzinfo=UTC) for month in (5, 1, 3, 3, 12)]
    await store.put([item for number, date in enumerate(dates) for item in items(number, published_at=date)])
    world.clock.advance(10)
    first, position = await world.read(store, "", limit=2)
    rest, _ = await world.read(store, position)
    assert sorted(first + rest) == ids(0, 1, 2, 3, 4)


async def test_more_late_articles_than_a_page_takes(world):
    slow, fast, reader = await world.store(), await world.store(direct=True), await world.store(direct=True)
    await slow.put(items(0))
    async with hold(world.proxy) as held:
        writing = asyncio.create_task(slow.put(items(*range(1, 24))))
        await held.reached.wait()
        world.clock.advance(5)
        await fast.put(items(30, 31))
        world.clock.advance(10)
        given, position = await world.read(reader, "")
        assert given == ids(0, 30, 31)
    await writing
    await fast.put(items(32))
    world.clock.advance(10)
    given, _ = await world.read(reader, position, limit=5)
    assert given == ids(*range(1, 24), 32)


async def test_a_page_ends_at_its_bytes(world, monkeypatch):
    monkeypatch.setattr(elastic_tail, "TAIL_BYTES", 30_000)
    monkeypatch.setattr(elastic_tail, "PAGE", 2)
    store = await world.store(direct=True)
    await store.put(items(*range(10), body="x" * 10_000))
    world.clock.advance(10)
    await refresh(store.client)
    page = await store.tail("", 10)
    assert [item.article.id for item in page.items] == ids(0, 1, 2, 3)
    assert (await world.read(store, page.position))[0] == ids(*range(4, 10))


async def test_a_position_of_an_embedded_store_means_the_beginning(world):
    store = await world.store(direct=True)
    await store.put(items(1))
    world.clock.advance(10)
    assert (await world.read(store, "0badcafe:57"))[0] == ids(1)


def test_positions_are_read_back_as_they_were_written():
    position = Position(1_795_461_707_835_123, Tally(17, 17 * 2**31))
    assert Position.parse(str(position)) == position
    assert Position.parse("") is None
    for wrong in ("e1-1-1", "e2-1-1:1", "e1--1-1:1", "e1-1-1:1 ", "E1-1-1:1", "e1-١-1:1"):
        with pytest.raises(UsageError):
            Position.parse(wrong)


def test_checks_tell_documents_and_arrivals_apart():
    checks = {check_of(key, arrival) for key in map(str, range(100)) for arrival in range(100)}
    assert len(checks) > 9_990
    assert all(0 <= check < 2**31 for check in checks)


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_left_out_in_random_histories(world, seed):
    """Writers with wrong clocks, held and lost requests, workers that die and are replaced, readers that start anew."""
    dice = random.Random(seed)
    writers = [await world.store(skew=dice.uniform(-60, 60)) for _ in range(3)]
    reader = await world.store(direct=True, skew=dice.uniform(-60, 60))
    numbers = iter(range(10_000))
    stored: set[str] = set()
    given: set[str] = set()
    position = ""
    uncommitted: list[list[ScoredArticle]] = []

    async def put(writer: ElasticStore, batch: list[ScoredArticle]) -> None:
        report = await writer.put(batch)
        for item, result in zip(batch, report.results, strict=True):
            assert result.outcome in (PutOutcome.OK, PutOutcome.RETRY)
            if result.outcome is PutOutcome.OK:
                stored.add(item.article.id)
            else:
                uncommitted.append([item])

    await put(writers[0], items(next(numbers)))
    for _ in range(14):
        batch = items(*(next(numbers) for _ in range(dice.randint(1, 6))))
        writer = dice.choice(writers)
        fate = dice.choice(["plain", "held", "held long", "dead", "redelivered"])
        if fate == "plain":
            await put(writer, batch)
        elif fate == "redelivered" and uncommitted:
            await put(writer, uncommitted.pop(dice.randrange(len(uncommitted))))
        else:
            async with hold(world.proxy, lose=fate == "dead") as held:
                writing = asyncio.create_task(put(writer, batch))
                await held.reached.wait()
                for _ in range(dice.randint(1, 3)):
                    world.clock.advance(dice.uniform(0, 1500 if fate != "held" else 20))
                    other = await world.store(direct=True, skew=dice.uniform(-60, 60))
                    await put(other, items(next(numbers)))
                    found, position = await world.read(reader, position, limit=dice.choice([1, 3, 100]))
                    given.update(found)
                if fate == "dead":
                    writing.cancel()
                    uncommitted.append(batch)
            await asyncio.gather(writing, return_exceptions=True)
            if fate != "dead":
                assert writing.exception() is None
        world.clock.advance(dice.uniform(0, 200))
        if dice.random() < 0.3:
            reader = await world.store(direct=True, skew=dice.uniform(-60, 60))
        found, position = await world.read(reader, position, limit=dice.choice([1, 3, 100]))
        given.update(found)
    while uncommitted:
        await put(writers[0], uncommitted.pop())
    world.clock.advance(timedelta(minutes=5).total_seconds())
    found, position = await world.read(reader, position)
    given.update(found)
    assert given == stored
