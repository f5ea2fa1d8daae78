"""One process of the pipeline: the real daemon with the chosen roles, fed by the newsroom, scoring by a constant.

The role ``read`` is the benchmark's own and does what the detector does with the ports: it asks for the lag and follows
the store's tail, and ticks off which articles have come. Every second the process writes one line of JSON to its
standard output. SIGTERM ends it as it ends the daemon; SIGUSR1 takes the brake off the scorer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from news import ConstantScorer, Newsroom, number_of

from monitor import app
from monitor.config import ROLES, Settings, load_settings
from monitor.core.clock import Clock, SystemClock
from monitor.core.ports import Accept, Bus, Store, Subscription
from monitor.core.types import Delivery, PutReport, Record, ScoredArticle, TailPage
from monitor.daemon import Daemon
from monitor.obs.logging import configure_logging
from monitor.services.topics import ARTICLES, SCORE_GROUP

T = TypeVar("T")
_PAGE = 1000
"""Articles of one page of the tail: what the detector asks for."""
_EMPTY_SECONDS = 0.01
_TICK_SECONDS = 2.0
"""Between two ticks of the reader. The detector's are 15 s apart; these are closer, so that the end is seen when it
comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process is to do."""

    config: Path
    roles: tuple[str, ...]
    articles: int
    feed_rate: float | None = None
    feed_seconds: float | None = None
    score_rate: float | None = None
    noida: bool = False
    """Whether the broker is noida-db."""


def _cpu() -> float:
    """Processor seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Times:
    """Real seconds spent waiting in each call of a port, and how many records went through it."""

    def __init__(self) -> None:
        self.base = 0.0
        """Processor seconds of the process when its storage was open: imports and greetings are no work on articles."""
        self.seconds: dict[str, float] = {}
        self.records: dict[str, int] = {}

    async def of(self, name: str, call: Awaitable[T], count: int = 0) -> T:
        """Awaits a call and notes how long it took."""
        began = time.perf_counter()
        try:
            return await call
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            self.records[name] = self.records.get(name, 0) + count


class _TimedSubscription:
    def __init__(self, inner: Subscription, times: Times) -> None:
        self._inner, self._times = inner, times

    async def fetch(self, limit: int, timeout: float) -> Sequence[Delivery]:
        return await self._times.of("fetch", self._inner.fetch(limit, timeout))

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        await self._times.of("commit", self._inner.commit(deliveries), len(deliveries))


class _TimedBus:
    def __init__(self, inner: Bus, times: Times) -> None:
        self._inner, self._times = inner, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        await self._times.of("publish", self._inner.publish(topic, records), len(records))

    @asynccontextmanager
    async def subscribe(self, topic: str, group: str) -> AsyncIterator[_TimedSubscription]:
        async with self._inner.subscribe(topic, group) as subscription:
            yield _TimedSubscription(subscription, self._times)


class _TimedStore:
    def __init__(self, inner: Store, times: Times) -> None:
        self._inner, self._times = inner, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        return await self._times.of("put", self._inner.put(items), len(items))

    async def tail(self, after: str, limit: int) -> TailPage:
        return await self._times.of("tail", self._inner.tail(after, limit))


@contextmanager
def timed_storage(times: Times) -> Iterator[None]:
    """Whoever opens the storage inside gets one that notes its times."""
    opened = app.open_storage

    @asynccontextmanager
    async def open_timed(settings: Settings, clock: Clock, **options: Any) -> AsyncIterator[app.Storage]:
        async with opened(settings, clock, **options) as storage:
            times.base = _cpu()
            yield replace(
                storage,
                given_bus=_TimedBus(storage.given_bus, times) if storage.given_bus is not None else None,
                given_store=_TimedStore(storage.given_store, times) if storage.given_store is not None else None,
            )

    app.open_storage = open_timed
    try:
        yield
    finally:
        app.open_storage = opened


def wait_for_records() -> None:
    """Makes consumers wait a moment after an empty answer.

    A broker holds a fetch until there is something or half a second is over. noida-db 0.2 answers at once, so that
    every idle consumer, of whatever library, asks it ten thousand times a second, and nothing else could be measured.
    """
    from kafka import KafkaConsumer

    once = KafkaConsumer._poll_once

    def patient(self: Any, timer: Any, *arguments: Any, **options: Any) -> Any:
        records = once(self, timer, *arguments, **options)
        if not records:
            time.sleep(min(_EMPTY_SECONDS, timer.timeout_ms / 1000))
        return records

    KafkaConsumer._poll_once = patient


class Feeder:
    """A listener that publishes the newsroom's articles: as fast as they are taken, or at a rate."""

    name = "newsroom"

    def __init__(self, order: Order, batch: int = 500) -> None:
        self._order = order
        self._batch = batch
        self.published = 0
        self.cpu = 0.0
        """Processor seconds spent on writing the articles: the benchmark's own work."""
        self.began = 0.0
        self.ended = 0.0

    async def run(self, accept: Accept) -> None:
        """Feeds, then waits to be cancelled (as a listener does)."""
        room = Newsroom()
        self.began = time.monotonic()
        while (count := self._due()) is not None:
            if count == 0:
                await asyncio.sleep(0.02)
                continue
            before = time.thread_time()
            articles = list(room.articles(self.published, self.published + count, of=self._order.articles))
            self.cpu += time.thread_time() - before
            await accept(articles)
            self.published += count
        self.ended = time.monotonic()
        await asyncio.Event().wait()

    def _due(self) -> int | None:
        """How many articles are to be published now; None when that was all."""
        order, passed = self._order, time.monotonic() - self.began
        left = order.articles - self.published
        if left <= 0 or (order.feed_seconds is not None and passed >= order.feed_seconds):
            return None
        if order.feed_rate is None:
            return min(self._batch, left)
        due = int(passed * order.feed_rate) - self.published
        # A source gives what it has in one go; a tenth of a second's worth is one poll of many feeds.
        return 0 if due < order.feed_rate / 10 else min(due, self._batch, left)


class Reader:
    """Follows the tail and ticks off what has come."""

    def __init__(self, count: int) -> None:
        self._seen = bytearray(count // 8 + 1)  # a bit an article: the reader's own memory must not grow
        self.read = 0
        self.again = 0
        self.lag = 0
        self.last = 0.0

    async def run(self, bus: Bus, store: Store) -> None:
        """Reads until cancelled."""
        position = ""
        while True:
            began = time.monotonic()
            self.lag = (await bus.lag(ARTICLES, SCORE_GROUP)).count
            while True:
                page = await store.tail(position, _PAGE)
                position = page.position or position
                for item in page.items:
                    self._tick(number_of(item.article.id))
                if len(page.items) < _PAGE:
                    break
            await asyncio.sleep(max(0.0, began + _TICK_SECONDS - time.monotonic()))

    def _tick(self, number: int) -> None:
        byte, bit = divmod(number, 8)
        if self._seen[byte] & 1 << bit:
            self.again += 1
        else:
            self._seen[byte] |= 1 << bit
            self.read += 1
            self.last = time.monotonic()


_HELD = frozenset({"Record", "Article", "ScoredArticle", "ConsumerRecord", "Delivery"})


def held_records() -> int:
    """Records and articles that live in this process, whoever holds them: the most numerous kind of object."""
    counts: dict[str, int] = {}
    for thing in gc.get_objects():
        name = type(thing).__name__
        if name in _HELD:
            counts[name] = counts.get(name, 0) + 1
    return max(counts.values(), default=0)


class _Report:
    def __init__(self, times: Times) -> None:
        self._times = times
        self.feeder: Feeder | None = None
        self.reader: Reader | None = None
        self.daemon: Daemon | None = None
        self._held = 0
        self._counted = -1e9

    def line(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._counted >= 10:
            self._held, self._counted = held_records(), now
        data: dict[str, Any] = {
            "at": now,
            "cpu": _cpu() - self._times.base,
            "held": self._held,
            "seconds": self._times.seconds,
            "records": self._times.records,
        }
        if self.feeder is not None:
            data |= {
                "published": self.feeder.published, "own_cpu": self.feeder.cpu, "began": self.feeder.began,
                "fed": self.feeder.ended,
            }  # fmt: skip
        if self.reader is not None:
            data |= {
                "read": self.reader.read, "again": self.reader.again, "lag": self.reader.lag, "last": self.reader.last,
            }  # fmt: skip
        if self.daemon is not None:
            data["scored"] = int(self.daemon.metrics.registry.get_sample_value("riskwire_scored_total") or 0)
        return data

    async def every_second(self) -> None:
        while True:
            self.write()
            await asyncio.sleep(1.0)

    def write(self) -> None:
        sys.stdout.write(json.dumps(self.line()) + "\n")
        sys.stdout.flush()


async def serve(order: Order) -> None:
    """Runs until SIGTERM. Raises what a role raises."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    settings, clock, times = load_settings(order.config), SystemClock(), Times()
    scorer = ConstantScorer(order.score_rate)
    if order.noida:
        wait_for_records()

    def brake_off() -> None:
        scorer.rate = None

    loop.add_signal_handler(signal.SIGUSR1, brake_off)
    report = _Report(times)
    if "ingest" in order.roles:
        report.feeder = Feeder(order)
    if "read" in order.roles:
        report.reader = Reader(order.articles)
    roles = [role for role in ROLES if role in order.roles]
    with timed_storage(times):
        reporting = asyncio.create_task(report.every_second())
        try:
            if roles:
                sources = [report.feeder] if report.feeder is not None else []
                report.daemon = Daemon(settings, clock=clock, roles=roles, sources=sources, notifiers={}, scorer=scorer)
                await _daemon(report.daemon, report.reader, stop)
            else:
                assert report.reader is not None
                async with app.open_storage(settings, clock) as storage:
                    await _until(stop, report.reader.run(storage.bus, storage.store))
        finally:
            reporting.cancel()
            report.write()


async def _daemon(daemon: Daemon, reader: Reader | None, stop: asyncio.Event) -> None:
    async def read() -> None:
        await daemon.started.wait()
        assert daemon.storage is not None
        if reader is not None:
            await reader.run(daemon.storage.bus, daemon.storage.store)

    reading = asyncio.create_task(_until(stop, read()))
    try:
        await daemon.run(stop)
    finally:
        stop.set()
        await reading


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    for each in (task, waiting):
        if each.done():
            each.result()
        each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await each


def main(order: Order) -> None:
    """Runs one process. Logs go to standard error, warnings and above."""
    configure_logging("warning", style="json")
    asyncio.run(serve(order))
