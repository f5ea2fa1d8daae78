"""The shadow: scores a sample, never holds anything up, and its word is only counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from doubles import START, DictState, FixedScorer, article, scored

from monitor.core.clock import ManualClock
from monitor.core.errors import ModelError, StorageError
from monitor.core.types import ScoredArticle
from monitor.obs.metrics import Metrics
from monitor.services.shadow import CAPACITY, SHADOW_KIND, Comparison, ShadowService


class Other(FixedScorer):
    """The shadow model."""

    model = "shadow@1"


class Bench:
    def __init__(self, scorer: FixedScorer | None = None, *, share: float = 1.0) -> None:
        self.state, self.clock, self.metrics = DictState(), ManualClock(START), Metrics()
        self.scorer = scorer or Other(lambda title: 0.9 if "odd" in title else 0.5)
        self.service = ShadowService(
            scorer=self.scorer, main="double", state=self.state, clock=self.clock, metrics=self.metrics,
            until=START + timedelta(days=1), share=share,
        )  # fmt: skip

    def kept(self) -> Comparison:
        return Comparison.from_dict(self.state.docs[SHADOW_KIND]["double|shadow@1"])

    async def finish(self) -> None:
        """Lets it work until nothing waits, then ends it."""
        running = asyncio.create_task(self.service.run())
        while not self.service._queue.empty():
            await asyncio.sleep(0)
        self.service.stop()
        await running

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def items(count: int, *, odd: int = 0) -> list[ScoredArticle]:
    return [scored(article(n, title=f"{'odd' if n < odd else 'plain'} {n}"), 0.5) for n in range(count)]


async def test_agreement_and_shift_are_counted_by_topic() -> None:
    bench = Bench()
    bench.service.offer(items(40, odd=10))
    await bench.finish()
    kept = bench.kept()
    figures = kept.all.figures()
    assert figures["n"] == 40
    assert figures["topic_agreement"] == 1.0
    assert figures["shift_of_negative"] == pytest.approx(0.1)
    low, high = figures["interval"]
    assert low < 0.1 < high
    assert kept.topics["macro"].n == 40
    assert kept.examples[0]["shadow"] == 0.9
    assert bench.value("riskwire_shadow_articles_total", outcome="scored") == 40
    assert bench.value("riskwire_shadow_agreement", task="topic") == 1.0


async def test_it_goes_on_counting_after_a_restart() -> None:
    bench = Bench()
    bench.service.offer(items(10))
    await bench.finish()
    again = Bench()
    again.state = bench.state
    again.service._state = bench.state
    again.service.offer(items(5))
    await again.finish()
    assert again.kept().all.n == 15


async def test_several_workers_count_together() -> None:
    benches = [Bench() for _ in range(3)]
    for number, bench in enumerate(benches):
        bench.state = bench.service._state = benches[0].state
        bench.service.offer(items(10 + number, odd=number))
    await asyncio.gather(*(bench.finish() for bench in benches))
    kept = benches[0].kept()
    assert kept.all.n == kept.topics["macro"].n == 33
    assert kept.all.shift == pytest.approx(3 * 0.4)


async def test_what_it_cannot_keep_up_with_is_dropped_and_counted() -> None:
    bench = Bench()
    for start in range(3):  # nothing runs meanwhile: offering never waits
        bench.service.offer([replace(item) for item in items(CAPACITY)])
        assert bench.service._queue.qsize() <= CAPACITY, start
    await bench.finish()
    dropped = 3 * CAPACITY - (CAPACITY - 1)
    assert bench.value("riskwire_shadow_articles_total", outcome="dropped") == dropped
    assert bench.kept().dropped == dropped


async def test_a_share_is_drawn_by_hash() -> None:
    bench = Bench(share=0.25)
    bench.service.offer(items(400))
    assert 60 <= bench.service._queue.qsize() <= 140


async def test_articles_that_another_model_scored_are_not_compared() -> None:
    bench = Bench()
    other = items(3)[0]
    bench.service.offer([replace(other, scored=replace(other.scored, model="given"))])
    assert bench.service._queue.empty()


async def test_its_time_ends_it() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.service.run())
    await asyncio.sleep(0)
    bench.clock.advance(86_400)
    bench.service.offer(items(1))
    await asyncio.wait_for(running, 5)
    assert bench.service.finished.is_set()
    bench.service.offer(items(1))
    assert bench.kept().all.n == 0


async def test_a_bad_text_loses_its_batch_and_no_more() -> None:
    bench = Bench()
    bench.service.offer([scored(article(1, title="poison"))])
    await bench.finish()
    assert bench.kept().failed == 1
    assert bench.value("riskwire_shadow_articles_total", outcome="failed") == 1


async def test_a_broken_model_ends_the_shadow_not_the_daemon() -> None:
    class Broken(Other):
        async def score(self, articles):  # type: ignore[no-untyped-def]
            raise ModelError("It broke.")

    bench = Bench(Broken())
    bench.service.offer(items(1))
    await asyncio.wait_for(bench.service.run(), 5)
    assert bench.service.finished.is_set()


def test_a_comparison_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        Comparison.from_dict({"main": "a"})
