"""Dates as feeds write them: read what can be read, say what is odd."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_tz
from time import struct_time

OLDEST = datetime(1971, 1, 1, tzinfo=UTC)
"""Earlier dates are taken for defects: year 1, or second 0 of the Unix epoch."""
FUTURE_TOLERANCE = timedelta(minutes=5)
"""Clocks differ; what lies this little ahead is not reported."""

_ISO = re.compile(r"\d{4}-?\d\d-?\d\d(?:[T ].{0,40})?", re.IGNORECASE)
_ISO_ZONE = re.compile(r"(?:z|[+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)
_ZONE_TAIL = re.compile(r"(?:z|[+-]\d\d:?\d\d|[A-Z]{1,5}|\([A-Z]{1,5}\))$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedDate:
    """A date of a feed. ``at`` is None when it could not be read; ``naive`` means that it had no zone (UTC is taken);
    ``raw`` is what stood there, empty when nothing did."""

    raw: str = ""
    at: datetime | None = None
    naive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """The time that an article gets, and what was wrong: "" or one of ``date_missing``, ``date_invalid``,
    ``date_future``, ``date_naive``. ``fallback`` is True when the feed's own date was not used."""

    at: datetime
    flag: str = ""
    fallback: bool = False


def parse_date(raw: str, parsed: struct_time | None = None) -> FeedDate:
    """Reads ISO 8601 and RFC 822 dates itself; for other spellings it takes ``parsed``, feedparser's reading (UTC)."""
    text = raw.strip()[:100]
    if not text:
        return FeedDate()
    if _ISO.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text.upper())
            naive = moment.tzinfo is None
            return FeedDate(raw=text, at=_utc(moment), naive=naive)
        except (ValueError, OverflowError):
            pass
    if parsed is not None:
        try:
            moment = datetime(*parsed[:5], min(parsed[5], 59), tzinfo=UTC)
            return FeedDate(raw=text, at=moment, naive=_is_naive(text))
        except (ValueError, TypeError):
            pass
    fields = _rfc822(text)
    if fields is None:
        return FeedDate(raw=text)
    try:
        moment = datetime(*fields[:5], min(fields[5], 59), tzinfo=UTC) - timedelta(seconds=fields[9] or 0)
    except (ValueError, OverflowError):
        return FeedDate(raw=text)
    return FeedDate(raw=text, at=moment, naive=_is_naive(text))


def _rfc822(text: str) -> tuple[int, int, int, int, int, int, int, int, int, int | None] | None:
    try:
        return parsedate_tz(text)
    except (ValueError, IndexError, TypeError):
        return None


def _is_naive(text: str) -> bool:
    if text[:4].isdigit():
        return _ISO_ZONE.search(text) is None
    return _ZONE_TAIL.search(text) is None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def settle(date: FeedDate, *, fetched_at: datetime, first_seen: datetime | None = None) -> Dated:
    """Decides on the time of an article.

    A date that is missing, unreadable, older than ``OLDEST`` or in the future is replaced by the time at which the
    article was first seen (now, when it is new), so that a wrong date never moves the event time ahead.
    """
    seen = first_seen or fetched_at
    if not date.raw:
        return Dated(at=seen, flag="date_missing", fallback=True)
    if date.at is None or date.at < OLDEST:
        return Dated(at=seen, flag="date_invalid", fallback=True)
    if date.at > fetched_at:
        late = date.at - fetched_at > FUTURE_TOLERANCE
        return Dated(at=seen, flag="date_future" if late else "", fallback=True)
    return Dated(at=date.at, flag="date_naive" if date.naive else "")
