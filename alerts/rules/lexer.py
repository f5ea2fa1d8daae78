"""Cuts a query into its pieces, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from alerts.rules.query import FIELDS, LEVELS

_SPACE = re.compile(r"\s+")
_NEAR = re.compile(r"NEAR/(\d+)(?![^\s()\"“”（）])")
_LEVEL = re.compile(rf"({'|'.join(LEVELS)})\s*(>=|<=|>|<|=+)\s*([^\s()\"“”（）]*)")
_FIELD = re.compile(r"([A-Za-z_]+):")
_VALUE = re.compile(r"[^\s()\"“”（）]+")
_WORD = re.compile(r"[^\s()\"“”（）:<>=*/][^\s()\"“”（）:<>=*]*")
_CLOSING = {'"': '"', "“": "”", "”": "”"}
_PARENTHESES = {"(": "(", "（": "(", ")": ")", "）": ")"}


class QueryError(Exception):
    """A query is wrong at character ``at``."""

    def __init__(self, message: str, at: int, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.at, self.hint = message, at, hint


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: ( ) AND OR NOT NEAR word phrase regex field level, or end. ``value``: what it holds; ``name`` and
    ``sign``: of a field or level. ``start``: its place, ``at``: that of its value."""

    kind: str
    start: int
    value: str = ""
    name: str = ""
    sign: str = ""
    prefix: bool = False
    at: int = 0

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end"
        shown = self.value if len(self.value) <= 40 else f"{self.value[:40]}…"
        if self.kind in ("word", "field", "level"):
            return f"'{self.name}{':' if self.kind == 'field' else self.sign}{shown}'" if self.name else f"'{shown}'"
        if self.kind == "phrase":
            return f'"{shown}"'
        return f"/{shown}/" if self.kind == "regex" else f"NEAR/{shown}" if self.kind == "NEAR" else f"'{self.kind}'"


def tokens(text: str) -> Iterator[Token]:
    """The pieces, then one of the kind ``end``. Raises QueryError."""
    at = 0
    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at >= len(text):
            yield Token("end", len(text))
            return
        token, at = _next(text, at)
        yield token


def _next(text: str, at: int) -> tuple[Token, int]:
    char = text[at]
    if char in _PARENTHESES:
        return Token(_PARENTHESES[char], at), at + 1
    if char in _CLOSING:
        value, end = _quoted(text, at)
        prefix = text.startswith("*", end)
        return Token("phrase", at, value, prefix=prefix, at=at + 1), end + prefix
    if char == "/":
        value, end = _expression(text, at)
        return Token("regex", at, value, at=at + 1), end
    if near := _NEAR.match(text, at):
        return Token("NEAR", at, near[1], at=near.start(1)), near.end()
    if level := _LEVEL.match(text, at):
        return Token("level", at, level[3], name=level[1], sign=level[2], at=level.start(3)), level.end()
    if field := _FIELD.match(text, at):
        return _field(text, at, field)
    word = _WORD.match(text, at)
    if word is None:
        hint = "A word can end with *, but not begin with it." if char == "*" else "Put it into quotes."
        raise QueryError(f"'{char}' cannot stand here", at, hint=hint)
    return _word(text, word)


def _word(text: str, word: re.Match[str]) -> tuple[Token, int]:
    value, at, end = word[0], word.start(), word.end()
    if value in ("AND", "OR", "NOT"):
        return Token(value, at), end
    if value == "NEAR" or value.startswith("NEAR/"):
        raise QueryError("NEAR needs a number of words from 1 to 100", at, hint="For example NEAR/5.")
    if value.lower() in ("and", "or", "not", "near"):
        hint = f'Operators are written in capitals; the word itself is written "{value}".'
        raise QueryError(f"'{value}' is neither an operator nor a word in quotes", at, hint=hint)
    if text.startswith("*", end):
        if end + 1 < len(text) and text[end + 1] not in " \t\r\n()（）":
            raise QueryError("a * can only end a word", end)
        return Token("word", at, value, prefix=True, at=at), end + 1
    if end < len(text) and text[end] in "<>=":
        hint = f"Only {', '.join(LEVELS)} can be compared, as in negative>=0.9."
        raise QueryError(f"'{value}' cannot be compared", at, hint=hint)
    if end < len(text) and text[end] == ":":
        raise QueryError(f"'{value}:' is no field", at, hint=f"Fields: {', '.join(FIELDS)}. Else put it into quotes.")
    return Token("word", at, value, at=at), end


def _field(text: str, at: int, field: re.Match[str]) -> tuple[Token, int]:
    place = field.end()
    if place < len(text) and text[place] in _CLOSING:
        value, end = _quoted(text, place)
    else:
        found = _VALUE.match(text, place)
        value, end = (found[0], found.end()) if found else ("", place)
    return Token("field", at, value, name=field[1], at=place), end


def _quoted(text: str, at: int) -> tuple[str, int]:
    closing, index, value = _CLOSING[text[at]], at + 1, list[str]()
    while index < len(text):
        char = text[index]
        if char == closing:
            return "".join(value), index + 1
        if char == "\\" and index + 1 < len(text) and text[index + 1] in '\\"“”':
            index += 1
            char = text[index]
        value.append(char)
        index += 1
    raise QueryError("this quote is not closed", at, hint=f"Expected {closing} before the end.")


def _expression(text: str, at: int) -> tuple[str, int]:
    index, value = at + 1, list[str]()
    while index < len(text):
        char = text[index]
        if char == "/":
            return "".join(value), index + 1
        if char == "\\" and index + 1 < len(text):
            value.append("/" if text[index + 1] == "/" else text[index : index + 2])
            index += 2
            continue
        value.append(char)
        index += 1
    raise QueryError("this expression is not closed", at, hint="Expected / before the end; a / within it is \\/.")
