"""The tables of the embedded bus and the SQL over them. Synchronous; run by :class:`monitor.db.database.Database`.

A record's rowid is its place: ``slot * 2**40 + offset``, where a slot is one partition of one topic. So the table
itself is ordered by partition and offset, needs no second index, and grows at the right edge of each partition. Offsets
of a partition are dense: they start at ``first``, end before ``next``, and only retention moves ``first``.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.core.types import Delivery, Lag, Record
from monitor.db.schema import statements
from monitor.db.values import from_json, from_micros, to_json, to_micros

OFFSET_BITS = 40
"""A partition holds up to 2**40 records, a file up to 2**23 partitions."""

MIGRATIONS = (
    statements(
        "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL)",
        "CREATE TABLE slots (slot INTEGER PRIMARY KEY, topic INTEGER NOT NULL REFERENCES topics, "
        "partition INTEGER NOT NULL, first INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0, "
        "UNIQUE (topic, partition))",
        # ``kept`` is the time that retention goes by: the record's own, but never later than its arrival, so that one
        # record dated 9999 does not keep everything behind it for ever.
        "CREATE TABLE records (place INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, kept INTEGER NOT NULL, "
        "key BLOB NOT NULL, headers TEXT, value BLOB NOT NULL)",
        "CREATE TABLE groups (id INTEGER PRIMARY KEY, topic INTEGER NOT NULL REFERENCES topics, name TEXT NOT NULL, "
        "UNIQUE (topic, name))",
        "CREATE TABLE offsets (member_group INTEGER NOT NULL REFERENCES groups, "
        "slot INTEGER NOT NULL REFERENCES slots, committed INTEGER NOT NULL, updated INTEGER NOT NULL, "
        "PRIMARY KEY (member_group, slot)) WITHOUT ROWID",
    ),
)

_RECORD = "SELECT place, timestamp, key, headers, value FROM records"


@dataclass(frozen=True, slots=True)
class Slot:
    """One partition of a topic and the offsets it holds: ``first`` to ``next - 1``."""

    slot: int
    partition: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Row:
    """A record ready to be written."""

    key: bytes
    timestamp: int
    headers: str | None
    value: bytes


def encode(record: Record) -> Row:
    """Raises ValueError when the record's time has no zone, CodecError when its headers are no JSON."""
    return Row(
        key=record.key.encode("utf-8", "surrogatepass"),
        timestamp=to_micros(record.timestamp),
        headers=to_json(dict(record.headers)) if record.headers else None,
        value=bytes(record.value),
    )


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: the same in every process and version."""
    return zlib.crc32(key) % partitions


def _decode(topic: str, partition: int, row: tuple[int, int, bytes, str | None, bytes]) -> Delivery:
    place, timestamp, key, headers, value = row
    return Delivery(
        topic=topic,
        partition=partition,
        offset=place & ((1 << OFFSET_BITS) - 1),
        record=Record(
            key=key.decode("utf-8", "surrogatepass"),
            value=value,
            timestamp=from_micros(timestamp),
            headers=from_json(headers) if headers else {},
        ),
    )


def _place(slot: int, offset: int) -> int:
    return (slot << OFFSET_BITS) + offset


def find_topic(connection: sqlite3.Connection, topic: str) -> int | None:
    """The topic's id, or None when nothing was ever published to it or read from it."""
    row = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
    return None if row is None else int(row[0])


def need_topic(connection: sqlite3.Connection, topic: str, partitions: int) -> int:
    """The topic's id; a new topic gets ``partitions`` partitions, an old one keeps its own."""
    known = find_topic(connection, topic)
    if known is not None:
        return known
    made = connection.execute("INSERT INTO topics (name, partitions) VALUES (?, ?)", (topic, partitions)).lastrowid
    assert made is not None
    connection.executemany(
        "INSERT INTO slots (topic, partition) VALUES (?, ?)", [(made, partition) for partition in range(partitions)]
    )
    return made


def slots_of(connection: sqlite3.Connection, topic: int) -> list[Slot]:
    """The topic's partitions in order."""
    rows = connection.execute(
        "SELECT slot, partition, first, next FROM slots WHERE topic = ? ORDER BY partition", (topic,)
    )
    return [Slot(*row) for row in rows]


def append(connection: sqlite3.Connection, topic: str, rows: Sequence[Row], *, partitions: int, arrived: int) -> None:
    """Appends the rows in their order."""
    slots = slots_of(connection, need_topic(connection, topic, partitions))
    ends = [slot.next for slot in slots]
    values = []
    for row in rows:
        partition = partition_of(row.key, len(slots))
        place = _place(slots[partition].slot, ends[partition])
        ends[partition] += 1
        values.append((place, row.timestamp, min(row.timestamp, arrived), row.key, row.headers, row.value))
    connection.executemany(
        "INSERT INTO records (place, timestamp, kept, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)", values
    )
    moved = [(end, slot.slot) for end, slot in zip(ends, slots, strict=True) if end != slot.next]
    connection.executemany("UPDATE slots SET next = ? WHERE slot = ?", moved)


def join(connection: sqlite3.Connection, topic: str, group: str, *, partitions: int) -> tuple[int, list[Slot]]:
    """Makes the topic and the group known; returns the group's id and the topic's partitions. From here on
    retention keeps what the group has not committed."""
    owner = need_topic(connection, topic, partitions)
    connection.execute("INSERT OR IGNORE INTO groups (topic, name) VALUES (?, ?)", (owner, group))
    row = connection.execute("SELECT id FROM groups WHERE topic = ? AND name = ?", (owner, group)).fetchone()
    return int(row[0]), slots_of(connection, owner)


def committed(connection: sqlite3.Connection, group: int) -> dict[int, int]:
    """The group's committed offsets by slot; a slot without one is read from its first record."""
    return dict(connection.execute("SELECT slot, committed FROM offsets WHERE member_group = ?", (group,)).fetchall())


def commit(connection: sqlite3.Connection, group: int, offsets: Sequence[tuple[int, int]], *, now: int) -> None:
    """Sets (slot, offset) pairs; an offset never goes back, so a late commit of a former owner does no harm."""
    connection.executemany(
        "INSERT INTO offsets (member_group, slot, committed, updated) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (member_group, slot) DO UPDATE SET committed = excluded.committed, updated = excluded.updated "
        "WHERE excluded.committed > committed",
        [(group, slot, offset, now) for slot, offset in offsets],
    )


def read(connection: sqlite3.Connection, topic: str, slot: Slot, offset: int, limit: int) -> Iterator[Delivery]:
    """Up to ``limit`` records of a partition from ``offset`` on."""
    rows = connection.execute(
        f"{_RECORD} WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
        (_place(slot.slot, offset), _place(slot.slot + 1, 0), limit),
    )
    return (_decode(topic, slot.partition, row) for row in rows)


def read_back(connection: sqlite3.Connection, topic: str, slot: Slot, limit: int) -> list[Delivery]:
    """The last ``limit`` records of a partition, the last one first."""
    rows = connection.execute(
        f"{_RECORD} WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT ?",
        (_place(slot.slot, 0), _place(slot.slot + 1, 0), limit),
    )
    return [_decode(topic, slot.partition, row) for row in rows]


def lag(connection: sqlite3.Connection, topic: str, group: str) -> Lag:
    """What the group has not committed: one index look-up a partition, however long the log is."""
    owner = find_topic(connection, topic)
    if owner is None:
        return Lag(count=0)
    rows = connection.execute(
        "SELECT slots.slot, MAX(slots.first, COALESCE(offsets.committed, 0)) AS start, slots.next, slots.partition "
        "FROM slots "
        "LEFT JOIN groups ON groups.topic = slots.topic AND groups.name = ? "
        "LEFT JOIN offsets ON offsets.member_group = groups.id AND offsets.slot = slots.slot WHERE slots.topic = ?",
        (group, owner),
    ).fetchall()
    count, oldest = 0, None
    for slot, start, end, _ in rows:
        if start < end:
            count += end - start
            row = connection.execute("SELECT timestamp FROM records WHERE place = ?", (_place(slot, start),)).fetchone()
            if row is not None:
                oldest = row[0] if oldest is None else min(oldest, row[0])
    ends = {partition: end for _, _, end, partition in rows}
    return Lag(count=count, oldest=None if oldest is None else from_micros(oldest), ends=ends)


def all_slots(connection: sqlite3.Connection) -> list[int]:
    """Every partition of every topic."""
    return [row[0] for row in connection.execute("SELECT slot FROM slots WHERE next > first ORDER BY slot")]


def expire(connection: sqlite3.Connection, slot: int, before: datetime, limit: int) -> int:
    """Drops up to ``limit`` records from the front of a partition: older than ``before`` and committed by every
    group that ever joined the topic. Returns how many."""
    topic, first, end = connection.execute("SELECT topic, first, next FROM slots WHERE slot = ?", (slot,)).fetchone()
    row = connection.execute(
        "SELECT MIN(COALESCE(offsets.committed, 0)) FROM groups "
        "LEFT JOIN offsets ON offsets.member_group = groups.id AND offsets.slot = ? WHERE groups.topic = ?",
        (slot, topic),
    ).fetchone()
    done = end if row[0] is None else min(end, row[0])
    stop = min(done, first + limit)
    young = connection.execute(
        "SELECT place FROM records WHERE place >= ? AND place < ? AND kept >= ? ORDER BY place LIMIT 1",
        (_place(slot, first), _place(slot, stop), to_micros(before)),
    ).fetchone()
    if young is not None:
        stop = int(young[0]) - _place(slot, 0)
    if stop <= first:
        return 0
    connection.execute("DELETE FROM records WHERE place >= ? AND place < ?", (_place(slot, first), _place(slot, stop)))
    connection.execute("UPDATE slots SET first = ? WHERE slot = ?", (stop, slot))
    return int(stop - first)
