"""Letters without which an expression cannot match: never more than is certain."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.rules.literals import needed

PIECES = ["ab", "c", "fine", "\\d", "\\w+", "[a-c]", "[^]x]", "(?:ef|g)", "(hi)", "x?", "no*", "yes+", "q{2}", ".", "|"]


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"default\w*", ("default",)),
        (r"\bUS?\$ ?[0-9.]+ ?billion\b", ("billion",)),
        (r"fined|penalty", ("fined", "penalty")),
        (r"fined|\d+", None),
        (r"(fined|penalty)", None),
        (r"colou?r", ("colo",)),
        (r"defaults?", ("default",)),
        (r"違約金|罚款", ("违约金", "罚款")),
        (r"(?i)fined", None),
        (r"\Qa.b\Efined", None),
        (r"[\]fined]", None),
        (r"\p{Greek}fined", ("fined",)),
        (r"\x41bcd\pNefg", ("bcd",)),
        (r"ab", None),
    ],
)
def test_what_is_certain(pattern: str, texts: tuple[str, ...] | None) -> None:
    assert needed(pattern) == texts


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.text("abcdefghinoqsxyz1 ", max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_match_is_without_them(pieces: list[str], text: str) -> None:
    pattern = "".join(pieces)
    texts = needed(pattern)
    if texts is not None and re.search(pattern, text):
        assert any(one in text for one in texts)
