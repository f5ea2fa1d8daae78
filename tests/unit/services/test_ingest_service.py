"""The ingest step: publish before cursor, backoff, Retry-After, health."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from doubles import START, DictState, ListBus, ScriptedSource, article

from monitor.core.clock import ManualClock
from monitor.core.errors import DiskFullError, FetchError, SourceError, StorageError, UnavailableError
from monitor.core.types import Cursor, Page
from monitor.obs.metrics import Metrics
from monitor.services.ingest import CURSOR_KIND, HEALTH_KIND, IngestPolicy, IngestService
from monitor.services.scheduler import Job
from monitor.services.topics import ARTICLES


class HandScheduler:
    """Runs what is planned when the test says so, moving the clock to its time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.planned: dict[str, tuple[object, Job]] = {}

    def at(self, name: str, when: object, job: Job) -> None:
        self.planned[name] = (when, job)

    async def run_next(self) -> None:
        name = min(self.planned, key=lambda key: self.planned[key][0])  # type: ignore[arg-type,return-value]
        when, job = self.planned.pop(name)
        if when > self._clock.now():  # type: ignore[operator]
            self._clock.set(when)  # type: ignore[arg-type]
        await job()


class Bench:
    """An ingest service over doubles."""

    def __init__(self, script: Sequence[Page | SourceError], state: DictState | None = None) -> None:
        self.clock = ManualClock(START)
        self.bus, self.state, self.metrics = ListBus(), state or DictState(), Metrics()
        self.source = ScriptedSource("wire", script)
        self.scheduler = HandScheduler(self.clock)
        self.service = IngestService(
            sources=[self.source],
            listeners=[],
            bus=self.bus,
            state=self.state,
            clock=self.clock,
            scheduler=self.scheduler,  # type: ignore[arg-type]
            metrics=self.metrics,
            policy=IngestPolicy(spread=10, default_interval=300, backoff_base=30, backoff_cap=3600),
            seed=1,
        )


def page(*numbers: int, etag: str, **fields: object) -> Page:
    return Page(articles=[article(n) for n in numbers], cursor=Cursor(data={"etag": etag}), **fields)  # type: ignore[arg-type]


async def test_articles_are_published_before_the_cursor_is_saved() -> None:
    bench = Bench([page(1, 2, etag="a")])
    await bench.service.start()
    bench.state.fail_next = DiskFullError("No room.")
    with pytest.raises(DiskFullError):
        await bench.scheduler.run_next()
    assert [r.key for r in bench.bus.topics[ARTICLES]] == ["a00001", "a00002"]
    assert CURSOR_KIND not in bench.state.docs


async def test_a_failed_publish_leaves_the_cursor_where_it_was() -> None:
    bench = Bench([page(1, etag="a")])
    await bench.service.start()
    bench.bus.fail_next = StorageError("The bus is away.")
    with pytest.raises(StorageError):
        await bench.scheduler.run_next()
    assert bench.state.docs == {}


async def test_a_bus_that_is_away_is_waited_for_and_the_page_comes_again() -> None:
    bench = Bench([page(1, etag="a"), page(1, etag="a")])
    await bench.service.start()
    bench.bus.fail_next = UnavailableError("No broker answers.", retry_after=45)
    await bench.scheduler.run_next()
    assert bench.state.docs == {}
    assert (bench.scheduler.planned["poll:wire"][0] - bench.clock.now()).total_seconds() == 45  # type: ignore[operator]
    await bench.scheduler.run_next()
    assert [r.key for r in bench.bus.topics[ARTICLES]] == ["a00001"]
    assert bench.source.cursors == [None, None]
    assert bench.state.docs[CURSOR_KIND]["wire"] == {"etag": "a"}


async def test_the_saved_cursor_comes_back_after_a_restart() -> None:
    bench = Bench([page(1, etag="a")])
    await bench.service.start()
    await bench.scheduler.run_next()
    again = Bench([], state=bench.state)
    await again.service.start()
    await again.scheduler.run_next()
    assert again.source.cursors == [Cursor(data={"etag": "a"})]


async def test_not_before_of_the_page_is_obeyed() -> None:
    bench = Bench([page(etag="a", not_before=START + timedelta(seconds=1234))])
    await bench.service.start()
    await bench.scheduler.run_next()
    assert bench.scheduler.planned["poll:wire"][0] == START + timedelta(seconds=1234)


async def test_failures_back_off_exponentially_with_jitter_and_are_reported() -> None:
    bench = Bench([FetchError("timed out", code="timeout") for _ in range(12)])
    await bench.service.start()
    delays = []
    for _ in range(12):
        await bench.scheduler.run_next()
        delays.append((bench.scheduler.planned["poll:wire"][0] - bench.clock.now()).total_seconds())  # type: ignore[operator]
    for number, delay in enumerate(delays):
        full = min(3600, 30 * 2**number)
        assert full / 2 <= delay <= full
    health = bench.state.docs[HEALTH_KIND]["wire"]
    assert health["failures"] == 12
    assert health["error_code"] == "timeout"
    assert (
        bench.metrics.registry.get_sample_value("riskwire_polls_total", {"source": "wire", "outcome": "timeout"}) == 12
    )


async def test_retry_after_is_a_lower_bound() -> None:
    bench = Bench([FetchError("busy", code="http_503", retry_after=7200)])
    await bench.service.start()
    await bench.scheduler.run_next()
    assert (bench.scheduler.planned["poll:wire"][0] - bench.clock.now()).total_seconds() == 7200  # type: ignore[operator]


async def test_recovery_clears_the_failures() -> None:
    bench = Bench([FetchError("x"), page(1, etag="a")])
    await bench.service.start()
    await bench.scheduler.run_next()
    await bench.scheduler.run_next()
    assert bench.state.docs[HEALTH_KIND]["wire"]["failures"] == 0
    assert bench.state.docs[HEALTH_KIND]["wire"]["articles"] == 1


async def test_an_unchanged_poll_writes_nothing() -> None:
    bench = Bench([page(1, etag="a"), page(etag="a"), page(etag="a")])
    await bench.service.start()
    await bench.scheduler.run_next()
    before = bench.state.applied
    await bench.scheduler.run_next()
    await bench.scheduler.run_next()
    assert bench.state.applied == before


async def test_listeners_run_until_cancelled_and_their_articles_are_durable() -> None:
    bench = Bench([])
    accepted = asyncio.Event()

    class Pushed:
        name = "push"

        async def run(self, accept) -> None:  # type: ignore[no-untyped-def]
            await accept([article(7)])
            accepted.set()
            await asyncio.Event().wait()

    bench.service._listeners = [Pushed()]
    task = asyncio.create_task(bench.service.run_listeners())
    await accepted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [r.key for r in bench.bus.topics[ARTICLES]] == ["a00007"]
