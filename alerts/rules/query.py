"""A query as a value: what :mod:`alerts.rules.parser` makes and :mod:`alerts.rules.engine` runs. ``str`` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BARE = re.compile(r"[^\W_][\w.&'$%+-]*")
KEYWORDS = frozenset({"and", "or", "not", "near"})
FIELDS = ("topic", "entity", "source", "lang", "uncertain")
LEVELS = ("negative", "neutral", "positive")
ANY = "*"
"""``entity:*``: whichever is watched."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word or phrase in its normal form; ``prefix``: it may go on to the end of the word."""

    text: str
    prefix: bool = False

    def __str__(self) -> str:
        star = "*" if self.prefix else ""
        if _BARE.fullmatch(self.text) and self.text not in KEYWORDS:
            return f"{self.text}{star}"
        return f"{_quoted(self.text)}{star}"


@dataclass(frozen=True, slots=True)
class Regex:
    """An expression as RE2 reads it."""

    pattern: str

    def __str__(self) -> str:
        text, escaped = [], False
        for char in self.pattern:
            text.append("\\/" if char == "/" and not escaped else char)
            escaped = char == "\\" and not escaped
        return f"/{''.join(text)}/"


@dataclass(frozen=True, slots=True)
class Field:
    """``topic:``, ``entity:``, ``source:``, ``lang:`` or ``uncertain:`` with what it must be."""

    name: str
    value: str

    def __str__(self) -> str:
        bare = re.fullmatch(r"[\w.*-]+", self.value)
        return f"{self.name}:{self.value if bare else _quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Level:
    """A probability of a sentiment, compared."""

    name: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value!r}"


@dataclass(frozen=True, slots=True)
class Near:
    """Two that have places, at most ``distance`` words apart, in either order."""

    left: Query
    right: Query
    distance: int

    def __str__(self) -> str:
        return f"{_inner(self.left)} NEAR/{self.distance} {_inner(self.right)}"


@dataclass(frozen=True, slots=True)
class Not:
    """Not so."""

    part: Query

    def __str__(self) -> str:
        return f"NOT {_inner(self.part)}"


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more; none of them is an And itself."""

    parts: tuple[Query, ...]

    def __str__(self) -> str:
        return " AND ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of two or more; none of them is an Or itself."""

    parts: tuple[Query, ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.parts))


Query = Word | Regex | Field | Level | Near | Not | And | Or


def placed(query: Query) -> bool:
    """Whether it stands somewhere in the text, so that NEAR can tell how far: a word, phrase or expression, an entity,
    or several of them joined by OR."""
    if isinstance(query, Or):
        return all(placed(part) for part in query.parts)
    return isinstance(query, Word | Regex) or (isinstance(query, Field) and query.name == "entity")


def leaves(query: Query) -> Iterator[Word | Regex | Field | Level]:
    """Everything that is asked, in order."""
    if isinstance(query, And | Or):
        for part in query.parts:
            yield from leaves(part)
    elif isinstance(query, Near):
        yield from leaves(query.left)
        yield from leaves(query.right)
    elif isinstance(query, Not):
        yield from leaves(query.part)
    else:
        yield query


def _inner(query: Query) -> str:
    return f"({query})" if isinstance(query, And | Or | Near) else str(query)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
