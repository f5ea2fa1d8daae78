"""Search, series and single articles, as requests to the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.core.types import Scope, ScoredArticle, SearchPage, SearchQuery, SeriesPoint, SeriesQuery
from monitor.db.values import from_micros, to_micros
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_document import from_document, key_of
from monitor.store.elastic_indices import READ
from monitor.store.words import terms

STEPS = 1000
"""Steps of a series that are asked for at once: the cluster's limit of buckets (search.max_buckets) and the memory that
counting distinct sources takes grow with them."""
SOURCE_PRECISION = 1000
"""Up to about this many different sources of a step are counted (nearly) exactly."""
FIELDS = {Scope.TOPIC: "topic", Scope.ENTITY: "entities", Scope.SOURCE: "source"}


def conditions_of(query: SearchQuery) -> list[dict[str, Any]] | None:
    """Filters of a search; None when nothing can match. What people typed is only ever a value, never syntax."""
    conditions: list[dict[str, Any]] = []
    for name, value in (
        ("topic", query.topic),
        ("sentiment", query.sentiment),
        ("entities", query.entity),
        ("source", query.source),
        ("lang", query.lang),
    ):
        if value:
            if not _whole(value):
                return None
            conditions.append({"term": {name: value}})
    times: dict[str, int] = {}
    if query.since is not None:
        times["gte"] = to_micros(query.since)
    if query.until is not None:
        times["lt"] = to_micros(query.until)
    if times:
        conditions.append({"range": {"published_micros": times}})
    if query.text.strip():
        words = terms(query.text)
        if not words:
            return None
        conditions += [
            {"multi_match": {"query": word, "type": "phrase", "fields": ["title", "body"]}} for word in words
        ]
    return conditions


def _whole(text: str) -> bool:
    """False for half a character: nothing that was ever stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def search(client: ElasticClient, query: SearchQuery) -> SearchPage:
    """Newest first; articles of the same time in the reverse order of arrival."""
    conditions = conditions_of(query)
    if conditions is None:
        return SearchPage(items=(), total=0)
    body = {
        "size": query.limit,
        "from": query.offset,
        "track_total_hits": True,
        "query": {"bool": {"filter": conditions}},
        "sort": [{"published_micros": "desc"}, {"arrival": "desc"}],
    }
    answer = await client.request("POST", path(client.config.alias, "_search"), body, params=READ)
    hits = answer["hits"]
    items = tuple(from_document(hit["_source"]) for hit in hits["hits"])
    return SearchPage(items=items, total=int(hits["total"]["value"]))


async def series(client: ElasticClient, query: SeriesQuery) -> Sequence[SeriesPoint]:
    """Counts per step, counted from ``since``; the last step counts only what lies before ``until``.

    The steps are given to the cluster as ranges of microseconds, so that they are exactly those of the embedded
    store; a date histogram knows only milliseconds.
    """
    since, until = to_micros(query.since), to_micros(query.until)
    width = int(query.width.total_seconds() * 1_000_000)
    found: dict[int, SeriesPoint] = {}
    if until > since and (query.key.scope is Scope.ALL or _whole(query.key.value)):
        for start in range(since, until, STEPS * width):
            found |= await _steps(client, query, start, min(until, start + STEPS * width), width)
    return [
        found.get(start) or SeriesPoint(start=from_micros(start), articles=0, expected_negatives=0.0, sources=0)
        for start in range(since, until, width)
    ]


async def _steps(client: ElasticClient, query: SeriesQuery, start: int, end: int, width: int) -> dict[int, SeriesPoint]:
    conditions: list[dict[str, Any]] = [{"range": {"published_micros": {"gte": start, "lt": end}}}]
    if query.key.scope is not Scope.ALL:
        conditions.append({"term": {FIELDS[query.key.scope]: query.key.value}})
    counted = {
        "negative": {"sum": {"field": "negative"}},
        "sources": {"cardinality": {"field": "source", "precision_threshold": SOURCE_PRECISION}},
    }
    starts = range(start, end, width)
    ranges = [{"key": str(step), "from": step, "to": min(step + width, end)} for step in starts]
    steps = {"field": "published_micros", "keyed": True, "ranges": ranges}
    body = {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": conditions}},
        "aggs": {"steps": {"range": steps, "aggs": counted}},
    }
    answer = await client.request("POST", path(client.config.alias, "_search"), body, params=READ)
    points = {}
    for at, bucket in answer.get("aggregations", {}).get("steps", {}).get("buckets", {}).items():
        if bucket["doc_count"]:
            points[int(at)] = SeriesPoint(
                start=from_micros(int(at)),
                articles=int(bucket["doc_count"]),
                expected_negatives=float(bucket["negative"]["value"]),
                sources=int(bucket["sources"]["value"]),
            )
    return points


async def article(client: ElasticClient, article_id: str, index: str | None) -> ScoredArticle | None:
    """One article; ``index`` is where it was last written to, if that is known."""
    if not _whole(article_id) or not article_id:
        return None
    key = key_of(article_id)
    if index is not None:  # reads what no refresh has made visible yet
        answer = await client.find("GET", path(index, "_doc", key))
        if answer is not None and answer.get("found"):
            return from_document(answer["_source"])
    body = {"size": 1, "query": {"ids": {"values": [key]}}}
    answer = await client.request("POST", path(client.config.alias, "_search"), body, params=READ)
    for hit in answer["hits"]["hits"]:
        return from_document(hit["_source"])
    return None
