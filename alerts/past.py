"""The incidents of the past, so that a new one can say when the like of it was, and how that ended.

An incident that is over leaves a short note: its series, when it was, how it ended, and the words that most of its
driving stories had. A new incident of the same series, or of one that had joined it, is compared by the overlap of the
two vocabularies (Szymkiewicz & Simpson: common words over those of the smaller). Names of the entities themselves do
not count: every story of a bank names the bank. Deterministic; bounded in all and per series.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.stories import content_words
from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.types import Evidence, Incident, Scope, SeriesKey, Severity, SimilarIncident

LIMIT = 400
"""Most incidents remembered; the oldest go first."""
PER_SERIES = 20
WORDS = 24
"""Words kept of an incident: those of the most driving stories."""
_COUNTED = 96
"""Words counted while an incident is open."""
_SHOWN = 3
_SHOWN_WORDS = 6
_LEAST = 0.25
_LEAST_WORDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is remembered of an incident that is over."""

    id: str
    key: SeriesKey
    related: tuple[SeriesKey, ...]
    title: str
    opened_at: datetime
    resolved_at: datetime
    severity: Severity
    ended: str
    words: tuple[str, ...]

    def to_doc(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "id": self.id,
            "key": str(self.key),
            "related": [str(key) for key in self.related],
            "title": self.title,
            "opened_at": time_to_str(self.opened_at),
            "resolved_at": time_to_str(self.resolved_at),
            "severity": self.severity.value,
            "ended": self.ended,
            "words": list(self.words),
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Past:
        """The inverse of :meth:`to_doc`. Raises CodecError."""
        try:
            return cls(
                id=str(doc["id"]),
                key=SeriesKey.parse(doc["key"]),
                related=tuple(SeriesKey.parse(text) for text in doc["related"]),
                title=str(doc["title"]),
                opened_at=time_from_str(doc["opened_at"]),
                resolved_at=time_from_str(doc["resolved_at"]),
                severity=Severity(doc["severity"]),
                ended=str(doc["ended"]),
                words=tuple(doc["words"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A remembered incident is incomplete: {error}.") from error


def count_words(counts: Mapping[str, int], stories: Iterable[Evidence]) -> dict[str, int]:
    """``counts`` of words by story, with further stories; names of entities are left out. Bounded."""
    total = dict(counts)
    for story in stories:
        names = {word for name in story.entities for word in content_words(name)}
        for word in content_words(story.title) - names:
            total[word] = total.get(word, 0) + 1
    if len(total) <= _COUNTED:
        return total
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0]))[:_COUNTED])


def vocabulary(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The words of most stories; one that only one of several stories had says little of them together."""
    least = 2 if max(counts.values(), default=0) > 2 else 1
    ranked = sorted((item for item in counts.items() if item[1] >= least), key=lambda item: (-item[1], item[0]))
    return tuple(word for word, _ in ranked[:WORDS])


def parts_of(key: SeriesKey) -> tuple[SeriesKey, ...]:
    """The series that a key is part of, itself included: an entity within a topic is of both."""
    if key.scope is not Scope.PAIR:
        return (key,)
    topic, _, entity = key.value.partition("/")
    return (key, SeriesKey(scope=Scope.TOPIC, value=topic), SeriesKey(scope=Scope.ENTITY, value=entity))


def how_ended(incident: Incident) -> str:
    """Who ended it and why, or that it ended by itself."""
    last = incident.history[-1] if incident.history else None
    if last is None or last.what != "resolved":
        return "by itself"
    return f"by {last.by}: {last.note}" if last.note else f"by {last.by}"


def near(items: Iterable[Past], keys: Iterable[SeriesKey]) -> list[Past]:
    """Those whose series, or one that had joined it, is among ``keys`` or a part of them."""
    wanted = {part for key in keys for part in parts_of(key)}
    return [
        past for past in items if any(part in wanted for key in (past.key, *past.related) for part in parts_of(key))
    ]


class PastIncidents:
    """The incidents that are over, oldest first."""

    def __init__(self) -> None:
        self.items: dict[str, Past] = {}
        self.changed: set[str] = set()
        """Incidents that came or went since they were last written."""

    def add(self, incident: Incident, counts: Mapping[str, int]) -> None:
        """Remembers an incident that is over."""
        assert incident.resolved_at is not None
        note = Past(
            id=incident.id,
            key=incident.key,
            related=incident.related,
            title=incident.title,
            opened_at=incident.opened_at,
            resolved_at=incident.resolved_at,
            severity=incident.severity,
            ended=how_ended(incident),
            words=vocabulary(counts),
        )
        self.items.pop(note.id, None)
        self.items[note.id] = note
        self.changed.add(note.id)
        same = [name for name, past in self.items.items() if past.key == note.key]
        for name in (*same[:-PER_SERIES], *list(self.items)[:-LIMIT]):
            if self.items.pop(name, None) is not None:
                self.changed.add(name)

    def like(self, keys: Iterable[SeriesKey], counts: Mapping[str, int]) -> tuple[SimilarIncident, ...]:
        """The most similar ones, at most three."""
        words = vocabulary(counts)
        found: list[SimilarIncident] = []
        for past in near(self.items.values(), keys):
            theirs = set(past.words)
            common = tuple(word for word in words if word in theirs)
            share = len(common) / max(1, min(len(words), len(theirs)))
            if len(common) >= _LEAST_WORDS and share >= _LEAST:
                found.append(
                    SimilarIncident(
                        id=past.id,
                        key=past.key,
                        title=past.title,
                        opened_at=past.opened_at,
                        resolved_at=past.resolved_at,
                        severity=past.severity,
                        similarity=round(share, 3),
                        words=common[:_SHOWN_WORDS],
                        ended=past.ended,
                    )
                )
        found.sort(key=lambda item: (-item.similarity, -item.resolved_at.timestamp(), item.id))
        return tuple(found[:_SHOWN])

    def load(self, docs: Sequence[Mapping[str, Any]]) -> None:
        """Takes up what :meth:`Past.to_doc` wrote. Raises CodecError."""
        notes = sorted((Past.from_doc(doc) for doc in docs), key=lambda past: (past.resolved_at, past.id))
        self.items = {past.id: past for past in notes}
