"""Queries as they are run: every word is a number, everything is asked in the order of its price.

A query is turned into these once, when the rules are read; then an article costs a few look-ups by number. Each knows
three things: whether it is true of an article (``holds``), where it stands in the normal form (``places``), and which
places made it true (``reasons``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from alerts.rules.expressions import Reader
from alerts.rules.query import ANY, And, Field, Level, Near, Not, Query, Regex, Word
from alerts.rules.text import RuleText, Span, normal, united
from monitor.core.types import ScoredArticle

TOPIC = 0.5
"""Probability from which the most probable topic counts, as for the topics' series."""


class Facts:
    """What is known of one article; each thing is looked up once, when it is asked for first."""

    __slots__ = ("_expressions", "_found", "_reader", "_scan", "_source", "_text", "_topic", "item")

    def __init__(self, item: ScoredArticle, scan: Callable[[RuleText], dict[int, list[Span]]]) -> None:
        self.item = item
        self._scan = scan
        self._text: RuleText | None = None
        self._found: dict[int, list[Span]] | None = None
        self._reader: Reader | None = None
        self._expressions: dict[tuple[str, bool], list[Span]] = {}
        self._source: str | None = None
        self._topic: str | None = None

    @property
    def text(self) -> RuleText:
        """The article's text in its normal form."""
        if self._text is None:
            self._text = RuleText(self.item.article)
        return self._text

    @property
    def found(self) -> Mapping[int, list[Span]]:
        """Where the words of the rules stand, by their numbers."""
        if self._found is None:
            self._found = self._scan(self.text)
        return self._found

    @property
    def topic(self) -> str:
        """The topic when it is clear, else ''."""
        if self._topic is None:
            scores = self.item.scored.scores
            self._topic = scores.topic if scores.topics and scores.topics[scores.topic] >= TOPIC else ""
        return self._topic

    def from_source(self, value: str) -> bool:
        """Whether the article's source is this one, or begins so."""
        if self._source is None:
            self._source = normal(self.item.article.source)
        return self._source.startswith(value[:-1]) if value.endswith("*") else self._source == value

    def expression(self, pattern: str, title: bool) -> list[Span]:
        """Where an expression matches."""
        known = self._expressions.get((pattern, title))
        if known is None:
            if self._reader is None:
                self._reader = Reader(self.text)
            known = self._expressions[pattern, title] = list(self._reader.spans(pattern, title=title))
        return known


class Asked(Protocol):
    """A query, ready to be asked. ``price``: the cheaper is asked first."""

    price: float

    def holds(self, facts: Facts) -> bool:
        """Whether it is true."""

    def places(self, facts: Facts) -> Sequence[Span]:
        """Where it stands, in order of place; only of what can stand somewhere."""

    def reasons(self, facts: Facts) -> Sequence[Span]:
        """The places that make it true."""


class _Nowhere:
    """What stands nowhere."""

    __slots__ = ()

    def places(self, facts: Facts) -> Sequence[Span]:
        return ()

    def reasons(self, facts: Facts) -> Sequence[Span]:
        return ()


class _Word:
    __slots__ = ("number", "price", "title")

    def __init__(self, number: int, title: bool) -> None:
        self.number, self.title, self.price = number, title, 2.0

    def holds(self, facts: Facts) -> bool:
        if self.title:
            return bool(self.places(facts))
        return self.number in facts.found

    def places(self, facts: Facts) -> Sequence[Span]:
        found = facts.found.get(self.number, ())
        if self.title:
            end = facts.text.title_end
            return [span for span in found if span[1] <= end]
        return found

    reasons = places


class _Regex:
    """``needed``: the numbers of literals of which one must be there, else the expression need not be run."""

    __slots__ = ("needed", "pattern", "price", "title")

    def __init__(self, pattern: str, needed: Sequence[int] | None, title: bool) -> None:
        self.pattern, self.title = pattern, title
        self.needed = None if needed is None else frozenset(needed)
        self.price = 100.0

    def holds(self, facts: Facts) -> bool:
        return bool(self.places(facts))

    def places(self, facts: Facts) -> Sequence[Span]:
        if self.needed is not None and self.needed.isdisjoint(facts.found):
            return ()
        return facts.expression(self.pattern, self.title)

    reasons = places


class _Entity:
    __slots__ = ("price", "title", "value")

    def __init__(self, value: str, title: bool) -> None:
        self.value, self.title, self.price = value, title, 3.0

    def holds(self, facts: Facts) -> bool:
        return bool(self.places(facts))

    def places(self, facts: Facts) -> Sequence[Span]:
        mentions = facts.item.scored.entities
        if not mentions:
            return ()
        place, value = facts.text.place, self.value
        found = [place((one.start, one.end)) for one in mentions if value in (ANY, one.id)]
        if self.title:
            end = facts.text.title_end
            return [span for span in found if span[1] <= end]
        return found

    reasons = places


class _Level(_Nowhere):
    __slots__ = ("name", "price", "sign", "value")

    def __init__(self, query: Level) -> None:
        self.name, self.sign, self.value, self.price = query.name, query.sign, query.value, 1.0

    def holds(self, facts: Facts) -> bool:
        value = facts.item.scored.scores.sentiments.get(self.name)
        if value is None:
            return False
        if self.sign == ">=":
            return value >= self.value
        if self.sign == "<=":
            return value <= self.value
        return value > self.value if self.sign == ">" else value < self.value


class _Field(_Nowhere):
    __slots__ = ("name", "price", "value")

    def __init__(self, query: Field) -> None:
        self.name, self.value, self.price = query.name, query.value, 1.0

    def holds(self, facts: Facts) -> bool:
        if self.name == "topic":
            return facts.topic == self.value
        if self.name == "lang":
            return facts.item.article.lang == self.value
        if self.name == "source":
            return facts.from_source(self.value)
        doubts = facts.item.scored.doubts
        if self.value == "no":
            return not doubts
        return bool(doubts) if self.value == "yes" else self.value in doubts


class _Not(_Nowhere):
    __slots__ = ("part", "price")

    def __init__(self, part: Asked) -> None:
        self.part, self.price = part, part.price

    def holds(self, facts: Facts) -> bool:
        return not self.part.holds(facts)


class _And:
    __slots__ = ("parts", "price")

    def __init__(self, parts: Sequence[Asked]) -> None:
        self.parts = sorted(parts, key=lambda part: part.price)
        self.price = sum(part.price for part in parts)

    def holds(self, facts: Facts) -> bool:
        for part in self.parts:  # noqa: SIM110 - a generator costs more than the parts
            if not part.holds(facts):
                return False
        return True

    def places(self, facts: Facts) -> Sequence[Span]:
        return ()

    def reasons(self, facts: Facts) -> Sequence[Span]:
        return [span for part in self.parts if part.holds(facts) for span in part.reasons(facts)]


class _Or:
    __slots__ = ("parts", "price")

    def __init__(self, parts: Sequence[Asked]) -> None:
        self.parts = sorted(parts, key=lambda part: part.price)
        self.price = sum(part.price for part in parts)

    def holds(self, facts: Facts) -> bool:
        for part in self.parts:  # noqa: SIM110 - as above
            if part.holds(facts):
                return True
        return False

    def places(self, facts: Facts) -> Sequence[Span]:
        return united(span for part in self.parts for span in part.places(facts))

    def reasons(self, facts: Facts) -> Sequence[Span]:
        return [span for part in self.parts if part.holds(facts) for span in part.reasons(facts)]


class _Near:
    __slots__ = ("distance", "first", "left", "price", "right", "second")

    def __init__(self, left: Asked, right: Asked, distance: int) -> None:
        self.left, self.right, self.distance = left, right, distance
        self.first, self.second = sorted((left, right), key=lambda part: part.price)
        self.price = 10.0 + left.price + right.price

    def holds(self, facts: Facts) -> bool:
        # Where both are is asked only when both are there at all.
        return self.first.holds(facts) and self.second.holds(facts) and bool(self._pairs(facts))

    def places(self, facts: Facts) -> Sequence[Span]:
        return ()

    def reasons(self, facts: Facts) -> Sequence[Span]:
        return [span for pair in self._pairs(facts) for span in pair]

    def _pairs(self, facts: Facts) -> list[tuple[Span, Span]]:
        """The pairs that are near, of each on the left the nearest on the right after it and before it."""
        left, right = self.left.places(facts), self.right.places(facts)
        if not left or not right:
            return []
        starts = sorted(right)
        ends = sorted(right, key=lambda span: (span[1], span[0]))
        first = [span[0] for span in starts]
        last = [span[1] for span in ends]
        numbers, found = facts.text.numbers, []
        for span in left:
            low, high = numbers(span)
            after = bisect_left(first, span[1])
            if after < len(starts) and numbers(starts[after])[0] - high <= self.distance:
                found.append((span, starts[after]))
            before = bisect_right(last, span[0]) - 1
            if before >= 0 and low - numbers(ends[before])[1] <= self.distance:
                found.append((span, ends[before]))
        return found


def asked(
    query: Query, word: Callable[[Word], int], needed: Callable[[str], Sequence[int] | None], title: bool
) -> Asked:
    """A query ready to be asked. ``word``: the number of a word; ``needed``: those of an expression's literals;
    ``title``: of the title alone."""

    def made(query: Query) -> Asked:
        if isinstance(query, Word):
            return _Word(word(query), title)
        if isinstance(query, Regex):
            return _Regex(query.pattern, needed(query.pattern), title)
        if isinstance(query, Level):
            return _Level(query)
        if isinstance(query, Field):
            return _Entity(query.value, title) if query.name == "entity" else _Field(query)
        if isinstance(query, Not):
            return _Not(made(query.part))
        if isinstance(query, Near):
            return _Near(made(query.left), made(query.right), query.distance)
        return (_And if isinstance(query, And) else _Or)([made(part) for part in query.parts])

    return made(query)


__all__ = ["TOPIC", "Asked", "Facts", "asked"]
