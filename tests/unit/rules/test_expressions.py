"""Expressions take a bounded time, whatever they are and whatever they read."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from news import MONDAY, scored

from alerts.rules import expressions
from alerts.rules.engine import RuleSet
from alerts.rules.parser import QueryError, parse
from alerts.rules.rule import Rule
from monitor.core.errors import ConfigError

SECONDS = 5.0
"""Far above what any of it takes (0.4 s at most on a busy machine), far below what backtracking would take."""


def seconds(query: str, text: str) -> float:
    """CPU time of one rule over one text."""
    rules = RuleSet([Rule(name="r", query=parse(query))])
    item = scored(1, MONDAY, title=text)
    began = time.process_time()
    rules.match(item)
    return time.process_time() - began


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)+b",
        "(a|aa)+b",
        "(.*a){12}b",
        "(x+x+)+y",
        "a.*a.*a.*a.*b|a",
        "(a?){100}a{100}",
        "[ab]*a[ab]{60}c",
        "(?:[a-z]+ ?)+!",
        ".*.*.*b",
        r"(?:\p{L}|\p{N}|.)+b",
    ],
)
def test_what_makes_others_hang(pattern: str) -> None:
    assert seconds(f"/{pattern}/", "a" * 60_000) < SECONDS
    assert seconds(f"/{pattern}/", "ab " * 20_000) < SECONDS


pieces = st.sampled_from(["a", "b", ".", "[ab]", "(a|b)", "(?:a+b?)", "x", r"\d", r"\p{Han}", "违"])
repeats = st.sampled_from(["", "*", "+", "?", "{2,9}", "{30}", "*?"])
patterns = st.lists(st.tuples(pieces, repeats), min_size=1, max_size=8).map(
    lambda parts: "".join(piece + repeat for piece, repeat in parts)
)


@settings(max_examples=60, deadline=None)
@given(patterns, st.sampled_from(["", "(", "+", "*"]), st.text(st.sampled_from("ab x1违"), min_size=1, max_size=6))
def test_any_expression_is_refused_or_fast(pattern: str, outer: str, unit: str) -> None:
    text = f"({pattern}){outer}" if outer in ("+", "*") else pattern + outer
    try:
        parse(f"/{text}/")
    except QueryError:
        return
    assert seconds(f"/{text}/ OR (/{text}/ NEAR/9 b)", unit * (40_000 // len(unit))) < SECONDS


def test_one_that_is_too_large_is_refused() -> None:
    with pytest.raises(QueryError, match="too large"):
        parse(r"/[\p{L}\p{N}]{600}x/")
    with pytest.raises(QueryError, match="longer than 500 characters"):
        parse(f"/{'a' * 501}/")


def test_without_the_engine_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    expressions.compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ConfigError, match="google-re2"):
        parse("/bank/")
    parse("bank")


def test_many_matches_are_cut_short() -> None:
    item = scored(1, MONDAY, title="ab " * 100)
    (found,) = RuleSet([Rule(name="r", query=parse("/ab/"))]).match(item)
    assert len(found.marks) == expressions.MATCHES
