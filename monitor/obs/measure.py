"""Measures parts that know nothing of metrics: the scorer, the notifiers, health, the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from monitor.core.clock import Clock
from monitor.core.errors import PermanentNotifyError
from monitor.core.ports import Notifier
from monitor.core.trace import trace_of
from monitor.core.types import Incident, Receipt
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import NO_TRACER, Tracer


class CacheStats(Protocol):
    """Counters of a scorer since its start."""

    @property
    def cache_hits(self) -> int:
        """Texts whose result was known."""

    @property
    def cache_misses(self) -> int:
        """Texts that were computed."""


@runtime_checkable
class MeasurableScorer(Protocol):
    """A scorer that tells of its batches (:class:`monitor.model.scorer.ModelScorer`)."""

    model: str

    @property
    def stats(self) -> CacheStats:
        """Counters since the start."""

    def on_batch(self, told: Callable[[int, int, int, float], None]) -> None:
        """``told`` gets texts, tokens, tokens computed and real seconds of each batch."""


def measure_scorer(scorer: object, metrics: Metrics) -> None:
    """Counts the batches of a scorer that tells of them, and names its model."""
    if not isinstance(scorer, MeasurableScorer):
        return

    def told(texts: int, tokens: int, computed: int, seconds: float) -> None:
        metrics.texts.inc(texts)
        metrics.tokens.inc(tokens)
        metrics.padding_tokens.inc(computed - tokens)
        metrics.batch_tokens.observe(computed)
        metrics.predict_seconds.observe(seconds)

    counted = {"hit": 0, "miss": 0}

    def look() -> None:
        stats = scorer.stats
        for outcome, count in (("hit", stats.cache_hits), ("miss", stats.cache_misses)):
            metrics.score_cache.labels(outcome).inc(count - counted[outcome])
            counted[outcome] = count

    scorer.on_batch(told)
    metrics.sample(look)
    metrics.model_info.labels(scorer.model).set(1)


def measure_health(health: Health, metrics: Metrics) -> None:
    """Shows heartbeats and readiness, as of each look at the metrics."""

    def look() -> None:
        metrics.ready.set(health.ready)
        metrics.heartbeat_age_seconds.clear()
        metrics.heartbeat_allowed_seconds.clear()
        for part, (age, allowed) in health.ages().items():
            metrics.heartbeat_age_seconds.labels(part).set(age)
            metrics.heartbeat_allowed_seconds.labels(part).set(allowed)

    metrics.sample(look)


class MeasuredNotifier:
    """A notifier whose attempts are counted, timed and traced; what it raises goes on to the caller."""

    def __init__(
        self, inner: Notifier, clock: Clock, metrics: Metrics, tracer: Tracer = NO_TRACER, *, name: str
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._label = name

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """As the notifier's own."""
        began, outcome = time.monotonic(), "retry"
        try:
            with self._tracer.span("notify", parent=trace_of(incident.id), notifier=self._label, incident=incident.id):
                receipt = await self._inner.send(incident, previous)
            outcome = "sent"
        except PermanentNotifyError:
            outcome = "failed"
            raise
        finally:
            self._metrics.notify_attempts.labels(self._label, outcome).inc()
            self._metrics.notify_seconds.labels(self._label).observe(time.monotonic() - began)
        if previous is None or not previous.data:
            self._first(incident)
        return receipt

    def _first(self, incident: Incident) -> None:
        now, ways = self._clock.now(), self._metrics.latency_seconds
        ways.labels("incident_to_sent").observe(max(0.0, (now - incident.updated_at).total_seconds()))
        if incident.evidence:
            newest = max(item.published_at for item in incident.evidence)
            ways.labels("published_to_sent").observe(max(0.0, (now - newest).total_seconds()))


def measured(
    notifiers: Mapping[str, Notifier], clock: Clock, metrics: Metrics, tracer: Tracer = NO_TRACER
) -> dict[str, Notifier]:
    """The notifiers, each measured under its configured name."""
    for name in notifiers:
        for outcome in ("sent", "retry", "failed"):
            metrics.notify_attempts.labels(name, outcome)  # shown as 0, so that its first increase can be seen
    return {name: MeasuredNotifier(one, clock, metrics, tracer, name=name) for name, one in notifiers.items()}


async def watch_loop(metrics: Metrics, *, every: float = 1.0) -> None:
    """Until cancelled: by how much a sleep of ``every`` real seconds takes longer, which is how late the loop is."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(every)
        metrics.event_loop_delay_seconds.observe(max(0.0, loop.time() - began - every))
