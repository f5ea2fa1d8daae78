"""No regular expression of ours can be made to hang by what strangers send (ReDoS).

Users' own expressions run in RE2, see tests/unit/rules/test_expressions.py; these are the ones in the code, which read
feeds, headlines, headers and logs. Each is searched for in long texts of the kind that makes backtracking explode: one
character or a pair, many times, and then something that does not match. What is quadratic
passes (the caps on texts bound it); what is worse takes many times the second that is allowed.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

import alerts
import connectors
import monitor

UNITS = (
    "a", "A", "1", " ", "\t", "\n", "-", ".", ",", "'", '"', "<", ">", "{", "}", "(", "[", "=", "&", ":", "/", "\\",
    "$", "@", "_", "中", "é", "a ", "a.", "a-", "A.", "1,", "a'", "<a", "{a", "http://", "a=", "max-age=", "Bearer ",
    "x@", "a: ", "'\\", "ab1-", "inc. ",
)  # fmt: skip
LENGTH = 1_000
SECONDS = 1.0


def _modules() -> Iterator[ModuleType]:
    for package in (monitor, connectors, alerts):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.startswith(("monitor.train", "monitor.demo")) or found.name.endswith("__main__"):
                continue  # they read what their user gives them
            try:
                yield importlib.import_module(found.name)
            except ImportError:  # an extra is not installed
                continue


def _patterns() -> dict[str, re.Pattern[str]]:
    found: dict[str, re.Pattern[str]] = {}

    def look(name: str, value: object, depth: int = 0) -> None:
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            found[name] = value
        elif depth < 3 and isinstance(value, tuple | list | dict):
            inner = value.values() if isinstance(value, dict) else value
            for number, one in enumerate(inner):
                look(f"{name}[{number}]", one, depth + 1)

    for module in _modules():
        for name, value in vars(module).items():
            look(f"{module.__name__}.{name}", value)
    return found


PATTERNS = _patterns()


def _worst(pattern: re.Pattern[str]) -> tuple[float, str]:
    worst = (0.0, "")
    for unit in UNITS:
        text = unit * (LENGTH // len(unit)) + "\x00!"
        for call in (pattern.search, pattern.fullmatch):
            began = time.thread_time()
            call(text)
            worst = max(worst, (time.thread_time() - began, unit))
    return worst


def test_they_are_found() -> None:
    assert len(PATTERNS) > 60
    assert any(name.startswith("connectors.http") for name in PATTERNS)


@pytest.mark.parametrize("name", sorted(PATTERNS))
@pytest.mark.timeout(60)
def test_no_expression_of_ours_hangs(name: str) -> None:
    seconds, unit = _worst(PATTERNS[name])
    assert seconds < SECONDS, f"{unit!r} takes {seconds:.1f} s"


def test_the_measure_finds_one_that_backtracks() -> None:
    bad = re.compile(r"(?:a|aa)+b")
    began = time.thread_time()
    bad.match("a" * 18)
    once = time.thread_time() - began
    bad.match("a" * 26)  # at the length of the others it would outlast everything
    assert (time.thread_time() - began - once) / once > 5
