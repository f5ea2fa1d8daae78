"""A scored article as rows of the embedded store, and back. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from monitor.core.errors import CodecError
from monitor.core.types import SENTIMENTS, Article, EntityMention, Scored, ScoredArticle, Scores
from monitor.db.values import from_json, from_micros, to_json, to_micros

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
TEXT_BYTES = 16 * 1024 * 1024
"""The largest title and body, together, that is kept."""

COLUMNS = (
    "id",
    "fetched",
    "scored",
    "model",
    "topic_labels",
    "topic_values",
    "sentiment_labels",
    "sentiment_values",
    "signature",
    "title",
    "url",
    "more",
    "body",
)
"""Of table ``articles``, in the order of :attr:`Row.article`. What is filtered and counted by lies in ``facts``."""
NAMED = ("model", "topic_labels", "sentiment_labels")
"""The columns that hold the number of a name (see table ``names``)."""


class RejectedError(Exception):
    """The article cannot be stored, for the reason given."""


@dataclass(frozen=True, slots=True)
class Row:
    """One article, checked and encoded."""

    id: str
    source: str
    published: int
    lang: str
    topic: str
    sentiment: int
    negative: float
    entities: tuple[str, ...]
    """Entity ids, each once."""
    article: tuple[Any, ...]
    """Values for :data:`COLUMNS`."""


def encode(item: ScoredArticle) -> Row:
    """Raises RejectedError with the reason when the article cannot be stored."""
    try:
        return _encode(item)
    except UnicodeEncodeError as error:
        raise RejectedError(f"its text holds half a character (code {ord(error.object[error.start]):#x})") from error
    except CodecError as error:
        raise RejectedError(error.message) from error


def _encode(item: ScoredArticle) -> Row:
    article, scored = item.article, item.scored
    if not article.id:
        raise RejectedError("it has no id")
    if scored.article_id != article.id:
        raise RejectedError(f"its score belongs to article {scored.article_id!r}")
    texts = (article.id, article.source, article.title, article.url, article.body, article.lang, article.model)
    size = sum(len(text.encode()) for text in (*texts, scored.model, scored.story_signature))
    if size > TEXT_BYTES:
        raise RejectedError(f"it is {size / 1e6:.0f} MB large; at most {TEXT_BYTES / 1e6:.0f} MB are kept")
    topics, sentiments = _values(scored.scores.topics, "topics"), _values(scored.scores.sentiments, "sentiments")
    sentiment = scored.scores.sentiment
    if sentiment not in SENTIMENTS:
        raise RejectedError(f"its sentiment {sentiment!r} is unknown")
    return Row(
        id=article.id,
        source=article.source,
        published=_time(article.published_at, "published_at"),
        lang=article.lang,
        topic=scored.scores.topic,
        sentiment=SENTIMENTS.index(sentiment),
        negative=scored.scores.negative,
        entities=tuple(dict.fromkeys(entity.id for entity in scored.entities)),
        article=(
            article.id,
            _time(article.fetched_at, "fetched_at"),
            _time(scored.scored_at, "scored_at"),
            scored.model,
            to_json(list(scored.scores.topics)),
            topics,
            to_json(list(scored.scores.sentiments)),
            sentiments,
            scored.story_signature,
            article.title,
            article.url,
            _more(item),
            article.body,
        ),
    )


def _values(probabilities: Mapping[str, float], name: str) -> bytes:
    """Eight bytes a number: they come back exactly as they were."""
    if not probabilities:
        raise RejectedError(f"it has no {name}")
    if not all(math.isfinite(value) for value in probabilities.values()):
        raise RejectedError(f"its {name} are not all finite numbers")
    return struct.pack(f"<{len(probabilities)}d", *probabilities.values())


def _time(moment: datetime, name: str) -> int:
    if moment.tzinfo is None:
        raise RejectedError(f"its {name} {moment.isoformat()} has no time zone")
    if not EARLIEST <= moment < LATEST:
        raise RejectedError(
            f"its {name} {moment.isoformat()} is outside the years {EARLIEST.year} to {LATEST.year - 1}"
        )
    return to_micros(moment)


def _more(item: ScoredArticle) -> str | None:
    """What few articles have, as JSON."""
    article, scored = item.article, item.scored
    more: dict[str, Any] = {}
    if scored.entities:
        more["entities"] = [[entity.id, entity.name, entity.start, entity.end] for entity in scored.entities]
    if scored.doubts:
        more["doubts"] = list(scored.doubts)
    if article.meta:
        more["meta"] = dict(article.meta)
    if article.model:
        more["model"] = article.model
    if article.scores is not None:
        same = article.scores == scored.scores
        more["scores"] = (
            True if same else {"topics": dict(article.scores.topics), "sentiments": dict(article.scores.sentiments)}
        )
    return to_json(more) if more else None


def entity_ids(more: str | None) -> tuple[str, ...]:
    """The entity ids of a stored article, each once."""
    return tuple(dict.fromkeys(entity[0] for entity in from_json(more).get("entities", ()))) if more else ()


def decode(source: str, lang: str, published: int, article: Sequence[Any]) -> ScoredArticle:
    """The inverse of :func:`encode`; ``article`` are the values of :data:`COLUMNS`."""
    (
        article_id,
        fetched,
        scored_at,
        model,
        topic_labels,
        topic_values,
        sentiment_labels,
        sentiment_values,
        signature,
        title,
        url,
        more_text,
        body,
    ) = article
    more = from_json(more_text) if more_text else {}
    scores = Scores(
        topics=_mapping(topic_labels, topic_values), sentiments=_mapping(sentiment_labels, sentiment_values)
    )
    return ScoredArticle(
        article=Article(
            id=article_id,
            source=source,
            title=title,
            published_at=from_micros(published),
            fetched_at=from_micros(fetched),
            url=url,
            body=body,
            lang=lang,
            scores=_given(more.get("scores"), scores),
            model=more.get("model", ""),
            meta=more.get("meta", {}),
        ),
        scored=Scored(
            article_id=article_id,
            model=model,
            scores=scores,
            entities=tuple(
                EntityMention(id=entity, name=name, start=start, end=end)
                for entity, name, start, end in more.get("entities", ())
            ),
            story_signature=signature,
            scored_at=from_micros(scored_at),
            doubts=tuple(more.get("doubts", ())),
        ),
    )


def _given(given: Any, scored: Scores) -> Scores | None:
    """The scores that the article arrived with: none, the same as it has now, or others."""
    if given is None or given is True:
        return scored if given else None
    return Scores(topics=given["topics"], sentiments=given["sentiments"])


def _mapping(labels: str, values: bytes) -> dict[str, float]:
    names = from_json(labels)
    return dict(zip(names, struct.unpack(f"<{len(names)}d", values), strict=True))
