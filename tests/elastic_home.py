"""An Elasticsearch store for tests: names of its own, and reads that see at once what was put.

The product neither forces a refresh nor gives arrivals of the last seconds, as it should be. A test that puts and reads
at once goes through :class:`SettledStore`, which refreshes before reading and, when the tail is empty while nothing is
being put, moves the clock over the settling time instead of waiting for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from monitor.core.errors import StorageError
from monitor.core.types import (
    BreakdownQuery,
    BreakdownRow,
    Facets,
    PutReport,
    ScoredArticle,
    SearchPage,
    SearchQuery,
    SeriesPoint,
    SeriesQuery,
    TailPage,
)
from monitor.store.elastic import ElasticStore
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_template import apply


class ShiftClock:
    """Real time, moved on by a test."""

    rate = 1.0

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def elastic_config(url: str, **fields: object) -> ElasticConfig:
    """Names that no other test has; real time is not compared with the cluster's."""
    values: dict[str, object] = {
        "urls": (url,), "prefix": f"test-{uuid4().hex[:12]}", "replicas": 0, "refresh_seconds": 1.0,
        "max_skew_seconds": 0,
    }  # fmt: skip
    return ElasticConfig(**(values | fields))  # type: ignore[arg-type]


async def refresh(client: ElasticClient) -> None:
    """Makes visible what was put."""
    await client.find("POST", path(client.config.alias, "_refresh"), ignore_unavailable="true")


async def remove(config: ElasticConfig) -> None:
    """Removes everything of a test from the cluster."""
    client = ElasticClient(config)
    with suppress(StorageError):
        for name in await client.find("GET", path("_alias", config.alias)) or ():
            await client.find("DELETE", path(name))
        await client.find("DELETE", path("_index_template", config.alias))
        await client.find("DELETE", path(f"{config.prefix}-incidents"))
    await client.close()


class SettledStore:
    """A store whose reads see what was put before."""

    def __init__(self, store: ElasticStore, clock: ShiftClock) -> None:
        self.inner = store
        self._clock = clock
        self._putting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        self._putting += 1
        self._idle.clear()
        try:
            return await self.inner.put(items)
        finally:
            self._putting -= 1
            if not self._putting:
                self._idle.set()

    async def _refresh(self) -> None:
        await refresh(self.inner.client)

    async def tail(self, after: str, limit: int) -> TailPage:
        await self._refresh()
        page = await self.inner.tail(after, limit)
        if page.items or not limit:
            return page
        await self._idle.wait()
        self._clock.ahead += timedelta(seconds=self.inner.config.settle)
        await self._refresh()
        return await self.inner.tail(after, limit)

    async def search(self, query: SearchQuery) -> SearchPage:
        await self._refresh()
        return await self.inner.search(query)

    async def series(self, query: SeriesQuery) -> Sequence[SeriesPoint]:
        await self._refresh()
        return await self.inner.series(query)

    async def facets(self, query: SearchQuery) -> Facets:
        await self._refresh()
        return await self.inner.facets(query)

    async def breakdown(self, query: BreakdownQuery) -> Sequence[BreakdownRow]:
        await self._refresh()
        return await self.inner.breakdown(query)

    async def article(self, article_id: str) -> ScoredArticle | None:
        await self._refresh()
        return await self.inner.article(article_id)

    async def expire(self, before: datetime) -> int:
        return await self.inner.expire(before)

    async def close(self) -> None:
        await self.inner.close()


class ElasticStoreHome:
    """Home of the contract suite. ``url`` is set by the fixture."""

    needs = "elastic_server"

    def __init__(self, folder: Path) -> None:
        self.place = ""
        self._clock = ShiftClock()
        self._config: ElasticConfig | None = None
        self._store: SettledStore | None = None

    async def open(self) -> SettledStore:
        if self._config is None:
            self._config = elastic_config(self.place)
            await apply(self._config)
        self._store = SettledStore(
            await ElasticStore.open(self._config, clock=self._clock, wall=self._clock), self._clock
        )
        return self._store

    async def stop(self) -> None:
        if self._store is not None:
            await self._store.close()

    async def remove(self) -> None:
        if self._config is not None:
            await remove(self._config)
