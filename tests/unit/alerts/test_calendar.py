"""Market holidays, and what the baseline makes of them."""

from __future__ import annotations

from datetime import date

import pytest

from alerts.baseline import BaselineConfig, fresh, learn
from alerts.calendar import easter, us_market_holidays
from monitor.core.errors import ConfigError


def test_the_exchange_was_closed_on_these_days() -> None:
    assert us_market_holidays(2010, 2010) == (
        "2010-01-01", "2010-01-18", "2010-02-15", "2010-04-02", "2010-05-31", "2010-07-05", "2010-09-06", "2010-11-25",
        "2010-12-24",
    )  # fmt: skip
    assert us_market_holidays(2022, 2022) == (
        "2022-01-17", "2022-02-21", "2022-04-15", "2022-05-30", "2022-06-20", "2022-07-04", "2022-09-05", "2022-11-24",
        "2022-12-26",
    )  # fmt: skip
    assert len(us_market_holidays(2023, 2025)) == 30


@pytest.mark.parametrize(("year", "day"), [(2008, "2008-03-23"), (2011, "2011-04-24"), (2024, "2024-03-31")])
def test_easter(year: int, day: str) -> None:
    assert easter(year).isoformat() == day


def test_a_holiday_is_a_sunday_to_the_baseline() -> None:
    """Busy weekdays, quiet weekends, a Monday on which markets rest: little is expected, and nothing unlearned."""
    monday = (date(2024, 1, 1) - date(1970, 1, 1)).days * 24
    week = {monday + h: [(3.0, 1.0)] * 12 for h in range(28 * 24) if h // 24 % 7 < 5}
    plain, aware = BaselineConfig(), BaselineConfig(holidays=("2024-01-29",))
    rest = monday + 28 * 24 + 12
    base = {c: learn(c, fresh(c, monday), rest, week, per_hour=12) for c in (plain, aware)}
    assert base[plain].rates[-1][0] > 10
    assert base[aware].rates[-1][0] < base[plain].rates[-1][0] / 4
    after = {c: learn(c, base[c], monday + 35 * 24 + 12, {}, per_hour=12) for c in (plain, aware)}
    cell = 12
    assert after[plain].exposure[cell] > after[aware].exposure[cell]


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="31 January"):
        BaselineConfig(holidays=("31 January",))
