"""Strict options: every wrong value names source, key and what was expected."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import SourceSpec
from connectors.options import Options
from monitor.core.errors import ConfigError


def options(**values: object) -> Options:
    return Options(SourceSpec(name="wire", kind="feed", options=values))


@pytest.mark.parametrize(
    ("given", "seconds"), [(90, 90), (1.5, 1.5), ("30s", 30), ("5m", 300), ("1.5 h", 5400), ("2d", 172800)]
)
def test_durations(given: object, seconds: float) -> None:
    assert options(wait=given).duration("wait", 1) == seconds


@pytest.mark.parametrize("given", ["5", "m", "-5m", "5 weeks", True, None.__class__, [], "1e9d", float("nan"), -1])
def test_what_is_no_duration(given: object) -> None:
    with pytest.raises(ConfigError, match="Source 'wire': option 'wait' must be a duration from 0 s to 604800 s"):
        options(wait=given).duration("wait", 1)


def test_the_other_readers() -> None:
    given = options(word=" a ", flag=True, count=3, kind="b", table={"X": "y"}, url="https://n.example/f")
    assert (given.text("word"), given.flag("flag", default=False), given.whole("count", 1, low=0, high=5)) == (
        "a",
        True,
        3,
    )
    assert (given.choice("kind", "a", ("a", "b")), given.texts("table")) == ("b", {"X": "y"})
    assert given.url("url") == "https://n.example/f"
    given.finish()
    none = options()
    assert (none.text("word", ""), none.flag("flag", default=True), none.whole("n", 7, low=0, high=9)) == ("", True, 7)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ({"k": 5}, lambda o: o.text("k")),
        ({"k": "  "}, lambda o: o.text("k", "x")),
        ({"k": 1}, lambda o: o.flag("k", default=False)),
        ({"k": True}, lambda o: o.whole("k", 1, low=0, high=5)),
        ({"k": 6}, lambda o: o.whole("k", 1, low=0, high=5)),
        ({"k": "c"}, lambda o: o.choice("k", "a", ("a", "b"))),
        ({"k": "x"}, lambda o: o.texts("k")),
        ({"k": "http://[::1/"}, lambda o: o.url("k")),
        ({"k": "/etc/passwd"}, lambda o: o.url("k")),
    ],
)
def test_wrong_values(values: dict[str, object], read: object) -> None:
    with pytest.raises(ConfigError, match="Source 'wire': option 'k' must be"):
        read(options(**values))  # type: ignore[operator]


def test_a_misspelt_key_is_recognised() -> None:
    with pytest.raises(
        ConfigError, match=r"'symbol' must be .* it is missing\. Did you mean 'symbol' where 'symbl' stands"
    ):
        options(symbl="ABC").text("symbol")
    given = options(intervall=3)
    given.duration("interval", 1)
    with pytest.raises(ConfigError, match=r"no option 'intervall'\. Did you mean 'interval'"):
        given.finish()


@settings(deadline=None)
@given(st.text(min_size=1))
def test_secrets_do_not_appear(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(token=[secret + "#unlikely#"]).text("token")
    assert "#unlikely#" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        options(url="ftp://user:hunter2@host").url("url")
    assert "hunter2" not in str(caught.value)
