"""The daemon: starts the roles, supervises them, and closes everything in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from alerts.audit import expire as expire_audits
from alerts.pipeline import DetectPipeline
from alerts.rules.engine import RuleSet
from monitor import app
from monitor.config import WORK, Role, Settings
from monitor.core.clock import Clock, SystemClock
from monitor.core.errors import ConfigError, UnavailableError
from monitor.core.ports import Interactive, Listener, Notifier, Scorer, Source
from monitor.obs.health import Health, HealthServer, build_app
from monitor.obs.heartbeat import Heartbeat
from monitor.obs.measure import measure_health, watch_loop
from monitor.obs.metrics import Metrics
from monitor.obs.tracing import NO_TRACER, Tracer
from monitor.parts import Assembly, Parts
from monitor.progress import stalls
from monitor.secrets import secret
from monitor.services.detect import DetectService
from monitor.services.ingest import IngestService
from monitor.services.scheduler import Scheduler
from monitor.services.shadow import ShadowService
from monitor.services.topics import ARTICLES, SCORE_GROUP
from monitor.serving import build_web
from monitor.storage import Storage

if TYPE_CHECKING:
    from monitor.web.server import WebServer

_log = structlog.get_logger("daemon")


class Daemon:
    """``riskwire run``: every chosen role in one asyncio process.

    ``sources``, ``notifiers``, ``scorer`` and ``pipeline`` replace the configured ones (demo, replay, tests).
    ``alerting`` False records incidents without telling anyone. ``rules``: the ones in force, read from the configured
    files when None.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        roles: Sequence[Role] = WORK,
        sources: Sequence[Source | Listener] | None = None,
        notifiers: dict[str, Notifier] | None = None,
        alerting: bool = True,
        scorer: Scorer | None = None,
        pipeline: DetectPipeline | None = None,
        rules: RuleSet | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.roles = tuple(roles)
        self.metrics = Metrics()
        self.health = Health(self.clock)
        self.tracer: Tracer = NO_TRACER
        self.started = asyncio.Event()
        self.storage: Storage | None = None
        self.scorer: Scorer | None = scorer
        self._given_scorer = scorer is not None
        self._pipeline = pipeline
        self._given_sources = sources
        self._given_notifiers = notifiers
        self._alerting = alerting
        self._rules = rules
        self._parts = Parts()

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
            heartbeat = self._observe(stack)
            if self._rules is None and self._pipeline is None and "detect" in self.roles:
                self._rules = await asyncio.to_thread(app.build_rules, self.settings)
            needs = set(self.roles)
            self.storage = await stack.enter_async_context(
                app.open_storage(
                    self.settings,
                    self.clock,
                    bus=bool(needs - ({"notify"} if self.settings.web.push else {"notify", "web"})),
                    store=bool(needs & {"score", "detect", "web"}),
                )
            )
            scheduler = Scheduler(self.clock)
            assembly = Assembly(
                settings=self.settings, clock=self.clock, roles=self.roles, metrics=self.metrics, health=self.health,
                storage=self.storage, scheduler=scheduler, stack=stack, scorer=self.scorer, pipeline=self._pipeline,
                alerting=self._alerting, rules=self._rules, given_scorer=self._given_scorer,
                tracer=self.tracer,
            )  # fmt: skip
            self._parts = await assembly.build(sources, notifiers)
            self.scorer = assembly.scorer
            if "detect" in self.roles or not self.storage.shared:  # else the leading detector keeps house for all
                # At most once a real minute, however fast the clock runs.
                scheduler.every("housekeeping", max(6 * 3600.0, 60 * self.clock.rate), self._housekeeping)
            scheduler.every("heartbeat", 15 * self.clock.rate, self._heartbeat)
            await self._serve_health(stack)
            tasks = self._parts.tasks
            web = await self._web(stack) if "web" in self.roles else None
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
            if "notify" in self.roles:
                for name, notifier in notifiers.items():
                    if isinstance(notifier, Interactive):
                        tasks[f"answers {name}"] = asyncio.create_task(self._answers(notifier))
            for role, leader in self._parts.leaders.items():
                tasks[f"leader {role}"] = asyncio.create_task(leader.run())
            if self._parts.shadow is not None:
                tasks["shadow"] = asyncio.create_task(self._run_shadow(self._parts.shadow))
            if heartbeat is not None:
                tasks["observe heartbeat"] = asyncio.create_task(heartbeat.run())
            tasks["observe loop"] = asyncio.create_task(watch_loop(self.metrics))
            if web is not None:
                await web.start()
                self._parts.web = web
                tasks["web"] = asyncio.create_task(web.run())
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

    async def _answers(self, notifier: Interactive) -> None:
        assert self.storage is not None
        await notifier.listen(self.storage.state.apply)
        await asyncio.Event().wait()  # that it takes none is no end of the daemon's

    async def _run_shadow(self, shadow: ShadowService) -> None:
        await shadow.run()
        await asyncio.Event().wait()  # its time being over is no end of the daemon's

    def _notifiers(self) -> dict[str, Notifier]:
        if not self._alerting:
            return {}
        return (
            self._given_notifiers
            if self._given_notifiers is not None
            else app.build_notifiers(self.settings, self.clock)
        )

    async def _sources(self, stack: AsyncExitStack) -> Sequence[Source | Listener]:
        if self._given_sources is not None:
            return self._given_sources
        context = await stack.enter_async_context(app.connector_context(self.settings, self.clock))
        return app.build_sources(self.settings, context)

    def _observe(self, stack: AsyncExitStack) -> Heartbeat | None:
        """Begins to trace and to measure; returns what pings the heartbeat URL. Raises ConfigError."""
        keys = self.settings.observe
        self.tracer = app.build_tracer(self.settings)
        if self.tracer.enabled:
            stack.push_async_callback(asyncio.to_thread, self.tracer.close)
        measure_health(self.health, self.metrics)
        for role in self.roles:
            self.metrics.role_info.labels(role).set(1)
        self.metrics.sample(self._sample)
        url = secret(keys.heartbeat_url, keys.heartbeat_url_file, "observe.heartbeat_url")
        if not url:
            return None
        limit = timedelta(seconds=keys.heartbeat_limit)
        return Heartbeat(
            url, interval=keys.heartbeat_interval, timeout=keys.heartbeat_timeout, metrics=self.metrics,
            clock=self.clock, stalls=lambda: stalls(self._parts, self.health, self.clock, limit=limit),
        )  # fmt: skip

    def _sample(self) -> None:
        if self._parts.ingest is not None:
            self.metrics.ingest_overdue_seconds.set(max(0.0, self._parts.ingest.overdue().total_seconds()))
        if self._parts.notify is not None:
            self.metrics.outbox_stuck_seconds.set(self._parts.notify.stuck())

    async def _web(self, stack: AsyncExitStack) -> WebServer | None:
        """Not started. The scorer of the other roles serves it too."""
        assert self.storage is not None
        return await build_web(
            self.settings, self.clock, self.storage, metrics=self.metrics, health=self.health, scorer=self.scorer,
            close=stack.push_async_callback,
        )  # fmt: skip

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

    async def _heartbeat(self) -> None:
        """Planned work runs. That a source is late is no stall: its server may be slow, or the bus away."""
        self.health.beat("scheduler", allow=timedelta(seconds=300 * self.clock.rate))

    async def _housekeeping(self) -> None:
        assert self.storage is not None
        if not self._parts.leads_detect():
            return
        now, keep = self.clock.now(), self.settings.retention
        storage = self.storage
        records = articles = 0
        try:
            if storage.given_bus is not None:
                records = await storage.bus.expire(now - timedelta(days=keep.log_days))
            if storage.given_store is not None:
                articles = await storage.store.expire(now - timedelta(days=keep.articles_days))
            await expire_audits(storage.state, now - timedelta(days=keep.audit_days))
        except UnavailableError as error:
            _log.warning("housekeeping_put_off", error=str(error))  # the next round does the work of both
            return
        _log.info("housekeeping", expired_records=records, expired_articles=articles)

    async def _shut_down(self, scheduler: Scheduler) -> None:
        """Unready → sources stop → the batch in flight ends → one outbox pass → (the caller closes the stores)."""
        parts = self._parts
        self.health.ready = False
        _log.info("stopping")
        if parts.web is not None:
            parts.web.stop()
        if parts.ingest is not None:
            parts.ingest.stop()
        await scheduler.stop(grace=5.0)
        if parts.sharding is not None:
            parts.sharding.stop()
            await self._end("sharding", cancel=False, timeout=5.0)
        await self._end("web", cancel=False, timeout=4.0)
        for name in [name for name in parts.tasks if name == "listeners" or name.startswith(("answers ", "observe "))]:
            await self._end(name, cancel=True, timeout=5.0)
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
