"""How times, keys and JSON are written into a database: exactly, and whatever text they hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.core.codec import dumps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"a time needs a zone: {moment.isoformat()}")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The inverse of :func:`to_micros`, aware, UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def to_json(value: object) -> str:
    """Compact JSON that every database takes: half a character (a lone surrogate) is written as an escape.
    Raises CodecError."""
    text = dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return text


def from_json(text: str) -> Any:
    """The inverse of :func:`to_json`."""
    return json.loads(text)
