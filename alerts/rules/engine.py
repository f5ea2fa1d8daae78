"""Runs all rules over an article: one pass of an automaton over its text, then only the rules that can be true.

Every word of every rule sits in one Aho-Corasick automaton, and so do the letters without which an expression cannot
match. A rule is *awake* when something is there without which it cannot be true (one of its words, its entity, its
topic …); the others cost nothing. What is awake is asked in the order of the price (:mod:`alerts.rules.asked`), in time
that is linear in the number of matches. Expressions are run last, and only by rules that nothing else has made false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ahocorasick

from alerts.rules.asked import TOPIC, Facts, asked
from alerts.rules.literals import needed
from alerts.rules.query import ANY, And, Field, Near, Or, Query, Regex, Word
from alerts.rules.rule import Rule
from alerts.rules.text import GLUED, RuleText, Span, glued, united
from monitor.core.types import ScoredArticle, SeriesKey

__all__ = ["TOPIC", "Mark", "Match", "RuleSet"]

_Fact = tuple[str, str]
_Anchor = int | _Fact
"""The number of a word or literal, or a field and its value."""
_COST = {
    "word": 1.0,
    "entity": 1.0,
    "any entity": 60.0,
    "topic": 30.0,
    "source": 30.0,
    "lang": 200.0,
    "uncertain": 90.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What of an article made a rule true: ``start``/``end`` are character offsets into ``Article.text``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A rule is true of an article. ``marks`` in order of place; empty when only fields were asked."""

    rule: Rule
    marks: tuple[Mark, ...]


class RuleSet:
    """Rules, compiled once. Immutable; safe to share between threads."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.by_key: Mapping[SeriesKey, Rule] = {rule.key: rule for rule in self.rules}
        words = _Words()
        self._plans = [asked(rule.query, words.number, words.literals, rule.title_only) for rule in self.rules]
        self._wake: dict[_Fact, list[int]] = {}
        self._always: list[int] = []
        wake_words: dict[int, list[int]] = {}
        for number, rule in enumerate(self.rules):
            anchors = _anchors(rule.query, words)
            if anchors is None:
                self._always.append(number)
                continue
            for anchor in anchors[1]:
                if isinstance(anchor, int):
                    wake_words.setdefault(anchor, []).append(number)
                else:
                    self._wake.setdefault(anchor, []).append(number)
        self._wake_words = wake_words
        self._automaton = words.automaton()
        self._sources = [anchor for anchor in self._wake if anchor[0] == "source"]

    def __len__(self) -> int:
        return len(self.rules)

    def match(self, item: ScoredArticle) -> tuple[Match, ...]:
        """The rules that are true of an article, in the order of the rules. Never raises, whatever the text holds."""
        if not self.rules:
            return ()
        facts = Facts(item, self._scan)
        awake = set(self._always)
        if self._wake_words:
            wake = self._wake_words.get
            for word in facts.found:
                if woken := wake(word):
                    awake.update(woken)
        for anchor in _facts_of(facts):
            awake.update(self._wake.get(anchor, ()))
        for anchor in self._sources:
            if facts.from_source(anchor[1]):
                awake.update(self._wake[anchor])
        plans = self._plans
        true = [number for number in sorted(awake) if plans[number].holds(facts)]
        return tuple(Match(rule=self.rules[number], marks=self._marks(number, facts)) for number in true)

    def _marks(self, number: int, facts: Facts) -> tuple[Mark, ...]:
        """The places that made a rule true, in ``Article.text``, without overlaps."""
        text = facts.item.article.text
        places: list[Span] = []
        for span in united(self._plans[number].reasons(facts)):
            original = facts.text.original(span)
            if original is not None and original[0] < original[1]:
                places.append(original)
        merged: list[Span] = []
        for start, end in sorted(places):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return tuple(Mark(start=start, end=end, text=text[start:end]) for start, end in merged)

    def _scan(self, text: RuleText) -> dict[int, list[Span]]:
        """Where the words of all rules stand in a text, by their numbers."""
        found: dict[int, list[Span]] = {}
        if self._automaton is None:
            return found
        words, size, even, is_glued = text.words, len(text.words), text.even, GLUED
        for last, entries in self._automaton.iter(words):
            for word, length, left, right, prefix, literal in entries:
                start, end = last - length + 1, last + 1
                if left and start and is_glued[words[start - 1]]:
                    continue
                if right and end < size and is_glued[words[end]]:
                    if not prefix:
                        continue
                    while end < size and is_glued[words[end]]:
                        end += 1
                if even or literal or text.original((start, end)) is not None:
                    if (spans := found.get(word)) is None:
                        found[word] = [(start, end)]
                    else:
                        spans.append((start, end))
        return found


class _Words:
    """The words of all rules and the literals of their expressions, numbered."""

    def __init__(self) -> None:
        self._words: dict[Word, int] = {}
        self._literals: dict[str, int] = {}
        self._patterns: dict[str, tuple[int, ...] | None] = {}

    def number(self, word: Word) -> int:
        return self._words.setdefault(word, len(self._words) + len(self._literals))

    def literals(self, pattern: str) -> tuple[int, ...] | None:
        """Of an expression, when it has some; None: it must be run to know."""
        if pattern not in self._patterns:
            texts = needed(pattern)
            self._patterns[pattern] = None if texts is None else tuple(map(self._literal, texts))
        return self._patterns[pattern]

    def _literal(self, text: str) -> int:
        return self._literals.setdefault(text, len(self._words) + len(self._literals))

    def automaton(self) -> Any:
        """pyahocorasick keeps one value per string: of each that is written so its number, its length, whether its ends
        must be word ends, whether it may go on, and whether it is a literal."""
        by_text: dict[str, list[tuple[int, int, bool, bool, bool, bool]]] = {}
        for word, number in self._words.items():
            text = word.text
            entry = (number, len(text), glued(text[0]), glued(text[-1]), word.prefix, False)
            by_text.setdefault(text, []).append(entry)
        for text, number in self._literals.items():
            by_text.setdefault(text, []).append((number, len(text), False, False, False, True))
        if not by_text:
            return None
        automaton = ahocorasick.Automaton()
        for text, entries in by_text.items():
            automaton.add_word(text, entries)
        automaton.make_automaton()
        return automaton


def _facts_of(facts: Facts) -> list[_Fact]:
    """What wakes rules, beside words and sources."""
    scored = facts.item.scored
    found = [("topic", facts.topic), ("lang", facts.item.article.lang)]
    found += [("entity", name) for name in dict.fromkeys(mention.id for mention in scored.entities)]
    if scored.entities:
        found.append(("entity", ANY))
    found += [("uncertain", name) for name in ("yes", *scored.doubts) if scored.doubts]
    return found


def _anchors(query: Query, words: _Words) -> tuple[float, frozenset[_Anchor]] | None:
    """Of what at least one must be there for the query to be true, with what it costs; None: of nothing."""
    if isinstance(query, Word):
        return _COST["word"], frozenset({words.number(query)})
    if isinstance(query, Regex):
        literals = words.literals(query.pattern)
        return None if literals is None else (_COST["word"] * len(literals), frozenset(literals))
    if isinstance(query, Field):
        if query.name == "uncertain" and query.value == "no":
            return None
        name = "any entity" if query.name == "entity" and query.value == ANY else query.name
        return _COST[name], frozenset({(query.name, query.value)})
    if isinstance(query, Near):
        return _cheaper((_anchors(query.left, words), _anchors(query.right, words)))
    if isinstance(query, And):
        return _cheaper(_anchors(part, words) for part in query.parts)
    if isinstance(query, Or):
        cost, anchors = 0.0, frozenset[_Anchor]()
        for part in query.parts:
            found = _anchors(part, words)
            if found is None:
                return None
            cost, anchors = cost + found[0], anchors | found[1]
        return cost, anchors
    return None


def _cheaper(found: Iterable[tuple[float, frozenset[_Anchor]] | None]) -> tuple[float, frozenset[_Anchor]] | None:
    return min((one for one in found if one is not None), key=lambda one: one[0], default=None)
