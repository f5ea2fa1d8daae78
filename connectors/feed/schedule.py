"""When a feed may be asked again: the longest of what we, the server and the feed want, within limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta


def wait_seconds(*, interval: float, hints: Sequence[float], low: float, high: float) -> float:
    """The longest of ``interval`` and the ``hints``, not under ``low``; hints cannot push it over ``high``."""
    return max(low, interval, min(high, max([0.0, *hints])))


def next_poll(
    now: datetime, *, wait: float, high: float, skip_hours: Sequence[int] = (), skip_days: Sequence[int] = ()
) -> datetime:
    """``now`` plus ``wait`` seconds, moved out of the hours (GMT) and days (0 is Monday) that the feed skips, but at
    most ``high`` seconds ahead (or ``wait``, when that is longer)."""
    at = now + timedelta(seconds=wait)
    latest = now + timedelta(seconds=max(wait, high))
    while at < latest and (at.hour in skip_hours or at.weekday() in skip_days):
        at = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return min(at, latest)
