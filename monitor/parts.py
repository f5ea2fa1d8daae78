"""The parts of a daemon: which services the chosen roles need, and what each of them works with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from alerts.digest import Digests
from alerts.outbox import Outbox, outbox_rows
from alerts.pipeline import DetectPipeline, load_docs, with_words
from alerts.refused import count_refused
from alerts.rules.engine import RuleSet
from monitor import app
from monitor.config import Role, Settings
from monitor.core.clock import Clock, SystemClock
from monitor.core.errors import ModelError, UsageError
from monitor.core.ports import Explainer, Listener, Notifier, Scorer, Source, StateStore
from monitor.core.types import Change, Incident
from monitor.obs.health import Health
from monitor.obs.measure import measure_scorer, measured
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import NO_TRACER, Tracer
from monitor.services.dead_letters import DeadLetters
from monitor.services.detect import DetectService
from monitor.services.drift import DriftService
from monitor.services.ingest import IngestPolicy, IngestService
from monitor.services.leadership import Lead, Leadership
from monitor.services.leases import FencedState, Lease
from monitor.services.mirror import MirroredState, MirrorService
from monitor.services.notify import NotifyService
from monitor.services.scheduler import Scheduler
from monitor.services.score import ScoreService
from monitor.services.shadow import ShadowService
from monitor.services.sharding import Sharding
from monitor.storage import Storage, instance

MIRROR_SECONDS = 5
"""How often incidents that changed are copied to Elasticsearch."""

if TYPE_CHECKING:
    from monitor.web.server import WebServer

_log = structlog.get_logger("daemon")


@dataclass(slots=True)
class Parts:
    """The running parts of a daemon; absent roles are None."""

    ingest: IngestService | None = None
    score: ScoreService | None = None
    detect: DetectService | None = None
    notify: NotifyService | None = None
    shadow: ShadowService | None = None
    sharding: Sharding | None = None
    web: WebServer | None = None
    leaders: dict[str, Leadership] = field(default_factory=dict)
    """By role, where the state is shared: who leads does the role's work."""
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def leads_detect(self) -> bool:
        """Whether this process does what one process does for all; always where it is alone."""
        leader = self.leaders.get("detect")
        return leader is None or leader.leading.is_set()


@dataclass(slots=True, kw_only=True)
class Assembly:
    """What the parts are made of. ``scorer`` is made when a role needs it and none is given; ``given_scorer``: the
    caller's, not the configured model. What must be closed goes onto ``stack``."""

    settings: Settings
    clock: Clock
    roles: Sequence[Role]
    metrics: Metrics
    health: Health
    storage: Storage
    scheduler: Scheduler
    stack: AsyncExitStack
    scorer: Scorer | None
    pipeline: DetectPipeline | None
    alerting: bool
    rules: RuleSet | None = None
    """Rules that are in force; the configured ones are read when None."""
    given_scorer: bool = False
    tracer: Tracer = NO_TRACER
    parts: Parts = field(default_factory=Parts)

    async def build(self, sources: Sequence[Source | Listener], notifiers: dict[str, Notifier]) -> Parts:
        """The parts of the chosen roles, not started. Raises ModelError, ConfigError or StorageError."""
        settings, parts, storage = self.settings, self.parts, self.storage
        if ("score" in self.roles or "detect" in self.roles) and self.scorer is None:
            scorer = await asyncio.to_thread(app.build_scorer, settings, self.clock)
            self.stack.push_async_callback(scorer.close)
            self.scorer = scorer
        if self.scorer is not None:
            measure_scorer(self.scorer, self.metrics)
        if "notify" in self.roles:
            self._notify(notifiers)
        if "detect" in self.roles:
            await self._detect(notifiers)
            await self._drift()
        if "score" in self.roles:
            assert self.scorer is not None
            parts.shadow = await self._shadow(self.scorer.model)
            parts.score = ScoreService(
                bus=storage.bus,
                store=storage.store,
                scorer=self.scorer,
                clock=self.clock,
                metrics=self.metrics,
                dead_letters=DeadLetters(storage.bus, self.clock, self.metrics),
                tracer=self.tracer,
                observer=parts.shadow.offer if parts.shadow is not None else lambda _items: None,
                beat=lambda: self.health.beat("score", allow=timedelta(seconds=300 * self.clock.rate)),
            )
        if "ingest" in self.roles:
            self._ingest(sources)
        return parts

    async def _shadow(self, main: str) -> ShadowService | None:
        """The shadow of a daemon that runs the configured model; one that cannot be loaded is logged and left out."""
        if self.given_scorer:
            return None
        try:
            found = await asyncio.to_thread(app.build_shadow, self.settings, self.clock)
        except (ModelError, UsageError) as error:
            _log.warning("no_shadow", error=str(error))
            return None
        if found is None:
            return None
        scorer, shadow = found
        self.stack.push_async_callback(scorer.close)
        if scorer.model == main:  # it has been set since
            return None
        _log.info("shadow", model=scorer.model, main=main, share=shadow.share, until=str(shadow.until))
        return ShadowService(
            scorer=scorer, main=main, state=self.storage.state, clock=self.clock, metrics=self.metrics,
            until=shadow.until, share=shadow.share,
        )  # fmt: skip

    async def _drift(self) -> None:
        """Only in real time, and for the configured model: a demonstration's day is not one to learn from."""
        keys = self.settings.drift
        if not keys.enabled or self.given_scorer or not isinstance(self.clock, SystemClock):
            return
        assert self.scorer is not None
        observe, compare = app.build_drift(self.settings, self.scorer.model)
        service = DriftService(
            store=self.storage.store, state=self.storage.state, clock=self.clock, scheduler=self.scheduler,
            metrics=self.metrics,
            observe=observe, compare=compare, model=self.scorer.model, interval=timedelta(hours=keys.interval_hours),
            recent=timedelta(days=keys.recent_days), reference=timedelta(days=keys.reference_days),
            leads=self.parts.leads_detect,
        )  # fmt: skip
        await service.start()

    def _notify(self, notifiers: dict[str, Notifier]) -> None:
        lease = self._lease("notify")
        told = measured(notifiers, self.clock, self.metrics, self.tracer)
        if lease is None:
            outbox = Outbox(self.storage.state, told, self.clock)
            digests = Digests(self.storage.state, notifiers, self.clock)
        else:
            fenced = FencedState(self.storage.state, lease)
            outbox = Outbox(fenced, told, self.clock, claim=lease.claim)
            digests = Digests(fenced, notifiers, self.clock)

        async def send_due() -> dict[str, int]:
            counts = await outbox.run_once()
            await digests.run_once()
            return {
                "sent": counts.sent,
                "retry": counts.retried,
                "failed": counts.undelivered,
                "pending": counts.waiting + counts.retried,
                "refused": await count_refused(self.storage.state),
            }

        self.parts.notify = NotifyService(
            send_due=send_due,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            interval=self.settings.notify.interval,
        )
        if lease is not None:
            self._lead("notify", lease, self.parts.notify.lead)

    def _lease(self, name: str) -> Lease | None:
        """What the work of a role needs where other processes have the same state; None where nobody else has."""
        if not self.storage.shared:
            return None
        seconds = self.settings.scale.lease_seconds
        return Lease(self.storage.state, name=name, instance=instance(self.settings), lease_seconds=seconds)

    def _lead(self, role: str, lease: Lease, work: Lead) -> None:
        self.parts.leaders[role] = Leadership(lease=lease, lead=work, metrics=self.metrics, health=self.health)

    async def _detect(self, notifiers: dict[str, Notifier]) -> None:
        settings, storage, names = self.settings, self.storage, tuple(notifiers)

        def rows(incident: Incident) -> Sequence[Change]:
            return outbox_rows(incident, names)

        def pipeline() -> DetectPipeline:
            # The rules are read once: a file that is being edited is looked at on SIGHUP, not at the next term.
            return app.build_pipeline(settings, app.build_watchlist(settings), alerting=self.alerting, rules=self.rules)

        notify = self.parts.notify
        lease = self._lease("detect")
        state: StateStore = FencedState(storage.state, lease) if lease is not None else storage.state
        if storage.mirror is not None:
            state = MirroredState(state)
            mirror = MirrorService(state=storage.state, mirror=storage.mirror, leads=self.parts.leads_detect)

            async def copy() -> None:
                await mirror.pass_once()

            self.scheduler.every("mirror", MIRROR_SECONDS, copy)
        detect = DetectService(
            pipeline=self.pipeline or pipeline(),
            new_pipeline=pipeline,
            load_docs=load_docs,
            bus=storage.bus,
            store=storage.store,
            state=state,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            with_words=with_words,
            outbox_rows=rows,
            explainer=self.scorer if isinstance(self.scorer, Explainer) else None,
            wake=notify.wake if notify is not None else lambda: None,
            tick_seconds=settings.detect.tick,
            tracer=self.tracer,
        )
        self.parts.detect = detect
        if lease is not None:
            self._lead("detect", lease, detect.lead)
            return
        await detect.start()

        async def tick() -> None:
            await detect.tick()

        self.scheduler.every("detect", settings.detect.tick, tick)

    def _ingest(self, sources: Sequence[Source | Listener]) -> None:
        ingest, storage = self.settings.ingest, self.storage
        polled = [source for source in sources if isinstance(source, Source)]
        if storage.shared:
            self.parts.sharding = Sharding(
                storage.state,
                group="ingest",
                instance=instance(self.settings),
                keys=[source.name for source in polled],
                lease_seconds=self.settings.scale.lease_seconds,
                metrics=self.metrics,
                health=self.health,
            )
        self.parts.ingest = IngestService(
            sources=polled,
            listeners=[source for source in sources if isinstance(source, Listener)],
            bus=storage.bus,
            state=storage.state,
            clock=self.clock,
            scheduler=self.scheduler,
            metrics=self.metrics,
            policy=IngestPolicy(
                max_concurrent=ingest.max_concurrent,
                spread=ingest.spread,
                default_interval=ingest.default_interval,
                backoff_base=ingest.backoff_base,
                backoff_cap=ingest.backoff_cap,
            ),
            sharding=self.parts.sharding,
            tracer=self.tracer,
        )
