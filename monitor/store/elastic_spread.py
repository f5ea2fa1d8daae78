"""Facets of a search and the breakdown by topic, entity or source, as requests to the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.core.types import BreakdownQuery, BreakdownRow, Facets, SearchQuery
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_indices import READ
from monitor.store.elastic_search import FIELDS, conditions_of
from monitor.store.spread import NONE, ROWS, check_breakdown, rows_of

VALUES = 100
"""Of one kind, most frequent first."""
_BUCKETS = 50_000
"""Asked for at once: below the cluster's default limit (search.max_buckets, 65,536)."""
_FACETS = {
    "topics": "topic",
    "sentiments": "sentiment",
    "sources": "source",
    "languages": "lang",
    "entities": "entities",
}


async def facets(client: ElasticClient, query: SearchQuery) -> Facets:
    """See the port."""
    conditions = conditions_of(query)
    if conditions is None:
        return NONE
    body = {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"filter": conditions}},
        "aggs": {name: {"terms": {"field": field, "size": VALUES}} for name, field in _FACETS.items()},
    }
    answer = await client.request("POST", path(client.config.alias, "_search"), body, params=READ)
    found = answer.get("aggregations", {})
    counts = {name: _counts(found.get(name, {}).get("buckets", ())) for name in _FACETS}
    return Facets(
        total=int(answer["hits"]["total"]["value"]),
        topics=counts["topics"],
        sentiments=counts["sentiments"],
        sources=counts["sources"],
        languages=counts["languages"],
        entities=counts["entities"],
    )


def _counts(buckets: Sequence[Any]) -> dict[str, int]:
    pairs = [(str(bucket["key"]), int(bucket["doc_count"])) for bucket in buckets]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


async def breakdown(client: ElasticClient, query: BreakdownQuery) -> Sequence[BreakdownRow]:
    """See the port. Few steps of many values, or many of few, are asked for at once."""
    since, until, width = check_breakdown(query)
    steps = -(-(until - since) // width)
    values = await _values(client, query, since, until)
    cells: list[tuple[str, int, int, float]] = []
    piece = max(1, _BUCKETS // (steps + 1))
    for first in range(0, len(values), piece):
        cells += await _cells(client, query, values[first : first + piece], (since, until, width))
    return rows_of(cells, steps)


async def _values(client: ElasticClient, query: BreakdownQuery, since: int, until: int) -> list[str]:
    terms = {
        "terms": {"field": FIELDS[query.scope], "size": ROWS, "order": {"negative": "desc"}},
        "aggs": {"negative": {"sum": {"field": "negative"}}},
    }
    body = {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": [{"range": {"published_micros": {"gte": since, "lt": until}}}]}},
        "aggs": {"values": terms},
    }
    answer = await client.request("POST", path(client.config.alias, "_search"), body, params=READ)
    return [str(bucket["key"]) for bucket in answer.get("aggregations", {}).get("values", {}).get("buckets", ())]


async def _cells(
    client: ElasticClient, query: BreakdownQuery, values: Sequence[str], times: tuple[int, int, int]
) -> list[tuple[str, int, int, float]]:
    since, until, width = times
    field = FIELDS[query.scope]
    ranges = [
        {"key": str(index), "from": start, "to": min(start + width, until)}
        for index, start in enumerate(range(since, until, width))
    ]
    filters: list[dict[str, Any]] = [
        {"range": {"published_micros": {"gte": since, "lt": until}}},
        {"terms": {field: list(values)}},
    ]
    counted = {"negative": {"sum": {"field": "negative"}}}
    steps = {"range": {"field": "published_micros", "keyed": True, "ranges": ranges}, "aggs": counted}
    body = {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": filters}},
        "aggs": {
            "values": {
                "terms": {"field": field, "size": len(values), "include": list(values)},
                "aggs": {"steps": steps},
            }
        },
    }
    answer = await client.request("POST", path(client.config.alias, "_search"), body, params=READ)
    return [
        (str(bucket["key"]), int(index), int(step["doc_count"]), float(step["negative"]["value"]))
        for bucket in answer.get("aggregations", {}).get("values", {}).get("buckets", ())
        for index, step in bucket["steps"]["buckets"].items()
        if step["doc_count"]
    ]
