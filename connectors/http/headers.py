"""What response headers say about when to come back. All results are seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DAY = 86_400.0
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_NO_STORE = re.compile(r"(?:^|[,\s])no-(?:store|cache)\b", re.IGNORECASE)


def http_date(text: str) -> datetime | None:
    """An HTTP date, aware UTC; None when it is none."""
    try:
        moment = parsedate_to_datetime(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Retry-After (RFC 9110 10.2.3), as seconds or as a date against the server's own Date; at most a day."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), DAY)
    until = http_date(value)
    if until is None:
        return None
    reference = http_date(headers.get("date", "")) or now
    return min(max(0.0, (until - reference).total_seconds()), DAY)


def freshness(headers: Mapping[str, str], now: datetime) -> float:
    """For how long the response is fresh: max-age less Age, else Expires; 0 when not stated; at most a day."""
    control = headers.get("cache-control", "")
    if _NO_STORE.search(control):
        return 0.0
    if match := _MAX_AGE.search(control):
        age = headers.get("age", "").strip()
        passed = float(age[:9]) if age.isascii() and age.isdigit() else 0.0
        return min(max(0.0, float(match[1]) - passed), DAY)
    expires = http_date(headers.get("expires", ""))
    if expires is None:
        return 0.0
    reference = http_date(headers.get("date", "")) or now
    return min(max(0.0, (expires - reference).total_seconds()), DAY)
