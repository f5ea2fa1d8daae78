"""Claims: what one subscription holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.bus import kafka_claims
from monitor.bus.kafka_claims import Claims
from monitor.core.types import Delivery, Record

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def delivery(partition: int, offset: int, size: int = 1) -> Delivery:
    record = Record(key="k", value=b"x" * size, timestamp=NOW)
    return Delivery(topic="t", partition=partition, offset=offset, record=record)


def positions(claims: Claims) -> dict[int, int]:
    return {partition: position for partition, (_, position) in claims.moved().items()}


@given(
    offsets=st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=60).map(sorted),
    data=st.data(),
)
def test_only_a_contiguous_prefix_of_what_was_taken_counts(offsets: list[int], data: st.DataObject) -> None:
    """Whatever holes the offsets have and in whatever order commits come."""
    claims = Claims(1000)
    claims.assign([0])
    claims.put(0, [delivery(0, offset) for offset in offsets])
    count = data.draw(st.integers(0, len(offsets)))
    taken = claims.take(count) if count else []
    done: set[int] = set()
    for offset in data.draw(st.permutations(offsets)):
        if data.draw(st.booleans()):
            claims.finish([delivery(0, offset)])
            done.add(offset)
    expected = -1
    for item in taken:
        if item.offset not in done:
            break
        expected = item.offset + 1
    assert positions(claims) == ({0: expected} if expected >= 0 else {})


def test_what_the_brokers_hold_is_not_committed_again() -> None:
    claims = Claims(10)
    claims.assign([0])
    claims.put(0, [delivery(0, n) for n in range(4)])
    taken = claims.take(4)
    claims.finish(taken[:2])
    moved = claims.moved()
    claims.finish(taken[2:3])  # comes while the commit is under way
    claims.stored(moved)
    assert positions(claims) == {0: 3}
    claims.stored(claims.moved())
    assert not claims.moved()


def test_a_former_hold_is_forgotten() -> None:
    claims = Claims(10)
    claims.assign([0, 1])
    claims.put(0, [delivery(0, 0), delivery(0, 1)])
    taken = claims.take(1)
    moved_before = claims.moved()
    claims.revoke([0])
    claims.put(0, [delivery(0, 2)])  # fetched before it was known
    claims.finish(taken)
    assert not claims.moved()
    assert not claims.take(10)
    claims.assign([0])  # and back again
    claims.finish(taken)
    claims.stored(moved_before)
    assert not claims.moved()
    assert claims.partitions == (0, 1)


def test_a_full_partition_does_not_starve_the_others() -> None:
    claims = Claims(1000)
    claims.assign([0, 1, 2])
    claims.put(0, [delivery(0, n) for n in range(500)])
    claims.put(1, [delivery(1, n) for n in range(5)])
    claims.put(2, [delivery(2, n) for n in range(5)])
    assert [item.partition for item in claims.take(6)] == [0, 0, 1, 1, 2, 2]
    assert {claims.take(1)[0].partition for _ in range(3)} == {0, 1, 2}


def test_a_fetch_ends_at_its_bytes_but_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_claims, "FETCH_BYTES", 100)
    claims = Claims(1000)
    claims.assign([0])
    claims.put(0, [delivery(0, n, 60) for n in range(5)] + [delivery(0, 5, 500)])
    assert [len(claims.take(100)) for _ in range(4)] == [2, 2, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(0, 30)), max_size=60))
def test_the_buffer_never_holds_more_than_its_bound(steps: list[tuple[int, int, int]]) -> None:
    """A model of the consumer: fetches of partitions that are not paused, within the room there is."""
    claims = Claims(40)
    claims.assign(range(4))
    paused: set[int] = set()
    offset = 0
    for partition, fetched, taken in steps:
        pause, resume = claims.crowded()
        paused = (paused | pause) - resume
        assert claims.resting == (len(paused) == 4)
        if partition not in paused and claims.room:
            count = min(fetched, claims.room)
            claims.put(partition, [delivery(partition, offset + n) for n in range(count)])
            offset += count
        assert claims.waiting <= 40
        claims.take(taken)
    claims.take(1000)
    claims.crowded()
    claims.take(1000)
    assert not claims.resting  # whoever was paused goes on when all is taken


def test_large_values_pause_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_claims, "BUFFER_BYTES", 1000)
    claims = Claims(10_000)
    claims.assign([0, 1])
    claims.put(0, [delivery(0, n, 300) for n in range(2)])
    assert claims.crowded() == ({0}, set())
    claims.take(2)
    assert claims.crowded() == (set(), {0})
