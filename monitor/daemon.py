"""The daemon: starts the roles, supervises them, and closes everything in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from alerts.outbox import Outbox, outbox_rows
from alerts.pipeline import DetectPipeline, load_docs, with_words
from monitor import app
from monitor.config import ROLES, Role, Settings
from monitor.core.clock import Clock, SystemClock
from monitor.core.errors import ConfigError, ModelError, UsageError
from monitor.core.ports import Explainer, Listener, Notifier, Scorer, Source
from monitor.core.types import Change, Incident
from monitor.obs.health import Health, HealthServer, build_app
from monitor.obs.metrics import Metrics
from monitor.services.dead_letters import DeadLetters
from monitor.services.detect import DetectService
from monitor.services.drift import DriftService
from monitor.services.ingest import IngestPolicy, IngestService
from monitor.services.leadership import Lead, Leadership
from monitor.services.leases import FencedState, Lease
from monitor.services.notify import NotifyService
from monitor.services.scheduler import Scheduler
from monitor.services.score import ScoreService
from monitor.services.shadow import ShadowService
from monitor.services.sharding import Sharding
from monitor.services.topics import ARTICLES, SCORE_GROUP
from monitor.storage import Storage, instance

_log = structlog.get_logger("daemon")


@dataclass(slots=True)
class _Parts:
    """The running parts of a daemon; absent roles are None."""

    ingest: IngestService | None = None
    score: ScoreService | None = None
    detect: DetectService | None = None
    notify: NotifyService | None = None
    shadow: ShadowService | None = None
    sharding: Sharding | None = None
    leaders: dict[str, Leadership] = field(default_factory=dict)
    """By role, where the state is shared: who leads does the role's work."""
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class Daemon:
    """``riskwire run``: every chosen role in one asyncio process.

    ``sources``, ``notifiers``, ``scorer`` and ``pipeline`` replace the configured ones (demo, replay, tests).
    ``alerting`` False records incidents without telling anyone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        roles: Sequence[Role] = ROLES,
        sources: Sequence[Source | Listener] | None = None,
        notifiers: dict[str, Notifier] | None = None,
        alerting: bool = True,
        scorer: Scorer | None = None,
        pipeline: DetectPipeline | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.roles = tuple(roles)
        self.metrics = Metrics()
        self.health = Health(self.clock)
        self.started = asyncio.Event()
        self.storage: Storage | None = None
        self.scorer: Scorer | None = scorer
        self._given_scorer = scorer is not None
        self._pipeline = pipeline
        self._given_sources = sources
        self._given_notifiers = notifiers
        self._alerting = alerting
        self._parts = _Parts()

    @property
    def detect(self) -> DetectService:
        """The detect role of a started daemon that has it."""
        if self._parts.detect is None:
            raise RuntimeError("this daemon runs no detect role, or has not started")
        return self._parts.detect

    async def run(self, stop: asyncio.Event) -> None:
        """Starts everything, works until ``stop`` is set or a part fails, then closes in order.

        Raises what the failing part raised.
        """
        async with AsyncExitStack() as stack:
            # What a wrong configuration breaks comes first, before anything is opened or asked.
            sources = await self._sources(stack) if "ingest" in self.roles else []
            notifiers = self._notifiers()
            self.storage = await stack.enter_async_context(app.open_storage(self.settings, self.clock))
            scheduler = Scheduler(self.clock)
            await self._build(stack, self.storage, scheduler, sources, notifiers)
            await self._serve_health(stack)
            tasks = self._parts.tasks
            scheduler.start()
            if self._parts.sharding is not None:
                tasks["sharding"] = asyncio.create_task(self._parts.sharding.run())
            if self._parts.ingest is not None:
                await self._parts.ingest.start()
                tasks["listeners"] = asyncio.create_task(self._listen(self._parts.ingest))
            if self._parts.score is not None:
                tasks["score"] = asyncio.create_task(self._parts.score.run())
            if self._parts.notify is not None and "notify" not in self._parts.leaders:
                tasks["notify"] = asyncio.create_task(self._parts.notify.run())
            for role, leader in self._parts.leaders.items():
                tasks[f"leader {role}"] = asyncio.create_task(leader.run())
            if self._parts.shadow is not None:
                tasks["shadow"] = asyncio.create_task(self._run_shadow(self._parts.shadow))
            tasks["scheduler"] = asyncio.create_task(scheduler.wait_failed())
            waiting = asyncio.create_task(stop.wait())
            self.health.ready = True
            self.started.set()
            _log.info("started", roles=self.roles, data_dir=str(self.settings.data_dir))
            try:
                await asyncio.wait([waiting, *tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                await self._shut_down(scheduler)
        for task in self._parts.tasks.values():
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def drained(self) -> None:
        """Waits until everything on the bus is scored and the detector has read it."""
        assert self.storage is not None
        while (await self.storage.bus.lag(ARTICLES, SCORE_GROUP)).count:
            await asyncio.sleep(0.02)
        if self._parts.detect is not None:
            await self._parts.detect.tick()

    async def is_behind(self, *, overdue: timedelta, pending: int) -> bool:
        """True when a poll is later than ``overdue`` or more than ``pending`` articles wait to be scored."""
        assert self.storage is not None
        late = self._parts.ingest is not None and self._parts.ingest.overdue() > overdue
        return late or (await self.storage.bus.lag(ARTICLES, SCORE_GROUP)).count > pending

    def polled_since(self, moment: datetime) -> bool:
        """True when every source has been polled successfully at or after ``moment``."""
        return self._parts.ingest is None or self._parts.ingest.polled_since(moment)

    async def _listen(self, ingest: IngestService) -> None:
        await ingest.run_listeners()
        await asyncio.Event().wait()  # no listeners: nothing to end

    async def _run_shadow(self, shadow: ShadowService) -> None:
        await shadow.run()
        await asyncio.Event().wait()  # its time being over is no end of the daemon's

    async def _build(
        self,
        stack: AsyncExitStack,
        storage: Storage,
        scheduler: Scheduler,
        sources: Sequence[Source | Listener],
        notifiers: dict[str, Notifier],
    ) -> None:
        settings, parts = self.settings, self._parts
        if ("score" in self.roles or "detect" in self.roles) and self.scorer is None:
            scorer = await asyncio.to_thread(app.build_scorer, settings, self.clock)
            stack.push_async_callback(scorer.close)
            self.scorer = scorer
        if "notify" in self.roles:
            self._build_notify(storage, notifiers)
        if "detect" in self.roles:
            await self._build_detect(storage, scheduler, notifiers)
            await self._build_drift(storage, scheduler)
        if "score" in self.roles:
            assert self.scorer is not None
            parts.shadow = await self._build_shadow(stack, storage, self.scorer.model)
            parts.score = ScoreService(
                bus=storage.bus,
                store=storage.store,
                scorer=self.scorer,
                clock=self.clock,
                metrics=self.metrics,
                dead_letters=DeadLetters(storage.bus, self.clock, self.metrics),
                observer=parts.shadow.offer if parts.shadow is not None else lambda _items: None,
            )
        if "ingest" in self.roles:
            self._build_ingest(storage, scheduler, sources)
        if "detect" not in self.roles and storage.shared:
            return  # the leading detector keeps house for all
        # At most once a real minute, however fast the clock runs.
        scheduler.every("housekeeping", max(6 * 3600.0, 60 * self.clock.rate), self._housekeeping)

    async def _build_shadow(self, stack: AsyncExitStack, storage: Storage, main: str) -> ShadowService | None:
        """The shadow of a daemon that runs the configured model; one that cannot be loaded is logged and left out."""
        if self._given_scorer:
            return None
        try:
            found = await asyncio.to_thread(app.build_shadow, self.settings, self.clock)
        except (ModelError, UsageError) as error:
            _log.warning("no_shadow", error=str(error))
            return None
        if found is None:
            return None
        scorer, shadow = found
        stack.push_async_callback(scorer.close)
        if scorer.model == main:  # it has been set since
            return None
        _log.info("shadow", model=scorer.model, main=main, share=shadow.share, until=str(shadow.until))
        return ShadowService(
            scorer=scorer, main=main, state=storage.state, clock=self.clock, metrics=self.metrics,
            until=shadow.until, share=shadow.share,
        )  # fmt: skip

    async def _build_drift(self, storage: Storage, scheduler: Scheduler) -> None:
        """Only in real time, and for the configured model: a demonstration's day is not one to learn from."""
        keys = self.settings.drift
        if not keys.enabled or self._given_scorer or not isinstance(self.clock, SystemClock):
            return
        assert self.scorer is not None
        observe, compare = app.build_drift(self.settings, self.scorer.model)
        service = DriftService(
            store=storage.store, state=storage.state, clock=self.clock, scheduler=scheduler, metrics=self.metrics,
            observe=observe, compare=compare, model=self.scorer.model, interval=timedelta(hours=keys.interval_hours),
            recent=timedelta(days=keys.recent_days), reference=timedelta(days=keys.reference_days),
            leads=self._leads_detect,
        )  # fmt: skip
        await service.start()

    def _leads_detect(self) -> bool:
        leader = self._parts.leaders.get("detect")
        return leader is None or leader.leading.is_set()

    def _notifiers(self) -> dict[str, Notifier]:
        if not self._alerting:
            return {}
        return (
            self._given_notifiers
            if self._given_notifiers is not None
            else app.build_notifiers(self.settings, self.clock)
        )

    def _build_notify(self, storage: Storage, notifiers: dict[str, Notifier]) -> None:
        lease = self._lease(storage, "notify")
        if lease is None:
            outbox = Outbox(storage.state, notifiers, self.clock)
        else:
            outbox = Outbox(FencedState(storage.state, lease), notifiers, self.clock, claim=lease.claim)

        async def send_due() -> dict[str, int]:
            counts = await outbox.run_once()
            return {
                "sent": counts.sent,
                "retry": counts.retried,
                "failed": counts.undelivered,
                "pending": counts.waiting + counts.retried,
            }

        self._parts.notify = NotifyService(
            send_due=send_due,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            interval=self.settings.notify.interval,
        )
        if lease is not None:
            self._lead("notify", lease, self._parts.notify.lead)

    def _lease(self, storage: Storage, name: str) -> Lease | None:
        """What the work of a role needs where other processes have the same state; None where nobody else has."""
        if not storage.shared:
            return None
        seconds = self.settings.scale.lease_seconds
        return Lease(storage.state, name=name, instance=instance(self.settings), lease_seconds=seconds)

    def _lead(self, role: str, lease: Lease, work: Lead) -> None:
        self._parts.leaders[role] = Leadership(lease=lease, lead=work, metrics=self.metrics, health=self.health)

    async def _build_detect(self, storage: Storage, scheduler: Scheduler, notifiers: dict[str, Notifier]) -> None:
        settings, names = self.settings, tuple(notifiers)

        def rows(incident: Incident) -> Sequence[Change]:
            return outbox_rows(incident, names)

        def pipeline() -> DetectPipeline:
            return app.build_pipeline(settings, app.build_watchlist(settings), alerting=self._alerting)

        notify = self._parts.notify
        lease = self._lease(storage, "detect")
        detect = DetectService(
            pipeline=self._pipeline or pipeline(),
            new_pipeline=pipeline,
            load_docs=load_docs,
            bus=storage.bus,
            store=storage.store,
            state=FencedState(storage.state, lease) if lease is not None else storage.state,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            with_words=with_words,
            outbox_rows=rows,
            explainer=self.scorer if isinstance(self.scorer, Explainer) else None,
            wake=notify.wake if notify is not None else lambda: None,
            tick_seconds=settings.detect.tick,
        )
        self._parts.detect = detect
        if lease is not None:
            self._lead("detect", lease, detect.lead)
            return
        await detect.start()

        async def tick() -> None:
            await detect.tick()

        scheduler.every("detect", settings.detect.tick, tick)

    async def _sources(self, stack: AsyncExitStack) -> Sequence[Source | Listener]:
        if self._given_sources is not None:
            return self._given_sources
        context = await stack.enter_async_context(app.connector_context(self.settings, self.clock))
        return app.build_sources(self.settings, context)

    def _build_ingest(self, storage: Storage, scheduler: Scheduler, sources: Sequence[Source | Listener]) -> None:
        ingest = self.settings.ingest
        polled = [source for source in sources if isinstance(source, Source)]
        if storage.shared:
            self._parts.sharding = Sharding(
                storage.state,
                group="ingest",
                instance=instance(self.settings),
                keys=[source.name for source in polled],
                lease_seconds=self.settings.scale.lease_seconds,
                metrics=self.metrics,
                health=self.health,
            )
        self._parts.ingest = IngestService(
            sources=polled,
            listeners=[source for source in sources if isinstance(source, Listener)],
            bus=storage.bus,
            state=storage.state,
            clock=self.clock,
            scheduler=scheduler,
            metrics=self.metrics,
            policy=IngestPolicy(
                max_concurrent=ingest.max_concurrent,
                spread=ingest.spread,
                default_interval=ingest.default_interval,
                backoff_base=ingest.backoff_base,
                backoff_cap=ingest.backoff_cap,
            ),
            sharding=self._parts.sharding,
        )

    async def _serve_health(self, stack: AsyncExitStack) -> None:
        listen = self.settings.observe.listen
        if not listen:
            return
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"observe.listen must be 'host:port', got '{listen}'.", hint="E.g. '127.0.0.1:9464'.")
        server = HealthServer(build_app(self.health, self.metrics), host.strip("[]"), int(port))
        await server.start()
        stack.push_async_callback(server.close)

    async def _housekeeping(self) -> None:
        assert self.storage is not None
        if not self._leads_detect():
            return
        now, keep = self.clock.now(), self.settings.retention
        records = await self.storage.bus.expire(now - timedelta(days=keep.log_days))
        articles = await self.storage.store.expire(now - timedelta(days=keep.articles_days))
        _log.info("housekeeping", expired_records=records, expired_articles=articles)

    async def _shut_down(self, scheduler: Scheduler) -> None:
        """Unready → sources stop → the batch in flight ends → one outbox pass → (the caller closes the stores)."""
        parts = self._parts
        self.health.ready = False
        _log.info("stopping")
        if parts.ingest is not None:
            parts.ingest.stop()
        await scheduler.stop(grace=5.0)
        if parts.sharding is not None:
            parts.sharding.stop()
            await self._end("sharding", cancel=False, timeout=5.0)
        await self._end("listeners", cancel=True, timeout=5.0)
        if parts.score is not None:
            parts.score.stop()
            await self._end("score", cancel=False, timeout=10.0)
        if parts.shadow is not None:
            parts.shadow.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(parts.shadow.finished.wait(), 3.0)
            await self._end("shadow", cancel=True, timeout=1.0)
        if parts.notify is not None:
            parts.notify.stop()
            await self._end("notify", cancel=False, timeout=3.0)
        for role in ("detect", "notify"):  # in this order: what the last tick found is sent
            if role in parts.leaders:
                parts.leaders[role].stop()
                await self._end(f"leader {role}", cancel=False, timeout=4.0)
        await self._end("scheduler", cancel=True, timeout=1.0)

    async def _end(self, name: str, *, cancel: bool, timeout: float) -> None:
        task = self._parts.tasks.get(name)
        if task is None or task.done():
            return
        if cancel:
            task.cancel()
        _, late = await asyncio.wait([task], timeout=timeout)
        if late:
            _log.warning("stopped_late", part=name, seconds=timeout)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
