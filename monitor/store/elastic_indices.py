"""The months' indices: which are there, which one holds an article, and making one that is not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from monitor.core.errors import SchemaVersionError, StorageError
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_errors import RefusedError
from monitor.store.elastic_template import VERSION, installed

READ = {"ignore_unavailable": "true", "allow_partial_search_results": "false"}
"""Of every search: no index yet is an empty answer, but a shard that cannot be read is an error. Otherwise a node's
outage would look like articles that do not exist."""


class Indices:
    """Knows the indices of one store."""

    def __init__(self, client: ElasticClient) -> None:
        self._client = client
        self._config = client.config
        self._ready: set[str] = set()

    async def check_template(self) -> None:
        """Raises StorageError unless the index template of this version is there."""
        meta = await installed(self._client)
        found = meta.get("version") if meta is not None else None
        if not isinstance(found, int):
            raise StorageError(
                f"Elasticsearch at {self._config.address} has no index template '{self._config.alias}'.",
                hint="Run 'riskwire store apply' once.",
            )
        if found < VERSION:
            raise StorageError(
                f"The index template '{self._config.alias}' is of version {found}; this program needs {VERSION}.",
                hint="Run 'riskwire store apply'.",
            )
        if found > VERSION:
            raise SchemaVersionError(
                f"The index template '{self._config.alias}' is of version {found}; this program knows {VERSION}.",
                hint="Upgrade Riskwire.",
            )

    async def ensure(self, index: str) -> None:
        """Makes an index unless it is there. The template is looked at first: without it an index would take any
        field. Creating it here, not by the first write, works where the cluster creates none by itself."""
        if index in self._ready:
            return
        await self.check_template()
        meta = await installed(self._client)
        settings: dict[str, object] = {}
        if meta is not None and meta.get("lifecycle"):
            # A month is as old as its end, not as the day it was first written to.
            year, month = map(int, index.rpartition("-")[2].split("."))
            end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
            settings["index.lifecycle.origination_date"] = max(0, int(end.timestamp() * 1000))
        try:
            await self._client.request("PUT", path(index), {"settings": settings} if settings else {})
        except RefusedError as error:
            if error.kind != "resource_already_exists_exception":
                raise
        self._ready.add(index)

    def forget(self, index: str) -> None:
        """The index is no longer there."""
        self._ready.discard(index)

    async def locate(self, keys: Sequence[str]) -> dict[str, str]:
        """The indices that hold documents, by key. What was written within the last refresh may be missing."""
        body = {"size": 2 * len(keys), "_source": False, "query": {"ids": {"values": list(keys)}}}
        answer = await self._client.request("POST", path(self._config.alias, "_search"), body, params=READ)
        found: dict[str, str] = {}
        for hit in answer["hits"]["hits"]:
            # Two only if its date changed months within one refresh: the older index is the one that stays.
            found[hit["_id"]] = min(hit["_index"], found.get(hit["_id"], hit["_index"]))
        return found

    async def names(self) -> list[str]:
        """All months' indices, oldest first."""
        answer = await self._client.find("GET", path("_alias", self._config.alias))
        return sorted(answer) if answer else []
