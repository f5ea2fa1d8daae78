"""The score step: nothing lost, nothing twice, poison found by bisection."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from doubles import START, DictStore, FixedScorer, ListBus, article, record

from monitor.core.clock import ManualClock
from monitor.core.errors import DeadLetterRatioError, StorageError, UnavailableError
from monitor.core.types import PutOutcome
from monitor.obs.metrics import Metrics
from monitor.services.dead_letters import DeadLetters
from monitor.services.score import ScorePolicy, ScoreService
from monitor.services.topics import ARTICLES, DEAD_LETTERS, SCORE_GROUP


class Bench:
    """A score service over doubles."""

    def __init__(self, policy: ScorePolicy | None = None) -> None:
        self.bus, self.store, self.scorer = ListBus(), DictStore(), FixedScorer()
        self.metrics, self.clock = Metrics(), ManualClock(START)
        self.service = ScoreService(
            bus=self.bus,
            store=self.store,  # type: ignore[arg-type]
            scorer=self.scorer,
            clock=self.clock,
            metrics=self.metrics,
            dead_letters=DeadLetters(self.bus, self.clock, self.metrics),
            policy=policy or ScorePolicy(fetch_limit=64, put_backoff=0.0),
        )

    async def drain(self) -> None:
        running = asyncio.create_task(self.service.run())
        while not running.done() and (await self.bus.lag(ARTICLES, SCORE_GROUP)).count:
            await asyncio.sleep(0)
        self.service.stop()
        await running


async def test_every_article_is_stored_and_committed() -> None:
    bench = Bench()
    await bench.bus.publish(ARTICLES, [record(article(n)) for n in range(150)])
    await bench.drain()
    assert set(bench.store.items) == {f"a{n:05d}" for n in range(150)}
    assert (await bench.bus.lag(ARTICLES, SCORE_GROUP)).count == 0


async def test_poison_goes_to_the_dead_letters_and_the_rest_is_stored() -> None:
    bench = Bench()
    items = [article(n, title="poison" if n in (3, 40) else f"fine {n}") for n in range(64)]
    await bench.bus.publish(ARTICLES, [record(item) for item in items])
    await bench.drain()
    letters = bench.bus.topics[DEAD_LETTERS]
    assert {letter.headers["origin_key"] for letter in letters} == {"a00003", "a00040"}
    assert all("poison" in letter.headers["reason"] for letter in letters)
    assert len(bench.store.items) == 62


async def test_undecodable_record_is_kept_whole_with_its_origin() -> None:
    bench = Bench()
    broken = replace(record(article(1)), value=b"{not json")
    await bench.bus.publish(ARTICLES, [record(article(0)), broken, record(article(2))])
    await bench.drain()
    (letter,) = bench.bus.topics[DEAD_LETTERS]
    assert letter.value == b"{not json"
    assert letter.headers["origin"] == f"{ARTICLES}/0/1"
    assert "JSON" in letter.headers["reason"]
    assert set(bench.store.items) == {"a00000", "a00002"}


async def test_unknown_major_version_is_a_dead_letter_that_says_so() -> None:
    bench = Bench()
    newer = replace(record(article(1)), value=b'{"v":"2.0","article":{}}')
    await bench.bus.publish(ARTICLES, [newer])
    await bench.drain()
    assert "version '2.0'" in bench.bus.topics[DEAD_LETTERS][0].headers["reason"]


async def test_only_what_asks_for_it_is_put_again() -> None:
    bench = Bench()
    bench.store.outcomes = {"a00001": [PutOutcome.RETRY, PutOutcome.OK], "a00002": [PutOutcome.REJECT]}
    await bench.bus.publish(ARTICLES, [record(article(n)) for n in range(4)])
    await bench.drain()
    assert bench.store.puts == [["a00000", "a00001", "a00002", "a00003"], ["a00001"]]
    assert bench.bus.topics[DEAD_LETTERS][0].headers["reason"] == "reject"


async def test_a_store_that_is_down_for_long_is_waited_for_and_nothing_is_committed_before() -> None:
    bench = Bench()
    bench.store.outcomes = {"a00000": [PutOutcome.RETRY] * 50}
    await bench.bus.publish(ARTICLES, [record(article(n)) for n in range(2)])
    uncommitted = []
    put = bench.store.put

    async def watched(items):
        uncommitted.append((await bench.bus.lag(ARTICLES, SCORE_GROUP)).count)
        return await put(items)

    bench.store.put = watched  # type: ignore[method-assign]
    await bench.drain()
    assert bench.store.puts == [["a00000", "a00001"], *[["a00000"]] * 50]
    assert set(uncommitted) == {2}
    assert set(bench.store.items) == {"a00000", "a00001"}
    assert bench.metrics.registry.get_sample_value("riskwire_store_waiting") == 0


async def test_a_store_that_says_it_is_unavailable_is_waited_for_with_the_same_subscription() -> None:
    bench = Bench()
    await bench.bus.publish(ARTICLES, [record(article(n)) for n in range(5)])
    subscriptions, failures = [], 20
    put, subscribe = bench.store.put, bench.bus.subscribe

    async def down(items):
        nonlocal failures
        if failures:
            failures -= 1
            raise UnavailableError("It is down.")
        return await put(items)

    def counted(topic, group):
        subscriptions.append(topic)
        return subscribe(topic, group)

    bench.store.put = down  # type: ignore[method-assign]
    bench.bus.subscribe = counted  # type: ignore[method-assign]
    await bench.drain()
    assert len(bench.store.items) == 5
    assert bench.store.puts == [[f"a{n:05d}" for n in range(5)]]
    assert subscriptions == [ARTICLES]


async def test_stopping_while_the_store_is_down_ends_at_once_and_commits_nothing() -> None:
    bench = Bench(ScorePolicy(put_backoff=3600.0))
    bench.store.outcomes = {"a00000": [PutOutcome.RETRY]}
    await bench.bus.publish(ARTICLES, [record(article(0))])
    running = asyncio.create_task(bench.service.run())
    while not bench.metrics.registry.get_sample_value("riskwire_store_waiting"):
        await asyncio.sleep(0)
    bench.service.stop()
    await asyncio.wait_for(running, 5)
    assert (await bench.bus.lag(ARTICLES, SCORE_GROUP)).count == 1
    assert bench.bus.topics.get(DEAD_LETTERS, []) == []


async def test_waits_for_the_store_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(ScorePolicy(put_backoff=0.25, put_backoff_cap=30.0))
    bench.store.outcomes = {"a00000": [PutOutcome.RETRY] * 12}
    await bench.bus.publish(ARTICLES, [record(article(0))])
    waits = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(bench.service, "_pause", pause)
    await bench.drain()
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


async def test_an_error_that_waiting_does_not_cure_stops_the_service_before_the_commit() -> None:
    bench = Bench()
    await bench.bus.publish(ARTICLES, [record(article(0))])

    async def refused(items):
        raise StorageError("The login is refused.")

    bench.store.put = refused  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="login"):
        await bench.drain()
    assert (await bench.bus.lag(ARTICLES, SCORE_GROUP)).count == 1


async def test_a_flood_of_bad_records_stops_the_service_instead_of_draining_the_topic() -> None:
    bench = Bench()
    await bench.bus.publish(ARTICLES, [record(article(n, title="poison")) for n in range(200)])
    with pytest.raises(DeadLetterRatioError, match="stay on the bus"):
        await bench.drain()
    assert len(bench.bus.topics.get(DEAD_LETTERS, [])) == 0
    assert (await bench.bus.lag(ARTICLES, SCORE_GROUP)).count == 200
