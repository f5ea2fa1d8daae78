"""The JSON forms that clients see, of articles, incidents and facets. Unset fields are null, never absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from monitor.core.codec import incident_from_dict, time_to_str
from monitor.core.types import Incident, ScoredArticle, WordWeight


def safe_url(url: str) -> str | None:
    """The address when a browser may be sent there, else None: feeds can say ``javascript:`` as well."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def article_view(item: ScoredArticle) -> dict[str, Any]:
    """An article as lists show it."""
    article, scored = item.article, item.scored
    return {
        "id": article.id,
        "source": article.source,
        "title": article.title,
        "url": safe_url(article.url),
        "lang": article.lang,
        "published_at": time_to_str(article.published_at),
        "fetched_at": time_to_str(article.fetched_at),
        "topic": scored.verdict("topic"),
        "sentiment": scored.verdict("sentiment"),
        "negative": round(scored.scores.negative, 6),
        "entities": [{"id": e.id, "name": e.name, "start": e.start, "end": e.end} for e in scored.entities],
        "story": scored.story_signature or None,
        "model": scored.model,
    }


def whole_article_view(item: ScoredArticle) -> dict[str, Any]:
    """An article with everything that is stored of it."""
    scored = item.scored
    return article_view(item) | {
        "body": item.article.body,
        "topics": {name: round(p, 6) for name, p in scored.scores.topics.items()},
        "sentiments": {name: round(p, 6) for name, p in scored.scores.sentiments.items()},
        "doubts": list(scored.doubts),
        "scored_at": time_to_str(scored.scored_at),
    }


def word_view(word: WordWeight) -> dict[str, Any]:
    """A word that weighed."""
    return {"word": word.word, "start": word.start, "end": word.end, "weight": round(word.weight, 6) + 0.0}


def incident_view(incident: Incident) -> dict[str, Any]:
    """An incident as lists show it."""
    return {
        "id": incident.id,
        "scope": incident.key.scope.value,
        "value": incident.key.value,
        "kind": incident.kind,
        "title": incident.title or str(incident.key),
        "state": incident.state.value,
        "severity": incident.severity.value,
        "observed": incident.observed,
        "expected": incident.expected,
        "low": incident.low,
        "high": incident.high,
        "p_value": incident.p_value,
        "q_value": incident.q_value,
        "opened_at": time_to_str(incident.opened_at),
        "updated_at": time_to_str(incident.updated_at),
        "resolved_at": time_to_str(incident.resolved_at) if incident.resolved_at else None,
        "snoozed_until": time_to_str(incident.snoozed_until) if incident.snoozed_until else None,
        "stories": incident.stories,
        "sources": list(incident.sources),
        "reason": incident.reason,
        "revision": incident.revision,
        "headline": incident.evidence[0].title if incident.evidence else None,
    }


def incident_short(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same from a stored document. Raises CodecError."""
    return incident_view(incident_from_dict(document))


def whole_incident_view(incident: Incident, name: Callable[[str, str], str]) -> dict[str, Any]:
    """An incident with its evidence and history. ``name`` gives a display name by scope and value."""
    return incident_view(incident) | {
        "entities": list(incident.entities),
        "entity_names": {entity: name("entity", entity) for entity in incident.entities},
        "related": [
            {"scope": key.scope.value, "value": key.value, "name": name(key.scope.value, key.value)}
            for key in incident.related
        ],
        "articles": list(incident.articles),
        "model": incident.model,
        "evidence": [
            {
                "article_id": item.article_id,
                "story_id": item.story_id,
                "title": item.title,
                "source": item.source,
                "url": safe_url(item.url),
                "published_at": time_to_str(item.published_at),
                "heat": item.heat,
                "negative": round(item.negative, 6),
                "lang": item.lang,
                "topic": item.topic,
                "entities": list(item.entities),
                "words": [word_view(word) for word in item.words],
            }
            for item in incident.evidence
        ],
        "history": [{"at": time_to_str(a.at), "by": a.by, "what": a.what, "note": a.note} for a in incident.history],
        "trend": [
            {
                "start": time_to_str(t.start),
                "observed": t.observed,
                "expected": t.expected,
                "low": t.low,
                "high": t.high,
            }
            for t in incident.trend
        ],
        "similar": [
            {
                "id": past.id,
                "title": past.title,
                "opened_at": time_to_str(past.opened_at),
                "resolved_at": time_to_str(past.resolved_at),
                "severity": past.severity.value,
                "similarity": past.similarity,
                "words": list(past.words),
                "ended": past.ended,
            }
            for past in incident.similar
        ],
    }
