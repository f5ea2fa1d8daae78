"""A proxy before noida-db that keeps to the limits of a fetch, as brokers do and it does not.

Asked for 64 kB of a partition noida-db sends all of it, and an empty fetch it answers at once. What a process that
reads from Kafka holds can only be measured with these limits kept: KIP-74 (whole batches up to ``partition_max_bytes``
and ``max_bytes`` in the order of the request, the first one always), and ``max_wait_ms`` for an answer without records.

    python benchmarks/pipeline/fetch_limits.py UPSTREAM PORT
"""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tests" / "fault"), str(Path(__file__).resolve().parents[2])]

from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse  # noqa: E402
from kafka_proxy import FETCH, KafkaProxy  # noqa: E402

DEFAULT = 1024 * 1024
"""Bytes of a partition that the request of a fetch session does not name again; Kafka clients' own default."""

_FLEXIBLE = 12
"""From this version of Fetch on an answer's header carries tagged fields (none are used: one byte)."""


def trimmed(records: bytes, limit: int, *, first: bool) -> bytes:
    """Whole record batches of together at most ``limit`` bytes; the ``first`` one of an answer whatever its size."""
    at = 0
    while at + 12 <= len(records):
        size = 12 + struct.unpack_from(">i", records, at + 8)[0]
        if at + size > limit and not (first and at == 0):
            break
        at += size
    return records[:at]


def limited(answer: Any, asked: Any) -> int:
    """Trims every partition of a fetch's answer to what was asked; returns the bytes that are left."""
    limits = {
        (topic.topic or topic.topic_id, part.partition): part.partition_max_bytes
        for topic in asked.topics
        for part in topic.partitions
    }
    order = {key: place for place, key in enumerate(limits)}
    parts = [((t.topic or t.topic_id, p.partition_index), p) for t in answer.responses for p in t.partitions]
    rest, total = asked.max_bytes, 0
    for key, part in sorted(parts, key=lambda item: order.get(item[0], len(order))):
        if part.records:
            limit = min(limits.get(key, DEFAULT), max(0, rest))
            # The first batch of the first partition comes whatever its size, or a reader could never get past it.
            part.records = trimmed(bytes(part.records), limit, first=total == 0)
            total += len(part.records)
            rest -= len(part.records)
    return total


class LimitingProxy(KafkaProxy):
    """See the module."""

    def __init__(self, upstream: str, port: int) -> None:
        super().__init__(upstream, session_timeout=60.0)
        self._port = port
        self._fetches: dict[tuple[int, int], tuple[int, Any]] = {}
        """Version and request by connection and correlation id."""

    def _saw(self, frame: bytes, connection: object) -> None:
        api_key, version, correlation = struct.unpack(">hhi", frame[:8])
        if api_key == FETCH:
            request = FetchRequest.decode(frame, version=version, header=True)
            self._fetches[id(connection), correlation] = version, request

    async def _changed(self, frame: bytes, api_key: int, connection: object) -> bytes:
        if api_key != FETCH:
            return frame
        version, request = self._fetches.pop((id(connection), struct.unpack(">i", frame[:4])[0]))
        header = 4 + (version >= _FLEXIBLE)
        answer = FetchResponse.decode(frame[header:], version=version)
        if not limited(answer, request):
            await asyncio.sleep(request.max_wait_ms / 1000)
            return frame
        answer._header = None  # it stays as it came
        return frame[:header] + bytes(answer.encode(version=version))


async def _serve(upstream: str, port: int) -> None:
    async with LimitingProxy(upstream, port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
