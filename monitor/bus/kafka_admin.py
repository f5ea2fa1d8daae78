"""Questions to the cluster that belong to no consumer: offsets, topics, records read without a group. One thread."""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, OffsetSpec, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource

from monitor.bus.kafka_client import open_client, unpark
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_errors import explain, missing_topic
from monitor.bus.kafka_record import decode
from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import Delivery, Lag

ResultT = TypeVar("ResultT")

BROWSE_LIMIT = 10_000
_RETRY_SECONDS = 0.5
_POLL_MILLIS = 200
_READ_BYTES = 256 * 1024
"""Of a partition in one answer: two of our publisher's batches; mostly one record of it is wanted."""


class KafkaAdmin:
    """Runs blocking questions one after another in its own thread. Every method raises StorageError."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="riskwire-kafka-admin")
        self._closing = threading.Event()
        self._admin: Any = None
        self._reader: Any = None
        self._limits: dict[str, int] = {}
        self._oldest: dict[tuple[str, int], tuple[int, datetime]] = {}

    async def largest(self, topic: str, *, patience: float) -> int:
        """The most bytes that a record of ``topic`` may have; asked once. Raises StorageError when there is no such
        topic."""
        known = self._limits.get(topic)
        if known is None:
            known = self._limits[topic] = await self._run(lambda: self._largest(topic), topic=topic, patience=patience)
        return known

    def forget(self, topic: str) -> None:
        """After a failure: the topic may be gone or changed."""
        self._limits.pop(topic, None)

    async def lag(self, topic: str, group: str) -> Lag:
        """What ``group`` has not committed of ``topic``."""
        return await self._run(lambda: self._lag(topic, group), topic=topic, group=group, patience=self._config.timeout)

    async def browse(self, topic: str, name: str, limit: int, *, newest: bool) -> list[Delivery]:
        """The first or last ``limit`` records of the topic ``topic``, which we call ``name``."""
        return await self._run(
            lambda: self._browse(topic, name, limit, newest=newest), topic=topic, patience=self._config.timeout
        )

    async def shares(self, topic: str, group: str) -> Mapping[str, frozenset[int]] | None:
        """Which partitions of ``topic`` each member of ``group`` reads, by member id; None while it is being shared
        anew or a partition has no reader."""
        return await self._run(
            lambda: self._shares(topic, group), topic=topic, group=group, patience=self._config.timeout
        )

    async def close(self) -> None:
        """Closes the connections; a question in flight may finish first."""
        self._closing.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._drop)
        self._executor.shutdown(wait=False)

    async def _run(self, work: Callable[[], ResultT], *, patience: float, topic: str = "", group: str = "") -> ResultT:
        def attempt() -> ResultT:
            deadline = time.monotonic() + patience
            while True:
                try:
                    return work()
                except (kafka_errors.KafkaError, StorageError, OSError, RuntimeError) as error:
                    told = explain(error, self._config, topic=topic, group=group)
                    self._drop()
                    if not isinstance(told, UnavailableError) or time.monotonic() > deadline:
                        raise told from error
                if self._closing.wait(_RETRY_SECONDS):
                    raise told

        return await asyncio.get_running_loop().run_in_executor(self._executor, attempt)

    # Below: in the thread.

    def _drop(self) -> None:
        admin, reader = self._admin, self._reader
        self._admin = self._reader = None
        self._oldest.clear()
        if reader is not None:
            reader.close(autocommit=False, timeout_ms=1000)
        if admin is not None:
            admin.close()

    @property
    def _client(self) -> Any:
        if self._admin is None:
            self._admin = open_client(KafkaAdminClient, self._config)
        return self._admin

    def _partitions(self, topic: str) -> list[TopicPartition]:
        (found,) = self._client.describe_topics([topic])
        error = kafka_errors.for_code(found["error_code"])
        if error is kafka_errors.UnknownTopicOrPartitionError:
            raise missing_topic(topic, self._config)
        if error is not kafka_errors.NoError:
            raise error(topic)
        return [TopicPartition(topic, part["partition_index"]) for part in found["partitions"]]

    def _largest(self, topic: str) -> int:
        self._partitions(topic)
        try:
            answer = self._client.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
        except kafka_errors.AuthorizationError:  # needs DESCRIBE_CONFIGS, which a publisher need not have
            return self._config.max_message_bytes
        told = answer.get("topic", {}).get(topic, {}).get("max.message.bytes", {}).get("value")
        return min(self._config.max_message_bytes, int(told)) if told else self._config.max_message_bytes

    def _bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        firsts = self._client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        ends = self._client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        return {tp: (firsts[tp].offset, ends[tp].offset) for tp in partitions}

    def _lag(self, topic: str, group: str) -> Lag:
        partitions = self._partitions(topic)
        committed = self._client.list_group_offsets({group: partitions})[group]
        behind: dict[TopicPartition, int] = {}
        count = 0
        bounds = self._bounds(partitions)
        for tp, (first, end) in bounds.items():
            start = committed[tp].offset if tp in committed else -1
            if not first <= start <= end:  # never committed, or what was committed is gone: read from the oldest
                start = first
            if start < end:
                behind[tp] = start
                count += end - start
        oldest = min(self._times(behind).values(), default=None)
        return Lag(count=count, oldest=oldest, ends={tp.partition: end for tp, (_, end) in bounds.items()})

    def _times(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, datetime]:
        """Record.timestamp at each place; one read for those that moved since the last call."""
        times: dict[TopicPartition, datetime] = {}
        unknown: dict[TopicPartition, int] = {}
        for tp, offset in places.items():
            known = self._oldest.get(tp)
            if known is not None and known[0] == offset:
                times[tp] = known[1]
            else:
                unknown[tp] = offset
        for tp, found in self._read(unknown, dict.fromkeys(unknown, 1)).items():
            times[tp] = found[0].record.timestamp
            self._oldest[tp] = (places[tp], times[tp])
        return times

    def _browse(self, topic: str, name: str, limit: int, *, newest: bool) -> list[Delivery]:
        starts: dict[TopicPartition, int] = {}
        counts: dict[TopicPartition, int] = {}
        for tp, (first, end) in self._bounds(self._partitions(topic)).items():
            if first < end:
                starts[tp] = max(first, end - limit) if newest else first
                counts[tp] = min(limit, end - starts[tp])
        parts = list(self._read(starts, counts, name=name).values())
        if newest:
            for part in parts:
                part.reverse()
        merged = heapq.merge(*parts, key=lambda delivery: delivery.record.timestamp, reverse=newest)
        return [delivery for delivery, _ in zip(merged, range(limit), strict=False)]

    def _read(
        self, starts: Mapping[TopicPartition, int], counts: Mapping[TopicPartition, int], *, name: str = ""
    ) -> dict[TopicPartition, list[Delivery]]:
        """``counts`` records from ``starts`` on, of each partition. They are there; when they do not come in time,
        KafkaTimeoutError is raised."""
        if not starts:
            return {}
        if self._reader is None:
            self._reader = open_client(
                KafkaConsumer,
                self._config,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                fetch_max_wait_ms=_POLL_MILLIS,
                max_partition_fetch_bytes=_READ_BYTES,
                enable_incremental_fetch_sessions=False,  # it jumps about: a session would be begun anew each time
                metrics_enabled=False,
            )
        reader = self._reader
        reader.assign(list(starts))
        reader.resume(*starts)  # those that the last call was done with
        for tp, offset in starts.items():
            reader.seek(tp, offset)
        found: dict[TopicPartition, list[Delivery]] = {tp: [] for tp in starts}
        lasts = {tp: starts[tp] + counts[tp] - 1 for tp in starts}
        wanted = set(starts)
        deadline = time.monotonic() + self._config.timeout
        while wanted and not self._closing.is_set():
            if time.monotonic() > deadline:
                raise kafka_errors.KafkaTimeoutError("records that are there did not come")
            unpark(reader)
            most = min(1000, sum(counts[tp] - len(found[tp]) for tp in wanted))  # no record is unpacked in vain
            for tp, messages in reader.poll(timeout_ms=_POLL_MILLIS, max_records=most).items():
                if tp not in wanted:
                    continue
                rest = counts[tp] - len(found[tp])
                found[tp] += [decode(name or tp.topic, message) for message in messages[:rest]]
                # Where offsets have holes there are fewer records than offsets: the place counts as well.
                if len(found[tp]) >= counts[tp] or messages[-1].offset >= lasts[tp]:
                    wanted.discard(tp)
                    reader.pause(tp)
        if wanted:
            raise kafka_errors.KafkaTimeoutError("closed while reading")
        return found

    def _shares(self, topic: str, group: str) -> Mapping[str, frozenset[int]] | None:
        partitions = {tp.partition for tp in self._partitions(topic)}
        told = self._client.describe_groups([group])[group]
        if told["error"] or told["group_state"] != "Stable":
            return None
        shares: dict[str, frozenset[int]] = {}
        for member in told["members"]:
            parts = (member["member_assignment"] or {}).get("assigned_partitions", ())
            shares[member["member_id"]] = frozenset(
                partition for part in parts if part["topic"] == topic for partition in part["partitions"]
            )
        return shares if frozenset().union(*shares.values()) >= partitions else None
