"""A scored article as a document, and back. Pure.

The document is made for people who look at it with Kibana (labels as keywords, probabilities as numbers, times as
dates) and holds everything needed to give the article back exactly. Probabilities by label are lists of name and value
rather than objects with a field per label: a partial update replaces a list whole, but would merge an object with the
labels of an older model; and labels can never run into the limit of fields of an index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor.core.codec import dumps, time_from_str, time_to_str
from monitor.core.types import Article, EntityMention, Scored, ScoredArticle, Scores
from monitor.db.values import from_json
from monitor.store.rows import COLUMNS, RejectedError, encode

KEY_BYTES = 512
"""Elasticsearch's limit of a document's ``_id``."""
_MORE = COLUMNS.index("more")


@dataclass(frozen=True, slots=True)
class Document:
    """An article, checked and encoded, without what only the first put writes."""

    key: str
    """The document's ``_id``."""
    month: datetime
    """A time in the month whose index it belongs to."""
    fetched_at: str
    content: bytes
    """The fields as a JSON object, without ``arrival``, ``arrival_check`` and ``fetched_at``."""


def key_of(article_id: str) -> str:
    """The ``_id`` of an article: its id, or a digest of it where Elasticsearch would find it too long."""
    raw = article_id.encode()
    return article_id if len(raw) <= KEY_BYTES else f"sha256:{hashlib.sha256(raw).hexdigest()}"


def digest_of(key: str) -> int:
    """64 bits that stand for a document in the tail's memory."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def check_of(key: str, arrival: int) -> int:
    """31 bits of (document, arrival): sums of them tell sets apart that have the same size."""
    raw = hashlib.blake2b(f"{arrival} {key}".encode(), digest_size=4).digest()
    return int.from_bytes(raw, "big") >> 1


def to_document(item: ScoredArticle) -> Document:
    """Raises RejectedError with the reason when the article cannot be stored."""
    row = encode(item)  # the rules of what can be stored are the same for every store
    article, scored = item.article, item.scored
    scores = scored.scores
    fields: dict[str, Any] = {
        "id": article.id,
        "source": article.source,
        "title": article.title,
        "body": article.body,
        "url": article.url,
        "lang": article.lang,
        "published_at": time_to_str(article.published_at),
        "published_micros": row.published,
        "scored_at": time_to_str(scored.scored_at),
        "model": scored.model,
        "topic": row.topic,
        "topic_p": scores.topics[row.topic],
        "topics": _pairs(scores.topics),
        "sentiment": scores.sentiment,
        "sentiment_p": scores.sentiments[scores.sentiment],
        "sentiments": _pairs(scores.sentiments),
        "negative": row.negative,
        "doubts": list(scored.doubts),
        "entities": list(row.entities),
        "entity_names": [_whole(name) for name in dict.fromkeys(entity.name for entity in scored.entities)],
        "story": scored.story_signature,
        "meta": [_whole(f"{name}={value}") for name, value in article.meta.items()],
        "more": row.article[_MORE],
    }
    try:
        content = dumps(fields).encode()
    except UnicodeEncodeError as error:
        raise RejectedError(f"its text holds half a character (code {ord(error.object[error.start]):#x})") from error
    return Document(
        key=key_of(article.id), month=article.published_at, fetched_at=time_to_str(article.fetched_at), content=content
    )


def _pairs(probabilities: Mapping[str, float]) -> list[dict[str, object]]:
    return [{"name": name, "p": value} for name, value in probabilities.items()]


def _whole(text: str) -> str:
    """Half characters as question marks: for what is only looked at (``more`` has the exact text)."""
    return text.encode(errors="replace").decode()


def from_document(source: Mapping[str, Any]) -> ScoredArticle:
    """The inverse of :func:`to_document`. Raises CodecError, KeyError for a document that is none of ours."""
    more: Mapping[str, Any] = from_json(source["more"]) if source.get("more") else {}
    scores = Scores(topics=_mapping(source["topics"]), sentiments=_mapping(source["sentiments"]))
    return ScoredArticle(
        article=Article(
            id=source["id"],
            source=source["source"],
            title=source["title"],
            published_at=time_from_str(source["published_at"]),
            fetched_at=time_from_str(source["fetched_at"]),
            url=source["url"],
            body=source["body"],
            lang=source["lang"],
            scores=_given(more.get("scores"), scores),
            model=more.get("model", ""),
            meta=more.get("meta", {}),
        ),
        scored=Scored(
            article_id=source["id"],
            model=source["model"],
            scores=scores,
            entities=tuple(
                EntityMention(id=entity, name=name, start=start, end=end)
                for entity, name, start, end in more.get("entities", ())
            ),
            story_signature=source["story"],
            scored_at=time_from_str(source["scored_at"]),
            doubts=tuple(more.get("doubts", ())),
        ),
    )


def _mapping(pairs: Any) -> dict[str, float]:
    return {pair["name"]: float(pair["p"]) for pair in pairs}


def _given(given: Any, scored: Scores) -> Scores | None:
    """The scores that the article arrived with: none, the same as it has now, or others."""
    if given is None or given is True:
        return scored if given else None
    return Scores(topics=given["topics"], sentiments=given["sentiments"])
