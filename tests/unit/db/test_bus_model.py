"""The embedded bus against a model of a log with consumer groups: lists, and a number per group and partition."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.bus.sqlite import SqliteBus, SqliteSubscription
from monitor.core.clock import ManualClock
from monitor.core.types import Delivery, Record
from monitor.db.directory import DataDirectory

NOW = datetime(2026, 3, 2, tzinfo=UTC)
PARTITIONS = 3
GROUPS = ("a", "b")
TOPIC = "t"


@dataclass
class Claim:
    position: int
    committed: int
    done: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Member:
    group: str
    entered: AbstractAsyncContextManager[SqliteSubscription]
    subscription: SqliteSubscription
    claims: dict[int, Claim] = field(default_factory=dict)
    seen: list[Delivery] = field(default_factory=list)


class BusModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.mkdtemp()
        self.log: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
        self.first = dict.fromkeys(range(PARTITIONS), 0)
        self.committed: dict[str, dict[int, int]] = {}
        self.members: list[Member] = []
        self.sent = 0
        self.open()

    def run(self, awaitable):
        async def go():
            return await awaitable

        return self.runner.run(go())

    def open(self) -> None:
        self.directory = DataDirectory(self.folder)
        self.bus = self.run(SqliteBus.open(self.directory, partitions=PARTITIONS, clock=ManualClock(NOW)))

    def close(self) -> None:
        for member in self.members:
            self.run(member.entered.__aexit__(None, None, None))
        self.members.clear()
        self.run(self.bus.close())
        self.directory.close()

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    # --- what happens

    @rule(keys=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), minute=st.integers(-50, 50))
    def publish(self, keys: list[str], minute: int) -> None:
        records = []
        for key in keys:
            self.sent += 1
            at = NOW + timedelta(minutes=minute)
            records.append(Record(key=key, value=str(self.sent).encode(), timestamp=at))
        self.run(self.bus.publish(TOPIC, records))
        new: list[Record] = []
        for partition in range(PARTITIONS):
            there = sorted(
                (d for d in self.run(self.bus.browse(TOPIC, limit=10_000)) if d.partition == partition),
                key=lambda d: d.offset,
            )
            assert [d.offset for d in there] == list(range(self.first[partition], self.first[partition] + len(there)))
            known = self.log[partition][self.first[partition] :]
            assert [d.record for d in there[: len(known)]] == known
            added = [d.record for d in there[len(known) :]]
            assert [r for r in records if r in added] == added
            self.log[partition] += added
            new += added
        assert sorted(r.value for r in new) == sorted(r.value for r in records)

    @rule(group=st.sampled_from(GROUPS))
    @precondition(lambda self: len(self.members) < 5)
    def join(self, group: str) -> None:
        entered = self.bus.subscribe(TOPIC, group)
        subscription = self.run(entered.__aenter__())
        self.committed.setdefault(group, dict.fromkeys(range(PARTITIONS), 0))
        self.members.append(Member(group, entered, subscription))
        self.rebalanced(group)

    @rule(index=st.integers(0, 4))
    @precondition(lambda self: self.members)
    def leave(self, index: int) -> None:
        member = self.members.pop(index % len(self.members))
        self.run(member.entered.__aexit__(None, None, None))
        self.rebalanced(member.group)

    def rebalanced(self, group: str) -> None:
        members = [member for member in self.members if member.group == group]
        held = [set(member.subscription.partitions) for member in members]
        if members:
            assert sorted(p for part in held for p in part) == list(range(PARTITIONS))
            assert max(map(len, held)) - min(map(len, held)) <= 1
        for member, now in zip(members, held, strict=True):
            kept = {p: claim for p, claim in member.claims.items() if p in now}
            for partition in now - kept.keys():
                start = max(self.committed[group][partition], self.first[partition])
                kept[partition] = Claim(position=start, committed=start)
            member.claims = kept

    @rule(index=st.integers(0, 4), limit=st.integers(1, 12))
    @precondition(lambda self: self.members)
    def fetch(self, index: int, limit: int) -> None:
        member = self.members[index % len(self.members)]
        got = self.run(member.subscription.fetch(limit, 0.0))
        waiting = {p: len(self.log[p]) - claim.position for p, claim in member.claims.items()}
        assert len(got) == min(limit, sum(waiting.values()))
        for partition, claim in member.claims.items():
            mine = [d for d in got if d.partition == partition]
            assert [d.offset for d in mine] == list(range(claim.position, claim.position + len(mine)))
            assert [d.record for d in mine] == self.log[partition][claim.position : claim.position + len(mine)]
            assert mine or not waiting[partition] or limit < len(member.claims)
            claim.position += len(mine)
        assert {d.partition for d in got} <= member.claims.keys()
        member.seen += got

    @rule(index=st.integers(0, 4), data=st.data())
    @precondition(lambda self: any(member.seen for member in self.members))
    def commit(self, index: int, data: st.DataObject) -> None:
        members = [member for member in self.members if member.seen]
        member = members[index % len(members)]
        size = len(member.seen)
        chosen = data.draw(
            st.just(list(range(size))) | st.lists(st.integers(0, size - 1), max_size=12), label="which deliveries"
        )
        deliveries = [member.seen[place] for place in chosen]
        self.run(member.subscription.commit(deliveries))
        for delivery in deliveries:
            claim = member.claims.get(delivery.partition)
            if claim is not None and claim.committed <= delivery.offset < claim.position:
                claim.done.add(delivery.offset)
        for partition, claim in member.claims.items():
            while claim.committed in claim.done:
                claim.committed += 1
            if claim.committed > self.committed[member.group][partition]:
                self.committed[member.group][partition] = claim.committed

    @rule(minute=st.integers(-60, 60))
    def expire(self, minute: int) -> None:
        before = NOW + timedelta(minutes=minute)
        dropped = self.run(self.bus.expire(before))
        expected = 0
        for partition, records in self.log.items():
            done = min((group[partition] for group in self.committed.values()), default=len(records))
            while self.first[partition] < done and min(records[self.first[partition]].timestamp, NOW) < before:
                self.first[partition] += 1
                expected += 1
        assert dropped == expected

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()

    # --- what always holds

    @invariant()
    def lag_is_what_is_not_committed(self) -> None:
        for group in (*GROUPS, "never joined"):
            done = self.committed.get(group, dict.fromkeys(range(PARTITIONS), 0))
            starts = {p: max(done[p], self.first[p]) for p in range(PARTITIONS)}
            lag = self.run(self.bus.lag(TOPIC, group))
            assert lag.count == sum(len(self.log[p]) - starts[p] for p in range(PARTITIONS))
            heads = [self.log[p][starts[p]].timestamp for p in range(PARTITIONS) if starts[p] < len(self.log[p])]
            assert lag.oldest == min(heads, default=None)


TestBusModel = BusModel.TestCase
TestBusModel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
