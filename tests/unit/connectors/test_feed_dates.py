"""Dates and the schedule."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from website import NOW

from connectors.feed.dates import OLDEST, FeedDate, parse_date, settle
from connectors.feed.html import html_to_text
from connectors.feed.schedule import next_poll, wait_seconds


@pytest.mark.parametrize(
    ("raw", "expected", "naive"),
    [
        ("2026-03-02T09:00:00Z", NOW, False),
        ("2026-03-02t10:00:00+01:00", NOW, False),
        ("2026-03-02 09:00:00", NOW, True),
        ("2026-03-02", NOW.replace(hour=0), True),
        ("Mon, 02 Mar 2026 09:00:00 GMT", NOW, False),
        ("Mon, 02 Mar 2026 04:00:00 EST", NOW, False),
        ("02 Mar 26 09:00 +0000", NOW, False),
        ("Mon, 02 Mar 2026 09:00:00", NOW, True),
        ("Mon, 02 Mar 2026 09:00:00 -0000", NOW, False),
        ("Mon, 02 Mar 2026 08:59:60 GMT", NOW - timedelta(seconds=1), False),
    ],
)
def test_spellings(raw: str, expected: datetime, naive: bool) -> None:
    found = parse_date(raw)
    assert (found.at, found.naive) == (expected, naive)


@pytest.mark.parametrize("raw", ["soon", "32 Foo 2026", "2026-13-45T99:99:99Z", "0000-00-00", "\x00", "é" * 500])
def test_unreadable_dates(raw: str) -> None:
    assert parse_date(raw).at is None


@settings(deadline=None)
@given(st.text(max_size=60), st.datetimes(timezones=st.just(UTC)))
def test_any_date_settles_on_a_believable_time(raw: str, at: datetime) -> None:
    for date in (parse_date(raw), parse_date(at.isoformat()), FeedDate(raw="x", at=at)):
        settled = settle(date, fetched_at=NOW)
        assert OLDEST <= settled.at <= NOW


@settings(deadline=None)
@given(st.text(alphabet="<>&;!-/abp\"'= \n[]", max_size=400))
def test_text_of_any_markup_is_bounded_and_clean(markup: str) -> None:
    text = html_to_text(markup, limit=50)
    assert len(text) <= 50
    assert "\n" not in text


PIECES = ["<", "<a", "<!--", "&", "&#", "&#9", "9", "</", "<![CDATA[", "<a href='", '<a href="', "<a '\"", "<div>",
          "<script>", "</a ", "&lt;", "<!", "<?", "<a =", "'", " ", "<style"]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_no_markup_takes_long(piece: str) -> None:
    began = time.process_time()
    html_to_text("<p " + piece * (300_000 // len(piece)), limit=100_000)
    html_to_text("&#" + piece * (300_000 // len(piece)) + ">", limit=100_000)
    assert time.process_time() - began < 3


def test_blocks_separate_words_and_inline_tags_do_not() -> None:
    assert html_to_text("<p>one</p><p>two<br>th<b>re</b>e</p><img src=x>", limit=99) == "one two three"
    assert html_to_text("<style>p{}</style><iframe>kept</iframe> <object>open", limit=99) == "kept open"
    assert html_to_text("<img alt='a > b'>x<AAPL.O> 1<2 <B>big</B><!--no-->y <!--z", limit=99) == "x<AAPL.O> 1<2 bigy z"
    assert html_to_text("<SCRIPT>if (a<b) {}</SCRIPT >ok &amp;lt; &#8364; <?php x ?>!", limit=99) == "ok &lt; € !"


@settings(deadline=None)
@given(
    st.floats(1, 1e4),
    st.lists(st.floats(0, 1e6), max_size=3),
    st.floats(1, 1e3),
    st.sets(st.integers(0, 23)),
    st.sets(st.integers(0, 6)),
)
def test_the_next_poll_keeps_its_limits(
    interval: float, hints: list[float], low: float, hours: set[int], days: set[int]
) -> None:
    high = 3_600.0
    wait = wait_seconds(interval=interval, hints=hints, low=low, high=high)
    assert max(low, interval) <= wait <= max(low, interval, high)
    at = next_poll(NOW, wait=wait, high=high, skip_hours=sorted(hours), skip_days=sorted(days))
    assert NOW + timedelta(seconds=wait) - timedelta(seconds=1) <= at
    assert at <= NOW + timedelta(seconds=max(wait, high))


def test_skipped_days_and_hours_are_left_out() -> None:
    assert next_poll(NOW, wait=60, high=1e6, skip_hours=[9, 10]) == NOW.replace(hour=11)
    assert next_poll(NOW, wait=60, high=1e6, skip_days=[0]) == NOW.replace(hour=0) + timedelta(days=1)
