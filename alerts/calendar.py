"""Days on which markets rest: to the baseline they are Sundays (:class:`alerts.baseline.BaselineConfig`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

_DAY = timedelta(days=1)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (anonymous algorithm, Meeus, *Astronomical Algorithms*, ch. 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    n = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * n) // 451
    month, day = divmod(h + n - 7 * m + 114, 31)
    return date(year, month, day + 1)


def _nth(year: int, month: int, weekday: int, nth: int) -> date:
    """The ``nth`` such weekday of a month; -1 is the last."""
    if nth > 0:
        first = date(year, month, 1)
        return first + _DAY * ((weekday - first.weekday()) % 7 + 7 * (nth - 1))
    last = date(year + month // 12, month % 12 + 1, 1) - _DAY
    return last - _DAY * ((last.weekday() - weekday) % 7)


def _kept(day: date, *, saturday: bool = True) -> date | None:
    """When a holiday of a fixed date is kept: on Friday for Saturday, on Monday for Sunday."""
    if day.weekday() == 5:
        return day - _DAY if saturday else None
    return day + _DAY if day.weekday() == 6 else day


def us_market_holidays(first: int, last: int) -> tuple[str, ...]:
    """Full holidays of the New York Stock Exchange in the years ``first`` to ``last``, as ISO dates (NYSE Rule 7.2).

    Days of mourning and storms, which no rule foresees, are not among them.
    """
    return tuple(day.isoformat() for year in range(first, last + 1) for day in sorted(_of(year)))


def _of(year: int) -> Iterator[date]:
    monday, thursday = 0, 3
    kept = [
        _kept(date(year, 1, 1), saturday=False),
        _kept(date(year, 6, 19)) if year >= 2022 else None,
        _kept(date(year, 7, 4)),
        _kept(date(year, 12, 25)),
    ]
    yield from (day for day in kept if day is not None)
    if year >= 1998:
        yield _nth(year, 1, monday, 3)  # Martin Luther King
    yield _nth(year, 2, monday, 3)  # Washington's birthday
    yield easter(year) - 2 * _DAY  # Good Friday
    yield _nth(year, 5, monday, -1)  # Memorial Day
    yield _nth(year, 9, monday, 1)  # Labor Day
    yield _nth(year, 11, thursday, 4)  # Thanksgiving
