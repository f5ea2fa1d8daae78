"""One SQLite file behind an asynchronous face.

Durability: WAL with ``synchronous=FULL``, in all three files. A write returns after the log is on the disk, so it
survives a power cut, not only a crash: the bus forgets an article once its group has committed it, so the store must
not lose it later. The price, one fsync, is shared: the writer thread commits all the writes that wait together in one
transaction (``benchmarks/storage.py`` measures it).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Self, TypeVar

from monitor.core.errors import StorageError
from monitor.db.directory import DataDirectory
from monitor.db.jobs import Job, Reader, Writer
from monitor.db.schema import Migration, Schema, prepare

T = TypeVar("T")

READERS = 2
QUEUE_LIMIT = 256
"""Reads or writes in flight per file; further callers wait their turn."""
BUSY_SECONDS = 5.0
"""How long a connection waits for another process's write to end."""
READ_SECONDS = 30.0
_CACHE_KIB = 16_384
_LOG_LIMIT_BYTES = 64 * 1024 * 1024


class Database:
    """One file: a writer thread, a few reader threads, and the errors of :mod:`monitor.core.errors`."""

    def __init__(self, path: Path, schema: Schema, migrations: Sequence[Migration], *, guest: bool) -> None:
        """Use :meth:`open`."""
        self.path = path
        if len(migrations) != schema.version:
            raise ValueError(f"{schema.name}: {len(migrations)} migrations for version {schema.version}")
        self.schema = schema
        self._migrations = tuple(migrations)
        self.guest = guest
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(QUEUE_LIMIT)
        self._writer = Writer(path, self._connect_writer, checkpoint=not guest)
        self._reads: SimpleQueue[Job | None] = SimpleQueue()
        self._readers = [Reader(path, self._connect_reader, self._reads, index) for index in range(READERS)]

    @classmethod
    async def open(cls, directory: DataDirectory, schema: Schema, migrations: Sequence[Migration]) -> Self:
        """Opens or creates the file, checks it and brings it to the present schema version.

        A guest neither creates nor migrates. Raises DatabaseCorruptError, SchemaVersionError, DatabaseLockedError,
        DiskFullError, or StorageError.
        """
        path = directory.file(schema.file)
        if directory.guest and not path.exists():
            raise StorageError(
                f"There is no {schema.name} in {directory.path} yet.",
                hint="Start `riskwire run` once to create it, or name another folder in the configuration.",
            )
        database = cls(path, schema, migrations, guest=directory.guest)
        database._writer.start()
        await asyncio.wrap_future(database._writer.opened)
        for reader in database._readers:
            reader.start()
        return database

    async def write(self, work: Callable[[sqlite3.Connection], T], *, alone: bool = False) -> T:
        """Runs ``work`` in a transaction on the writer thread; returns its result when it is durable.

        ``work`` may share its transaction with others (``alone`` forbids it), is undone alone when it raises, and may
        be run a second time: it must change nothing but the database, must not commit, and must return plain values.
        A caller that is cancelled while its work runs does not know whether it was done.
        """
        job = Job(work, alone=alone)
        async with self._slots:
            self._require_open()
            self._writer.submit(job)
            result: T = await asyncio.wrap_future(job.future)
            return result

    async def read(self, work: Callable[[sqlite3.Connection], T], *, seconds: float = READ_SECONDS) -> T:
        """Runs ``work`` on a reader thread over one snapshot of the file; it is stopped after ``seconds``."""
        job = Job(work, seconds=seconds)
        async with self._slots:
            self._require_open()
            self._reads.put(job)
            try:
                result: T = await asyncio.wrap_future(job.future)
            except asyncio.CancelledError:
                job.abandoned = True
                raise
            return result

    async def close(self) -> None:
        """Finishes what was accepted, folds the write-ahead log into the file and ends the threads."""
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.create_task(self._end())
        await asyncio.shield(self._closing)

    async def _end(self) -> None:
        for _ in self._readers:
            self._reads.put(None)
        for reader in self._readers:
            await asyncio.to_thread(reader.join)
        # The writer goes last: SQLite can then fold the whole log, no reader holds an old snapshot of it.
        self._writer.submit(None)
        await asyncio.to_thread(self._writer.join)

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError(f"The {self.schema.name} {self.path} was closed already.")

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            if not self.guest:
                self._use_log(connection)
            prepare(connection, self.schema, self._migrations, self.path, guest=self.guest)
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_log(self, connection: sqlite3.Connection) -> None:
        mode = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        if mode != "wal":
            raise StorageError(
                f"The database {self.path} cannot use a write-ahead log.",
                hint="Put the data folder on a local disk; network file systems cannot carry it.",
            )

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection
