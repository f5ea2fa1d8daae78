"""One SQLite file: transactions, grouping, errors, versions, and the event loop left alone."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading

import pytest

from monitor.core.errors import (
    DatabaseCorruptError,
    DatabaseLockedError,
    DiskFullError,
    SchemaVersionError,
    StorageError,
)
from monitor.db import database as database_module
from monitor.db import schema as schema_module
from monitor.db.database import QUEUE_LIMIT, Database
from monitor.db.directory import DataDirectory
from monitor.db.schema import Schema, statements

TABLE = statements("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)")
COLUMN = statements("ALTER TABLE t ADD COLUMN z INTEGER NOT NULL DEFAULT 7")


def schema(version: int = 1, application_id: int = 77) -> Schema:
    return Schema(file="t.db", name="test file", application_id=application_id, version=version)


async def open_(directory: DataDirectory, *migrations, **changed) -> Database:
    return await Database.open(directory, schema(len(migrations) or 1, **changed), migrations or (TABLE,))


@pytest.fixture
async def database(directory):
    opened = await open_(directory)
    yield opened
    await opened.close()


def insert(x: int, y: str = ""):
    return lambda connection: connection.execute("INSERT INTO t (x, y) VALUES (?, ?)", (x, y)).lastrowid


async def rows(database: Database) -> list[int]:
    return await database.read(lambda c: [row[0] for row in c.execute("SELECT x FROM t ORDER BY x")])


async def hold_the_writer(database: Database) -> tuple[asyncio.Task, threading.Event]:
    """Keeps the writer busy until the event is set, so that other writes pile up behind it."""
    started, release = threading.Event(), threading.Event()

    def work(connection) -> None:
        started.set()
        assert release.wait(10)

    task = asyncio.create_task(database.write(work))
    await asyncio.to_thread(started.wait, 10)
    return task, release


async def test_writes_and_reads(database):
    assert await database.write(insert(5)) == 5
    assert await rows(database) == [5]


async def test_waiting_writes_share_one_transaction(database):
    holding, release = await hold_the_writer(database)

    def count(connection) -> int:
        connection.execute("INSERT INTO t (y) VALUES ('x')")
        return connection.total_changes

    transactions = []
    database_trace = asyncio.create_task(
        database.write(
            lambda c: c.set_trace_callback(lambda sql: transactions.append(sql) if sql == "COMMIT" else None)
        )
    )
    waiting = [asyncio.create_task(database.write(count)) for _ in range(30)]
    while len(waiting) + 1 > database._writer._queue.qsize():  # all of them are queued
        await asyncio.sleep(0)
    release.set()
    await asyncio.gather(holding, database_trace, *waiting)
    assert len(await rows(database)) == 30
    assert transactions == ["COMMIT"]
    await database.write(lambda c: c.set_trace_callback(None))


async def test_one_failing_write_of_a_group_is_undone_alone(database):
    holding, release = await hold_the_writer(database)

    def half_done(connection) -> None:
        connection.execute("INSERT INTO t (x) VALUES (100)")
        raise KeyError("mine")

    tasks = [
        asyncio.create_task(database.write(insert(1))),
        asyncio.create_task(database.write(half_done)),
        asyncio.create_task(database.write(insert(1))),
        asyncio.create_task(database.write(insert(2))),
    ]
    await asyncio.sleep(0)
    release.set()
    await holding
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], KeyError)
    assert isinstance(outcomes[2], StorageError)
    assert outcomes[3] == 2
    assert await rows(database) == [1, 2]


async def test_a_write_that_spoils_the_transaction_does_not_take_others_with_it(database):
    holding, release = await hold_the_writer(database)

    def rogue(connection) -> None:
        connection.execute("INSERT INTO t (x) VALUES (50)")
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("spoiled")

    tasks = [asyncio.create_task(database.write(work)) for work in (insert(1), rogue, insert(2))]
    await asyncio.sleep(0)
    release.set()
    await holding
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], StorageError)
    assert outcomes[2] == 2
    assert await rows(database) == [1, 2]


async def test_a_write_alone_shares_with_nobody(database):
    holding, release = await hold_the_writer(database)
    order: list[str] = []
    tasks = [
        asyncio.create_task(database.write(lambda c, n=name: order.append(n), alone=name == "alone"))
        for name in ("before", "alone", "after")
    ]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(holding, *tasks)
    assert order == ["before", "alone", "after"]


async def test_a_write_cancelled_before_its_turn_is_not_done(database):
    holding, release = await hold_the_writer(database)
    task = asyncio.create_task(database.write(insert(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await holding
    assert await rows(database) == []


async def test_writes_in_flight_are_bounded(database):
    holding, release = await hold_the_writer(database)
    tasks = [asyncio.create_task(database.write(insert(n))) for n in range(QUEUE_LIMIT * 2)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert database._writer._queue.qsize() < QUEUE_LIMIT
    release.set()
    await asyncio.gather(holding, *tasks)
    assert len(await rows(database)) == QUEUE_LIMIT * 2


async def test_the_event_loop_runs_while_the_file_is_busy(database):
    holding, release = await hold_the_writer(database)
    turns = 0
    for _ in range(100):
        await asyncio.sleep(0)
        turns += 1
    assert turns == 100
    assert not holding.done()
    assert await rows(database) == []  # readers are not held up by the writer
    release.set()
    await holding


async def test_a_read_sees_one_snapshot(database):
    await database.write(insert(1))
    first_look, go_on = threading.Event(), threading.Event()

    def read_twice(connection):
        before = connection.execute("SELECT COUNT(*) FROM t").fetchone()
        first_look.set()
        assert go_on.wait(10)
        return before, connection.execute("SELECT COUNT(*) FROM t").fetchone()

    reading = asyncio.create_task(database.read(read_twice))
    await asyncio.to_thread(first_look.wait, 10)
    await database.write(insert(2))
    go_on.set()
    assert await reading == ((1,), (1,))
    assert await rows(database) == [1, 2]


async def test_a_read_cannot_write(database):
    with pytest.raises(StorageError):
        await database.read(insert(1))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"


async def test_a_read_that_takes_too_long_is_stopped(database):
    with pytest.raises(StorageError, match="too long"):
        await database.read(lambda c: c.execute(ENDLESS).fetchone(), seconds=0.05)
    assert await rows(database) == []


async def test_a_read_that_nobody_waits_for_is_stopped(database):
    started = threading.Event()

    def endless(connection):
        started.set()
        return connection.execute(ENDLESS).fetchone()

    for _ in range(database_module.READERS * 2):
        started.clear()
        task = asyncio.create_task(database.read(endless, seconds=3600))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.wait_for(rows(database), 10) == []  # the readers are free again


async def test_closing_finishes_what_was_accepted_and_folds_the_log(directory):
    database = await open_(directory)
    tasks = [asyncio.create_task(database.write(insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(database.close(), database.close())
    assert len([r for r in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(r, int)]) == 50
    assert not directory.file("t.db-wal").exists()
    with pytest.raises(StorageError, match="closed"):
        await database.write(insert(1))
    with pytest.raises(StorageError, match="closed"):
        await rows(database)


async def test_writes_are_durable_against_a_power_cut(database):
    assert await database.write(lambda c: c.execute("PRAGMA synchronous").fetchone()) == (2,)  # FULL
    assert await database.write(lambda c: c.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    assert await database.write(lambda c: c.execute("PRAGMA foreign_keys").fetchone()) == (1,)


# --- a full disk


async def test_a_full_disk_is_named_loses_nothing_and_heals(database):
    await database.write(insert(1, "x" * 3000))
    pages = await database.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(DiskFullError) as caught:
        await database.write(insert(2, "x" * 50_000))
    assert "t.db" in caught.value.message
    assert "Free space" in caught.value.hint
    assert await rows(database) == [1]
    outcomes = await asyncio.gather(
        *(database.write(insert(10 + n, "y" * 50_000 if n % 2 else "")) for n in range(10)), return_exceptions=True
    )
    assert [isinstance(outcome, DiskFullError) for outcome in outcomes] == [bool(n % 2) for n in range(10)]
    assert await rows(database) == [1, 10, 12, 14, 16, 18]
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 1073741823").fetchone())
    assert await database.write(insert(2, "x" * 50_000)) == 2


# --- another process


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_database_locked_by_another_process_is_named(database, monkeypatch):
    await database.write(lambda c: c.execute("PRAGMA busy_timeout = 50").fetchone())
    child = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", LOCKER, str(database.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert await asyncio.to_thread(child.stdout.readline) == "locked\n"
        outcomes = await asyncio.gather(*(database.write(insert(n)) for n in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, DatabaseLockedError) for outcome in outcomes)
        assert str(database.path) in str(outcomes[0])
        assert outcomes[0].hint
        assert await rows(database) == []
    finally:
        child.communicate(timeout=10)
    assert await database.write(insert(1)) == 1


async def test_a_guest_reads_and_appends_beside_the_owner(database, directory):
    await database.write(insert(1))
    with DataDirectory.open(directory.path, mode="guest") as beside:
        guest = await open_(beside)
        assert await rows(guest) == [1]
        await guest.write(insert(2))
        assert await rows(database) == [1, 2]
        await guest.close()
    await database.write(insert(3))
    assert await rows(database) == [1, 2, 3]


async def test_a_guest_neither_creates_nor_migrates(directory):
    with DataDirectory.open(directory.path, mode="guest") as beside:
        with pytest.raises(StorageError, match="no test file"):
            await open_(beside)
        assert not directory.file("t.db").exists()
        await (await open_(directory)).close()
        with pytest.raises(StorageError, match="version 1") as caught:
            await open_(beside, TABLE, COLUMN)
        assert "riskwire run" in caught.value.hint


# --- versions


async def test_an_older_file_is_brought_up_to_date(directory):
    database = await open_(directory)
    await database.write(insert(1))
    await database.close()
    database = await open_(directory, TABLE, COLUMN)
    assert await database.read(lambda c: c.execute("SELECT x, z FROM t").fetchall()) == [(1, 7)]
    await database.close()
    with pytest.raises(SchemaVersionError) as caught:
        await open_(directory)
    assert "version 2" in caught.value.message
    assert "newer Riskwire" in caught.value.hint
    database = await open_(directory, TABLE, COLUMN)
    await database.close()


async def test_a_migration_that_fails_leaves_the_older_version(directory):
    await (await open_(directory)).close()
    broken = statements("CREATE TABLE u (x)", "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(StorageError, match="nowhere"):
        await open_(directory, TABLE, broken)
    database = await open_(directory)
    tables = await database.read(lambda c: [row[0] for row in c.execute("SELECT name FROM sqlite_master")])
    assert tables == ["t"]
    await database.close()


async def test_another_kind_of_file_is_not_touched(directory):
    await (await open_(directory)).close()
    with pytest.raises(StorageError, match="not Riskwire's test file"):
        await open_(directory, application_id=78)
    foreign = sqlite3.connect(directory.file("t.db"))
    foreign.executescript("PRAGMA application_id = 0; PRAGMA user_version = 0;")
    foreign.close()
    with pytest.raises(StorageError, match="not Riskwire's test file"):
        await open_(directory)


def test_a_schema_counts_its_migrations(directory):
    with pytest.raises(ValueError, match="migrations"):
        Database(directory.file("t.db"), schema(2), (TABLE,), guest=False)


# --- damage


async def filled(directory: DataDirectory) -> None:
    database = await open_(directory)
    await database.write(lambda c: c.executemany("INSERT INTO t (y) VALUES (?)", [("y" * 500,) for _ in range(500)]))
    await database.close()


def overwrite(path, start: int, length: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * length)


@pytest.mark.parametrize("page", [0, 1, 3, 20])
async def test_a_damaged_file_is_refused_and_named(directory, page):
    await filled(directory)
    overwrite(directory.file("t.db"), page * 4096)
    with pytest.raises(DatabaseCorruptError) as caught:
        await open_(directory)
    assert "t.db" in caught.value.message
    assert "aside" in caught.value.hint


async def test_damage_in_a_large_file_is_found_when_it_is_read(directory, monkeypatch):
    monkeypatch.setattr(schema_module, "QUICK_CHECK_BYTES", 0)
    await filled(directory)
    overwrite(directory.file("t.db"), 20 * 4096)
    database = await open_(directory)
    with pytest.raises(DatabaseCorruptError, match=r"t\.db"):
        await database.read(lambda c: c.execute("SELECT SUM(LENGTH(y)) FROM t").fetchone())
    await database.close()


async def test_a_truncated_file_is_refused(directory):
    await filled(directory)
    path = directory.file("t.db")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(DatabaseCorruptError):
        await open_(directory)


async def test_a_file_that_is_no_database_is_refused(directory):
    directory.file("t.db").write_bytes(b"This is a diary. " * 1000)
    with pytest.raises(DatabaseCorruptError, match="not a database"):
        await open_(directory)


async def test_a_folder_in_the_place_of_the_file_is_named(directory):
    directory.file("t.db").mkdir()
    with pytest.raises(StorageError, match=r"t\.db"):
        await open_(directory)


async def test_freed_pages_are_used_again(database):
    def fill(connection) -> None:
        connection.executemany("INSERT INTO t (y) VALUES (?)", [("y" * 4000,) for _ in range(500)])

    def pages(connection) -> int:
        return connection.execute("PRAGMA page_count").fetchone()[0]

    await database.write(fill)
    full = await database.write(pages)
    for _ in range(5):
        await database.write(lambda c: c.execute("DELETE FROM t"))
        await database.write(fill)
    assert await database.write(pages) <= full * 1.1
