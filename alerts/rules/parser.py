"""Reads a query:

    query   = all { "OR" all }
    all     = one { "AND" one }
    one     = "NOT" one | near
    near    = single [ "NEAR/" number single ]
    single  = word | word* | "phrase" | /expression/ | field:value | negative>=0.9 | "(" query ")"

An error names the character and what was expected there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alerts.rules.expressions import compiled
from alerts.rules.lexer import QueryError, Token, tokens
from alerts.rules.query import ANY, FIELDS, LEVELS, And, Field, Level, Near, Not, Or, Query, Regex, Word, placed
from alerts.rules.text import glued, normal

__all__ = ["QueryError", "Vocabulary", "parse"]

LENGTH = 10_000
DEPTH = 40
TERMS = 500
DISTANCE = 100
PREFIX = 2
_OPERAND = 'a word, a "phrase", an /expression/, a field, NOT or ('
_UNCERTAIN = ("yes", "no", "topic", "sentiment", "language")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a query may name: topic ids, and entity ids with their names. None: not checked."""

    topics: tuple[str, ...] | None = None
    entities: Mapping[str, str] | None = None


def parse(text: str, vocabulary: Vocabulary | None = None) -> Query:
    """The query. Raises QueryError, and ConfigError when it needs an engine for expressions that is not there."""
    if len(text) > LENGTH:
        raise QueryError(f"a query has at most {LENGTH:,} characters, this one has {len(text):,}", LENGTH)
    parser = _Parser(text, vocabulary or Vocabulary())
    query = parser.query(0)
    parser.end()
    return query


class _Parser:
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._tokens = tokens(text)
        self._vocabulary = vocabulary
        self._terms = 0
        self._after = ""
        self._token = next(self._tokens)

    def _take(self) -> Token:
        taken = self._token
        self._after = str(taken)
        self._token = next(self._tokens)
        return taken

    def end(self) -> None:
        token = self._token
        if token.kind == "end":
            return
        if token.kind == ")":
            raise QueryError("this ) closes nothing", token.start)
        hint = (
            'Words that stand together are written in quotes: "bank run".' if token.kind in ("word", "phrase") else ""
        )
        raise QueryError(
            f"expected AND, OR, NEAR/n or the end after {self._after}, found {token}", token.start, hint=hint
        )

    def query(self, depth: int) -> Query:
        if depth > DEPTH:
            raise QueryError(f"parentheses and NOT are nested more than {DEPTH} deep", self._token.start)
        parts = [self._all(depth)]
        while self._token.kind == "OR":
            self._take()
            parts.append(self._all(depth))
        return either(parts)

    def _all(self, depth: int) -> Query:
        parts = [self._one(depth)]
        while self._token.kind == "AND":
            self._take()
            parts.append(self._one(depth))
        return every(parts)

    def _one(self, depth: int) -> Query:
        if depth > DEPTH:
            raise QueryError(f"parentheses and NOT are nested more than {DEPTH} deep", self._token.start)
        if self._token.kind == "NOT":
            self._take()
            return Not(self._one(depth + 1))
        start = self._token.start
        left = self._single(depth)
        if self._token.kind != "NEAR":
            return left
        near = self._take()
        distance = int(near.value[:9])
        if not 1 <= distance <= DISTANCE:
            raise QueryError(f"NEAR needs a number of words from 1 to {DISTANCE}, found {near.value[:9]}", near.at)
        place = self._token.start
        right = self._single(depth)
        for side, at in ((left, start), (right, place)):
            if not placed(side):
                raise QueryError(
                    "NEAR joins what stands in the text: words, phrases, expressions, entities, or several of them "
                    "joined by OR in parentheses",
                    at,
                )
        if self._token.kind == "NEAR":
            hint = "Write (a NEAR/5 b) AND (b NEAR/5 c)."
            raise QueryError("expected AND, OR or the end: NEAR joins two", self._token.start, hint=hint)
        return Near(left, right, distance)

    def _single(self, depth: int) -> Query:
        token = self._token
        if token.kind == "(":
            self._take()
            inner = self.query(depth + 1)
            if self._token.kind != ")":
                if self._token.kind == "end":
                    raise QueryError("this ( is not closed", token.start, hint="Expected ) before the end.")
                raise QueryError(
                    f"expected AND, OR, NEAR/n or ) after {self._after}, found {self._token}",
                    self._token.start,
                    hint='Words that stand together are written in quotes: "bank run".'
                    if self._token.kind in ("word", "phrase")
                    else "",
                )
            self._take()
            return inner
        if token.kind == "NOT":
            raise QueryError(
                f"expected a word, phrase, expression or entity after {self._after}, found 'NOT'", token.start
            )
        if token.kind in (")", "AND", "OR", "NEAR", "end"):
            after = f" after {self._after}" if self._after else ""
            raise QueryError(f"expected {_OPERAND}{after}, found {token}", token.start)
        self._terms += 1
        if self._terms > TERMS:
            raise QueryError(f"a query asks at most {TERMS} things", token.start, hint="Make two rules of it.")
        made = self._leaf(token)
        self._take()
        return made

    def _leaf(self, token: Token) -> Query:
        if token.kind in ("word", "phrase"):
            return _word(token)
        if token.kind == "regex":
            if not token.value:
                raise QueryError("an expression must not be empty", token.start)
            try:
                compiled(token.value)
            except ValueError as error:
                raise QueryError(
                    f"the expression /{token.value[:60]}/ cannot be used: {error}", token.start,
                    hint="Expressions are RE2's: no look-around, no back-references.",
                ) from error  # fmt: skip
            return Regex(token.value)
        if token.kind == "level":
            return _level(token)
        return self._field(token)

    def _field(self, token: Token) -> Field:
        name, value = token.name.lower(), token.value
        if name not in FIELDS:
            if name in LEVELS:
                raise QueryError(f"'{name}' is compared, as in {name}>=0.9", token.start)
            close = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Fields: {', '.join(FIELDS)}. Else put it into quotes."
            raise QueryError(f"there is no field '{token.name}'", token.start, hint=hint)
        if not value.strip():
            raise QueryError(f"expected a value after {name}:", token.at)
        if name == "source":
            folded = normal(value.rstrip("*"))
            if not folded:
                raise QueryError("expected a source, or its beginning and a *", token.at)
            return Field(name, folded + ("*" if value.endswith("*") else ""))
        value = value.strip()
        if name == "topic":
            known = self._vocabulary.topics
            if known is not None and value not in known:
                raise QueryError(f"there is no topic '{value}'", token.at, hint=_mean(value, known))
        elif name == "entity":
            self._entity(value, token.at)
        elif name == "lang":
            value = value.lower()
            if not _LANGUAGE.fullmatch(value):
                raise QueryError(f"'{value}' is no language", token.at, hint="Expected two letters, such as en or zh.")
        elif value.lower() not in _UNCERTAIN:
            raise QueryError(f"expected {', '.join(_UNCERTAIN[:-1])} or {_UNCERTAIN[-1]}, found '{value}'", token.at)
        else:
            value = value.lower()
        return Field(name, value)

    def _entity(self, value: str, at: int) -> None:
        known = self._vocabulary.entities
        if known is None or value == ANY or value in known:
            return
        names = {normal(name): key for key, name in known.items()}
        asked = normal(value)
        if asked in names:
            hint = f"Did you mean '{names[asked]}'?"
        else:
            hint = _mean(value, known)
            if not hint and (close := difflib.get_close_matches(asked, names, n=1, cutoff=0.6)):
                hint = f"Did you mean '{names[close[0]]}'?"
        raise QueryError(f"there is no entity '{value}' on the watchlist", at, hint=hint)


def every(parts: Iterable[Query]) -> Query:
    """All of the parts, flat."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(parts: Iterable[Query]) -> Query:
    """One of the parts, flat."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def _word(token: Token) -> Word:
    value, prefix = token.value, token.prefix
    if token.kind == "phrase" and value.endswith("*"):  # "bank run*" is "bank run"*
        value, prefix = value[:-1], True
    if "*" in value:
        raise QueryError("a * can only end a word or phrase", token.at + value.index("*"))
    text = normal(value)
    if not text:
        raise QueryError(f"nothing is left of {token} when signs that do not count are dropped", token.start)
    if not any(char.isalnum() for char in text):
        raise QueryError(f"{token} holds no letter and no digit", token.start)
    prefix = prefix and glued(text[-1])
    if prefix and len(re.findall(r"\w*$", text)[0]) < PREFIX:
        raise QueryError(f"expected at least {PREFIX} letters before the *", token.start)
    return Word(text, prefix)


def _level(token: Token) -> Level:
    if token.sign not in (">=", "<=", ">", "<"):
        raise QueryError(
            f"expected >=, >, <= or < after {token.name}, found {token.sign}", token.start + len(token.name)
        )
    try:
        value = float(token.value)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise QueryError(
            f"expected a probability from 0 to 1 after {token.name}{token.sign}, found '{token.value}'", token.at
        )
    return Level(token.name, token.sign, value)


def _mean(asked: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(asked.lower(), names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(sorted(names))}." if 0 < len(names) <= 30 else ""
