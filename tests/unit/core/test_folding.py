"""Folding in pieces is the same as folding character by character."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.folding import _fold_char, fold

PARTS = st.sampled_from(
    ["Bank ", "é", "ß", "’", "“Q”", "\u00a0", "\u200b", "ﬁ", "違約", "\t", "\x00", "  ", "İ", "`", "A"]
)


@given(st.lists(PARTS, max_size=12).map("".join) | st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_as_character_by_character(text: str) -> None:
    expected, origin = "", []
    spaced = False
    for place, char in enumerate(text):
        for part in _fold_char(char):
            if part != " " or not spaced:
                expected += part
                origin.append(place)
            spaced = part == " "
    found = fold(text)
    assert found.text == expected
    assert list(found.origin if found.origin is not None else range(len(text))) == origin
