"""One record in, or all out, in a process of its own: ``kafka_one.py produce|count ADDRESS TOPIC SECONDS``.

A process of its own, because the client leaves sockets open when a broker goes away. Prints what became of it.
"""

from __future__ import annotations

import sys

from kafka import KafkaConsumer, KafkaProducer
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


if __name__ == "__main__":
    action, its_address, its_topic, its_seconds = sys.argv[1:]
    print({"produce": produce, "count": count}[action](its_address, its_topic, float(its_seconds)), flush=True)
