"""Runs all rules over an article: one pass of an automaton over its text, then only the rules that can be true.

Every word of every rule sits in one Aho-Corasick automaton. A rule is *awake* when something is there without which
it cannot be true (one of its words, its entity, its topic …); the others cost nothing. What is awake is evaluated,
in time that is linear in the number of matches (NEAR by bisection). Expressions are asked last, and only by rules that
nothing else has made false.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ahocorasick

from alerts.rules.expressions import Reader
from alerts.rules.query import ANY, And, Field, Level, Near, Not, Or, Query, Regex, Word, leaves
from alerts.rules.rule import Rule
from alerts.rules.text import RuleText, Span, glued, normal, united
from monitor.core.types import ScoredArticle, SeriesKey

TOPIC = 0.5
"""Probability from which the most probable topic counts, as for the topics' series."""

_Fact = tuple[str, str]
_Anchor = Word | _Fact
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
        self._plans = [plan(rule.query) for rule in self.rules]
        self._words: dict[Word, None] = {}
        self._wake: dict[_Fact, list[int]] = {}
        self._wake_words: dict[Word, list[int]] = {}
        self._always: list[int] = []
        for number, rule in enumerate(self.rules):
            for leaf in leaves(rule.query):
                if isinstance(leaf, Word):
                    self._words[leaf] = None
            anchors = _anchors(rule.query)
            if anchors is None:
                self._always.append(number)
            else:
                for anchor in anchors[1]:
                    if isinstance(anchor, Word):
                        self._wake_words.setdefault(anchor, []).append(number)
                    else:
                        self._wake.setdefault(anchor, []).append(number)
        self._automaton = _automaton(self._words)
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
            for word in facts.words:
                awake.update(self._wake_words.get(word, ()))
        for anchor in facts.anchors():
            awake.update(self._wake.get(anchor, ()))
        for anchor in self._sources:
            if facts.from_source(anchor[1]):
                awake.update(self._wake[anchor])
        found = []
        for number in sorted(awake):
            rule = self.rules[number]
            if facts.holds(self._plans[number], rule.title_only):
                found.append(Match(rule=rule, marks=facts.marks(rule)))
        return tuple(found)

    def _scan(self, text: RuleText) -> dict[Word, list[Span]]:
        """Where the words of all rules stand in a text."""
        found: dict[Word, list[Span]] = {}
        if self._automaton is None:
            return found
        words, size = text.words, len(text.words)
        for last, entries in self._automaton.iter(words):
            for word, length, left, right in entries:
                start, end = last - length + 1, last + 1
                if left and start and glued(words[start - 1]):
                    continue
                if right and end < size and glued(words[end]):
                    if not word.prefix:
                        continue
                    while end < size and glued(words[end]):
                        end += 1
                if text.even or text.original((start, end)) is not None:
                    found.setdefault(word, []).append((start, end))
        return found


def _automaton(words: Iterable[Word]) -> Any:
    """pyahocorasick keeps one value per string: the word, its length, and whether its ends must be word ends."""
    by_text: dict[str, list[tuple[Word, int, bool, bool]]] = {}
    for word in words:
        text = word.text
        by_text.setdefault(text, []).append((word, len(text), glued(text[0]), glued(text[-1])))
    if not by_text:
        return None
    automaton = ahocorasick.Automaton()
    for text, entries in by_text.items():
        automaton.add_word(text, entries)
    automaton.make_automaton()
    return automaton


def _anchors(query: Query) -> tuple[float, frozenset[_Anchor]] | None:
    """Of what at least one must be there for the query to be true, with what it costs; None: of nothing."""
    if isinstance(query, Word):
        return _COST["word"], frozenset({query})
    if isinstance(query, Field):
        if query.name == "uncertain" and query.value == "no":
            return None
        name = "any entity" if query.name == "entity" and query.value == ANY else query.name
        return _COST[name], frozenset({(query.name, query.value)})
    if isinstance(query, Near):
        return _cheaper((_anchors(query.left), _anchors(query.right)))
    if isinstance(query, And):
        return _cheaper(_anchors(part) for part in query.parts)
    if isinstance(query, Or):
        cost, anchors = 0.0, frozenset[_Anchor]()
        for part in query.parts:
            needed = _anchors(part)
            if needed is None:
                return None
            cost, anchors = cost + needed[0], anchors | needed[1]
        return cost, anchors
    return None


def _cheaper(found: Iterable[tuple[float, frozenset[_Anchor]] | None]) -> tuple[float, frozenset[_Anchor]] | None:
    return min((needed for needed in found if needed is not None), key=lambda needed: needed[0], default=None)


class Facts:
    """What is known of one article; each thing is looked up once, when it is asked for first."""

    def __init__(self, item: ScoredArticle, scan: Any) -> None:
        self.item = item
        self._scan = scan
        self._text: RuleText | None = None
        self._found: dict[Word, list[Span]] | None = None
        self._reader: Reader | None = None
        self._expressions: dict[tuple[str, bool], list[Span]] = {}
        self._source: str | None = None

    @property
    def text(self) -> RuleText:
        """The article's text in its normal form."""
        if self._text is None:
            self._text = RuleText(self.item.article)
        return self._text

    @property
    def words(self) -> Mapping[Word, list[Span]]:
        """Where the words of the rules stand."""
        if self._found is None:
            self._found = self._scan(self.text)
        return self._found

    @property
    def topic(self) -> str:
        """The topic when it is clear, else ''."""
        scores = self.item.scored.scores
        return scores.topic if scores.topics and scores.topics[scores.topic] >= TOPIC else ""

    def anchors(self) -> list[_Fact]:
        """What wakes rules, beside words and sources."""
        scored = self.item.scored
        found = [("topic", self.topic), ("lang", self.item.article.lang)]
        found += [("entity", name) for name in dict.fromkeys(mention.id for mention in scored.entities)]
        if scored.entities:
            found.append(("entity", ANY))
        found += [("uncertain", name) for name in ("yes", *scored.doubts) if scored.doubts]
        return found

    def from_source(self, value: str) -> bool:
        """Whether the article's source is this one, or begins so."""
        if self._source is None:
            self._source = normal(self.item.article.source)
        return self._source.startswith(value[:-1]) if value.endswith("*") else self._source == value

    def holds(self, query: Query, title: bool) -> bool:
        """Whether a query is true; ``title``: of the title alone."""
        if isinstance(query, Word | Regex):
            return bool(self.places(query, title))
        if isinstance(query, And):
            return all(self.holds(part, title) for part in query.parts)
        if isinstance(query, Or):
            return any(self.holds(part, title) for part in query.parts)
        if isinstance(query, Not):
            return not self.holds(query.part, title)
        if isinstance(query, Near):
            return bool(self._near(query, title))
        if isinstance(query, Level):
            return self._level(query)
        return self._field(query, title)

    def _level(self, query: Level) -> bool:
        value = self.item.scored.scores.sentiments.get(query.name)
        if value is None:
            return False
        if query.sign == ">=":
            return value >= query.value
        if query.sign == "<=":
            return value <= query.value
        return value > query.value if query.sign == ">" else value < query.value

    def _field(self, query: Field, title: bool) -> bool:
        if query.name == "topic":
            return self.topic == query.value
        if query.name == "lang":
            return self.item.article.lang == query.value
        if query.name == "source":
            return self.from_source(query.value)
        if query.name == "entity":
            return bool(self.places(query, title))
        doubts = self.item.scored.doubts
        return not doubts if query.value == "no" else bool(doubts) if query.value == "yes" else query.value in doubts

    def places(self, query: Query, title: bool) -> list[Span]:
        """Where something stands, in order of place."""
        if isinstance(query, Word):
            found = self.words.get(query, [])
        elif isinstance(query, Regex):
            return self._expression(query.pattern, title)
        elif isinstance(query, Field):
            place = self.text.place
            found = [
                place((mention.start, mention.end))
                for mention in self.item.scored.entities
                if query.value in (ANY, mention.id)
            ]
        else:
            assert isinstance(query, Or)
            return united(span for part in query.parts for span in self.places(part, title))
        if title:
            end = self.text.title_end
            return [span for span in found if span[1] <= end]
        return found

    def _expression(self, pattern: str, title: bool) -> list[Span]:
        known = self._expressions.get((pattern, title))
        if known is None:
            if self._reader is None:
                self._reader = Reader(self.text)
            known = self._expressions[pattern, title] = list(self._reader.spans(pattern, title=title))
        return known

    def _near(self, query: Near, title: bool) -> list[tuple[Span, Span]]:
        """The pairs that are near, of each on the left the nearest on the right after it and before it."""
        left, right = self.places(query.left, title), self.places(query.right, title)
        if not left or not right:
            return []
        starts = sorted(right)
        ends = sorted(right, key=lambda span: (span[1], span[0]))
        first = [span[0] for span in starts]
        last = [span[1] for span in ends]
        numbers, found = self.text.numbers, []
        for span in left:
            low, high = numbers(span)
            after = bisect_left(first, span[1])
            if after < len(starts) and numbers(starts[after])[0] - high <= query.distance:
                found.append((span, starts[after]))
            before = bisect_right(last, span[0]) - 1
            if before >= 0 and low - numbers(ends[before])[1] <= query.distance:
                found.append((span, ends[before]))
        return found

    def marks(self, rule: Rule) -> tuple[Mark, ...]:
        """The places that made a rule true, in ``Article.text``, without overlaps."""
        text = self.item.article.text
        places: list[Span] = []
        for span in united(self._reasons(rule.query, rule.title_only)):
            original = self.text.original(span)
            if original is not None and original[0] < original[1]:
                places.append(original)
        merged: list[Span] = []
        for start, end in sorted(places):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return tuple(Mark(start=start, end=end, text=text[start:end]) for start, end in merged)

    def _reasons(self, query: Query, title: bool) -> Sequence[Span]:
        if isinstance(query, Word | Regex) or (isinstance(query, Field) and query.name == "entity"):
            return self.places(query, title)
        if isinstance(query, Near):
            return [span for pair in self._near(query, title) for span in pair]
        if isinstance(query, And | Or):
            return [span for part in query.parts if self.holds(part, title) for span in self._reasons(part, title)]
        return ()


def plan(query: Query) -> Query:
    """The same query in the order in which it is best asked: expressions cost most, so they come last."""
    if isinstance(query, And | Or):
        return type(query)(tuple(sorted((plan(part) for part in query.parts), key=_asks_expression)))
    return Not(plan(query.part)) if isinstance(query, Not) else query


def _asks_expression(query: Query) -> bool:
    return any(isinstance(leaf, Regex) for leaf in leaves(query))
