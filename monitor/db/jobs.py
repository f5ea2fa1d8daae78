"""The threads behind a database: one that writes, a few that read. Work reaches them through queues."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from monitor.core.errors import StorageError
from monitor.db.errors import storage_error

Work = Callable[[sqlite3.Connection], Any]
Connect = Callable[[], sqlite3.Connection]

GROUP_LIMIT = 64
"""At most so many waiting writes share one transaction, which bounds how long the first of them waits."""
_PROGRESS_STEPS = 20_000
"""SQLite's virtual machine steps between two looks at a reader's deadline (well under a millisecond)."""


class Job:
    """One piece of work and the future that gets its result."""

    __slots__ = ("abandoned", "alone", "future", "seconds", "work")

    def __init__(self, work: Work, *, alone: bool = False, seconds: float = 0.0) -> None:
        self.work = work
        self.alone = alone
        self.seconds = seconds
        self.abandoned = False
        self.future: Future[Any] = Future()

    def fail(self, error: Exception, path: Path) -> None:
        """Hands the error over, SQLite's own as a StorageError with the original as its cause."""
        if isinstance(error, sqlite3.Error):
            mapped = storage_error(error, path)
            mapped.__cause__ = error
            error = mapped
        self.future.set_exception(error)


class Writer(threading.Thread):
    """Owns the one writing connection. Writes that wait together are committed together: one fsync for all."""

    def __init__(self, path: Path, connect: Connect, *, checkpoint: bool) -> None:
        super().__init__(name=f"write {path.name}", daemon=True)
        self._path = path
        self._connect = connect
        self._checkpoint = checkpoint
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self.opened: Future[None] = Future()

    def submit(self, job: Job | None) -> None:
        """Queues a job; None ends the thread after what was queued before."""
        self._queue.put(job)

    def run(self) -> None:
        """Works until None comes."""
        try:
            connection = self._connect()
        except (sqlite3.Error, StorageError, OSError) as error:
            mapped = storage_error(error, self._path) if isinstance(error, sqlite3.Error) else error
            self.opened.set_exception(mapped)
            return
        self.opened.set_result(None)
        try:
            ended, left = False, None
            while not ended:
                jobs, left, ended = self._collect(left)
                if jobs:
                    self._commit(connection, jobs)
        finally:
            self._close(connection)

    def _collect(self, left: Job | None) -> tuple[list[Job], Job | None, bool]:
        """The next group, a job that must wait for the next round, and whether the end was asked for."""
        first = left if left is not None else self._queue.get()
        if first is None:
            return [], None, True
        group = [first]
        while not first.alone and len(group) < GROUP_LIMIT:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None:
                return group, None, True
            if job.alone:
                return group, job, False
            group.append(job)
        return group, None, False

    def _commit(self, connection: sqlite3.Connection, group: list[Job]) -> None:
        jobs = [job for job in group if job.future.set_running_or_notify_cancel()]
        if not jobs or not self._begin(connection, jobs):
            return
        try:
            outcomes = self._attempt(connection, jobs)
        except Exception as error:  # noqa: BLE001 - it belongs to the jobs' callers, who get it whole
            if len(jobs) == 1:
                jobs[0].fail(error, self._path)
                return
            for job in jobs:  # one of them spoiled the transaction: each gets its own
                self._commit_again(connection, job)
            return
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._settle(job, outcome)

    def _commit_again(self, connection: sqlite3.Connection, job: Job) -> None:
        if not self._begin(connection, [job]):
            return
        try:
            (outcome,) = self._attempt(connection, [job])
        except Exception as error:  # noqa: BLE001 - it belongs to the job's caller, who gets it whole
            job.fail(error, self._path)
        else:
            self._settle(job, outcome)

    def _settle(self, job: Job, outcome: tuple[Any, Exception | None]) -> None:
        result, failure = outcome
        if failure is None:
            job.future.set_result(result)
        else:
            job.fail(failure, self._path)

    def _begin(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:  # locked for longer than anybody should wait: all of them hear it now
            for job in jobs:
                job.fail(error, self._path)
            return False
        return True

    def _attempt(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> list[tuple[Any, Exception | None]]:
        """Runs the jobs in the transaction just begun; a job that fails is undone alone. Raises when the transaction
        itself failed: then nothing of any job is in the database."""
        outcomes: list[tuple[Any, Exception | None]] = []
        try:
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    outcomes.append((job.work(connection), None))
                except Exception as error:
                    if not connection.in_transaction:
                        raise  # SQLite threw the whole transaction away (disk full, I/O error)
                    connection.execute("ROLLBACK TO job")
                    outcomes.append((None, error))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes

    def _close(self, connection: sqlite3.Connection) -> None:
        try:
            if self._checkpoint:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            # A guest is reading, or the disk is full: the log file stays and is replayed at the next open.
            return
        finally:
            connection.close()


class Reader(threading.Thread):
    """Owns one reading connection. Several readers share a queue."""

    def __init__(self, path: Path, connect: Connect, queue: SimpleQueue[Job | None], index: int) -> None:
        super().__init__(name=f"read {path.name} {index}", daemon=True)
        self._path = path
        self._connect = connect
        self._queue = queue

    def run(self) -> None:
        """Works until None comes."""
        connection: sqlite3.Connection | None = None
        try:
            while (job := self._queue.get()) is not None:
                if not job.future.set_running_or_notify_cancel():
                    continue
                try:
                    if connection is None:
                        connection = self._connect()
                    result = self._snapshot(connection, job)
                except Exception as error:  # noqa: BLE001 - it belongs to the job's caller, who gets it whole
                    job.fail(error, self._path)
                else:
                    job.future.set_result(result)
        finally:
            if connection is not None:
                connection.close()

    @staticmethod
    def _snapshot(connection: sqlite3.Connection, job: Job) -> Any:
        """Runs the work on one snapshot of the file, and stops it at its deadline or when nobody waits any more."""
        deadline = time.monotonic() + job.seconds
        connection.set_progress_handler(lambda: job.abandoned or time.monotonic() > deadline, _PROGRESS_STEPS)
        connection.execute("BEGIN")
        try:
            return job.work(connection)
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("COMMIT")
