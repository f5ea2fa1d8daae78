"""What only the embedded bus has: guests in other processes, one reading process per group, a clock for retention."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.bus import sqlite as bus_module
from monitor.bus.group import Claim, Group, share_out
from monitor.bus.log import Slot, commit, partition_of
from monitor.bus.sqlite import SqliteBus
from monitor.core.clock import ManualClock
from monitor.core.errors import DatabaseLockedError, DiskFullError, UsageError
from monitor.core.types import Record
from monitor.db.directory import DataDirectory

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def record(number: int, *, key: str = "k", at: datetime = NOW, size: int = 0) -> Record:
    return Record(key=key, value=str(number).encode().ljust(size), timestamp=at)


async def open_(directory: DataDirectory, clock: ManualClock | None = None, **options) -> SqliteBus:
    return await SqliteBus.open(directory, clock=clock or ManualClock(NOW), **options)


@pytest.fixture
async def bus(directory):
    opened = await open_(directory)
    yield opened
    await opened.close()


APPEND = """
import asyncio, sys
from datetime import UTC, datetime
from monitor.bus.sqlite import SqliteBus
from monitor.core.clock import SystemClock
from monitor.core.types import Record
from monitor.db.directory import DataDirectory

async def main():
    with DataDirectory.open(sys.argv[1], mode="guest") as directory:
        bus = await SqliteBus.open(directory, clock=SystemClock())
        await bus.publish("t", [Record(key="guest", value=b"from outside", timestamp=datetime.now(UTC))])
        await bus.close()

asyncio.run(main())
"""


async def test_a_waiting_fetch_sees_what_another_process_appends(bus, directory):
    async with bus.subscribe("t", "g") as subscription:
        waiting = asyncio.create_task(subscription.fetch(10, 30.0))
        await asyncio.sleep(0)
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", APPEND, str(directory.path))
        assert await child.wait() == 0
        (delivery,) = await asyncio.wait_for(waiting, 10)
        assert delivery.record.value == b"from outside"


async def test_a_group_is_read_by_one_process_at_a_time(bus, directory):
    with DataDirectory.open(directory.path, mode="guest") as beside:
        guest = await open_(beside)
        async with bus.subscribe("t", "g"):
            with pytest.raises(DatabaseLockedError, match="group 'g'"):
                await guest.subscribe("t", "g").__aenter__()
            async with guest.subscribe("t", "other"):
                pass
        async with guest.subscribe("t", "g"):
            with pytest.raises(DatabaseLockedError, match="group 'g'"):
                await bus.subscribe("t", "g").__aenter__()
        async with bus.subscribe("t", "g"), bus.subscribe("t", "g"):
            pass
        await guest.close()


async def test_two_members_that_join_at_once_open_the_group_once(bus):
    contexts = [bus.subscribe("t", "g") for _ in range(4)]
    members = await asyncio.gather(*(context.__aenter__() for context in contexts))
    assert sorted(p for member in members for p in member.partitions) == list(range(8))
    await asyncio.gather(*(context.__aexit__(None, None, None) for context in contexts))


async def test_a_topic_keeps_its_number_of_partitions(directory):
    bus = await open_(directory, partitions=3)
    await bus.publish("old", [record(n, key=str(n)) for n in range(50)])
    await bus.close()
    bus = await open_(directory, partitions=16)
    await bus.publish("old", [record(n, key=str(n)) for n in range(50)])
    await bus.publish("new", [record(n, key=str(n)) for n in range(500)])
    assert {d.partition for d in await bus.browse("old", limit=1000)} == {0, 1, 2}
    assert {d.partition for d in await bus.browse("new", limit=1000)} == set(range(16))
    await bus.close()
    with pytest.raises(UsageError):
        await open_(directory, partitions=0)


async def test_a_record_dated_in_the_future_ages_from_its_arrival(directory):
    clock = ManualClock(NOW)
    bus = await open_(directory, clock)
    await bus.publish("t", [record(1, at=datetime(9999, 1, 1, tzinfo=UTC)), record(2, at=NOW)])
    assert await bus.expire(NOW) == 0
    assert await bus.expire(NOW + timedelta(seconds=1)) == 2
    await bus.close()


async def test_retention_goes_in_steps_and_reads_on_after_them(bus, monkeypatch):
    monkeypatch.setattr(bus_module, "_EXPIRE_STEP", 7)
    await bus.publish("t", [record(n) for n in range(50)])
    await bus.publish("t", [record(n, at=NOW + timedelta(days=9)) for n in range(50, 52)])
    assert await bus.expire(NOW + timedelta(seconds=1)) == 52  # the last two are dated ahead: they arrived now
    assert await bus.browse("t", limit=10) == []


async def test_a_fetch_ends_early_when_it_grows_large(bus, monkeypatch):
    monkeypatch.setattr(bus_module, "FETCH_BYTES", 10_000)
    await bus.publish("t", [record(n, size=4_000) for n in range(10)])
    async with bus.subscribe("t", "g") as subscription:
        sizes = []
        while page := await subscription.fetch(100, 0.0):
            sizes.append(len(page))
        assert sizes == [3, 3, 3, 1]


async def test_a_full_disk_stops_publishers_and_loses_nothing(bus):
    await bus.publish("t", [record(1)])
    pages = await bus.database.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await bus.database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(DiskFullError, match=r"log\.db"):
        await bus.publish("t", [record(2, size=100), record(3, size=100_000)])
    assert [d.record.value for d in await bus.browse("t", limit=10)] == [b"1"]
    async with bus.subscribe("t", "g") as subscription:  # those who read can go on
        await subscription.commit(await subscription.fetch(10, 0.0))
    await bus.database.write(lambda c: c.execute("PRAGMA max_page_count = 1073741823").fetchone())
    await bus.publish("t", [record(2, size=100_000)])
    assert [d.offset for d in await bus.browse("t", limit=10)] == [0, 1]


async def test_a_commit_that_failed_is_made_good_by_the_next(bus, monkeypatch):
    await bus.publish("t", [record(n) for n in range(4)])
    async with bus.subscribe("t", "g") as subscription:
        got = await subscription.fetch(10, 0.0)
        with monkeypatch.context() as patch:

            async def full(work, **options):
                raise DiskFullError("There is no room left.")

            patch.setattr(bus.database, "write", full)
            with pytest.raises(DiskFullError):
                await subscription.commit(got[:2])
        assert (await bus.lag("t", "g")).count == 4
        await subscription.commit(got[2:3])
        assert (await bus.lag("t", "g")).count == 1


def test_the_partition_of_a_key_never_changes():
    assert [partition_of(key.encode(), 8) for key in ("", "a", "银行", "article-1")] == [0, 3, 4, 6]


@given(st.lists(st.integers(0, 50), max_size=9), st.integers(0, 120))
def test_a_fetch_is_shared_out_evenly(available, limit):
    taken = share_out(available, limit)
    assert sum(taken) == min(limit, sum(available))
    assert all(0 <= mine <= there for mine, there in zip(taken, available, strict=True))
    unsated = [mine for mine, there in zip(taken, available, strict=True) if mine < there]
    if unsated:
        assert max(taken) <= min(unsated) + 1 or max(taken) <= max(unsated)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30), st.integers(1, 12))
def test_partitions_are_shared_evenly_and_moved_seldom(steps, partitions):
    group: Group[int] = Group(1, [Slot(slot=100 + p, partition=p, first=0, next=0) for p in range(partitions)])
    members: list[int] = []
    for number, (joins, which) in enumerate(steps):
        before = {p: claim for member in members for p, claim in group.claims(member).items()}
        count = len(members)
        if joins or not members:
            members.append(number)
            group.join(number)
        else:
            group.leave(members.pop(which % len(members)))
        if not members:
            assert group.empty
            continue
        held = [group.claims(member) for member in members]
        assert sorted(p for claims in held for p in claims) == list(range(partitions))
        assert max(map(len, held)) - min(map(len, held)) <= 1
        now = {p: claim for claims in held for p, claim in claims.items()}
        moved = sum(1 for p in now if before.get(p) is not now[p])
        assert not count or moved <= -(-partitions // min(count, len(members)))


def test_a_commit_from_before_a_partition_came_back_counts_only_once_fetched_again():
    """Kafka would take it; ignoring it is as safe, and keeps ``committed`` from running ahead of ``position``."""
    claim = Claim(slot=1, partition=0)
    claim.start(4)
    claim.finish(5)
    claim.finish(4)
    assert (claim.committed, claim.position, claim.done) == (4, 4, set())
    claim.position = 6
    claim.finish(3)
    claim.finish(5)
    claim.finish(4)
    assert (claim.committed, claim.done) == (6, set())


async def test_a_commit_that_arrives_late_takes_nothing_back(bus):
    """The write of a former owner may still be queued when the new owner has committed more."""
    await bus.publish("t", [record(n) for n in range(9)])
    async with bus.subscribe("t", "g") as subscription:
        got = await subscription.fetch(9, 0.0)
        await subscription.commit(got[:7])
        ((group, slot),) = await bus.database.read(
            lambda c: c.execute("SELECT member_group, slot FROM offsets").fetchall()
        )
        await bus.database.write(lambda c: commit(c, group, [(slot, 3)], now=0))
    assert (await bus.lag("t", "g")).count == 2
