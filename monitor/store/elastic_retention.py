"""Retention: drops articles published before a time, whole months where possible."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import structlog

from monitor.core.errors import StorageError
from monitor.db.values import to_micros
from monitor.store.elastic_bulk import BulkWriter
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_indices import Indices

SLICE = 5_000
"""Articles that one delete-by-query takes, so that no request runs for long."""
_MONTH = re.compile(r"(\d{4})\.(\d{2})")

_log = structlog.get_logger("elastic")


class Retention:
    """Drops old articles of one store."""

    def __init__(self, client: ElasticClient, indices: Indices, writer: BulkWriter) -> None:
        self._client = client
        self._indices = indices
        self._writer = writer

    async def expire(self, before: datetime) -> int:
        """Drops articles published before ``before``; returns how many. Raises StorageError."""
        limit, total = to_micros(before), 0
        for name in await self._indices.names():
            if _over(name, before):
                dropped = await self._drop(name, limit)
                if dropped is not None:
                    total += dropped
                    continue
            # Also in months that are not over: the date of an article may have moved to an earlier month.
            total += await self._delete(name, limit)
        return total

    async def _drop(self, name: str, limit: int) -> int | None:
        """Drops a whole index; None when it also holds articles that stay (their date moved to a later month)."""
        await self._refresh(name)
        if await self._count(name, {"range": {"published_micros": {"gte": limit}}}):
            return None
        # Nobody writes to it between the last look and the end; a writer that tries is told to try again, and then
        # finds no index and makes a new one.
        await self._block(name, True)
        try:
            await self._refresh(name)
            keeps = await self._count(name, {"range": {"published_micros": {"gte": limit}}})
            count = await self._count(name, {"match_all": {}})
        except BaseException:
            await self._block(name, None)
            raise
        if keeps:
            await self._block(name, None)
            return None
        await self._client.find("DELETE", path(name))
        self._indices.forget(name)
        self._writer.forget(name)
        _log.info("elastic_index_dropped", index=name, articles=count)
        return count

    async def _delete(self, name: str, limit: int) -> int:
        await self._refresh(name)
        query = {"range": {"published_micros": {"lt": limit}}}
        total = 0
        while True:
            answer = await self._client.request(
                "POST",
                path(name, "_delete_by_query"),
                {"query": query, "max_docs": SLICE},
                params={"conflicts": "proceed", "refresh": "true", "scroll_size": 1000},
            )
            if failures := answer.get("failures"):
                raise StorageError(f"Old articles of {name} could not be removed: {str(failures[0])[:300]}")
            deleted = int(answer.get("deleted", 0))
            total += deleted
            if deleted < SLICE:
                return total

    async def _count(self, name: str, query: dict[str, object]) -> int:
        answer = await self._client.request("POST", path(name, "_count"), {"query": query})
        if answer.get("_shards", {}).get("failed"):
            raise StorageError(f"Not every shard of {name} could be counted.", hint="It is tried again later.")
        return int(answer["count"])

    async def _refresh(self, name: str) -> None:
        await self._client.request("POST", path(name, "_refresh"))

    async def _block(self, name: str, value: bool | None) -> None:
        await self._client.request("PUT", path(name, "_settings"), {"index.blocks.write": value})


def _over(name: str, before: datetime) -> bool:
    """Whether the whole month of an index lies before ``before``."""
    match = _MONTH.search(name.rpartition("-")[2])
    if match is None:
        return False
    year, month = int(match[1]), int(match[2])
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) <= before
