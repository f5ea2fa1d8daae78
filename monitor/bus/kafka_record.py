"""A record as a Kafka message and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError, RecordError
from monitor.core.types import Delivery, Record

TIME_HEADER = "riskwire-time"
"""Carries Record.timestamp. The message's own CreateTime is when it was published, because brokers delete by it: an
article dated years back must not be gone before it is read."""

OVERHEAD = 200
"""Bytes at most that a batch of one record adds to key, value and headers (61 for the batch, the rest varints)."""
_HEADER_OVERHEAD = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """What kafka-python is given."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]

    @property
    def size(self) -> int:
        """Bytes on the wire at most, not compressed."""
        headers = sum(_HEADER_OVERHEAD + len(name.encode()) + len(value) for name, value in self.headers)
        return OVERHEAD + len(self.key) + len(self.value) + headers


def encode(record: Record) -> Message:
    """Raises RecordError when the record cannot be sent: a time without a zone, or a reserved or unwritable header."""
    if record.timestamp.utcoffset() is None:
        raise RecordError(f"The record '{record.key}' has a time without a zone: {record.timestamp}.")
    headers = [(TIME_HEADER, time_to_str(record.timestamp).encode())]
    for name, text in record.headers.items():
        if name == TIME_HEADER:
            raise RecordError(f"The record '{record.key}' has a header '{TIME_HEADER}', which is the bus's own.")
        try:
            name.encode()
            headers.append((name, text.encode("utf-8", "surrogatepass")))
        except (UnicodeEncodeError, AttributeError) as error:
            raise RecordError(f"The record '{record.key}' has a header that cannot be sent: {error}.") from None
    return Message(key=record.key.encode("utf-8", "surrogatepass"), value=bytes(record.value), headers=headers)


def decode(topic: str, message: Any) -> Delivery:
    """Reads a kafka-python ConsumerRecord; never fails, so that no message of another program can stop a consumer.

    A message without our time header has its CreateTime. Text that is no UTF-8 is shown with backslashes.
    """
    headers = {name: _text(value) for name, value in _pairs(message.headers)}
    own = headers.pop(TIME_HEADER, "")
    try:
        moment = time_from_str(own) if own else None
    except CodecError:
        moment = None
    return Delivery(
        topic=topic,
        partition=message.partition,
        offset=message.offset,
        record=Record(
            key=_text(message.key),
            value=message.value or b"",
            timestamp=moment or _from_millis(message.timestamp),
            headers=headers,
        ),
    )


def _pairs(headers: Iterable[tuple[str, bytes | None]] | None) -> Iterable[tuple[str, bytes | None]]:
    return headers or ()


def _text(raw: bytes | None) -> str:
    if not raw:
        return ""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace")


def _from_millis(millis: int | None) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=max(0, millis or 0))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
