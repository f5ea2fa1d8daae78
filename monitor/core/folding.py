"""One form of text under which aliases and articles are compared, with the way back to the original offsets.

Folding: NFKC (full-width and compatibility forms), case folding, Latin accents dropped, typographic apostrophes and
hyphens made plain, invisible characters dropped, runs of white space made one space. All of it is done character by
character, so that each folded character comes from exactly one original character.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

_SPECIAL = {
    **dict.fromkeys("\u2018\u2019\u02bc\u2032\u0060\u00b4\uff07", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u201c\u201d\u300c\u300d\u300e\u300f\uff02", '"'),
    **dict.fromkeys("\u00b7\u2022\u30fb\uff65\u2027\u22c5", "\u00b7"),
}


@dataclass(frozen=True, slots=True)
class Folded:
    """Folded text. ``origin[i]`` is the place in the original of the character that gave ``text[i]``; None: i."""

    text: str
    origin: Sequence[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """The original span of ``text[start:end]``; None when it would cut through an original character."""
        if self.origin is None:
            return start, end
        first, last = self.origin[start], self.origin[end - 1]
        if start and self.origin[start - 1] == first:
            return None
        if end < len(self.text) and self.origin[end] == last:
            return None
        return first, last + 1


def _fold_char(char: str) -> str:
    special = _SPECIAL.get(char)
    if special is not None:
        return special
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    if category in ("Cf", "Cc", "Cs", "Co") or "\u0300" <= char <= "\u036f" or "\ufe00" <= char <= "\ufe0f":
        return ""
    folded = unicodedata.normalize("NFKC", char).casefold()
    code = ord(char)
    if 0xC0 <= code < 0x250 or 0x1E00 <= code < 0x1F00:
        decomposed = unicodedata.normalize("NFKD", folded)
        folded = "".join(part for part in decomposed if not unicodedata.combining(part))
    return " " if folded.isspace() else folded


class _Table(dict[int, str]):
    """A lazily filled table for ``str.translate``; it also remembers which characters change the length."""

    def __init__(self) -> None:
        super().__init__()
        self.uneven: set[str] = set()

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = _fold_char(char)
        if len(folded) != 1:
            self.uneven.add(char)
        self[code] = folded
        return folded


_TABLE = _Table()
_odd: tuple[int, re.Pattern[str]] = (-1, re.compile(r"\s{2,}"))


def _odd_places() -> re.Pattern[str]:
    """Matches the stretches that cannot be folded one to one, as far as characters have been seen."""
    global _odd  # a cache; a race builds it twice
    if _odd[0] != len(_TABLE.uneven):
        uneven = tuple(_TABLE.uneven)
        pattern = f"[{re.escape(''.join(uneven))}\\s]{{2,}}|[{re.escape(''.join(uneven))}]" if uneven else r"\s{2,}"
        _odd = (len(uneven), re.compile(pattern))
    return _odd[1]


_FOREIGN = re.compile(r"([^\x00-\x7f]+)")


def _one_to_one(text: str) -> str | None:
    """The text with each character replaced by the one that it gives; None when one gives none or several.

    ``str.translate`` is fast on pure ASCII only, so a text in which little else stands is taken in pieces.
    """
    pieces = _FOREIGN.split(text)
    even = True
    for place, piece in enumerate(pieces):  # all of them: the table must have seen each character
        folded = piece.translate(_TABLE)
        # ASCII gives one character or none; of the others one may give two and its neighbour none.
        if len(folded) != len(piece) or (place % 2 and not _TABLE.uneven.isdisjoint(piece)):
            even = False
        pieces[place] = folded
    if not even:
        return None
    return "".join(pieces)


def fold(text: str) -> Folded:
    """Folds ``text``. Linear in its length; never raises."""
    folded = _one_to_one(text)
    if folded is not None and "  " not in folded:
        return Folded(folded)
    parts: list[str] = []
    origin = array("l")
    last = 0
    for match in _odd_places().finditer(text):
        start, end = match.span()
        parts.append(text[last:start].translate(_TABLE))
        origin.extend(range(last, start))
        spaced = False
        for index in range(start, end):
            for part in _TABLE[ord(text[index])]:
                if part != " " or not spaced:
                    parts.append(part)
                    origin.append(index)
                spaced = part == " "
        last = end
    parts.append(text[last:].translate(_TABLE))
    origin.extend(range(last, len(text)))
    return Folded("".join(parts), origin)
