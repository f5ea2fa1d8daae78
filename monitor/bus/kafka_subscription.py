"""A consumer's place in a Kafka topic, as the event loop sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_member import CLOSE_SECONDS, Member
from monitor.core.errors import StorageError
from monitor.core.types import Delivery


class KafkaSubscription:
    """A :class:`~monitor.core.ports.Subscription` in a Kafka consumer group. Any task may fetch and commit.

    While the brokers are away ``fetch`` gives nothing and ``commit`` waits, at most ``delivery_timeout`` seconds. A
    refused login or right, or a client that fails again and again, is raised by both as StorageError.
    """

    def __init__(self, config: KafkaConfig, *, topic: str, name: str, group: str) -> None:
        """``name`` is what we call the topic; ``topic`` and ``group`` are the names in the cluster."""
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._fetching = asyncio.Lock()
        self._member = Member(config, topic=topic, name=name, group=group, tell=self._tell)
        self._closed = ""

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions that this subscription reads at present."""
        return () if self._closed else self._member.claims.partitions

    @property
    def waiting(self) -> int:
        """Records fetched from the brokers that nobody has taken yet."""
        return self._member.claims.waiting

    @property
    def member_id(self) -> str:
        """How the group names this member at present."""
        return self._member.member_id

    async def join(self) -> None:
        """Enters the group; returns when this member was given its share. Raises StorageError."""
        self._member.start()
        while not self._member.joined:
            self._require_open()
            await self._wait(None)

    async def leave(self, why: str) -> None:
        """Leaves the group, so that others take over at once; bounded in time. What waits in ``fetch`` and ``commit``
        raises StorageError with ``why``."""
        first, self._closed = not self._closed, self._closed or why
        self._tell()
        if first:
            self._member.stop(StorageError(why))
        await asyncio.to_thread(self._member.wait, 3 * CLOSE_SECONDS)

    async def fetch(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """Up to ``limit`` records after those already fetched, in order within each partition and evenly over the
        partitions; waits at most ``timeout`` real seconds for the first one. Raises StorageError."""
        deadline = time.monotonic() + timeout
        async with self._fetching:
            while True:
                self._news.clear()  # before looking, so that nothing that comes now is slept over
                self._require_open()
                deliveries = self._member.claims.take(limit) if limit > 0 else []
                if deliveries:
                    self._member.wake()  # there is room again
                left = deadline - time.monotonic()
                if deliveries or limit <= 0 or left <= 0:
                    return deliveries  # no await since the take: a cancellation loses nothing
                await self._wait(left)

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Marks deliveries done; durable on return as far as they close the gap to what was committed before.

        A delivery of a partition that has gone to another member is ignored. Raises StorageError when the brokers did
        not take it within ``delivery_timeout`` seconds; then nothing is lost by committing again.
        """
        self._require_open()
        self._member.claims.finish(deliveries)
        if self._member.claims.moved():
            await self._member.commit(self._loop)

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        if seconds is None:
            self._news.clear()

    def _tell(self) -> None:
        """From any thread: there is news."""
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError(self._closed)
        if self._member.failure is not None:
            raise self._member.failure
