"""One record in, all out, or their number: ``kafka_one.py produce|count|dump|join ADDRESS TOPIC SECONDS``.

A process of its own, because the client leaves sockets open when a broker goes away. Prints what became of it.
"""

from __future__ import annotations

import base64
import json
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError


def produce(address: str, topic: str, seconds: float) -> str:
    """'ok', or the error's name."""
    milliseconds = int(seconds * 1000)
    try:
        producer = KafkaProducer(
            bootstrap_servers=address, acks="all", linger_ms=0, request_timeout_ms=milliseconds // 3,
            max_block_ms=milliseconds, delivery_timeout_ms=milliseconds,
        )  # fmt: skip
        producer.send(topic, b"x").get(timeout=seconds)
    except KafkaError as error:
        return type(error).__name__
    return "ok"


def count(address: str, topic: str, seconds: float) -> str:
    """How many records the topic holds."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=int(seconds * 1000)
    )
    return str(sum(1 for _ in consumer))


def join(address: str, topic: str, seconds: float) -> str:
    """Reads one record as a member of the group of the topic's name, says so, and lives on for ``seconds``, or ends at
    once when they are less than a minute. Commits nothing."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=address, group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False,
        session_timeout_ms=6000,
    )  # fmt: skip
    deadline = time.monotonic() + seconds
    found = 0
    while not found and time.monotonic() < deadline:
        found = sum(len(records) for records in consumer.poll(timeout_ms=500).values())
    if seconds >= 60:
        print(found, flush=True)
        while time.monotonic() < deadline:
            consumer.poll(timeout_ms=500)
    return str(found)


def dump(address: str, topic: str, seconds: float) -> str:
    """Every record as a line of JSON, its value in base64."""
    consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    lines: list[str] = []
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for records in consumer.poll(timeout_ms=int(seconds * 1000)).values():
            for record in records:
                found = {
                    "partition": record.partition, "offset": record.offset, "key": (record.key or b"").decode(),
                    "value": base64.b64encode(record.value or b"").decode(),
                    "headers": {name: value.decode() for name, value in record.headers},
                }  # fmt: skip
                lines.append(json.dumps(found))
    return "\n".join(lines)


if __name__ == "__main__":
    action, its_address, its_topic, its_seconds = sys.argv[1:]
    actions = {"produce": produce, "count": count, "dump": dump, "join": join}
    print(actions[action](its_address, its_topic, float(its_seconds)), flush=True)
