"""The drift job: what it reads, when it looks, what it says and how often."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import structlog
from doubles import START, DictState, article, scored

from monitor.core.clock import ManualClock
from monitor.core.errors import StorageError
from monitor.core.types import ScoredArticle, SearchPage, SearchQuery
from monitor.obs.metrics import Metrics
from monitor.services.drift import DRIFT_KIND, FIRST_DELAY, LAST_KEY, PAGE, DriftService, Windows, collect
from monitor.services.scheduler import Job

DAY = timedelta(days=1)


class Shelf:
    """A store that can only be searched by time."""

    def __init__(self, items: Sequence[ScoredArticle]) -> None:
        self.items = items
        self.asked: list[SearchQuery] = []
        self.broken = False

    async def search(self, query: SearchQuery) -> SearchPage:
        if self.broken:
            raise StorageError("It is broken.")
        self.asked.append(query)
        assert query.since is not None
        assert query.until is not None
        found = [i for i in self.items if query.since <= i.article.published_at < query.until]
        found.sort(key=lambda item: item.article.published_at, reverse=True)
        return SearchPage(items=tuple(found[query.offset : query.offset + query.limit]), total=len(found))


class Plans:
    """A scheduler that only notes."""

    def __init__(self) -> None:
        self.planned: list[tuple[datetime, Job]] = []

    def at(self, name: str, when: datetime, job: Job) -> None:
        self.planned.append((when, job))


@dataclass(frozen=True)
class Said:
    name: str
    state: str
    value: float | None
    p_holm: float | None = 0.001


def spread(days: int, each: int) -> list[ScoredArticle]:
    """Articles over the days before START."""
    step, found = DAY / each, []
    for day in range(days):
        first = START - (day + 1) * DAY
        found += [scored(article(day * each + n, published_at=first + n * step)) for n in range(each)]
    return found


class Bench:
    def __init__(self, state: DictState | None = None) -> None:
        self.shelf, self.state, self.plans = Shelf(spread(40, 3)), state or DictState(), Plans()
        self.clock, self.metrics = ManualClock(START), Metrics()
        self.said: list[Said] = [Said("length", "quiet", 0.01)]
        self.sizes: list[tuple[int, int]] = []

        def compare(old: Sequence[int], new: Sequence[int]) -> Sequence[Said]:
            self.sizes.append((sum(old), sum(new)))
            return self.said

        self.service: DriftService[int] = DriftService(
            store=self.shelf,  # type: ignore[arg-type]
            state=self.state, clock=self.clock, scheduler=self.plans,  # type: ignore[arg-type]
            metrics=self.metrics, observe=lambda _start, items: len(items), compare=compare, model="m@1",
            interval=DAY, recent=7 * DAY, reference=28 * DAY,
        )  # fmt: skip

    def value(self, name: str, check: str = "length") -> float | None:
        return self.metrics.registry.get_sample_value(name, {"check": check})


def test_windows_have_blocks_of_a_day_or_a_sixth_of_a_short_window() -> None:
    week = Windows.ending(START, recent=7 * DAY, reference=28 * DAY)
    assert (week.width, week.since, week.before) == (DAY, START - 7 * DAY, START - 35 * DAY)
    short = Windows.ending(START, recent=DAY, reference=7 * DAY)
    assert short.width == timedelta(hours=4)
    assert Windows.ending(START, recent=timedelta(hours=2), reference=DAY).width == timedelta(hours=1)


async def test_every_article_is_read_once_in_its_block() -> None:
    seen: list[list[str]] = []

    def observe(_start: datetime, items: Sequence[ScoredArticle]) -> int:
        seen.append([item.article.id for item in items])
        return len(items)

    shelf = Shelf(spread(5, 450))
    sizes = await collect(shelf, observe, since=START - 5 * DAY, until=START, width=DAY)  # type: ignore[arg-type]
    assert sizes == [450] * 5
    flat = [name for block in seen for name in block]
    assert len(flat) == len(set(flat)) == 5 * 450


async def test_of_a_large_block_pages_spread_over_it_are_read() -> None:
    shelf = Shelf(spread(1, 5000))
    (size,) = await collect(
        shelf,  # type: ignore[arg-type]
        lambda _start, items: len({item.article.id for item in items}),
        since=START - DAY,
        until=START,
        width=DAY,
        cap=1000,
    )
    assert size == 1000
    offsets = [query.offset for query in shelf.asked]
    assert offsets == [0, 1000, 2000, 3000, 4000]
    assert all(query.limit == PAGE for query in shelf.asked)


async def test_a_look_sets_the_metrics_and_keeps_what_it_saw() -> None:
    bench = Bench()
    bench.said = [Said("length", "drift", 0.3), Said("wording", "unknown", None, None)]
    await bench.service.look()
    assert bench.sizes == [(28 * 3, 7 * 3)]
    assert bench.value("riskwire_drift_effect") == 0.3
    assert bench.value("riskwire_drifting") == 1
    assert math.isnan(bench.value("riskwire_drift_effect", "wording") or 0)
    assert bench.metrics.registry.get_sample_value("riskwire_drift_checked_timestamp_seconds") == START.timestamp()
    assert bench.state.docs[DRIFT_KIND][LAST_KEY]["drifting"] == ["length"]


async def test_it_warns_when_drift_begins_and_not_again_also_after_a_restart() -> None:
    bench = Bench()
    bench.said = [Said("length", "drift", 0.3)]
    with structlog.testing.capture_logs() as logs:
        await bench.service.look()
        await bench.service.look()
        again = Bench(bench.state)
        again.said = bench.said
        await again.service.start()
        await again.service.look()
        again.said = [Said("length", "quiet", 0.0)]
        await again.service.look()
    assert [(log["log_level"], log["event"]) for log in logs] == [("warning", "drift"), ("info", "drift_over")]


async def test_the_next_look_is_an_interval_after_the_last_also_over_restarts() -> None:
    bench = Bench()
    await bench.service.start()
    (when, job) = bench.plans.planned.pop()
    assert when == START + FIRST_DELAY
    await job()
    assert bench.plans.planned.pop()[0] == START + DAY
    later = Bench(bench.state)
    later.clock.advance(3600)
    await later.service.start()
    assert later.plans.planned.pop()[0] == START + DAY


async def test_a_store_that_fails_is_logged_and_tried_again() -> None:
    bench = Bench()
    await bench.service.start()
    _, job = bench.plans.planned.pop()
    bench.shelf.broken = True
    with structlog.testing.capture_logs() as logs:
        await job()
    assert logs[0]["event"] == "drift_not_checked"
    assert bench.plans.planned.pop()[0] == START + DAY


@pytest.mark.parametrize("doc", [{}, {"at": "never", "drifting": []}, {"at": 3}, {"model": "m@1", "drifting": 5}])
async def test_a_damaged_note_is_as_none(doc: dict[str, object]) -> None:
    state = DictState()
    state.docs[DRIFT_KIND] = {LAST_KEY: doc}
    bench = Bench(state)
    await bench.service.start()
    assert bench.plans.planned[0][0] == START + FIRST_DELAY
    await asyncio.sleep(0)
