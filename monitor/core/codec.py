"""JSON forms of the core types: the bus envelope (versioned), the JSON-lines formats of the command line, and plain
dictionaries for stores. Unknown fields are ignored; an unknown major version or a wrong type is a CodecError."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.core.errors import CodecError
from monitor.core.ids import article_id
from monitor.core.text import clean, guess_language
from monitor.core.types import (
    SENTIMENTS,
    Action,
    Article,
    EntityMention,
    Evidence,
    Incident,
    IncidentState,
    Scored,
    ScoredArticle,
    Scores,
    SeriesKey,
    Severity,
    SimilarIncident,
    TrendPoint,
    WordWeight,
)

ENVELOPE_MAJOR = 1
ENVELOPE_MINOR = 0
TITLE_LIMIT = 2_000
BODY_LIMIT = 100_000


def dumps(value: object) -> str:
    """Compact JSON with sorted keys (equal values give equal text); NaN and infinity are refused."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CodecError(f"A value cannot be written as JSON: {error}.") from error


def loads(text: str | bytes) -> Any:
    """Parses JSON. Raises CodecError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"This is not JSON: {error}.") from error


def time_to_str(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z; microseconds only when there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def time_from_str(text: object, *, field: str = "time") -> datetime:
    """Parses ISO 8601; a time without a zone is taken as UTC. Raises CodecError."""
    if not isinstance(text, str):
        raise CodecError(f"'{field}' must be an ISO 8601 time, not {type(text).__name__}.")
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CodecError(f"'{field}' must be an ISO 8601 time, got {text[:40]!r}.") from error


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CodecError(f"{what} must be a JSON object, not {type(value).__name__}.")
    return value


def _text(value: object, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CodecError(f"'{field}' must be text, not {type(value).__name__}.")
    return value


def _probabilities(value: object, field: str) -> dict[str, float]:
    result: dict[str, float] = {}
    for name, probability in _mapping(value, f"'{field}'").items():
        if isinstance(probability, bool) or not isinstance(probability, int | float):
            raise CodecError(f"'{field}.{name}' must be a number.")
        if not math.isfinite(probability) or not -1e-6 <= probability <= 1 + 1e-6:
            raise CodecError(f"'{field}.{name}' must lie between 0 and 1, got {probability}.")
        result[str(name)] = float(probability)
    if not result:
        raise CodecError(f"'{field}' is empty.")
    return result


def scores_from_dict(data: Mapping[str, Any]) -> Scores:
    """Reads ``topics`` and ``sentiments``. Raises CodecError."""
    sentiments = _probabilities(data.get("sentiments"), "sentiments")
    unknown = set(sentiments) - set(SENTIMENTS)
    if unknown:
        raise CodecError(f"'sentiments' has unknown labels: {', '.join(sorted(unknown))}.")
    return Scores(topics=_probabilities(data.get("topics"), "topics"), sentiments=sentiments)


def article_to_dict(article: Article) -> dict[str, Any]:
    """A JSON object; empty fields are left out."""
    data: dict[str, Any] = {
        "id": article.id,
        "source": article.source,
        "title": article.title,
        "published_at": time_to_str(article.published_at),
        "fetched_at": time_to_str(article.fetched_at),
        "lang": article.lang,
    }
    for name in ("url", "body", "model"):
        if getattr(article, name):
            data[name] = getattr(article, name)
    if article.meta:
        data["meta"] = dict(article.meta)
    if article.scores is not None:
        data["topics"] = dict(article.scores.topics)
        data["sentiments"] = dict(article.scores.sentiments)
    return data


def article_from_dict(data: Mapping[str, Any]) -> Article:
    """The inverse of :func:`article_to_dict`. Raises CodecError."""
    data = _mapping(data, "An article")
    for name in ("id", "source"):
        if not _text(data.get(name), name):
            raise CodecError(f"An article needs '{name}'.")
    scored = "topics" in data and "sentiments" in data
    return Article(
        id=data["id"],
        source=data["source"],
        title=_text(data.get("title"), "title"),
        body=_text(data.get("body"), "body"),
        url=_text(data.get("url"), "url"),
        lang=_text(data.get("lang"), "lang") or "und",
        published_at=time_from_str(data.get("published_at"), field="published_at"),
        fetched_at=time_from_str(data.get("fetched_at"), field="fetched_at"),
        scores=scores_from_dict(data) if scored else None,
        model=_text(data.get("model"), "model"),
        meta={str(k): str(v) for k, v in _mapping(data.get("meta", {}), "'meta'").items()},
    )


def encode_article(article: Article) -> bytes:
    """The bus envelope: ``{"v": "1.0", "article": {…}}``."""
    body = {"v": f"{ENVELOPE_MAJOR}.{ENVELOPE_MINOR}", "article": article_to_dict(article)}
    return dumps(body).encode("utf-8", "surrogatepass")


def decode_article(payload: bytes) -> Article:
    """Reads a bus envelope. Raises CodecError, also for an unknown major version."""
    data = _mapping(loads(payload), "A bus message")
    version = data.get("v")
    if not isinstance(version, str) or version.split(".", 1)[0] != str(ENVELOPE_MAJOR):
        raise CodecError(
            f"A bus message has format version {version!r}; this program reads {ENVELOPE_MAJOR}.x.",
            hint="Run the same version of Riskwire on every role.",
        )
    return article_from_dict(_mapping(data.get("article"), "'article'"))


def article_from_row(row: Mapping[str, Any], *, now: datetime, source: str = "") -> Article:
    """Reads one line of the article JSONL format (DESIGN: the command line's formats).

    ``now`` becomes ``fetched_at`` and stands in for a missing ``published_at``. Raises CodecError when there is
    neither title nor body, or a field has the wrong type.
    """
    row = _mapping(row, "An article line")
    title = clean(_text(row.get("title"), "title"), limit=TITLE_LIMIT)
    body = clean(_text(row.get("body"), "body"), limit=BODY_LIMIT)
    if not title and not body:
        raise CodecError("An article line needs a 'title' or a 'body'.")
    name = _text(row.get("source"), "source") or source or "unknown"
    url = _text(row.get("url"), "url").strip()
    given = row.get("published_at")
    published = now if given is None else time_from_str(given, field="published_at")
    identity = row.get("id")
    if identity is not None and not isinstance(identity, str | int):
        raise CodecError("'id' must be text or a whole number.")
    scored = "topics" in row and "sentiments" in row
    return Article(
        id=str(identity)
        if identity not in (None, "")
        else article_id(name, url=url, title=title or body, published=time_to_str(published) if given else ""),
        source=name,
        title=title or body[:200],
        body=body,
        url=url,
        lang=_text(row.get("lang"), "lang") or guess_language(title or body),
        published_at=published,
        fetched_at=now,
        scores=scores_from_dict(row) if scored else None,
        model=_text(row.get("model"), "model"),
    )


def scored_to_dict(scored: Scored) -> dict[str, Any]:
    """A JSON object for stores."""
    return {
        "article_id": scored.article_id,
        "model": scored.model,
        "topics": dict(scored.scores.topics),
        "sentiments": dict(scored.scores.sentiments),
        "entities": [{"id": e.id, "name": e.name, "start": e.start, "end": e.end} for e in scored.entities],
        "story_signature": scored.story_signature,
        "scored_at": time_to_str(scored.scored_at),
    } | ({"doubts": list(scored.doubts)} if scored.doubts else {})


def scored_from_dict(data: Mapping[str, Any]) -> Scored:
    """The inverse of :func:`scored_to_dict`. Raises CodecError."""
    try:
        return Scored(
            article_id=data["article_id"],
            model=data["model"],
            scores=scores_from_dict(data),
            entities=tuple(EntityMention(**entity) for entity in data["entities"]),
            story_signature=data["story_signature"],
            scored_at=time_from_str(data["scored_at"], field="scored_at"),
            doubts=tuple(data.get("doubts", ())),
        )
    except (KeyError, TypeError) as error:
        raise CodecError(f"A stored score is incomplete: {error}.") from error


def score_line(item: ScoredArticle) -> dict[str, Any]:
    """One line of the score JSONL format of ``riskwire score``."""
    scored = item.scored
    return {
        "id": item.article.id,
        "title": item.article.title,
        "lang": item.article.lang,
        "topic": scored.verdict("topic"),
        "topics": {name: round(p, 6) for name, p in scored.scores.topics.items()},
        "sentiment": scored.verdict("sentiment"),
        "sentiments": {name: round(p, 6) for name, p in scored.scores.sentiments.items()},
        "entities": [{"name": e.name, "id": e.id, "start": e.start, "end": e.end} for e in scored.entities],
        "model": scored.model,
    } | ({"doubts": list(scored.doubts)} if scored.doubts else {})


def incident_to_dict(incident: Incident) -> dict[str, Any]:
    """A JSON object for the state store; complete, so that it can be read back."""
    doc: dict[str, Any] = {
        "id": incident.id,
        "key": str(incident.key),
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
        "kind": incident.kind,
        "title": incident.title,
        "reason": incident.reason,
        "stories": incident.stories,
        "articles": list(incident.articles),
        "sources": list(incident.sources),
        "entities": list(incident.entities),
        "related": [str(key) for key in incident.related],
        "evidence": [_evidence_to_dict(item) for item in incident.evidence],
        "model": incident.model,
        "revision": incident.revision,
        "history": [{"at": time_to_str(a.at), "by": a.by, "what": a.what, "note": a.note} for a in incident.history],
        "trend": [[time_to_str(t.start), t.observed, t.expected, t.low, t.high] for t in incident.trend],
    }
    if incident.similar:  # left out when there is none: digests of incidents written before it was known stay valid
        doc["similar"] = [_similar_to_dict(item) for item in incident.similar]
    return doc


def incident_from_dict(data: Mapping[str, Any]) -> Incident:
    """The inverse of :func:`incident_to_dict`. Raises CodecError."""
    try:
        resolved, snoozed = data.get("resolved_at"), data.get("snoozed_until")
        return Incident(
            id=data["id"],
            key=SeriesKey.parse(data["key"]),
            state=IncidentState(data["state"]),
            severity=Severity(data["severity"]),
            observed=data["observed"],
            expected=data["expected"],
            low=data["low"],
            high=data["high"],
            p_value=data["p_value"],
            q_value=data["q_value"],
            opened_at=time_from_str(data["opened_at"]),
            updated_at=time_from_str(data["updated_at"]),
            resolved_at=time_from_str(resolved) if resolved else None,
            snoozed_until=time_from_str(snoozed) if snoozed else None,
            kind=data.get("kind", "surge"),
            title=data.get("title", ""),
            reason=data.get("reason", ""),
            stories=data.get("stories", 0),
            articles=tuple(data.get("articles", ())),
            sources=tuple(data.get("sources", ())),
            entities=tuple(data.get("entities", ())),
            related=tuple(SeriesKey.parse(text) for text in data.get("related", ())),
            evidence=tuple(_evidence_from_dict(item) for item in data.get("evidence", ())),
            model=data.get("model", ""),
            revision=data.get("revision", 1),
            history=tuple(_action_from_dict(item) for item in data.get("history", ())),
            trend=tuple(_trend_from_list(item) for item in data.get("trend", ())),
            similar=tuple(_similar_from_dict(item) for item in data.get("similar", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"A stored incident is incomplete: {error}.") from error


def _action_from_dict(data: Mapping[str, Any]) -> Action:
    return Action(at=time_from_str(data["at"]), by=data["by"], what=data["what"], note=data.get("note", ""))


def _similar_to_dict(item: SimilarIncident) -> dict[str, Any]:
    return {
        "id": item.id,
        "key": str(item.key),
        "title": item.title,
        "opened_at": time_to_str(item.opened_at),
        "resolved_at": time_to_str(item.resolved_at),
        "severity": item.severity.value,
        "similarity": item.similarity,
        "words": list(item.words),
        "ended": item.ended,
    }


def _similar_from_dict(data: Mapping[str, Any]) -> SimilarIncident:
    return SimilarIncident(
        id=data["id"],
        key=SeriesKey.parse(data["key"]),
        title=data["title"],
        opened_at=time_from_str(data["opened_at"]),
        resolved_at=time_from_str(data["resolved_at"]),
        severity=Severity(data["severity"]),
        similarity=float(data["similarity"]),
        words=tuple(data["words"]),
        ended=data["ended"],
    )


def _trend_from_list(data: Sequence[Any]) -> TrendPoint:
    start, observed, expected, low, high = data
    return TrendPoint(start=time_from_str(start), observed=observed, expected=expected, low=low, high=high)


def _evidence_to_dict(item: Evidence) -> dict[str, Any]:
    return {
        "article_id": item.article_id,
        "story_id": item.story_id,
        "title": item.title,
        "source": item.source,
        "url": item.url,
        "published_at": time_to_str(item.published_at),
        "heat": item.heat,
        "negative": item.negative,
        "lang": item.lang,
        "topic": item.topic,
        "entities": list(item.entities),
        "words": [{"word": w.word, "weight": w.weight, "start": w.start, "end": w.end} for w in item.words],
    }


def _evidence_from_dict(data: Mapping[str, Any]) -> Evidence:
    return Evidence(
        article_id=data["article_id"],
        story_id=data["story_id"],
        title=data["title"],
        source=data["source"],
        url=data["url"],
        published_at=time_from_str(data["published_at"]),
        heat=data["heat"],
        negative=data["negative"],
        lang=data.get("lang", "und"),
        topic=data.get("topic", ""),
        entities=tuple(data.get("entities", ())),
        words=tuple(WordWeight(**word) for word in data.get("words", ())),
    )


def incident_line(incident: Incident) -> dict[str, Any]:
    """One line of ``incidents.jsonl``."""
    return {
        "id": incident.id,
        "scope": incident.key.scope.value,
        "value": incident.key.value,
        "opened_at": time_to_str(incident.opened_at),
        "resolved_at": time_to_str(incident.resolved_at) if incident.resolved_at else None,
        "severity": incident.severity.value,
        "observed": incident.observed,
        "expected": incident.expected,
        "p_value": incident.p_value,
        "q_value": incident.q_value,
        "stories": incident.stories,
        "articles": list(incident.articles),
        "sources": list(incident.sources),
    }
