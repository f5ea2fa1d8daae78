"""The third step: reads what was stored, in arrival order, and turns surges and silences into incidents.

Baselines, open buckets, incidents, outbox rows and the tail position commit in one transaction, so that a crash
repeats a tick whole or not at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeGuard, runtime_checkable

import structlog

from monitor.core.clock import Clock
from monitor.core.codec import incident_from_dict, incident_to_dict
from monitor.core.errors import ModelError, ModelInputError, UnavailableError
from monitor.core.ports import Bus, Explainer, StateStore, Store
from monitor.core.trace import trace_of
from monitor.core.types import Change, Delete, Incident, IncidentState, Put, ScoredArticle, WordWeight
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import NO_TRACER, Tracer
from monitor.services.steady import SteadyClock, nap
from monitor.services.topics import ARTICLES, SCORE_GROUP

POSITION_KIND = "detect"
POSITION_KEY = "position"
INCIDENT_KIND = "incident"
COMMAND_KIND = "command"
COMMANDS_AT_ONCE = 200

_log = structlog.get_logger("detect")


Docs = Mapping[str, Iterable[tuple[str, Mapping[str, Any]]]]
"""State documents by kind, as the pipeline wants them back."""


class StepResult(Protocol):
    """What one advance of the watermark brought."""

    @property
    def changes(self) -> Sequence[Change]:
        """State documents to write; those of kind ``incident`` are whole incidents."""

    @property
    def incidents(self) -> Sequence[Incident]:
        """Incidents with a new revision."""

    @property
    def notify(self) -> Sequence[Incident]:
        """Those that people are told of."""


@runtime_checkable
class Tallies(Protocol):
    """What a step may tell beside, for metrics."""

    closed: int
    """Buckets closed."""
    closed_until: datetime | None
    """The end of the newest of them."""
    counts: Mapping[str, int]
    """Articles that were taken, and why others were not."""


class Pipeline(Protocol):
    """The pure detection pipeline (``alerts.pipeline.DetectPipeline``)."""

    def restore(self, docs: Docs) -> None:
        """Takes up where the documents were written."""

    def feed(self, items: Sequence[ScoredArticle]) -> None:
        """Takes stored articles in arrival order; repeated ids change nothing."""

    def command(self, doc: Mapping[str, Any]) -> str:
        """Does what people ask, as part of the next step; returns why not, or ""."""

    def advance(self, watermark: datetime) -> StepResult:
        """Closes what can be closed."""


WithWords = Callable[[Incident, Mapping[str, Sequence[WordWeight]]], Incident]
OutboxRows = Callable[[Incident], Sequence[Change]]
LoadDocs = Callable[[StateStore], Awaitable[Docs]]


class DetectService:
    """One tick: read the lag, drain the tail, advance the watermark, commit, wake the notifier.

    The watermark is the clock, held back by the oldest record that is not scored yet: a slow model delays buckets
    but never makes them miss articles.

    With several replicas one leads (:meth:`lead`) and ``state`` is fenced by its lease. A pipeline is restored once, so
    each term after the first needs one of its own from ``new_pipeline``.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        load_docs: LoadDocs,
        bus: Bus,
        store: Store,
        state: StateStore,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        with_words: WithWords,
        outbox_rows: OutboxRows,
        explainer: Explainer | None = None,
        wake: Callable[[], None] = lambda: None,
        tick_seconds: float = 15.0,
        page: int = 1000,
        new_pipeline: Callable[[], Pipeline] | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._new_pipeline = new_pipeline
        self._restored = False
        self._pipeline = pipeline
        self._load_docs = load_docs
        self._bus = bus
        self._store = store
        self._state = state
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._with_words = with_words
        self._outbox_rows = outbox_rows
        self._explainer = explainer
        self._wake = wake
        self._tick_seconds = tick_seconds
        self._page = page
        self._position = ""
        self._words: OrderedDict[str, Sequence[WordWeight]] = OrderedDict()
        self._open: set[str] = set()
        self._busy = asyncio.Lock()
        self.watermark: datetime | None = None
        """How far the series are complete; None before the first tick."""

    async def start(self) -> None:
        """Restores the pipeline from the state store, and forgets what an earlier term knew."""
        if self._restored:
            if self._new_pipeline is None:
                raise RuntimeError("a pipeline can be restored only once, and there is no way to make another")
            # It reads the model's labels: files and hashes, which must not hold up the renewal of the lease.
            self._pipeline = await asyncio.to_thread(self._new_pipeline)
        self._restored = True
        self.watermark = None
        docs = await self._load_docs(self._state)
        self._pipeline.restore(docs)
        self._open = {
            key for key, doc in docs.get(INCIDENT_KIND, ()) if doc.get("state") != IncidentState.RESOLVED.value
        }
        saved = await self._state.get(POSITION_KIND, POSITION_KEY)
        self._position = str(saved["position"]) if saved else ""

    async def lead(self, ended: asyncio.Event) -> None:
        """One term of leadership (:class:`~monitor.services.leadership.Leadership`): restores, then ticks until
        ``ended`` is set. Raises what a tick raises; LeaseLostError when the lease is lost."""
        steady = SteadyClock()
        try:
            await self.start()
            while not ended.is_set():
                began = steady.now()
                await self.tick()
                left = self._tick_seconds / self._clock.rate - (steady.now() - began)
                await nap(steady, max(0.05, left), ended)
        finally:
            self._health.forget("detect")
            self._metrics.incidents_open.set(0)  # the next leader tells of them

    async def tick(self) -> Sequence[Incident]:
        """One tick; returns the incidents that changed.

        While bus or store cannot be reached a tick does nothing: the watermark stays, so that no bucket closes without
        its articles, and the next tick tries again. The missing heartbeats make it known.
        """
        async with self._busy:
            with self._tracer.span("detect tick"):
                return await self._tick()

    async def _tick(self) -> Sequence[Incident]:
        began = time.monotonic()
        now = self._clock.now()
        try:
            watermark, position = await self._drain(now)
            commands = await self._state.list(COMMAND_KIND, limit=COMMANDS_AT_ONCE)
        except UnavailableError as error:
            _log.warning("detect_waits", error=str(error))
            return ()
        incidents = await self._commit(position, watermark, commands)
        self._metrics.watermark_lag_seconds.set(max(0.0, (now - watermark).total_seconds()))
        self._metrics.detect_seconds.observe(time.monotonic() - began)
        self._health.beat("detect", allow=timedelta(seconds=20 * self._tick_seconds + 120 * self._clock.rate))
        return incidents

    async def _drain(self, now: datetime) -> tuple[datetime, str]:
        """Feeds what is in the store; returns the watermark up to which that is everything, and the position."""
        # The lag is read before the tail: what is committed by now is in the store and will be tailed.
        lag = await self._bus.lag(ARTICLES, SCORE_GROUP)
        looked = time.monotonic()
        self._metrics.bus_lag.set(lag.count)
        late = (now - lag.oldest).total_seconds() if lag.oldest is not None else 0.0
        self._metrics.bus_lag_seconds.set(max(0.0, late))
        for partition, end in lag.ends.items():
            self._metrics.bus_end_offset.labels(ARTICLES, str(partition)).set(end)
        watermark = min(now, lag.oldest) if lag.oldest else now
        if self.watermark is not None:
            watermark = max(watermark, self.watermark)
        position = self._position
        while True:
            page = await self._store.tail(position, self._page)
            if not page.items:
                # A tail that is behind is read again once it gives what was stored when the lag was read.
                left = page.behind - (time.monotonic() - looked)
                if left <= 0:
                    return watermark, position
                await asyncio.sleep(left)
                continue
            self._pipeline.feed(page.items)
            position = page.position
            await asyncio.sleep(0)

    async def _commit(
        self, position: str, watermark: datetime, commands: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> Sequence[Incident]:
        # What people asked for is done and its document deleted in one commit: exactly once.
        for key, doc in commands:
            if why := self._pipeline.command(doc):
                _log.warning("command_dropped", command=key, reason=why)
        # A tick may close many buckets after a pause; that is pure computing and must not hold up the event loop.
        step = await asyncio.to_thread(self._pipeline.advance, watermark)
        # The pipeline knows no words: incidents that it writes again get theirs back.
        rewritten = [incident_from_dict(change.value) for change in step.changes if _is_incident(change)]
        words = await self._words_of([*rewritten, *step.incidents])
        changes: list[Change] = [change for change in step.changes if not _is_incident(change)]
        changes += [_incident_put(self._with_words(incident, words)) for incident in rewritten]
        incidents = [self._with_words(incident, words) for incident in step.incidents]
        told = {incident.id for incident in step.notify}
        for incident in incidents:
            changes.append(_incident_put(incident))
            if incident.id in told:
                changes += self._outbox_rows(incident)
        changes += [Delete(kind=COMMAND_KIND, key=key) for key, _ in commands]
        if position != self._position:
            changes.append(Put(kind=POSITION_KIND, key=POSITION_KEY, value={"position": position}))
        if changes:
            await self._state.apply(changes)
        self._position = position
        self.watermark = watermark
        if isinstance(step, Tallies):
            self._tally(step)
        for incident in incidents:
            self._note(incident)
        if incidents:
            self._wake()
        return incidents

    def _tally(self, step: Tallies) -> None:
        for outcome, count in step.counts.items():
            self._metrics.detect_articles.labels(outcome).inc(count)
        self._metrics.buckets_closed.inc(step.closed)
        if step.closed and step.closed_until is not None:
            late = (self._clock.now() - step.closed_until).total_seconds()
            self._metrics.bucket_lateness_seconds.observe(max(0.0, late))

    def _note(self, incident: Incident) -> None:
        first = incident.id not in self._open
        if first and incident.evidence:
            newest = max(item.published_at for item in incident.evidence)
            late = (self._clock.now() - newest).total_seconds()
            self._metrics.latency_seconds.labels("published_to_incident").observe(max(0.0, late))
        if incident.state is IncidentState.RESOLVED:
            self._open.discard(incident.id)
        else:
            self._open.add(incident.id)
        self._metrics.incidents.labels(incident.state.value, incident.severity.value).inc()
        self._metrics.incidents_open.set(len(self._open))
        articles = [trace_of(item.article_id) for item in incident.evidence]
        own = trace_of(incident.id)
        self._tracer.start(
            "incident", root=incident.id if first else "", parent=None if first else own, links=articles,
            incident=incident.id, key=str(incident.key), state=incident.state.value, revision=incident.revision,
        ).end()  # fmt: skip
        _log.info(
            "incident", trace_id=own.trace_id, article_traces=[one.trace_id for one in articles], id=incident.id,
            key=str(incident.key), state=incident.state.value, severity=incident.severity.value,
            revision=incident.revision, reason=incident.reason,
        )  # fmt: skip

    async def _words_of(self, incidents: Iterable[Incident]) -> Mapping[str, Sequence[WordWeight]]:
        """By article id, for each driving headline, the words with their weights towards 'negative'; the headlines
        that are new are asked in one batch."""
        titles = {item.article_id: item.title for incident in incidents for item in incident.evidence}
        known = {name: self._words[name] for name in titles if name in self._words}
        found = await self._explained({name: title for name, title in titles.items() if name not in known})
        self._words.update(found)
        while len(self._words) > 1000:
            self._words.popitem(last=False)
        return known | found

    async def _explained(self, titles: Mapping[str, str]) -> dict[str, Sequence[WordWeight]]:
        if self._explainer is None or not titles:
            return {}
        try:
            words = await self._explainer.explain(list(titles.values()), task="sentiment", label="negative")
            return dict(zip(titles, words, strict=True))
        except (ModelInputError, ModelError) as error:
            if isinstance(error, ModelInputError) and len(titles) > 1:  # the others need not go without
                alone = [await self._explained({name: title}) for name, title in titles.items()]
                return {name: words for one in alone for name, words in one.items()}
            # An incident without words is better than none: the alarm goes out, the reason into the log.
            _log.warning("not_explained", articles=list(titles), error=str(error))
            return {}


def _is_incident(change: Change) -> TypeGuard[Put]:
    return isinstance(change, Put) and change.kind == INCIDENT_KIND


def _incident_put(incident: Incident) -> Put:
    return Put(kind=INCIDENT_KIND, key=incident.id, value=incident_to_dict(incident))
