"""Which stories are new in which series, and so what drives a surge."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from alerts.config import PipelineConfig
from alerts.reason import Drive
from alerts.series import Member, keys_of
from alerts.stories import StoryIndex
from monitor.core.codec import time_from_str, time_to_str
from monitor.core.types import Evidence, Finding, ScoredArticle, SeriesKey

__all__ = ["Drives", "Row", "drive_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One story of a window as it was counted in a series: in bucket ``index`` with the probability ``negative``."""

    index: int
    negative: float
    lead: Evidence
    sources: tuple[str, ...]
    first_seen: datetime

    def to_list(self) -> list[Any]:
        """A JSON list."""
        lead = _lead_to_doc(self.lead) | {"story": self.lead.story_id, "heat": self.lead.heat}
        return [self.index, self.negative, lead, list(self.sources), time_to_str(self.first_seen)]

    @classmethod
    def from_list(cls, row: Sequence[Any]) -> Row:
        """The inverse of :meth:`to_list`. Raises CodecError, KeyError, TypeError, ValueError."""
        index, negative, lead, sources, first_seen = row
        return cls(
            index=int(index),
            negative=float(negative),
            lead=_lead_from_doc(lead["story"], {"lead": lead, "heat": lead["heat"]}),
            sources=tuple(sources),
            first_seen=time_from_str(first_seen),
        )


def drive_of(rows: Sequence[Row], driving: float) -> Drive | None:
    """What drives a surge, from the stories of its window; None when none is negative enough."""
    chosen = [row for row in rows if row.negative >= driving]
    if not chosen:
        return None
    stories = sorted((row.lead for row in chosen), key=lambda e: (e.published_at, e.article_id))
    return Drive(
        stories=tuple(stories),
        new=len(rows),
        reprints=sum(row.lead.heat - 1 for row in rows),
        sources=tuple(sorted({source for row in chosen for source in row.sources})),
        first=min(row.first_seen for row in chosen),
    )


class Drives:
    """The stories that are remembered, with the series in which each was counted and when; a story counts once in a
    series, by its first article there."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.stories = StoryIndex(
            window=config.story_window, threshold=config.story_threshold, limit=config.story_limit
        )
        self._counted: dict[str, dict[SeriesKey, tuple[int, float]]] = {}
        self._leads: dict[str, Evidence] = {}
        self._recent: dict[SeriesKey, deque[tuple[int, str, float]]] = {}

    def knows(self, article_id: str) -> bool:
        """Whether the article was taken already."""
        return self.stories.story_of(article_id) is not None

    def take(self, item: ScoredArticle, at: datetime, index: int, more: Sequence[SeriesKey] = ()) -> Member:
        """Puts an article of bucket ``index`` with its story; says in which series that story is new. ``more``: the
        series of rules, beside those of :func:`keys_of`."""
        article = item.article
        story, _ = self.stories.assign(article, at, item.scored.story_signature)
        negative = item.scored.scores.negative
        if story not in self._leads:
            self._leads[story] = Evidence(
                article_id=article.id,
                story_id=story,
                title=article.title,
                source=article.source,
                url=article.url,
                published_at=article.published_at,
                heat=1,
                negative=negative,
                lang=article.lang,
                topic=item.scored.scores.topic if item.scored.scores.topics else "",
                entities=tuple(dict.fromkeys(e.name for e in item.scored.entities)),
            )
        counted = self._counted.setdefault(story, {})
        keys = (*keys_of(item, self.config.series), *more)
        fresh = tuple(key for key in keys if key not in counted)
        for key in fresh:
            counted[key] = (index, negative)
            self._recent.setdefault(key, deque()).append((index, story, negative))
        return Member(
            story=story,
            source=article.source,
            model=item.scored.model,
            negative=negative if negative >= self.config.series.abstain else 0.0,
            fresh=fresh,
            again=tuple(key for key in keys if key not in fresh),
        )

    def rows(self, finding: Finding, index: int, floor: int) -> list[Row]:
        """The stories of the window of ``finding`` that ends with bucket ``index``, in the buckets after ``floor``."""
        oldest = max(index - int(finding.window / self.config.detector.width), floor)
        found: list[Row] = []
        for at, story_id, negative in sorted(
            {row for row in self._recent.get(finding.key, ()) if oldest < row[0] <= index}
        ):
            lead = self._leads.get(story_id)
            story = self.stories.story(story_id)
            if lead is None or story is None:
                continue
            lead = replace(lead, heat=story.heat, negative=negative)
            found.append(
                Row(index=at, negative=negative, lead=lead, sources=story.sources, first_seen=story.first_seen)
            )
        return found

    def drive(self, finding: Finding, index: int, floor: int) -> Drive | None:
        """What drives the surge that ``finding`` saw at the end of bucket ``index``; None when nothing does."""
        return drive_of(self.rows(finding, index, floor), self.config.driving)

    def prune(self, closed: int, now: datetime) -> None:
        """Forgets what no window reaches once bucket ``closed`` is closed, and stories that are over at ``now``."""
        oldest = self._oldest(closed)
        for key in [key for key, rows in self._recent.items() if rows and min(rows[0][0], rows[-1][0]) <= oldest]:
            kept = deque(row for row in self._recent[key] if row[0] > oldest)
            if kept:
                self._recent[key] = kept
            else:
                del self._recent[key]
        self.stories.expire(now)

    def written(self) -> None:
        """The changed stories were written; those that were dropped are forgotten here as well."""
        for story in self.stories.changed:
            if story not in self.stories:
                self._counted.pop(story, None)
                self._leads.pop(story, None)
        self.stories.changed.clear()

    def _oldest(self, closed: int) -> int:
        return closed - int(self.config.detector.windows[-1] / self.config.detector.width)

    # -- documents -------------------------------------------------------------------------------------------------

    def to_doc(self, story: str) -> dict[str, Any] | None:
        """A story as a JSON object; None when it was dropped."""
        doc = self.stories.to_doc(story)
        if doc is not None:
            doc["lead"] = _lead_to_doc(self._leads[story])
            doc["series"] = {str(key): list(value) for key, value in self._counted[story].items()}
        return doc

    def load(self, docs: Mapping[str, Mapping[str, Any]], closed: int) -> None:
        """The inverse of :meth:`to_doc`. Raises CodecError, KeyError, TypeError, ValueError."""
        self.stories.load(docs.items())
        for story, doc in docs.items():
            self._leads[story] = _lead_from_doc(story, doc)
            self._counted[story] = {
                SeriesKey.parse(key): (int(index), float(negative)) for key, (index, negative) in doc["series"].items()
            }
        oldest, recent = self._oldest(closed), dict[SeriesKey, list[tuple[int, str, float]]]()
        for story, counted in self._counted.items():
            for series, (index, negative) in counted.items():
                if index > oldest:
                    recent.setdefault(series, []).append((index, story, negative))
        self._recent = {series: deque(sorted(rows)) for series, rows in recent.items()}


def _lead_to_doc(lead: Evidence) -> dict[str, Any]:
    return {
        "article": lead.article_id,
        "title": lead.title,
        "source": lead.source,
        "url": lead.url,
        "published": time_to_str(lead.published_at),
        "negative": lead.negative,
        "lang": lead.lang,
        "topic": lead.topic,
        "entities": list(lead.entities),
    }


def _lead_from_doc(story: str, doc: Mapping[str, Any]) -> Evidence:
    lead = doc["lead"]
    return Evidence(
        article_id=lead["article"],
        story_id=story,
        title=lead["title"],
        source=lead["source"],
        url=lead["url"],
        published_at=time_from_str(lead["published"]),
        heat=int(doc["heat"]),
        negative=float(lead["negative"]),
        lang=lead["lang"],
        topic=lead["topic"],
        entities=tuple(lead["entities"]),
    )
