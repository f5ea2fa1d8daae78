"""Which series an article feeds, in which bucket, and what an open bucket holds.

Open buckets keep *sets* of article ids, so that delivering an article twice changes nothing. A story counts in a series
once, in the bucket in which the series saw it first; later copies add articles and heat only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from monitor.core.errors import CodecError
from monitor.core.types import Article, Bucket, Scope, ScoredArticle, SeriesKey

ALL = SeriesKey(scope=Scope.ALL, value="*")
"""The series of everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesConfig:
    """How articles become series."""

    topic_threshold: float = 0.5
    """Probability from which the most probable topic counts."""
    abstain: float = 0.5
    """p(negative) below which a story counts as not negative at all: a thousand press releases at 3 % each would
    drown thirty stories of bad news."""
    backfill_after: timedelta = timedelta(hours=6)
    """An article published this long before it was fetched is a backfill and feeds no series."""


def keys_of(item: ScoredArticle, config: SeriesConfig) -> tuple[SeriesKey, ...]:
    """The series that an article feeds: all, its topic when it is clear, each of its entities."""
    keys = [ALL]
    scores = item.scored.scores
    if scores.topics:
        topic = scores.topic
        if scores.topics[topic] >= config.topic_threshold:
            keys.append(SeriesKey(scope=Scope.TOPIC, value=topic))
    keys += [SeriesKey(scope=Scope.ENTITY, value=name) for name in sorted({e.id for e in item.scored.entities})]
    return tuple(keys)


def effective_time(article: Article, config: SeriesConfig) -> datetime | None:
    """The time under which an article is counted: when it was published, but not in the future. None: a backfill."""
    if article.fetched_at - article.published_at > config.backfill_after:
        return None
    return min(article.published_at, article.fetched_at)


@dataclass(slots=True)
class Member:
    """One article of an open bucket. ``fresh`` are the series in which its story is new."""

    story: str
    source: str
    model: str
    negative: float
    fresh: tuple[SeriesKey, ...]
    again: tuple[SeriesKey, ...]
    at: int | None = None
    """The bucket it belongs to, when that was closed already."""


@dataclass(slots=True)
class OpenBucket:
    """The articles of one bucket that is not closed yet, by id."""

    index: int
    members: dict[str, Member] = field(default_factory=dict)

    def buckets(self, start: datetime, width: timedelta) -> dict[SeriesKey, Bucket]:
        """The counts per series, in a stable order."""
        stories: dict[SeriesKey, set[str]] = {}
        articles: dict[SeriesKey, int] = {}
        sources: dict[SeriesKey, set[str]] = {}
        negatives: dict[SeriesKey, float] = {}
        for member in self.members.values():
            for key in member.fresh:
                stories.setdefault(key, set()).add(member.story)
                negatives[key] = negatives.get(key, 0.0) + member.negative
            for key in (*member.fresh, *member.again):
                articles[key] = articles.get(key, 0) + 1
                sources.setdefault(key, set()).add(member.source)
        return {
            key: Bucket(
                key=key,
                start=start,
                width=width,
                stories=len(stories.get(key, ())),
                articles=articles[key],
                sources=len(sources[key]),
                expected_negatives=negatives.get(key, 0.0),
            )
            for key in sorted(articles)
        }

    def late(self) -> dict[SeriesKey, tuple[tuple[int, int, float], ...]]:
        """What of the counts belongs to earlier buckets: (bucket, stories, negatives) per series."""
        found: dict[SeriesKey, dict[int, tuple[int, float]]] = {}
        for member in self.members.values():
            if member.at is not None:
                for key in member.fresh:
                    counts = found.setdefault(key, {})
                    v, x = counts.get(member.at, (0, 0.0))
                    counts[member.at] = (v + 1, x + member.negative)
        return {key: tuple((at, v, x) for at, (v, x) in sorted(rows.items())) for key, rows in found.items()}

    def to_doc(self) -> dict[str, Any]:
        """A JSON object; the order of arrival is kept."""
        return {
            "members": [
                [
                    *(
                        name,
                        m.story,
                        m.source,
                        m.model,
                        m.negative,
                        [str(k) for k in m.fresh],
                        [str(k) for k in m.again],
                    ),
                    *(() if m.at is None else (m.at,)),
                ]
                for name, m in self.members.items()
            ]
        }

    @classmethod
    def from_doc(cls, index: int, doc: Mapping[str, Any]) -> OpenBucket:
        """The inverse of :meth:`to_doc`. Raises CodecError."""
        try:
            return cls(
                index=index,
                members={
                    name: Member(
                        story=story,
                        source=source,
                        model=model,
                        negative=float(negative),
                        fresh=tuple(SeriesKey.parse(text) for text in fresh),
                        again=tuple(SeriesKey.parse(text) for text in again),
                        at=int(at[0]) if at else None,
                    )
                    for name, story, source, model, negative, fresh, again, *at in doc["members"]
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored bucket is incomplete: {error}.") from error


class OpenBuckets:
    """The buckets that are not closed, and how far they are closed."""

    def __init__(self) -> None:
        self.open: dict[int, OpenBucket] = {}
        self.closed: int | None = None
        """Index of the last closed bucket."""
        self.changed: set[int] = set()
        """Buckets that gained an article or were closed since they were last written."""

    def add(self, index: int, article_id: str, member: Member) -> None:
        """Puts an article into the bucket ``index``."""
        bucket = self.open.setdefault(index, OpenBucket(index=index))
        bucket.members[article_id] = member
        self.changed.add(index)

    def take(self, index: int) -> OpenBucket | None:
        """The content of a bucket that closes; None when it is empty."""
        content = self.open.pop(index, None)
        if content is not None:
            self.changed.add(index)
        return content

    def load(self, closed: int | None, docs: Mapping[str, Mapping[str, Any]]) -> None:
        """Takes up what :meth:`OpenBucket.to_doc` wrote. Raises CodecError."""
        self.closed = closed
        for name, doc in docs.items():
            self.open[int(name)] = OpenBucket.from_doc(int(name), doc)
