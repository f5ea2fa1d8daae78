"""How far this machine's clock is from another one, as bounds that hold whatever the network did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from statistics import median

from monitor.doctor.verdict import Verdict, fail, ok, warn

WARN_SECONDS = 2.0
FAIL_SECONDS = 30.0
_ADVICE = "Let both machines follow a time server (chrony or systemd-timesyncd; 'timedatectl' shows whether one does)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """The other clock is between ``low`` and ``high`` seconds ahead of ours (behind it where negative)."""

    low: float
    high: float

    @property
    def least(self) -> float:
        """The smallest skew that explains the answer: what is beyond doubt. Zero when the clocks may agree."""
        if self.low <= 0 <= self.high:
            return 0.0
        return self.low if self.low > 0 else self.high


def between(told: datetime, asked: datetime, answered: datetime, *, resolution: float = 0.0) -> Skew:
    """The other side told its time at some moment between ``asked`` and ``answered`` of our clock.

    ``resolution`` is how many seconds its time may have been rounded down.
    """
    return Skew(
        low=(told - answered).total_seconds(),
        high=(told - asked + timedelta(seconds=resolution)).total_seconds(),
    )


def from_http_date(date: str, asked: datetime, answered: datetime, *, age: str = "") -> Skew | None:
    """The skew by a ``Date`` header, which has whole seconds (RFC 9110, 6.6.1).

    None when there is no usable date, or when the answer comes from a cache (``Age``): a cache repeats the date at
    which the origin answered.
    """
    if age.strip() not in ("", "0"):
        return None
    try:
        told = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    return between(told, asked, answered, resolution=1.0)


def judge(part: str, whose: str, skew: Skew) -> Verdict:
    """Warns beyond 2 seconds, fails beyond 30."""
    least = skew.least
    if abs(least) <= WARN_SECONDS:
        return ok(part, f"Agrees with {whose} to within {max(abs(skew.low), abs(skew.high)):.1f} seconds.")
    finding = (
        f"This machine's clock is at least {abs(least):.1f} seconds {'behind' if least > 0 else 'ahead of'} {whose}."
    )
    return fail(part, finding, _ADVICE) if abs(least) > FAIL_SECONDS else warn(part, finding, _ADVICE)


def judge_many(part: str, whose: str, skews: Sequence[Skew]) -> Verdict:
    """As :func:`judge`, for many clocks of strangers: the median of them, so that a few wrong ones do not count.

    Fewer than three are never more than a warning: who is wrong cannot be told.
    """
    ordered = sorted(skews, key=lambda skew: skew.least)
    middle = median(skew.least for skew in ordered)
    chosen = min(ordered, key=lambda skew: abs(skew.least - middle))
    verdict = judge(part, whose, chosen)
    if verdict.status == "fail" and len(skews) < 3:
        return warn(part, verdict.finding, verdict.advice)
    return verdict
