"""What can be said of a clock by an answer that took its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.doctor.skew import Skew, between, from_http_date, judge, judge_many

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@given(
    skew=st.floats(-90, 90),
    there=st.floats(0, 20),
    back=st.floats(0, 20),
    start=st.floats(0, 1000),
)
def test_the_true_skew_always_lies_within_the_bounds(skew: float, there: float, back: float, start: float) -> None:
    asked = NOW + timedelta(seconds=start)
    told = asked + timedelta(seconds=there) + timedelta(seconds=skew)
    answered = asked + timedelta(seconds=there) + timedelta(seconds=back)
    exact = between(told, asked, answered)
    assert exact.low - 1e-5 <= skew <= exact.high + 1e-5
    rounded = from_http_date(format_datetime(told, usegmt=True), asked, answered)
    assert rounded is not None
    assert rounded.low - 1e-5 <= skew <= rounded.high + 1e-5
    assert abs(rounded.least) <= abs(skew) + 1e-5  # never an accusation beyond what is so
    for found in (exact, rounded):
        assert found.least == 0 or (found.least > 0) == (skew > 0)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "12"])
def test_what_is_no_date_says_nothing(date: str) -> None:
    assert from_http_date(date, NOW, NOW) is None


def test_an_answer_from_a_cache_says_nothing() -> None:
    date = format_datetime(NOW - timedelta(hours=1), usegmt=True)
    assert from_http_date(date, NOW, NOW, age="3600") is None
    assert from_http_date(date, NOW, NOW, age="0") is not None


@pytest.mark.parametrize(
    ("low", "high", "status", "word"),
    [
        (-0.3, 0.9, "ok", "Agrees with the broker to within 0.9 seconds"),
        (-40.0, 40.0, "ok", "to within 40.0"),
        (1.9, 2.9, "ok", ""),
        (2.1, 3.1, "warn", "at least 2.1 seconds behind the broker"),
        (-9.0, -8.0, "warn", "at least 8.0 seconds ahead of the broker"),
        (30.5, 31.5, "fail", "30.5"),
        (-61.0, -60.0, "fail", "60.0"),
    ],
)
def test_two_seconds_warn_and_thirty_fail(low: float, high: float, status: str, word: str) -> None:
    verdict = judge("clock", "the broker", Skew(low=low, high=high))
    assert verdict.status == status
    assert word in verdict.finding
    assert ("time server" in verdict.advice) == (status != "ok")


def test_one_wrong_server_among_strangers_accuses_nobody() -> None:
    right, wrong = Skew(low=-0.5, high=0.5), Skew(low=3600.0, high=3601.0)
    assert judge_many("clock", "servers", [right, wrong, right]).status == "ok"
    assert judge_many("clock", "servers", [wrong, wrong, right]).status == "fail"
    assert judge_many("clock", "servers", [wrong]).status == "warn"
