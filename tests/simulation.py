"""Several replicas in one process and in virtual time: each with a clock of its own that is off and drifts, a line to
the shared state store that delays and fails, pauses as of SIGSTOP, crashes and restarts. A second costs no second."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from doubles import START, DictState, ListBus, article
from hypothesis import strategies as st
from structlog.testing import capture_logs

from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import JSON, Change, Cursor, Expect, Page, Put, Record
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.ingest import CURSOR_KIND, IngestPolicy, IngestService
from monitor.services.leadership import Leadership
from monitor.services.leases import FencedState, Lease
from monitor.services.sharding import Sharding
from monitor.services.steady import end, nap

LEASE = 10.0
WORK = "work"

T = TypeVar("T")


class SimLoop(asyncio.SelectorEventLoop):
    """Goes to the time of the next timer whenever nothing else is to do."""

    _virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            timers = self._scheduled  # type: ignore[attr-defined]
            if not timers:
                raise RuntimeError("everything waits for something that will never happen")
            self._virtual = max(self._virtual, timers[0]._when)
        super()._run_once()  # type: ignore[misc]


def simulate(main: Awaitable[T]) -> T:
    """Runs a coroutine in virtual time."""
    with capture_logs(), asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(main)  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Trouble:
    """Something that befalls a replica."""

    at: float
    replica: int
    kind: str
    """pause, crash, stop, lose (calls fail unseen), hide (calls succeed, the answer is lost),
    hang (no answer) or late (calls arrive at the end of it, whatever has become of the caller)."""
    seconds: float


troubles = st.lists(
    st.builds(
        Trouble,
        at=st.floats(0, 80),
        replica=st.integers(0, 2),
        kind=st.sampled_from(["pause", "pause", "crash", "stop", "lose", "hide", "hang", "late"]),
        seconds=st.floats(0.1, 40),
    ),
    max_size=8,
)
rates = st.tuples(*[st.floats(0.95, 1.05)] * 3)
"""Far worse than any machine's: monotonic clocks that are a twentieth fast or slow."""


class Shared(DictState):
    """The state store that all see. Whatever is written goes past ``audit``."""

    def __init__(self) -> None:
        super().__init__()
        self.audit: Callable[[Put], None] = lambda _change: None
        self.writes = 0

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        await super().apply(changes, given=given)
        self.writes += 1
        for change in changes:
            if isinstance(change, Put):
                self.audit(change)


class Machine:
    """What a replica runs on: its clocks, its line to the state store, and what befalls it."""

    def __init__(self, number: int, shared: Shared, rate: float, seed: int) -> None:
        self.name = f"replica-{number}"
        self.shared = shared
        self.rate = 1.0
        self.steady_rate = rate
        self.random = random.Random(f"{seed}/{number}")
        self.offset = self.random.uniform(-1e6, 1e6)
        self.skew = timedelta(seconds=self.random.uniform(-600, 600))
        self.paused_until = 0.0
        self.trouble: tuple[str, float] = ("", 0.0)
        self.alive = False
        self.underway: set[asyncio.Future[Any]] = set()

    @property
    def runs(self) -> bool:
        return self.alive and now() >= self.paused_until

    async def gate(self) -> None:
        """Nothing gets past while the machine stands still, or after it has died."""
        if not self.alive:
            raise asyncio.CancelledError
        while now() < self.paused_until:
            await asyncio.sleep(self.paused_until - now())
            await asyncio.sleep(0.001)  # whatever else was due runs as well: a process wakes as a whole
        if not self.alive:
            raise asyncio.CancelledError

    # -- Steady ----------------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.steady_rate)
        while now() < self.paused_until:
            await asyncio.sleep(self.paused_until - now())

    # -- StateStore ------------------------------------------------------------------------------------------------

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        await self.gate()
        kind, until = self.trouble if now() < self.trouble[1] else ("", 0.0)
        if kind == "hang":
            await asyncio.sleep(until - now())
            raise self._error("The state store did not answer.")
        await asyncio.sleep(self.random.uniform(0, 0.2))
        await self.gate()
        if kind == "lose":
            raise self._error("The state store is away.")
        if kind == "late":
            return await self._late(call, until)
        result = await call()
        await asyncio.sleep(self.random.uniform(0, 0.2))
        await self.gate()
        if kind == "hide":
            raise self._error("The line broke before the answer came.")
        return result

    def _error(self, text: str) -> StorageError:
        """Of either kind: one that the process waits out, or one that ends it and lets it be started again."""
        return self.random.choice([StorageError, UnavailableError])(text)

    async def _late(self, call: Callable[[], Awaitable[T]], until: float) -> T:
        async def arrive() -> T:
            await asyncio.sleep(max(0.0, until - now()))
            return await call()

        sent = asyncio.ensure_future(arrive())
        self.underway.add(sent)
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([sent])  # which goes on when this is cancelled
        self.underway.discard(sent)
        await self.gate()
        return sent.result()

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        return await self._call(lambda: self.shared.get(kind, key))

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        return await self._call(lambda: self.shared.list(kind, after=after, limit=limit))

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        await self._call(lambda: self.shared.apply(changes, given=given))

    async def close(self) -> None:
        pass

    # -- Clock -----------------------------------------------------------------------------------------------------

    def wall(self) -> datetime:
        return START + timedelta(seconds=now()) + self.skew


class MachineSteady:
    """The monotonic clock of a machine: off by anything, and fast or slow. It goes on while the machine is paused."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def now(self) -> float:
        return self._machine.offset + now() * self._machine.steady_rate

    async def sleep(self, seconds: float) -> None:
        await self._machine.sleep(seconds)


class MachineClock:
    """Its wall clock, minutes off those of the others."""

    rate = 1.0

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def now(self) -> datetime:
        return self._machine.wall()

    async def sleep(self, seconds: float) -> None:
        await self._machine.sleep(seconds)


class Replica:
    """A machine with a supervisor that starts its process again when it ends."""

    def __init__(self, world: World, number: int, rate: float, seed: int) -> None:
        self.world = world
        self.machine = Machine(number, world.shared, rate, seed)
        self.steady, self.clock = MachineSteady(self.machine), MachineClock(self.machine)
        self.wanted = True
        self.stopping = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    async def supervise(self) -> None:
        while True:
            if self.wanted:
                self.machine.alive = True
                self.stopping.clear()
                self._life = asyncio.create_task(self.live())
                await asyncio.wait([self._life])
                self.machine.alive = False
                error = None if self._life.cancelled() else self._life.exception()
                if error is not None and not isinstance(error, StorageError):
                    raise error
            await asyncio.sleep(1)

    async def live(self) -> None:
        """One life of the process. Subclasses say what it does."""
        raise NotImplementedError

    async def befall(self, trouble: Trouble) -> None:
        machine = self.machine
        if trouble.kind == "pause":
            machine.paused_until = max(machine.paused_until, now() + trouble.seconds)
        elif trouble.kind in ("crash", "stop"):
            self.wanted = False
            if trouble.kind == "stop":
                self.stopping.set()
                await asyncio.sleep(5)  # what the daemon grants
            machine.alive = False
            if self._life is not None:
                self._life.cancel()
            await asyncio.sleep(trouble.seconds)
            self.wanted = True
        else:
            machine.trouble = (trouble.kind, now() + trouble.seconds)

    async def shut(self) -> None:
        self.machine.alive = False
        if self._life is not None:
            await end([self._life])
        await end(list(self.machine.underway))


class Leader(Replica):
    """Writes a counter while it leads, as a detector writes its state; acts after each write, as an outbox sends."""

    lease: Lease | None = None
    leadership: Leadership | None = None

    async def live(self) -> None:
        machine = self.machine
        lease = Lease(machine, name="detect", instance=machine.name, lease_seconds=self.world.lease, steady=self.steady)
        self.lease = lease
        fenced = FencedState(machine, lease)

        async def lead(ended: asyncio.Event) -> None:
            saved = await fenced.get(WORK, "log")
            count = int(str(saved["n"])) if saved else 0
            while not ended.is_set():
                count += 1
                await lease.claim([Put(kind=WORK, key="log", value={"n": count, "token": lease.token})])
                self.world.act(self)
                await nap(self.steady, machine.random.uniform(0.1, 2), ended)

        self.leadership = Leadership(
            lease=lease, lead=lead, metrics=Metrics(), health=Health(self.clock), steady=self.steady
        )
        running = asyncio.create_task(self.leadership.run())
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            self.leadership.stop()
            await running
        finally:
            await end([running, stopping])
            self.leadership = self.lease = None


class SimScheduler:
    """Runs jobs at times of the replica's clock."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._plans: dict[str, asyncio.TimerHandle] = {}
        self.running: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def at(self, name: str, when: datetime, job: Callable[[], Awaitable[None]]) -> None:
        if (plan := self._plans.pop(name, None)) is not None:
            plan.cancel()
        delay = max(0.0, (when - self._replica.clock.now()).total_seconds())
        self._plans[name] = asyncio.get_running_loop().call_later(delay, self._run, name, job)

    def _run(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        self._plans.pop(name, None)
        task = asyncio.create_task(self._guard(job))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _guard(self, job: Callable[[], Awaitable[None]]) -> None:
        await self._replica.machine.gate()
        try:
            await job()
        except Exception as error:  # noqa: BLE001 — ends the replica's life
            if not self.failed.done():
                self.failed.set_exception(error)

    async def stop(self, grace: float) -> None:
        for plan in self._plans.values():
            plan.cancel()
        self._plans.clear()
        if self.running and grace:
            await asyncio.wait(self.running, timeout=grace)
        await end(list(self.running))


class SimSource:
    """Brings one article a poll; each takes a while. Remembers who polls it when."""

    def __init__(self, world: World, name: str, replica: Replica) -> None:
        self.name = name
        self._world, self._replica = world, replica

    async def poll(self, cursor: Cursor | None) -> Page:
        machine, world = self._replica.machine, self._world
        await machine.gate()
        polling = world.polling.setdefault(self.name, [])
        polling.append(self._replica)
        try:
            for _ in range(machine.random.randint(1, 8)):
                world.check(self.name)
                await asyncio.sleep(machine.random.uniform(0.05, 1))
                await machine.gate()
            world.check(self.name)
        finally:
            polling.remove(self._replica)
        number = int(str(cursor.data["n"])) + 1 if cursor is not None else 1
        world.polls.append((now(), self.name, machine.name))
        item = article(number, id=f"{self.name}-{number}", source=self.name)
        return Page(articles=[item], cursor=Cursor(data={"n": number}))


class SimBus(ListBus):
    """The bus as one replica reaches it."""

    def __init__(self, machine: Machine, topics: dict[str, list[Record]]) -> None:
        super().__init__()
        self._machine, self.topics = machine, topics

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        await self._machine.gate()
        await super().publish(topic, records)


class Poller(Replica):
    """An ingest replica: the real service and the real division over simulated sources."""

    sharding: Sharding | None = None

    async def live(self) -> None:
        machine, world = self.machine, self.world
        sources = [SimSource(world, name, self) for name in world.sources]
        metrics = Metrics()
        sharding = Sharding(
            machine, group="ingest", instance=machine.name, keys=world.sources, lease_seconds=world.lease,
            metrics=metrics, health=Health(self.clock), steady=self.steady,
        )  # fmt: skip
        self.sharding = sharding
        scheduler = SimScheduler(self)
        service = IngestService(
            sources=sources, listeners=[], bus=SimBus(machine, world.topics), state=machine, clock=self.clock,
            scheduler=scheduler, metrics=metrics, sharding=sharding, seed=machine.random.randint(0, 10**6),  # type: ignore[arg-type]
            policy=IngestPolicy(spread=2, default_interval=6, backoff_base=2, backoff_cap=5, max_concurrent=100),
        )  # fmt: skip
        await service.start()
        running = asyncio.create_task(sharding.run())
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait([running, stopping, scheduler.failed], return_when=asyncio.FIRST_COMPLETED)
            if self.stopping.is_set():
                service.stop()
                await scheduler.stop(grace=2)
                sharding.stop()
            elif scheduler.failed.done():
                await scheduler.failed
            await running
        finally:
            await end([running, stopping, scheduler.failed])
            await scheduler.stop(grace=0)
            self.sharding = None


@dataclass
class World:
    """Everything, and what must be true of it."""

    lease: float = LEASE
    sources: Sequence[str] = ()
    shared: Shared = field(default_factory=Shared)
    topics: dict[str, list[Record]] = field(default_factory=dict)
    replicas: list[Any] = field(default_factory=list)
    polling: dict[str, list[Replica]] = field(default_factory=dict)
    polls: list[tuple[float, str, str]] = field(default_factory=list)
    acts: list[tuple[float, str, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shared.audit = self._audit

    def _audit(self, change: Put) -> None:
        value = change.value
        last = self._seen.get((change.kind, change.key))
        self._seen[change.kind, change.key] = value
        if change.kind in ("lease", "owner") and last is not None:
            self._expect(int(str(value["token"])) >= int(str(last["token"])), f"a token went back: {change}, {last}")
        if change.kind == WORK and last is not None:
            self._expect(value["n"] == int(str(last["n"])) + 1, f"a write was lost or repeated: {value} after {last}")
            self._expect(int(str(value["token"])) >= int(str(last["token"])), f"an old leader wrote: {value}, {last}")
        if change.kind == CURSOR_KIND:
            before = int(str(last["n"])) if last is not None else 0
            self._expect(value["n"] == before + 1, f"a cursor jumped: {change.key} {value} after {before}")

    _seen: dict[tuple[str, str], Mapping[str, JSON]] = field(default_factory=dict)

    def _expect(self, right: bool, otherwise: str) -> None:
        if not right:
            self.wrong.append(f"{now():.3f}: {otherwise}")

    def act(self, leader: Leader) -> None:
        """``leader`` does what cannot be taken back. No other may believe that it leads."""
        assert leader.lease is not None
        held = [r.machine.name for r in self.replicas if r.machine.alive and r.lease is not None and r.lease.held]
        self._expect(held == [leader.machine.name], f"{leader.machine.name} acts, and {held} hold the lease")
        self.acts.append((now(), leader.machine.name, leader.lease.token or 0))

    def check(self, source: str) -> None:
        """At most one running replica is asking a source."""
        at_it = [replica.machine.name for replica in self.polling[source] if replica.machine.runs]
        self._expect(len(at_it) <= 1, f"{source} is polled by {at_it}")

    async def run(
        self, kind: type[Replica], rates: Sequence[float], plan: Sequence[Trouble], *, until: float, seed: int = 0
    ) -> None:
        """Lets replicas live through ``plan`` and stops the world at ``until``."""
        self.replicas = [kind(self, number, rate, seed) for number, rate in enumerate(rates)]
        tasks = [asyncio.create_task(replica.supervise()) for replica in self.replicas]
        tasks += [asyncio.create_task(self._befall(trouble)) for trouble in plan]
        await asyncio.sleep(until)
        errors = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        self.final()
        await end(tasks)
        for replica in self.replicas:
            await replica.shut()
        for error in errors:
            if error is not None:
                raise error
        assert not self.wrong, "\n".join(self.wrong[:5])

    def final(self) -> None:
        """A last look before the world ends. Tests may replace it."""

    async def _befall(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.at)
        await self.replicas[trouble.replica].befall(trouble)
