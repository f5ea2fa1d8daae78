"""SIGKILL at any moment: what was acknowledged is there, what was not is there whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fault import storage_child

from monitor.bus.log import OFFSET_BITS
from monitor.db.check import check
from monitor.db.directory import LOCK_FILE
from monitor.db.lock import lock_is_held

CHILD = Path(storage_child.__file__)
LINES = 60
"""A child is killed after a random number of its own lines up to this."""


@dataclass
class Told:
    """What all children said so far."""

    published: dict[str, int] = field(default_factory=dict)
    intended: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    first_seen: dict[int, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    applied: int = 0

    def hear(self, line: str) -> None:
        kind, *words = line.split()
        pairs = [word.split(":") for word in words if ":" in word]
        if kind == "P":
            self.published[words[0]] = int(words[1])
        elif kind == "F":
            self.first_seen |= {int(p): int(o) for p, o in pairs}
        elif kind in ("I", "C"):
            places = self.intended if kind == "I" else self.committed
            for partition, offset in pairs:
                places[int(partition)] = max(int(offset), places.get(int(partition), -1))
        elif kind in ("s", "S"):
            versions = self.asked if kind == "s" else self.stored
            for name, version in pairs:
                versions[name] = max(int(version), versions.get(name, 0))
        elif kind == "A":
            self.applied = int(words[0])
        else:
            raise AssertionError(f"the child said {line!r}")


class Nursery:
    """Starts children, listens, kills."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def kill_one(self, folder: Path, run: int, seed: int, told: Told) -> int:
        """Lets a child live for a random number of lines; returns how many it said in all."""
        rng = random.Random(seed)
        self._process.stdin.write(f"{folder} {run} {seed}\n")
        self._process.stdin.flush()
        word, pid = self._process.stdout.readline().split()
        assert word == "start"
        wait_for = rng.randint(0, LINES)
        said = 0
        killed = False
        while True:
            if said >= wait_for and not killed:
                os.kill(int(pid), signal.SIGKILL)
                killed = True
            line = self._process.stdout.readline().strip()
            if line == "dead":
                assert killed, "the child died by itself"
                return said
            said += 1
            told.hear(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


def rows(path: Path, sql: str) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def look_at_the_bus(folder: Path, told: Told, before: dict[int, int]) -> dict[int, int]:
    path = folder / "log.db"
    records = rows(path, "SELECT place, value FROM records ORDER BY place")
    values = Counter(value.decode() for _, value in records)
    assert not [value for value, count in values.items() if count > 1], "a record is there twice"
    batches = Counter(value.rsplit(".", 2)[0] for value in values)
    for value in values:
        batch, _, size = value.rsplit(".", 2)
        assert batches[batch] == int(size), "half a batch is visible"
    missing = {batch for batch, size in told.published.items() if batches[batch] != size}
    assert not missing, "an acknowledged publish is lost"
    slots = rows(path, "SELECT slot, partition, first, next FROM slots")
    for slot, _, first, end in slots:
        offsets = [place - (slot << OFFSET_BITS) for place, _ in records if place >> OFFSET_BITS == slot]
        assert offsets == list(range(first, end)), "offsets are not dense"
    partitions = {slot: (partition, end) for slot, partition, _, end in slots}
    committed = {}
    for slot, offset in rows(path, "SELECT slot, committed FROM offsets"):
        partition, end = partitions[slot]
        committed[partition] = offset
        assert offset <= end
        assert offset <= told.intended.get(partition, -1) + 1, "committed ahead of what was asked"
    for partition, offset in told.committed.items():
        assert committed[partition] > offset, "an acknowledged commit is lost"
    for partition, offset in told.first_seen.items():
        assert offset == before.get(partition, 0), "reading did not go on where it was committed"
    told.first_seen.clear()
    return committed


def look_at_the_store(folder: Path, told: Told) -> None:
    path = folder / "store.db"
    articles = rows(path, "SELECT position, id, title, body FROM articles ORDER BY position")
    versions = {name: int(title.split()[0].rsplit("v", 1)[1]) for _, name, title, _ in articles}
    assert versions.keys() <= told.asked.keys()
    assert told.stored.keys() <= versions.keys(), "an acknowledged article is lost"
    for name, version in versions.items():
        assert told.stored.get(name, 0) <= version <= told.asked[name]
    expected = set()
    for position, name, title, body in articles:
        version = versions[name]
        assert title == storage_child.title(name, version)
        assert len(body) == version % 3
        expected |= {(position, "title", term) for term in (title.split()[0], "银行", "行")}
        expected |= {(position, "body", term) for term in {0: (), 1: ("行",), 2: ("行行", "行")}[version % 3]}
    connection = sqlite3.connect(path)
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab('main', 'words', 'instance')")
        indexed = connection.execute("SELECT doc, col, term FROM temp.terms").fetchall()
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        connection.rollback()
    finally:
        connection.close()
    assert len(indexed) == len(set(indexed))
    assert set(indexed) == expected, "the index and the articles differ"
    entities = rows(path, "SELECT e.position, n.name FROM entities AS e JOIN names AS n ON n.id = e.entity")
    assert sorted(entities) == [(position, f"e{versions[name] % 4}") for position, name, _, _ in articles]
    assert [row[0] for row in rows(path, "SELECT position FROM facts ORDER BY position")] == [
        row[0] for row in articles
    ]


def look_at_the_state(folder: Path, told: Told) -> None:
    path = folder / "state.db"
    documents = rows(path, "SELECT json_extract(value, '$.n') FROM documents WHERE kind = 'k'")
    if not documents:
        assert told.applied == 0
        return
    (number,) = {row[0] for row in documents}
    assert len(documents) == storage_child.STATE_KEYS
    assert number >= told.applied, "an acknowledged apply is lost"
    assert rows(path, "SELECT key FROM documents WHERE kind = 'one'") == [(str(number),)]


def kill_and_look(nursery: Nursery, folder: Path, kills: int, *, seed: int) -> int:
    told = Told()
    committed: dict[int, int] = {}
    said = 0
    for run in range(kills):
        said += nursery.kill_one(folder, run, seed + run, told)
        assert not lock_is_held(folder / LOCK_FILE)
        if (folder / "log.db").exists() and rows(folder / "log.db", "PRAGMA user_version") == [(1,)]:
            committed = look_at_the_bus(folder, told, committed)
        if (folder / "store.db").exists() and rows(folder / "store.db", "PRAGMA user_version") == [(1,)]:
            look_at_the_store(folder, told)
        if (folder / "state.db").exists() and rows(folder / "state.db", "PRAGMA user_version") == [(1,)]:
            look_at_the_state(folder, told)
    assert [finding.finding for finding in check(folder) if finding.status == "fail"] == []
    assert told.published
    assert told.committed
    assert told.stored
    assert told.applied
    return said


def test_twenty_kills_lose_nothing_that_was_acknowledged(nursery, tmp_path):
    assert kill_and_look(nursery, tmp_path / "data", 20, seed=1) > 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(nursery, tmp_path):
    for series in range(4):  # a fresh folder each time: the creation of the files is killed too
        assert kill_and_look(nursery, tmp_path / f"data{series}", 50, seed=1000 * (series + 1)) > 500
