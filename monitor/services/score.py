"""The second step: fetch → predict → store.put → commit."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from monitor.core.clock import Clock
from monitor.core.codec import decode_article
from monitor.core.errors import CodecError, RecordError, UnavailableError
from monitor.core.ports import Bus, Scorer, Store, Subscription
from monitor.core.trace import TRACEPARENT, TraceContext
from monitor.core.types import Article, Delivery, PutOutcome, Scored, ScoredArticle
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import LINKS, NO_TRACER, Tracer
from monitor.services.dead_letters import DeadLetters
from monitor.services.topics import ARTICLES, SCORE_GROUP

_log = structlog.get_logger("score")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePolicy:
    """Sizes and patience of the score step. Times in real seconds."""

    fetch_limit: int = 256
    fetch_timeout: float = 1.0
    put_backoff: float = 0.25
    """First wait before a put is repeated; doubles each time."""
    put_backoff_cap: float = 30.0
    """Longest wait before a put is repeated."""


class _StoppedError(Exception):
    """The service was stopped while a batch waited for the store."""


class ScoreService:
    """Scores what is on the bus. A record is committed only when it is stored or among the dead letters.

    A store that cannot take articles now is waited for, however long it takes: the subscription stays open and keeps
    its membership (a bus reads ahead no further than its buffer), so that no other worker begins the same in vain. The
    metric ``store_waiting`` and the log tell of it.

    ``observer`` is shown what was scored, after the commit; it must not block. ``beat`` is called whenever the step
    makes progress, and while it waits for the store: that the store is away is no stall of ours.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        store: Store,
        scorer: Scorer,
        clock: Clock,
        metrics: Metrics,
        dead_letters: DeadLetters,
        policy: ScorePolicy | None = None,
        observer: Callable[[Sequence[ScoredArticle]], None] = lambda _items: None,
        beat: Callable[[], None] = lambda: None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._bus = bus
        self._store = store
        self._scorer = scorer
        self._clock = clock
        self._metrics = metrics
        self._dead_letters = dead_letters
        self._policy = policy or ScorePolicy()
        self._observer = observer
        self._beat = beat
        self._stopping = asyncio.Event()
        self.stored = asyncio.Event()
        """Set whenever something new is in the store (the detect step may wait for it)."""

    def stop(self) -> None:
        """Asks :meth:`run` to end after the batch in flight. A batch that waits for its store is given up: it is not
        committed and is delivered again."""
        self._stopping.set()

    async def run(self) -> None:
        """Works until :meth:`stop`. Raises StorageError, ModelError or DeadLetterRatioError."""
        async with self._bus.subscribe(ARTICLES, SCORE_GROUP) as subscription:
            while not self._stopping.is_set():
                self._beat()
                deliveries = await subscription.fetch(self._policy.fetch_limit, self._policy.fetch_timeout)
                if deliveries:
                    try:
                        await self._process(subscription, deliveries)
                    except _StoppedError:
                        return

    async def _process(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        if not self._tracer.enabled:
            await self._work(subscription, deliveries)
            return
        parents = [TraceContext.parse(delivery.record.headers.get(TRACEPARENT, "")) for delivery in deliveries]
        known = [parent for parent in parents if parent is not None]
        with self._tracer.span("score batch", links=known[:LINKS], records=len(deliveries)) as batch:
            around = [batch.context] if batch.context is not None else []
            spans = [self._tracer.start("score and store", parent=parent, links=around) for parent in known]
            error = "interrupted"
            try:
                await self._work(subscription, deliveries)
                error = ""
            finally:
                for span in spans:
                    span.end(error)

    async def _work(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        began = time.monotonic()
        articles: list[tuple[Delivery, Article]] = []
        letters: list[tuple[Delivery, str]] = []
        for delivery in deliveries:
            try:
                articles.append((delivery, decode_article(delivery.record.value)))
            except CodecError as error:
                letters.append((delivery, str(error)))
        with self._tracer.span("predict", articles=len(articles)):
            scored, bad = await self._score(articles)
        letters += bad
        letters += await self._put(scored)
        self._dead_letters.good(len(deliveries) - len(letters))
        await self._dead_letters.add(letters, stage="score")
        await subscription.commit(deliveries)
        self._observer([item for _, item in scored])
        self._count(scored)
        self._metrics.scored.inc(len(deliveries) - len(letters))
        self._metrics.score_seconds.observe(time.monotonic() - began)
        self.stored.set()

    def _count(self, items: Sequence[tuple[Delivery, ScoredArticle]]) -> None:
        now, ways = self._clock.now(), self._metrics.latency_seconds
        for _, item in items:
            self._metrics.sentiments.labels(item.scored.verdict("sentiment")).inc()
            ways.labels("published_to_stored").observe(max(0.0, (now - item.article.published_at).total_seconds()))
            ways.labels("fetched_to_stored").observe(max(0.0, (now - item.article.fetched_at).total_seconds()))

    async def _score(
        self, batch: Sequence[tuple[Delivery, Article]]
    ) -> tuple[list[tuple[Delivery, ScoredArticle]], list[tuple[Delivery, str]]]:
        """Scores a batch; a bad record is found by bisection, so that the others are not held up by it."""
        if not batch:
            return [], []
        try:
            results: Sequence[Scored] = await self._scorer.score([article for _, article in batch])
        except RecordError as error:
            if len(batch) == 1:
                return [], [(batch[0][0], str(error))]
            middle = len(batch) // 2
            left, left_bad = await self._score(batch[:middle])
            right, right_bad = await self._score(batch[middle:])
            return left + right, left_bad + right_bad
        return [
            (delivery, ScoredArticle(article=article, scored=scored))
            for (delivery, article), scored in zip(batch, results, strict=True)
        ], []

    async def _put(self, batch: Sequence[tuple[Delivery, ScoredArticle]]) -> list[tuple[Delivery, str]]:
        """Stores a batch; only items that ask for it are put again. Returns the rejected ones with their reasons."""
        rejected: list[tuple[Delivery, str]] = []
        pending = list(batch)
        wait = self._policy.put_backoff
        try:
            while pending:
                self._beat()
                left, reason = await self._put_once(pending, rejected)
                if left:
                    if len(left) < len(pending):
                        wait = self._policy.put_backoff  # it takes something: ask again soon
                    self._metrics.store_waiting.set(len(left))
                    _log.warning("store_waits", articles=len(left), seconds=round(wait, 1), reason=reason)
                    await self._pause(wait)
                    wait = min(2 * wait, self._policy.put_backoff_cap)
                pending = left
        finally:
            self._metrics.store_waiting.set(0)
        return rejected

    async def _put_once(
        self, pending: Sequence[tuple[Delivery, ScoredArticle]], rejected: list[tuple[Delivery, str]]
    ) -> tuple[list[tuple[Delivery, ScoredArticle]], str]:
        """What is to be put again, and one reason why."""
        began = time.monotonic()
        try:
            with self._tracer.span("store put", articles=len(pending)):
                report = await self._store.put([item for _, item in pending])
        except UnavailableError as error:
            return list(pending), str(error)
        finally:
            self._metrics.store_put_seconds.observe(time.monotonic() - began)
        again: list[tuple[Delivery, ScoredArticle]] = []
        reason = ""
        for pair, result in zip(pending, report.results, strict=True):
            self._metrics.store_results.labels(result.outcome.value).inc()
            if result.outcome is PutOutcome.RETRY:
                again.append(pair)
                reason = result.reason
            elif result.outcome is PutOutcome.REJECT:
                rejected.append((pair[0], result.reason))
        return again, reason

    async def _pause(self, seconds: float) -> None:
        """Waits, somewhat less than ``seconds`` so that many workers do not all ask at once; raises when stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds * random.uniform(0.75, 1.0))
        if self._stopping.is_set():
            raise _StoppedError
