"""The bus for scale: Apache Kafka 2.4 or newer, through kafka-python 3.

All calls that block run in threads of their own: one for the producer, one for questions to the cluster, one for each
subscription. What each does while the brokers are away: ``publish`` and ``commit`` wait, at most ``delivery_timeout``
seconds; ``fetch`` gives nothing; ``lag`` and ``browse`` wait ``timeout`` seconds; then they raise StorageError.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Self

import structlog

from monitor.bus.kafka_admin import BROWSE_LIMIT, KafkaAdmin
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_publisher import Publisher, require_codec
from monitor.bus.kafka_record import encode
from monitor.bus.kafka_subscription import KafkaSubscription
from monitor.bus.kafka_topics import describe_cluster
from monitor.core.clock import Clock
from monitor.core.errors import RecordError, StorageError
from monitor.core.types import Delivery, Lag, Record

_log = structlog.get_logger("kafka")

SETTLE_SECONDS = 10.0
"""How long a new member waits for the others to hand over its share before it begins with what it has."""

_SETTLE_STEP = 0.1


class KafkaBus:
    """A :class:`~monitor.core.ports.Bus` in a Kafka cluster. Topics must exist ('riskwire topics apply').

    Unlike the embedded bus, a call of ``publish`` becomes visible partition by partition, and records go by age alone,
    read or not: choose the retention longer than any outage.
    """

    def __init__(self, config: KafkaConfig) -> None:
        """Use :meth:`open`."""
        self._config = config
        self._admin = KafkaAdmin(config)
        self._publisher = Publisher(config)
        self._subscriptions: set[KafkaSubscription] = set()
        self._closed = False

    @classmethod
    async def open(cls, config: KafkaConfig, *, clock: Clock) -> Self:
        """Checks that the cluster answers. ``clock`` is not used for the records' place in retention: brokers delete
        by real time. Raises StorageError that says what to do, ConfigError for unusable files."""
        del clock
        require_codec(config)
        info = await asyncio.to_thread(describe_cluster, config)
        _log.info("kafka_opened", cluster=info.id, version=info.version, brokers=len(info.brokers))
        return cls(config)

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Appends; returns when all in-sync replicas have the records.

        Raises RecordError before anything is sent when one of them cannot be (too large, a time without a zone);
        StorageError when the topic is missing or the brokers did not confirm within ``delivery_timeout`` seconds:
        then some of the records may be visible.
        """
        self._require_open()
        messages = [encode(record) for record in records]
        if not messages:
            return
        name = self._config.name(topic)
        largest = await self._admin.largest(name, patience=self._config.delivery_timeout)
        for record, message in zip(records, messages, strict=True):
            if message.size > largest:
                raise RecordError(
                    f"The record '{record.key}' has {message.size} bytes; the Kafka topic '{name}' takes {largest}.",
                    hint="Raise the topic's max.message.bytes; 'riskwire topics apply' sets it.",
                )
        try:
            await self._publisher.publish(name, messages)
        except StorageError:
            self._admin.forget(name)
            raise

    def subscribe(self, topic: str, group: str) -> AbstractAsyncContextManager[KafkaSubscription]:
        """Joins ``group``; reading starts at its committed offsets, or at the oldest record for a new group (also
        when the brokers have forgotten its offsets, by default seven days after the last member left).

        Entering returns when the group has handed this member its share, leaving hands it to the others at once.
        Raises StorageError on entry.
        """
        return self._subscribe(topic, group)

    async def lag(self, topic: str, group: str) -> Lag:
        """What ``group`` has not yet committed of ``topic``; ``oldest`` is the smallest Record.timestamp of the first
        such record of each partition. Raises StorageError when it cannot be known."""
        self._require_open()
        return await self._admin.lag(self._config.name(topic), self._config.name(group))

    async def browse(self, topic: str, *, limit: int, newest: bool = False) -> Sequence[Delivery]:
        """Reads without a group: oldest first, or with ``newest`` the newest ones, newest first. By the records'
        times across partitions, by offset within one; at most 10,000."""
        self._require_open()
        count = max(0, min(limit, BROWSE_LIMIT))
        return await self._admin.browse(self._config.name(topic), topic, count, newest=newest) if count else []

    async def expire(self, before: datetime) -> int:
        """Does nothing and returns 0: the brokers expire records by the topic's retention.ms."""
        self._require_open()
        return 0

    async def close(self) -> None:
        """Releases everything; fetches that wait and further calls raise StorageError."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(s.leave("The bus was closed already.") for s in tuple(self._subscriptions)))
        await asyncio.gather(self._publisher.close(), self._admin.close())

    @asynccontextmanager
    async def _subscribe(self, topic: str, group: str) -> AsyncIterator[KafkaSubscription]:
        self._require_open()
        name, member_of = self._config.name(topic), self._config.name(group)
        await self._admin.largest(name, patience=self._config.timeout)  # says clearly when the topic is missing
        subscription = KafkaSubscription(self._config, topic=name, name=topic, group=member_of)
        self._subscriptions.add(subscription)
        try:
            await subscription.join()
            await self._settle(subscription, name, member_of)
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            await subscription.leave(f"This subscription of topic '{topic}' was closed already.")

    async def _settle(self, subscription: KafkaSubscription, topic: str, group: str) -> None:
        """Waits until every partition has its reader and the new member holds what the group gave it."""
        deadline = time.monotonic() + self._config.settle_timeout
        while time.monotonic() < deadline:
            shares = await self._admin.shares(topic, group)
            if shares is not None and shares.get(subscription.member_id) == frozenset(subscription.partitions):
                return
            await asyncio.sleep(_SETTLE_STEP)
        _log.warning("kafka_group_not_settled", group=group, waited=self._config.settle_timeout)

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError("The bus was closed already.")
