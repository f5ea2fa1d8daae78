"""The first step: polls sources and serves listeners; articles become durable on the bus, then the cursor is saved."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from monitor.core.clock import Clock
from monitor.core.codec import encode_article, time_from_str, time_to_str
from monitor.core.errors import LeaseLostError, SourceError, UnavailableError
from monitor.core.ports import Bus, Listener, Source, StateStore
from monitor.core.trace import TRACEPARENT
from monitor.core.types import Article, Change, Cursor, Expect, Put, Record
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import NO_TRACER, Tracer, current
from monitor.services.scheduler import Scheduler
from monitor.services.sharding import Sharding
from monitor.services.topics import ARTICLES

CURSOR_KIND = "cursor"
HEALTH_KIND = "source_health"

_log = structlog.get_logger("ingest")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPolicy:
    """How hard sources are asked. Times in seconds of the clock.

    A failed source is asked again after ``backoff_base * 2**(failures-1)``, at most ``backoff_cap``, with full
    jitter over the upper half ("equal jitter", Brooker 2015), and never before its Retry-After.
    """

    max_concurrent: int = 32
    spread: float = 20.0
    """First polls are spread over this long, so that a start does not hit all servers at once."""
    default_interval: float = 300.0
    backoff_base: float = 30.0
    backoff_cap: float = 3600.0
    publish_batch: int = 500


@dataclass(slots=True)
class _SourceStatus:
    failures: int = 0
    articles: int = 0
    article_at: datetime | None = None
    ok_at: datetime | None = None
    error_at: datetime | None = None
    error_code: str = ""
    error: str = ""
    next_at: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "failures": self.failures,
            "articles": self.articles,
            "article_at": time_to_str(self.article_at) if self.article_at else None,
            "ok_at": time_to_str(self.ok_at) if self.ok_at else None,
            "error_at": time_to_str(self.error_at) if self.error_at else None,
            "error_code": self.error_code,
            "error": self.error,
            "next_at": time_to_str(self.next_at) if self.next_at else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> _SourceStatus:
        def moment(name: str) -> datetime | None:
            return time_from_str(data[name]) if data.get(name) else None

        return cls(
            failures=int(data.get("failures", 0)),
            articles=int(data.get("articles", 0)),
            article_at=moment("article_at"),
            ok_at=moment("ok_at"),
            error_at=moment("error_at"),
            error_code=str(data.get("error_code", "")),
            error=str(data.get("error", "")),
            next_at=moment("next_at"),
        )


class IngestService:
    """Polls every source when it is due and runs every listener.

    Delivery: publish, then save the cursor. A crash between the two repeats the page; ids make that harmless.

    With ``sharding`` only those sources are polled that it gives to this process, and cursors are written only while
    they are; run it (``sharding.run()``) beside this service, and stop it after this service. Listeners are every
    replica's.
    """

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        listeners: Sequence[Listener],
        bus: Bus,
        state: StateStore,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
        policy: IngestPolicy | None = None,
        seed: int | None = None,
        sharding: Sharding | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._sources = {source.name: source for source in sources}
        self._listeners = listeners
        self._bus = bus
        self._state = state
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._policy = policy or IngestPolicy()
        self._random = random.Random(seed)
        self._slots = asyncio.Semaphore(self._policy.max_concurrent)
        self._status: dict[str, _SourceStatus] = {}
        self._stopping = False
        self._sharding = sharding
        if sharding is not None:
            sharding.attach(self._gained, self._lost)

    async def start(self) -> None:
        """Reads what is known of each source and plans its first poll."""
        if self._sharding is None:
            await self._gained(dict.fromkeys(self._sources))

    async def _gained(self, names: Mapping[str, float | None]) -> None:
        """Plans the next poll of each source: after the seconds its last owner would have waited, else soon."""
        now = self._clock.now()
        for name, wait in names.items():
            saved = await self._state.get(HEALTH_KIND, name)
            self._status[name] = status = _SourceStatus.from_dict(saved) if saved else _SourceStatus()
            self._tell(name, status)
            due = now + timedelta(seconds=self._random.uniform(0, self._policy.spread))
            if wait is not None:
                due = now + timedelta(seconds=max(0.0, wait))
            elif status.failures and status.next_at is not None and status.error_at is not None:
                # Never longer than the delay itself: another clock may have written this, or ours was set back.
                due = max(due, min(status.next_at, now + (status.next_at - status.error_at)))
            self._plan(name, due)

    def _lost(self, names: Collection[str]) -> Mapping[str, float]:
        """Forgets sources that are another's from now on; returns in how many seconds they would have been polled."""
        now = self._clock.now()
        waits: dict[str, float] = {}
        for name in names:
            status = self._status.pop(name, None)
            if status is not None and status.next_at is not None:
                waits[name] = max(0.0, (status.next_at - now).total_seconds())
            for family in (
                self._metrics.source_failures,
                self._metrics.source_success_timestamp_seconds,
                self._metrics.source_article_timestamp_seconds,
            ):
                with contextlib.suppress(KeyError):
                    family.remove(name)  # the new owner tells of it
        return waits

    async def run_listeners(self) -> None:
        """Serves push sources until cancelled; returns at once when there are none."""
        if self._listeners:
            async with asyncio.TaskGroup() as group:
                for listener in self._listeners:
                    group.create_task(listener.run(self.accept), name=f"listen:{listener.name}")

    def polled_since(self, moment: datetime) -> bool:
        """True when every source has been polled successfully at or after ``moment``."""
        return all(status.ok_at is not None and status.ok_at >= moment for status in self._status.values())

    def overdue(self) -> timedelta:
        """By how much the source that waits longest is late."""
        now = self._clock.now()
        due = [status.next_at for status in self._status.values() if status.next_at is not None]
        return max([now - moment for moment in due], default=timedelta(0))

    def failing(self) -> bool:
        """True when there are sources and the last poll of each failed: it is us, then, or the network."""
        return bool(self._status) and all(status.failures for status in self._status.values())

    def _tell(self, name: str, status: _SourceStatus) -> None:
        metrics = self._metrics
        metrics.source_failures.labels(name).set(status.failures)
        if status.ok_at is not None:
            metrics.source_success_timestamp_seconds.labels(name).set(status.ok_at.timestamp())
        if status.article_at is not None:
            metrics.source_article_timestamp_seconds.labels(name).set(status.article_at.timestamp())

    def stop(self) -> None:
        """Plans no further polls; a poll in flight may finish."""
        self._stopping = True

    async def accept(self, articles: Sequence[Article]) -> None:
        """Publishes articles; returns when they are durable."""
        size = self._policy.publish_batch
        for start in range(0, len(articles), size):
            batch = articles[start : start + size]
            await self._publish(batch)
        for article in articles:
            self._metrics.articles.labels(article.source).inc()
            age = (article.fetched_at - article.published_at).total_seconds()
            self._metrics.article_age_seconds.observe(max(0.0, age))

    async def _publish(self, batch: Sequence[Article]) -> None:
        began = time.monotonic()
        if not self._tracer.enabled:
            await self._bus.publish(
                ARTICLES, [Record(key=a.id, value=encode_article(a), timestamp=a.fetched_at) for a in batch]
            )
        else:
            around = current()
            links = [around] if around is not None else []
            spans = [self._tracer.start("publish", root=a.id, links=links, source=a.source) for a in batch]
            records = [
                Record(
                    key=a.id, value=encode_article(a), timestamp=a.fetched_at,
                    headers={TRACEPARENT: span.context.header()} if span.context is not None else {},
                )
                for a, span in zip(batch, spans, strict=True)
            ]  # fmt: skip
            error = "interrupted"
            try:
                await self._bus.publish(ARTICLES, records)
                error = ""
            finally:
                for span in spans:
                    span.end(error)
        self._metrics.publish_seconds.observe(time.monotonic() - began)

    def _plan(self, name: str, due: datetime) -> None:
        self._status[name].next_at = due  # also while stopping: the next owner is told how long to wait
        if not self._stopping:
            self._scheduler.at(f"poll:{name}", due, lambda: self._poll(name, due))

    async def _poll(self, name: str, due: datetime) -> None:
        async with self._slots:
            if self._stopping:
                return
            if self._sharding is None:
                next_at = await self._ask(name, due)
            else:
                try:
                    async with self._sharding.holding(name):
                        next_at = await self._ask(name, due)
                except LeaseLostError as error:
                    _log.info("not_polled", source=name, reason=str(error))
                    return
        if name in self._status:
            self._plan(name, next_at)

    async def _ask(self, name: str, due: datetime) -> datetime:
        late = (self._clock.now() - due).total_seconds()
        self._metrics.poll_delay_seconds.observe(max(0.0, late))
        began = time.monotonic()
        try:
            try:
                with self._tracer.span("poll", source=name):
                    return await self._poll_once(name)
            except SourceError as error:
                return await self._failed(name, error)
        except UnavailableError as error:
            # Bus or state store are away, not the source. The cursor stands where it was: the page comes again.
            self._metrics.polls.labels(name, "unavailable").inc()
            wait = max(error.retry_after, self._random.uniform(0.5, 1.0) * self._policy.backoff_base)
            _log.warning("poll_waits", source=name, error=str(error), retry_in_seconds=round(wait, 1))
            return self._clock.now() + timedelta(seconds=wait)
        finally:
            self._metrics.poll_seconds.observe(time.monotonic() - began)

    def _fence(self, name: str) -> Sequence[Expect]:
        """The condition of what is written for a source. Raises LeaseLostError when it is another's."""
        return (self._sharding.fence(name),) if self._sharding is not None else ()

    async def _poll_once(self, name: str) -> datetime:
        saved = await self._state.get(CURSOR_KIND, name)
        asked_at = self._clock.now()
        page = await self._sources[name].poll(Cursor(data=saved) if saved is not None else None)
        if self._sharding is not None and not self._sharding.holds(name):
            raise LeaseLostError(f"'{name}' was given to another while it was polled.")
        if page.articles:
            await self.accept(page.articles)
        now = self._clock.now()
        status = self._status[name]
        recovered = status.failures > 0
        status.failures = 0
        status.ok_at = asked_at  # what the source brought after that, this poll may not have seen
        status.articles += len(page.articles)
        if page.articles:
            status.article_at = now
        next_at = page.not_before or now + timedelta(seconds=self._policy.default_interval)
        changes: list[Change] = []
        if saved is None or dict(page.cursor.data) != dict(saved):
            changes.append(Put(kind=CURSOR_KIND, key=name, value=page.cursor.data))
        if page.articles or recovered or saved is None:
            status.next_at = next_at
            changes.append(Put(kind=HEALTH_KIND, key=name, value=status.to_dict()))
        if changes:
            await self._state.apply(changes, given=self._fence(name))
        self._metrics.polls.labels(name, "ok").inc()
        self._tell(name, status)
        for note, count in page.counts.items():
            self._metrics.source_notes.labels(name, note).inc(count)
        if page.articles or recovered:
            _log.info("polled", source=name, articles=len(page.articles), recovered=recovered)
        return next_at

    async def _failed(self, name: str, error: SourceError) -> datetime:
        policy, status, now = self._policy, self._status[name], self._clock.now()
        status.failures += 1
        delay = min(policy.backoff_cap, policy.backoff_base * 2 ** min(status.failures - 1, 20))
        delay = delay / 2 + self._random.uniform(0, delay / 2)
        if error.retry_after is not None:
            delay = max(delay, min(error.retry_after, 24 * policy.backoff_cap))
        next_at = now + timedelta(seconds=delay)
        status.error_at, status.error_code, status.error, status.next_at = now, error.code, str(error), next_at
        await self._state.apply([Put(kind=HEALTH_KIND, key=name, value=status.to_dict())], given=self._fence(name))
        self._metrics.polls.labels(name, error.code).inc()
        self._tell(name, status)
        _log.warning(
            "poll_failed", source=name, code=error.code, error=str(error), failures=status.failures,
            retry_in_seconds=round(delay, 1),
        )  # fmt: skip
        return next_at
