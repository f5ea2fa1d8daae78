"""A reader that is slower than the publisher: what does not fit into its buffer waits on the bus, and is read later."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from datetime import UTC, datetime

from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_topics import apply_topics, delete_topics, topic_specs
from monitor.core.clock import SystemClock
from monitor.core.types import Record

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


async def test_partitions_that_were_paused_are_read_to_their_end(kafka_server):
    config = KafkaConfig(
        bootstrap=tuple(kafka_server.split(",")), topic_prefix=f"crowded.{uuid.uuid4().hex[:8]}.", partitions=8,
        replication=1, min_insync=1, buffer_records=80, session_timeout=6, timeout=10,
    )  # fmt: skip
    spec = dataclasses.replace(topic_specs(config)[0], name=config.name("t"))
    await asyncio.to_thread(apply_topics, config, [spec])
    bus = await KafkaBus.open(config, clock=SystemClock())
    try:
        sent = [f"k{number}" for number in range(2000)]
        await bus.publish("t", [Record(key=key, value=bytes(500), timestamp=AT) for key in sent])
        seen: list[str] = []
        async with bus.subscribe("t", "g") as subscription:
            while len(seen) < len(sent) and (page := await subscription.fetch(32, 15.0)):
                await subscription.commit(page)
                seen += [delivery.record.key for delivery in page]
                if len(seen) % 128 == 0 or len(seen) == len(sent):
                    assert (await bus.lag("t", "g")).count == len(sent) - len(seen)
        assert sorted(seen) == sorted(sent)
    finally:
        await bus.close()
        await asyncio.to_thread(delete_topics, config, [config.name("t")])
