"""Detect and notify under a lease: a term begins from the state store; one that is over writes and sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from doubles import START, DictState, DictStore, ListBus, article, scored

from monitor.core.clock import ManualClock
from monitor.core.errors import LeaseLostError
from monitor.core.ports import StateStore
from monitor.core.types import Change, Incident, Put, ScoredArticle
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.detect import POSITION_KIND, DetectService, Docs
from monitor.services.leases import FencedState, Lease
from monitor.services.notify import NotifyService


@dataclass
class Step:
    changes: Sequence[Change] = ()
    incidents: Sequence[Incident] = ()

    @property
    def notify(self) -> Sequence[Incident]:
        return self.incidents


@dataclass
class Counting:
    """Counts what it is fed; can be restored once, like the real one."""

    fed: int = 0
    restored: bool = False

    def restore(self, docs: Docs) -> None:
        assert not self.restored
        self.restored = True
        self.fed = sum(int(str(doc["fed"])) for _, doc in docs["count"])

    def feed(self, items: Sequence[ScoredArticle]) -> None:
        self.fed += len(items)

    def command(self, _doc: Mapping[str, object]) -> str:
        return ""

    def advance(self, _watermark: datetime) -> Step:
        return Step(changes=[Put(kind="count", key="n", value={"fed": self.fed})])


async def load_docs(state: StateStore) -> Docs:
    return {"count": await state.list("count"), "incident": ()}


@dataclass
class Replica:
    shared: DictState
    store: DictStore
    name: str
    pipelines: list[Counting] = field(default_factory=lambda: [Counting()])

    def __post_init__(self) -> None:
        clock = ManualClock(START)
        self.health = Health(clock)
        self.lease = Lease(self.shared, name="detect", instance=self.name, lease_seconds=10)
        self.detect = DetectService(
            pipeline=self.pipelines[0],
            new_pipeline=self._new,
            load_docs=load_docs,
            bus=ListBus(),
            store=self.store,  # type: ignore[arg-type]
            state=FencedState(self.shared, self.lease),
            clock=clock,
            metrics=Metrics(),
            health=self.health,
            with_words=lambda item, _words: item,
            outbox_rows=lambda item: [Put(kind="outbox", key=item.id, value={})],
        )

    def _new(self) -> Counting:
        self.pipelines.append(Counting())
        return self.pipelines[-1]

    async def lead(self, ended: asyncio.Event) -> None:
        assert await self.lease.acquire()
        await self.detect.lead(ended)


async def until(what, limit: float = 20) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(limit):
        while not what():
            await asyncio.sleep(0)


async def test_a_later_term_goes_on_from_what_others_wrote_in_between() -> None:
    state, store = DictState(), DictStore()
    one, two = Replica(state, store, "one"), Replica(state, store, "two")
    for number, replica in enumerate([one, two, one]):
        await store.put([scored(article(number))])
        ended = asyncio.Event()
        leading = asyncio.create_task(replica.lead(ended))
        await until(lambda number=number: state.docs.get("count", {}).get("n") == {"fed": number + 1})
        assert state.docs[POSITION_KIND]["position"] == {"position": str(number + 1)}
        ended.set()
        await leading
        await replica.lease.release()
        assert replica.health._beats == {}  # a standby has no ticks to answer for
    assert len(one.pipelines) == 2


async def test_a_tick_of_an_old_leader_writes_nothing_and_says_so() -> None:
    state, store = DictState(), DictStore()
    old = Replica(state, store, "old")
    await old.lease.acquire()
    await old.detect.start()
    await state.apply([Put(kind="lease", key="detect", value={"holder": "new#1", "token": 2})])
    await store.put([scored(article(1))])
    with pytest.raises(LeaseLostError, match="held by new#1"):
        await old.detect.tick()
    assert set(state.docs) == {"lease", "lease_beat"}


async def test_a_cancelled_tick_leaves_nothing_behind_for_the_next_term() -> None:
    state, store = DictState(), DictStore()
    one = Replica(state, store, "one")
    await store.put([scored(article(n)) for n in range(3)])
    waiting, tail = asyncio.Event(), store.tail

    async def slow(after: str, limit: int):  # type: ignore[no-untyped-def]
        page = await tail(after, limit)
        if not page.items:
            waiting.set()
            await asyncio.Event().wait()
        return page

    store.tail = slow  # type: ignore[method-assign]
    leading = asyncio.create_task(one.lead(asyncio.Event()))
    await waiting.wait()
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    store.tail = tail  # type: ignore[method-assign]
    ended = asyncio.Event()
    leading = asyncio.create_task(one.lead(ended))
    await until(lambda: "count" in state.docs)
    assert state.docs["count"]["n"] == {"fed": 3}
    ended.set()
    await leading


async def test_a_pipeline_cannot_begin_twice_without_another() -> None:
    service = Replica(DictState(), DictStore(), "one").detect
    service._new_pipeline = None
    await service.start()
    with pytest.raises(RuntimeError, match="only once"):
        await service.start()


async def test_the_notifier_of_a_term_passes_when_woken_and_once_more_at_its_end() -> None:
    passes: list[int] = []

    async def send_due() -> Mapping[str, int]:
        passes.append(1)
        return {"sent": 1, "pending": 2}

    clock, metrics = ManualClock(START), Metrics()
    health = Health(clock)
    service = NotifyService(send_due=send_due, clock=clock, metrics=metrics, health=health, interval=3600)
    for term in range(2):
        passes.clear()
        ended = asyncio.Event()
        leading = asyncio.create_task(service.lead(ended))
        await until(lambda: len(passes) == 1)
        service.wake()
        await until(lambda: len(passes) == 2)
        ended.set()
        await leading
        assert len(passes) == 3, term
        assert health._beats == {}
