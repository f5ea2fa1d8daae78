"""The score step: nothing lost, nothing twice, poison found by bisection."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from doubles import START, DictStore, FixedScorer, ListBus, article, record

from monitor.core.clock import ManualClock
from monitor.core.errors import DeadLetterRatioError, StorageError
from monitor.core.types import PutOutcome
from monitor.obs.metrics import Metrics
from monitor.services.dead_letters import DeadLetters
from monitor.services.score import ScorePolicy, ScoreService
from monitor.services.topics import ARTICLES, DEAD_LETTERS, SCORE_GROUP


class Bench:
    """A score service over doubles."""

    def __init__(self) -> None:
        self.bus, self.store, self.scorer = ListBus(), DictStore(), FixedScorer()
        self.metrics, self.clock = Metrics(), ManualClock(START)
        self.service = ScoreService(
            bus=self.bus,
            store=self.store,  # type: ignore[arg-type]
            scorer=self.scorer,
            clock=self.clock,
            metrics=self.metrics,
            dead_letters=DeadLetters(self.bus, self.clock, self.metrics),
            policy=ScorePolicy(fetch_limit=64, put_attempts=3, put_backoff=0.0),
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


async def test_store_that_never_takes_an_item_stops_the_service_before_commit() -> None:
    bench = Bench()
    bench.store.outcomes = {"a00000": [PutOutcome.RETRY] * 10}
    await bench.bus.publish(ARTICLES, [record(article(0))])
    with pytest.raises(StorageError, match="after 3 attempts"):
        await bench.drain()
    assert (await bench.bus.lag(ARTICLES, SCORE_GROUP)).count == 1


async def test_a_flood_of_bad_records_stops_the_service_instead_of_draining_the_topic() -> None:
    bench = Bench()
    await bench.bus.publish(ARTICLES, [record(article(n, title="poison")) for n in range(200)])
    with pytest.raises(DeadLetterRatioError, match="stay on the bus"):
        await bench.drain()
    assert len(bench.bus.topics.get(DEAD_LETTERS, [])) == 0
    assert (await bench.bus.lag(ARTICLES, SCORE_GROUP)).count == 200
