"""What every bus must do, whatever carries it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from monitor.core.errors import RiskwireError, StorageError
from monitor.core.types import Record

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SERVERS_EXPIRE = "the servers drop records by age themselves, whoever has read them"
LONG = 10.0
"""A wait that only a broken bus uses up."""


@pytest.fixture(autouse=True)
def _patience(bus_home, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long silence must last to mean that nothing more is coming differs between buses."""
    monkeypatch.setattr(f"{__name__}.quiet", bus_home.quiet)


quiet = 0.0


def record(number: int, *, key: str | None = None, at: datetime = NOW) -> Record:
    return Record(key=f"k{number}" if key is None else key, value=str(number).encode(), timestamp=at)


def numbers(deliveries) -> list[int]:
    return [int(delivery.record.value) for delivery in deliveries]


async def drain(subscription, *, count: int | None = None, limit: int = 100) -> list:
    """Fetches until ``count`` records came, or until nothing more comes."""
    got = []
    while count is None or len(got) < count:
        page = await subscription.fetch(limit, LONG if count is not None else quiet)
        if not page:
            break
        got += page
    return got


async def test_a_record_arrives_as_it_was_sent(bus):
    moment = datetime(2026, 3, 2, 9, 0, 0, 123457, tzinfo=UTC)
    sent = [
        Record(
            key="银行\x00é", value=bytes(range(256)), timestamp=moment, headers={"reason": "坏 \ud800 half", "n": "1"}
        ),
        Record(key="", value=b"", timestamp=datetime(1, 1, 1, tzinfo=UTC)),
        Record(key="big", value=b"x" * 3_000_000, timestamp=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ]
    await bus.publish("t", sent)
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=3)
    assert sorted((d.record for d in got), key=lambda r: r.key) == sorted(sent, key=lambda r: r.key)
    assert {d.topic for d in got} == {"t"}


async def test_equal_keys_keep_their_order_and_their_partition(bus, bus_home):
    sent = [record(number, key=f"k{number % 5}") for number in range(200)]
    for start in range(0, 100, 7):
        await bus.publish("t", sent[start : min(start + 7, 100)])
    await bus_home.stop()
    bus = await bus_home.open()
    await bus.publish("t", sent[100:])
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=200, limit=13)
    by_key, places = defaultdict(list), defaultdict(set)
    for delivery in got:
        by_key[delivery.record.key].append(int(delivery.record.value))
        places[delivery.record.key].add(delivery.partition)
    assert all(found == sorted(found) for found in by_key.values())
    assert all(len(found) == 1 for found in places.values())
    assert Counter(numbers(got)) == Counter(range(200))


async def test_offsets_of_a_partition_are_in_order_and_unique(bus):
    await asyncio.gather(*(bus.publish("t", [record(n) for n in range(i * 10, i * 10 + 10)]) for i in range(30)))
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=300, limit=17)
    offsets = defaultdict(list)
    for delivery in got:
        offsets[delivery.partition].append(delivery.offset)
    assert all(found == sorted(set(found)) for found in offsets.values())
    assert Counter(numbers(got)) == Counter(range(300))


async def test_a_waiting_fetch_wakes_when_something_is_published(bus):
    async with bus.subscribe("t", "g") as subscription:
        waiting = asyncio.create_task(subscription.fetch(10, LONG))
        await asyncio.sleep(0)
        began = time.monotonic()
        await bus.publish("t", [record(1)])
        assert numbers(await waiting) == [1]
        assert time.monotonic() - began < LONG / 2


async def test_a_fetch_comes_back_empty_after_its_timeout(bus):
    async with bus.subscribe("t", "g") as subscription:
        began = time.monotonic()
        assert not await subscription.fetch(10, 0.3)
        assert 0.25 <= time.monotonic() - began < LONG
        assert not await subscription.fetch(10, 0.0)
        assert not await subscription.fetch(0, LONG)


async def test_a_cancelled_fetch_loses_nothing(bus):
    async with bus.subscribe("t", "g") as subscription:
        for number in range(20):
            waiting = asyncio.create_task(subscription.fetch(10, LONG))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            publishing = asyncio.create_task(bus.publish("t", [record(number)]))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            waiting.cancel()
            await publishing
            got = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(got[0], BaseException):
                assert numbers(await subscription.fetch(10, LONG)) == [number]
            else:
                assert numbers(got[0]) == [number]


async def test_a_subscription_never_sees_a_record_twice(bus):
    await bus.publish("t", [record(n) for n in range(50)])
    async with bus.subscribe("t", "g") as subscription:
        first = await drain(subscription, count=50, limit=7)
        await subscription.commit(first[:20])
        await bus.publish("t", [record(n) for n in range(50, 60)])
        second = await drain(subscription, count=10)
        assert sorted(numbers(second)) == list(range(50, 60))
        assert not await subscription.fetch(10, 0.0)


async def test_what_was_not_committed_comes_again(bus, bus_home):
    await bus.publish("t", [record(n, key="same") for n in range(10)])
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=10)
        await subscription.commit(got[:4])
    async with bus.subscribe("t", "g") as subscription:
        assert numbers(await drain(subscription, count=6)) == [4, 5, 6, 7, 8, 9]
    await bus_home.stop()
    bus = await bus_home.open()
    async with bus.subscribe("t", "g") as subscription:
        again = await drain(subscription, count=6)
        assert numbers(again) == [4, 5, 6, 7, 8, 9]
        await subscription.commit(again)
    async with bus.subscribe("t", "g") as subscription:
        assert not await subscription.fetch(10, 0.0)


async def test_a_gap_holds_back_what_lies_behind_it(bus):
    await bus.publish("t", [record(n, key="same") for n in range(6)])
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=6)
        await subscription.commit([got[0], got[2], got[3], got[5]])
    assert (await bus.lag("t", "g")).count == 5
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=5)
        assert numbers(got) == [1, 2, 3, 4, 5]
        await subscription.commit(got[1:])
        assert (await bus.lag("t", "g")).count == 5
        await subscription.commit(got[:1])
        assert (await bus.lag("t", "g")).count == 0


async def test_committing_twice_or_nothing_is_harmless(bus):
    await bus.publish("t", [record(n, key="same") for n in range(4)])
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=4)
        await subscription.commit([])
        await subscription.commit(got[:2])
        await subscription.commit(got[:2])
        await subscription.commit([*got[:2], *got[:1]])
    async with bus.subscribe("t", "g") as subscription:
        assert numbers(await drain(subscription, count=2)) == [2, 3]


async def test_groups_and_topics_are_independent(bus):
    await bus.publish("t", [record(n) for n in range(10)])
    await bus.publish("u", [record(99)])
    async with bus.subscribe("t", "a") as one, bus.subscribe("t", "b") as other:
        await one.commit(await drain(one, count=10))
        assert sorted(numbers(await drain(other, count=10))) == list(range(10))
    assert (await bus.lag("t", "a")).count == 0
    assert (await bus.lag("t", "b")).count == 10
    async with bus.subscribe("u", "a") as subscription:
        assert numbers(await drain(subscription, count=1)) == [99]


async def test_a_new_group_starts_at_the_oldest_record(bus):
    await bus.publish("t", [record(n) for n in range(5)])
    async with bus.subscribe("t", "old") as subscription:
        await subscription.commit(await drain(subscription, count=5))
    async with bus.subscribe("t", "new") as subscription:
        assert sorted(numbers(await drain(subscription, count=5))) == list(range(5))


async def test_members_of_a_group_share_the_partitions(bus):
    async with bus.subscribe("t", "g") as one, bus.subscribe("t", "g") as two, bus.subscribe("t", "g") as three:
        await bus.publish("t", [record(n) for n in range(120)])
        parts = [await drain(member) for member in (one, two, three)]
        assert Counter(n for part in parts for n in numbers(part)) == Counter(range(120))
        held = [{d.partition for d in part} for part in parts]
        assert all(held)
        assert not held[0] & held[1]
        assert not held[0] & held[2]
        assert not held[1] & held[2]


async def test_more_members_than_partitions_leaves_some_idle_until_one_leaves(bus, bus_home):
    await bus.publish("t", [record(n) for n in range(100)])
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(bus.subscribe("t", "g")) for _ in range(bus_home.partitions + 1)]
        got = [numbers(await drain(member)) for member in members]
        assert sum(1 for part in got if not part) == 1
        assert Counter(n for part in got for n in part) == Counter(range(100))


async def test_a_leaving_member_hands_over_what_it_had_not_committed(bus):
    async with bus.subscribe("t", "g") as stays:
        async with bus.subscribe("t", "g") as leaves:
            await bus.publish("t", [record(n) for n in range(80)])
            kept = await drain(stays)
            lost = await drain(leaves)
            assert len(kept) + len(lost) == 80
            done = [d for d in lost if d.offset < 3]
            await leaves.commit(done)
        again = await drain(stays)
        assert Counter(numbers(again)) == Counter(numbers(lost)) - Counter(numbers(done))
        await stays.commit(kept + again)
    assert (await bus.lag("t", "g")).count == 0


async def test_a_joining_member_takes_over_and_late_commits_are_ignored(bus):
    await bus.publish("t", [record(n) for n in range(80)])
    async with bus.subscribe("t", "g") as first:
        before = await drain(first, count=80)
        async with bus.subscribe("t", "g") as second:
            moved = await drain(second)
            assert moved
            assert {d.partition for d in moved} < {d.partition for d in before}
            await first.commit(before)
            assert (await bus.lag("t", "g")).count == len(moved)
            await second.commit(moved)
        assert (await bus.lag("t", "g")).count == 0
        assert not await first.fetch(10, 0.0)


async def test_a_waiting_member_gets_the_partitions_of_one_that_leaves(bus):
    await bus.publish("t", [record(n) for n in range(40)])
    async with bus.subscribe("t", "g") as stays:
        async with bus.subscribe("t", "g") as leaves:
            await stays.commit(await drain(stays))
            lost = await drain(leaves)
            waiting = asyncio.create_task(stays.fetch(100, LONG))
            await asyncio.sleep(0)
        got = list(await waiting)
        got += await drain(stays)
        assert Counter(numbers(got)) == Counter(numbers(lost))


async def test_a_publish_is_all_or_nothing(bus):
    bad = Record(key="bad", value=b"x", timestamp=datetime(2026, 3, 2), headers={})  # noqa: DTZ001 - that is what is bad
    with pytest.raises((ValueError, RiskwireError)):
        await bus.publish("t", [record(1), record(2), bad, record(3)])
    assert not await bus.browse("t", limit=10)
    await bus.publish("t", [])
    await bus.publish("t", [record(4)])
    assert numbers(await bus.browse("t", limit=10)) == [4]


async def test_a_publish_becomes_visible_at_once_or_not_at_all(bus, bus_home):
    """Whoever looks while batches are appended sees whole batches only."""
    if not bus_home.atomic:
        pytest.skip("each partition shows its part when it has it; the port does not promise more")
    done = asyncio.Event()

    async def publish() -> None:
        for batch in range(40):
            await bus.publish("t", [record(batch * 8 + n) for n in range(8)])
        done.set()

    task = asyncio.create_task(publish())
    while not done.is_set():
        seen = numbers(await bus.browse("t", limit=1000))
        batches = Counter(number // 8 for number in seen)
        assert set(batches.values()) <= {8}
    await task


async def test_a_full_partition_does_not_starve_the_others(bus, bus_home):
    await bus.publish("t", [record(n, key="loud") for n in range(500)])
    await bus.publish("t", [record(1000 + n) for n in range(60)])
    async with bus.subscribe("t", "g") as subscription:
        page = await subscription.fetch(4 * bus_home.partitions, LONG)
        assert len({d.partition for d in page}) == bus_home.partitions
        quiet: list[int] = []
        fetches = 0
        while len(quiet) < 20:
            (delivery,) = await subscription.fetch(1, LONG)
            fetches += 1
            quiet += [n for n in numbers([delivery]) if n >= 1000]
        assert fetches <= 20 * bus_home.partitions


async def test_lag_counts_what_is_not_committed_and_knows_the_oldest(bus):
    assert (await bus.lag("t", "g")).count == 0
    assert (await bus.lag("t", "g")).oldest is None
    await bus.publish("t", [record(n, key="same", at=NOW + timedelta(minutes=n)) for n in range(10)])
    assert (await bus.lag("t", "unknown")).count == 10
    async with bus.subscribe("t", "g") as subscription:
        got = await drain(subscription, count=10)
        assert (await bus.lag("t", "g")).count == 10
        await subscription.commit(got[:7])
        lag = await bus.lag("t", "g")
        assert (lag.count, lag.oldest) == (3, NOW + timedelta(minutes=7))
        await subscription.commit(got)
        lag = await bus.lag("t", "g")
        assert (lag.count, lag.oldest) == (0, None)


async def test_browse_reads_without_disturbing_anybody(bus):
    await bus.publish("t", [record(n, at=NOW + timedelta(seconds=n)) for n in range(50)])
    assert numbers(await bus.browse("t", limit=7)) == list(range(7))
    assert numbers(await bus.browse("t", limit=7, newest=True)) == [49, 48, 47, 46, 45, 44, 43]
    assert numbers(await bus.browse("t", limit=100)) == list(range(50))
    assert not await bus.browse("t", limit=0)
    assert not await bus.browse("nothing", limit=10)
    async with bus.subscribe("t", "g") as subscription:
        assert len(await drain(subscription, count=50)) == 50


async def test_expire_drops_only_what_is_old_and_committed_by_every_group(bus, bus_home):
    if not bus_home.expires:
        pytest.skip(SERVERS_EXPIRE)
    await bus.publish("t", [record(n, key="same", at=NOW + timedelta(minutes=n)) for n in range(10)])
    async with bus.subscribe("t", "a") as a, bus.subscribe("t", "b") as b:
        got = await drain(a, count=10)
        await a.commit(got)
        await b.commit((await drain(b, count=10))[:6])
        assert await bus.expire(NOW) == 0
        assert await bus.expire(NOW + timedelta(minutes=3)) == 3
        assert numbers(await bus.browse("t", limit=100)) == list(range(3, 10))
        assert await bus.expire(NOW + timedelta(days=1)) == 3
        assert numbers(await bus.browse("t", limit=100)) == [6, 7, 8, 9]
        assert (await bus.lag("t", "b")).count == 4
        assert (await bus.lag("t", "a")).count == 0
    async with bus.subscribe("t", "b") as b:
        assert numbers(await drain(b, count=4)) == [6, 7, 8, 9]
    async with bus.subscribe("t", "new") as new:
        assert numbers(await drain(new, count=4)) == [6, 7, 8, 9]
    await bus.publish("t", [record(10, key="same")])
    async with bus.subscribe("t", "a") as a:
        assert numbers(await drain(a, count=1)) == [10]


async def test_a_group_that_joined_but_read_nothing_keeps_the_records(bus, bus_home):
    if not bus_home.expires:
        pytest.skip(SERVERS_EXPIRE)
    async with bus.subscribe("t", "slow"):
        pass
    await bus.publish("t", [record(1)])
    assert await bus.expire(NOW + timedelta(days=1)) == 0


async def test_a_topic_nobody_reads_is_dropped_by_age(bus, bus_home):
    if not bus_home.expires:
        pytest.skip(SERVERS_EXPIRE)
    await bus.publish("dead", [record(n, at=NOW + timedelta(minutes=n)) for n in range(4)])
    assert await bus.expire(NOW + timedelta(minutes=30)) == 4
    assert not await bus.browse("dead", limit=10)


async def test_expire_leaves_the_records_to_the_servers_retention(bus, bus_home):
    if bus_home.expires:
        pytest.skip("this bus drops records itself: see above")
    await bus.publish("t", [record(n) for n in range(4)])
    assert await bus.expire(NOW + timedelta(days=10_000)) == 0
    assert len(await bus.browse("t", limit=10)) == 4


async def test_a_closed_bus_says_so(bus):
    await bus.publish("t", [record(1)])
    await bus.close()
    await bus.close()
    for call in (
        bus.publish("t", [record(2)]),
        bus.lag("t", "g"),
        bus.browse("t", limit=1),
        bus.expire(NOW),
        bus.subscribe("t", "g").__aenter__(),
    ):
        with pytest.raises(StorageError, match="closed"):
            await call


async def test_closing_the_bus_releases_a_fetch_that_waits(bus):
    async with bus.subscribe("t", "g") as subscription:
        waiting = asyncio.create_task(subscription.fetch(10, LONG * 3))
        await asyncio.sleep(0)
        await bus.close()
        with pytest.raises(StorageError, match="closed"):
            await asyncio.wait_for(waiting, LONG)


async def test_a_subscription_that_was_left_is_closed(bus):
    async with bus.subscribe("t", "g") as subscription:
        pass
    with pytest.raises(StorageError, match="closed"):
        await subscription.fetch(1, 0.0)
    with pytest.raises(StorageError, match="closed"):
        await subscription.commit([])


async def test_many_publishers_and_consumers_at_once_lose_and_double_nothing(bus):
    total, seen = 600, Counter()

    async def publish(lane: int) -> None:
        for start in range(0, 100, 4):
            await bus.publish("t", [record(lane * 100 + start + n, key=f"lane{lane}") for n in range(4)])

    async def consume() -> None:
        async with bus.subscribe("t", "g") as subscription:
            while sum(seen.values()) < total:
                got = await subscription.fetch(9, 0.1)
                seen.update(numbers(got))
                await subscription.commit(got)

    async with bus.subscribe("t", "g") as early:  # the second member joins and leaves before anything was fetched
        async with bus.subscribe("t", "g"):
            pass
        assert not await early.fetch(1, 0.0)
    await asyncio.gather(*(publish(lane) for lane in range(6)), consume())
    assert seen == Counter(range(total))
    assert (await bus.lag("t", "g")).count == 0
