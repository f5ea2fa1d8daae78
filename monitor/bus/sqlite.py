"""The embedded bus: a partitioned log in one SQLite file that delivers, commits and redelivers as Kafka does."""

from __future__ import annotations

import asyncio
import heapq
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from monitor.bus import log
from monitor.bus.group import Claim, Group, share_out
from monitor.core.clock import Clock
from monitor.core.codec import time_to_str
from monitor.core.errors import DatabaseLockedError, StorageError, UsageError
from monitor.core.ids import digest
from monitor.core.types import Delivery, Lag, Record
from monitor.db.database import Database
from monitor.db.directory import DataDirectory
from monitor.db.lock import FileLock, LockHeldError
from monitor.db.schema import LOG
from monitor.db.values import to_micros

FETCH_BYTES = 8 * 1024 * 1024
"""A fetch ends early when its values reach this size; it always gives at least one record."""
POLL_SECONDS = 0.2
"""How soon a waiting fetch sees what another process appended. Appends of this process wake it at once."""
BROWSE_LIMIT = 10_000
_EXPIRE_STEP = 2_000


class SqliteBus:
    """A :class:`~monitor.core.ports.Bus` in ``log.db``.

    Several subscriptions of one group in this process share the partitions; a group is read by one process at a
    time. Subscriptions that join or leave move partitions; what was not committed of a moved partition is delivered
    to its new owner, and a commit by the former owner is ignored.
    """

    def __init__(self, database: Database, directory: DataDirectory, *, partitions: int, clock: Clock) -> None:
        """Use :meth:`open`."""
        self.database = database
        self._directory = directory
        self._partitions = partitions
        self._clock = clock
        self._groups: dict[tuple[str, str], _Joined] = {}
        self._joining = asyncio.Lock()
        self._news: dict[str, _News] = {}
        self._closed = False

    @classmethod
    async def open(cls, directory: DataDirectory, *, partitions: int = 8, clock: Clock) -> Self:
        """Opens or creates ``log.db``. ``partitions`` is for new topics; an existing topic keeps its number.

        Raises StorageError (see :meth:`Database.open`).
        """
        if not 1 <= partitions <= 1024:
            raise UsageError(f"A topic has 1 to 1024 partitions, not {partitions}.")
        database = await Database.open(directory, LOG, log.MIGRATIONS)
        return cls(database, directory, partitions=partitions, clock=clock)

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Appends; returns when durable. All records of one call or none become visible.

        Raises StorageError; ValueError for a time without a zone, CodecError for headers that are no JSON.
        """
        rows = [log.encode(record) for record in records]
        if not rows:
            return
        arrived = to_micros(self._clock.now())
        await self.database.write(
            lambda connection: log.append(connection, topic, rows, partitions=self._partitions, arrived=arrived)
        )
        self._wake(topic)

    def subscribe(self, topic: str, group: str) -> AbstractAsyncContextManager[SqliteSubscription]:
        """Joins ``group``; reading starts at its committed offsets, or at the oldest record for a new group.

        Raises DatabaseLockedError on entry when another process reads for the group.
        """
        return self._subscribe(topic, group)

    async def lag(self, topic: str, group: str) -> Lag:
        """What ``group`` has not yet committed of ``topic``."""
        return await self.database.read(lambda connection: log.lag(connection, topic, group))

    async def browse(self, topic: str, *, limit: int, newest: bool = False) -> Sequence[Delivery]:
        """Reads without a group: oldest first, or with ``newest`` the newest ones, newest first. By the records'
        times across partitions, by offset within one; at most 10,000."""
        count = max(0, min(limit, BROWSE_LIMIT))

        def work(connection: sqlite3.Connection) -> list[Delivery]:
            owner = log.find_topic(connection, topic)
            if owner is None or count == 0:
                return []
            slots = log.slots_of(connection, owner)
            if newest:
                parts = [log.read_back(connection, topic, slot, count) for slot in slots]
            else:
                parts = [list(log.read(connection, topic, slot, slot.first, count)) for slot in slots]
            merged = heapq.merge(*parts, key=lambda delivery: delivery.record.timestamp, reverse=newest)
            return [delivery for delivery, _ in zip(merged, range(count), strict=False)]

        return await self.database.read(work)

    async def expire(self, before: datetime) -> int:
        """Drops records older than ``before`` that every known group has committed; returns how many.

        As in Kafka a partition is cut from the front: a record stays while one before it must stay. A record dated in
        the future ages from its arrival. The file keeps its size; new records take the freed space.
        """
        slots = await self.database.read(log.all_slots)
        total = 0
        for slot in slots:
            dropped = _EXPIRE_STEP
            while dropped == _EXPIRE_STEP:  # in steps, so that publishers wait for one step at most
                dropped = await self.database.write(lambda c, s=slot: log.expire(c, s, before, _EXPIRE_STEP))  # type: ignore[misc]
                total += dropped
        return total

    async def close(self) -> None:
        """Releases everything; fetches that wait and further calls raise StorageError."""
        self._closed = True
        for topic in list(self._news):
            self._wake(topic)
        await self.database.close()
        for joined in self._groups.values():
            joined.lock.release()
        self._groups.clear()

    @asynccontextmanager
    async def _subscribe(self, topic: str, group: str) -> AsyncIterator[SqliteSubscription]:
        async with self._joining:  # the first member opens the group, two must not do so at once
            joined = self._groups.get((topic, group))
            if joined is None:
                lock = self._lock_group(topic, group)
                try:
                    number, slots = await self.database.write(
                        lambda connection: log.join(connection, topic, group, partitions=self._partitions)
                    )
                except BaseException:
                    lock.release()
                    raise
                joined = self._groups[topic, group] = _Joined(Group(number, slots), lock)
            subscription = SqliteSubscription(self, topic, joined.group)
            joined.group.join(subscription)
        self._wake(topic)
        try:
            yield subscription
        finally:
            subscription.closed = True
            joined.group.leave(subscription)
            if joined.group.empty and self._groups.get((topic, group)) is joined:
                del self._groups[topic, group]
                joined.lock.release()
            self._wake(topic)

    def _lock_group(self, topic: str, group: str) -> FileLock:
        """Two processes that read for one group would commit over each other: the second is told so."""
        folder = self._directory.file("groups")
        started = time_to_str(self._clock.now())
        try:
            Path(folder).mkdir(mode=0o700, exist_ok=True)
            return FileLock(folder / f"{digest(topic, group)}.lock", f"pid={os.getpid()}\nstarted={started}\n")
        except LockHeldError as held:
            holder = held.holder.split("\n", 1)[0].replace("pid=", "process ") or "process unknown"
            raise DatabaseLockedError(
                f"Topic '{topic}' is already being read for group '{group}' by another Riskwire ({holder}).",
                hint="Stop it, or wait until it has finished.",
            ) from None
        except OSError as error:
            raise StorageError(f"The folder {folder} cannot be created: {error.strerror}.") from error

    def news(self, topic: str) -> _News:
        """What wakes the fetches of a topic."""
        return self._news.setdefault(topic, _News())

    def _wake(self, topic: str) -> None:
        self.news(topic).ring()

    def now_micros(self) -> int:
        """The present as the log writes it."""
        return to_micros(self._clock.now())

    def require_open(self) -> None:
        """Raises StorageError after :meth:`close`."""
        if self._closed:
            raise StorageError(f"The bus {self.database.path} was closed already.")


class SqliteSubscription:
    """A member of a group. One task fetches; any task may commit."""

    def __init__(self, bus: SqliteBus, topic: str, group: Group[SqliteSubscription]) -> None:
        """Use :meth:`SqliteBus.subscribe`."""
        self._bus = bus
        self._topic = topic
        self._group = group
        self._last = -1  # the partition served last: the next fetch begins behind it
        self._fetching = asyncio.Lock()
        self.closed = False

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions that this subscription reads at present."""
        return () if self.closed else tuple(sorted(self._group.claims(self)))

    async def fetch(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """Up to ``limit`` records after those already fetched, in order within each partition and evenly over the
        partitions; waits at most ``timeout`` real seconds for the first one. Raises StorageError."""
        deadline = time.monotonic() + timeout
        async with self._fetching:
            while True:
                news = self._bus.news(self._topic)
                seen = news.count  # taken before looking, so that nothing published since is slept over
                self._require_open()
                deliveries = await self._take(limit)
                if deliveries or limit <= 0:
                    return deliveries
                left = deadline - time.monotonic()
                if left <= 0:
                    return ()
                await news.wait(seen, min(left, POLL_SECONDS))

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Marks deliveries done; durable on return as far as they close the gap to what was committed before.

        A delivery of a partition that has gone to another subscription is ignored. Raises StorageError; then nothing
        is lost by committing again.
        """
        self._require_open()
        claims = self._group.claims(self)
        for delivery in deliveries:
            claim = claims.get(delivery.partition)
            if claim is not None:
                claim.finish(delivery.offset)
        moved = [claim for claim in claims.values() if claim.committed > claim.durable]
        if not moved:
            return
        offsets = [(claim.slot, claim.committed) for claim in moved]
        now = self._bus.now_micros()
        await self._bus.database.write(lambda connection: log.commit(connection, self._group.number, offsets, now=now))
        for claim, (_, offset) in zip(moved, offsets, strict=True):
            claim.durable = max(claim.durable, offset)

    async def _take(self, limit: int) -> Sequence[Delivery]:
        claims = sorted(self._group.claims(self).values(), key=lambda c: (c.partition <= self._last, c.partition))
        if not claims or limit <= 0:
            return ()
        wanted = [(claim, claim.position) for claim in claims]
        found = await self._bus.database.read(lambda connection: self._read(connection, wanted, limit))
        self._require_open()
        held = self._group.claims(self)
        result: list[Delivery] = []
        for claim, start, deliveries in found:
            if held.get(claim.partition) is not claim:
                continue  # moved to another subscription while the file was read
            if not claim.placed:
                claim.start(start)
            if deliveries:
                claim.position = deliveries[-1].offset + 1
                result.extend(deliveries)
                self._last = claim.partition
        return result

    def _read(
        self, connection: sqlite3.Connection, wanted: Sequence[tuple[Claim, int]], limit: int
    ) -> list[tuple[Claim, int, list[Delivery]]]:
        """Runs on a reader thread: looks at the claims' partitions and positions only, never changes them."""
        owner = log.find_topic(connection, self._topic)
        assert owner is not None
        slots = {slot.partition: slot for slot in log.slots_of(connection, owner)}
        done = log.committed(connection, self._group.number) if any(start < 0 for _, start in wanted) else {}
        starts = [
            start if start >= 0 else max(done.get(claim.slot, 0), slots[claim.partition].first)
            for claim, start in wanted
        ]
        counts = share_out(
            [slots[claim.partition].next - start for (claim, _), start in zip(wanted, starts, strict=True)], limit
        )
        left = FETCH_BYTES
        found = []
        for (claim, _), start, count in zip(wanted, starts, counts, strict=True):
            taken: list[Delivery] = []
            if count and left > 0:
                for delivery in log.read(connection, self._topic, slots[claim.partition], start, count):
                    taken.append(delivery)
                    left -= len(delivery.record.value)
                    if left <= 0:
                        break
            found.append((claim, start, taken))
        return found

    def _require_open(self) -> None:
        self._bus.require_open()
        if self.closed:
            raise StorageError(f"This subscription of topic '{self._topic}' was closed already.")


class _Joined:
    """A group that this process reads for."""

    __slots__ = ("group", "lock")

    def __init__(self, group: Group[SqliteSubscription], lock: FileLock) -> None:
        self.group = group
        self.lock = lock


class _News:
    """Wakes the fetches of a topic: something was published, or the partitions were shared anew."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes everybody who waits now."""
        self.count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> None:
        """Returns when the count is no longer ``seen``, or after ``seconds``."""
        if self.count != seen:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
