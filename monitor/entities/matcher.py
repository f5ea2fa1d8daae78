"""Finds watch-listed entities in text.

All aliases, refuting phrases and evidence words sit in two Aho-Corasick automata, so a text is read once (twice when it
holds an ambiguous alias), in time linear in its length. Offsets always refer to the text as given.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import ahocorasick

from monitor.core.types import EntityMention
from monitor.entities.evidence import COMPANY_VERBS, FINANCE_WORDS, FINANCE_WORDS_ZH
from monitor.entities.folding import Folded, fold
from monitor.entities.rules import AliasRule, Case, Evidence
from monitor.entities.tickers import Ticker, find_forms
from monitor.entities.watchlist import Entity, Watchlist

MENTION_LIMIT = 20
"""Mentions returned per entity and text; the first ones, so that a huge text cannot give a huge record."""
WINDOW = 100
"""Characters before and after a Latin alias in which evidence counts."""
WINDOW_HAN = 30
"""The same for a Chinese alias: a Chinese character says about as much as three Latin ones."""

_GENERAL = -1
_BLOCK = 256
_ASCII_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_VERBS = "|".join(COMPANY_VERBS)
_VERB = re.compile(rf"(?:,? inc\.?|,? corp\.?|,? plc)? (?:also |now |will |again )?(?:{_VERBS})\b")
_POSSESSIVE = re.compile(r"'s? ")
_LATIN_WORD = re.compile(r"[A-Za-z]{4,}")
_SENTENCE_START = frozenset(".!?:;\"'|>-·[(")


def _glued(char: str) -> bool:
    """True for a character that belongs to the same word as a letter beside it: a letter or digit of a script that
    separates words. Chinese, Japanese and Korean do not (or glue particles on), so they never glue."""
    if not char.isalnum():
        return char == "_"
    return not ("\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7af"
                or "\uf900" <= char <= "\ufaff" or char >= "\U00020000")  # fmt: skip


@dataclass(slots=True)
class _Pattern:
    """What a string of the first automaton stands for."""

    length: int
    left: bool
    right: bool
    aliases: list[tuple[int, AliasRule | None, int]] = field(default_factory=list)
    """(entity index, rule, rule number or -1)"""
    refutes: list[int] = field(default_factory=list)
    """Numbers of the rules whose mention it refutes when it covers it."""
    keeps: list[int] = field(default_factory=list)
    """Numbers of the rules whose mention it saves from being refuted."""


_Candidate = tuple[int, int, int, AliasRule | None, int]
"""start, end, entity index, rule, rule number"""
_Spans = dict[int, list[tuple[int, int]]]


class EntityMatcher:
    """Finds the entities of one watchlist. Immutable after construction, safe to share between threads."""

    def __init__(self, watchlist: Watchlist, *, mention_limit: int = MENTION_LIMIT) -> None:
        self.watchlist = watchlist
        self._limit = mention_limit
        self._tickers: dict[Ticker, int] = {}
        self._rules: list[AliasRule] = []
        patterns: dict[str, _Pattern] = {}
        words: dict[str, list[int]] = defaultdict(list)
        for word in (*FINANCE_WORDS, *FINANCE_WORDS_ZH):
            words[word].append(_GENERAL)
        for index, entity in enumerate(watchlist.entities):
            for ticker in entity.tickers:
                self._tickers.setdefault(ticker, index)
            self._add(index, entity, patterns, words)
        self._longest = max((len(text) for text in patterns), default=0)
        self._aliases = _automaton(patterns.items())
        self._words = _automaton(
            (text, (len(text), _glued(text[0]), _glued(text[-1]), groups)) for text, groups in words.items()
        )

    def _add(self, index: int, entity: Entity, patterns: dict[str, _Pattern], words: dict[str, list[int]]) -> None:
        for alias in entity.all_aliases:
            text = fold(alias).text.strip()
            rule = entity.rules.get(text)
            number = -1
            if rule is not None:
                number = len(self._rules)
                self._rules.append(rule)
                for phrase in rule.covering:
                    _pattern(patterns, phrase).refutes.append(number)
                for phrase in rule.kept:
                    _pattern(patterns, phrase).keeps.append(number)
                for word in rule.words:
                    words[word].append(2 * number)
                for word in rule.near:
                    words[word].append(2 * number + 1)
            _pattern(patterns, text).aliases.append((index, rule, number))

    def find(self, text: str) -> tuple[EntityMention, ...]:
        """The mentions in ``text`` in order of place, without overlaps (of two that overlap the longer one), at most
        ``mention_limit`` per entity. Never raises, whatever the text holds."""
        folded = fold(text)
        candidates, refuted, kept = self._scan(folded.text)
        chosen = _Chosen(folded, text, len(self.watchlist.entities))
        self._forms(folded, text, chosen)
        doubtful: list[tuple[int, int, int, AliasRule, int]] = []
        for start, end, index, rule, number in candidates:
            span = folded.span(start, end)
            if span is None:
                continue
            if rule is None:
                chosen.add(start, end, index)
                continue
            if not _case_fits(text[span[0] : span[1]], rule.case):
                continue
            if _covered(refuted.get(number), start, end, self._longest) and not _covered(
                kept.get(number), start, end, self._longest
            ):
                continue
            if rule.evidence is Evidence.NONE and not rule.near:
                chosen.add(start, end, index)
            else:
                doubtful.append((start, end, index, rule, number))
        if doubtful:
            self._judge(doubtful, chosen)
        entities = self.watchlist.entities
        return tuple(
            EntityMention(id=entities[index].id, name=entities[index].name, start=start, end=end)
            for start, end, index in chosen.spans(self._limit)
        )

    def entities(self, text: str) -> tuple[str, ...]:
        """The ids of the entities in ``text``, each once, in order of first mention."""
        return tuple(dict.fromkeys(mention.id for mention in self.find(text)))

    def _scan(self, text: str) -> tuple[list[_Candidate], _Spans, _Spans]:
        """Aliases in ``text``, and by rule number the spans of phrases that refute and that keep."""
        candidates: list[_Candidate] = []
        refuted: _Spans = defaultdict(list)
        kept: _Spans = defaultdict(list)
        if self._aliases is None:
            return candidates, refuted, kept
        size = len(text)
        for last, pattern in self._aliases.iter(text):
            start, end = last - pattern.length + 1, last + 1
            if (pattern.left and start and _glued(text[start - 1])) or (
                pattern.right and end < size and _glued(text[end])
            ):
                continue
            for index, rule, number in pattern.aliases:
                candidates.append((start, end, index, rule, number))
            for number in pattern.refutes:
                refuted[number].append((start, end))
            for number in pattern.keeps:
                kept[number].append((start, end))
        return candidates, refuted, kept

    def _forms(self, folded: Folded, text: str, chosen: _Chosen) -> None:
        for form in find_forms(folded.text.translate(_ASCII_UPPER)):
            index = next((self._tickers[ticker] for ticker in form.tickers if ticker in self._tickers), None)
            span = folded.span(form.start, form.end)
            if index is None or span is None:
                continue
            original = text[span[0] : span[1]]
            lower_ok = original.lstrip("＄$") != original  # $aapl is meant; ba.l or nyse: t in lower case are not
            if lower_ok or original.upper() == original or original.split(":")[-1].isupper():
                chosen.add(form.start, form.end, index)

    def _judge(self, doubtful: list[tuple[int, int, int, AliasRule, int]], chosen: _Chosen) -> None:
        """Accepts those doubtful mentions for which there is evidence."""
        text = chosen.folded.text
        hits = self._evidence(text, {number for *_, number in doubtful})
        certain = chosen.indices()
        for start, end, index, rule, number in doubtful:
            window = WINDOW_HAN if not text[start:end].isascii() else WINDOW
            if _near(hits.get(2 * number + 1), start, end, window):
                continue
            if (
                rule.evidence is Evidence.NONE
                or index in certain
                or _near(hits.get(2 * number), start, end, window)
                or (rule.evidence is not Evidence.ONLY and _near(hits.get(_GENERAL), start, end, window))
                or _VERB.match(text, end)
                or (rule.evidence is Evidence.NEED and (_POSSESSIVE.match(text, end) or chosen.mid_sentence(start)))
            ):
                chosen.add(start, end, index)

    def _evidence(self, text: str, numbers: set[int]) -> _Spans:
        """Where evidence stands: spans by group, ordered by their ends."""
        wanted = {_GENERAL, *(2 * number for number in numbers), *(2 * number + 1 for number in numbers)}
        hits: _Spans = defaultdict(list)
        size = len(text)
        for last, (length, left, right, groups) in self._words.iter(text):
            start, end = last - length + 1, last + 1
            if (left and start and _glued(text[start - 1])) or (right and end < size and _glued(text[end])):
                continue
            for group in groups:
                if group in wanted:
                    hits[group].append((start, end))
        return hits


class _Chosen:
    """The accepted spans of one text, in folded offsets."""

    def __init__(self, folded: Folded, text: str, entities: int) -> None:
        self.folded = folded
        self._text = text
        self._found: list[tuple[int, int, int]] = []
        self._capitals: dict[int, bool] = {}
        self._entities = entities

    def add(self, start: int, end: int, index: int) -> None:
        self._found.append((start, end, index))

    def indices(self) -> set[int]:
        return {index for _, _, index in self._found}

    def mid_sentence(self, start: int) -> bool:
        """True when a capital letter at ``start`` is more than the first of a sentence or of a title-case title."""
        folded = self.folded.text
        block = start // _BLOCK
        if block not in self._capitals:
            span = self.folded.span(block * _BLOCK, min(len(folded), (block + 1) * _BLOCK))
            first = block * _BLOCK if self.folded.origin is None else self.folded.origin[block * _BLOCK]
            piece = self._text[first : span[1] if span else first + _BLOCK]
            words = _LATIN_WORD.findall(piece)
            lower = sum(1 for word in words if word[0].islower())
            self._capitals[block] = lower * 2 > len(words) and lower >= 2
        if not self._capitals[block]:
            return False
        before = folded[max(0, start - 3) : start].rstrip()
        return bool(before) and before[-1] not in _SENTENCE_START and "\n" not in folded[max(0, start - 3) : start]

    def spans(self, limit: int) -> list[tuple[int, int, int]]:
        """Original spans without overlaps, longest first chosen, in order of place. Entities that share a span
        (one alias given to two of them) are all kept."""
        taken = bytearray(len(self.folded.text))
        owners: dict[tuple[int, int], set[int]] = {}
        for start, end, index in sorted(self._found, key=lambda item: (item[0] - item[1], item[0])):
            if (start, end) in owners:
                owners[start, end].add(index)
            elif taken.find(1, start, end) < 0:
                taken[start:end] = b"\x01" * (end - start)
                owners[start, end] = {index}
        result: list[tuple[int, int, int]] = []
        counts = [0] * self._entities
        for (start, end), indices in sorted(owners.items()):
            span = self.folded.span(start, end)
            for index in sorted(indices):
                if span is not None and counts[index] < limit:
                    counts[index] += 1
                    result.append((*span, index))
        return result


def _pattern(patterns: dict[str, _Pattern], text: str) -> _Pattern:
    if text not in patterns:
        patterns[text] = _Pattern(len(text), _glued(text[0]), _glued(text[-1]))
    return patterns[text]


def _automaton(items: Iterable[tuple[str, Any]]) -> Any:
    """A finished automaton, or None for no items (pyahocorasick cannot search an empty one)."""
    automaton = ahocorasick.Automaton()
    for text, value in items:
        automaton.add_word(text, value)
    if not len(automaton):
        return None
    automaton.make_automaton()
    return automaton


def _case_fits(original: str, case: Case) -> bool:
    if case is Case.ANY:
        return True
    letters = [char for char in original if char.isalpha()]
    if not letters or letters[0].lower() == letters[0].upper():  # Chinese has no case
        return True
    if case is Case.CAPITAL:
        return letters[0].isupper()
    return all(char.isupper() for char in letters)


def _covered(spans: list[tuple[int, int]] | None, start: int, end: int, longest: int) -> bool:
    """True when a span overlaps [start, end). ``spans`` are ordered by their ends."""
    if not spans:
        return False
    position = bisect_right(spans, start, key=lambda span: span[1])
    while position < len(spans) and spans[position][1] < end + longest:
        if spans[position][0] < end:
            return True
        position += 1
    return False


def _near(spans: list[tuple[int, int]] | None, start: int, end: int, window: int) -> bool:
    """True when a span ends or begins within ``window`` of [start, end) and does not lie inside it."""
    if not spans:
        return False
    position = bisect_left(spans, start - window, key=lambda span: span[1])
    while position < len(spans) and spans[position][1] <= end + window + 30:
        first, last = spans[position]
        if first <= end + window and not (start <= first and last <= end):
            return True
        position += 1
    return False
