"""The store for scale: scored articles in Elasticsearch, one index per month of publication under one alias.

``riskwire store apply`` installs the index template first (:mod:`monitor.store.elastic_template`); without it nothing
is written. See ``docs/elastic.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from monitor.core.clock import Clock, SystemClock
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
from monitor.store import elastic_search, elastic_spread
from monitor.store.elastic_bulk import BulkWriter
from monitor.store.elastic_client import ElasticClient
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_document import key_of
from monitor.store.elastic_indices import Indices
from monitor.store.elastic_retention import Retention
from monitor.store.elastic_skew import SkewGuard
from monitor.store.elastic_tail import Tail
from monitor.store.queries import check_search, check_series
from monitor.store.spread import check_breakdown


class ElasticStore:
    """A :class:`~monitor.core.ports.Store` in an Elasticsearch cluster."""

    def __init__(self, client: ElasticClient, wall: Clock) -> None:
        """Use :meth:`open`."""
        self.config = client.config
        self.client = client
        self._indices = Indices(client)
        self._skew = SkewGuard(client, wall)
        self._writer = BulkWriter(client, self._indices, wall)
        self._tail = Tail(client, wall)
        self._retention = Retention(client, self._indices, self._writer)

    @classmethod
    async def open(cls, config: ElasticConfig, *, clock: Clock, wall: Clock | None = None) -> Self:
        """Connects; checks product, version, index template and clocks. Raises StorageError with the next step.

        ``wall`` is the real time, which arrivals are stamped with: networks and refreshes take their time however fast
        ``clock`` runs.
        """
        del clock  # nothing here depends on the time of the news; the parameter is there for stores in which it does
        client = await ElasticClient.connect(config)
        try:
            store = cls(client, wall or SystemClock())
            await store._indices.check_template()
            await store._skew.check()
        except BaseException:
            await client.close()
            raise
        return store

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        """Idempotent upsert by article id, durable on return; see :mod:`monitor.store.elastic_bulk`.

        RETRY: the cluster cannot take the item now (429, 5xx, unreachable). REJECT: it never will, with the reason.
        Raises StorageError when somebody has to act first: the login is refused, the template is missing or old, the
        clock is wrong.
        """
        if items:
            await self._skew.check()
        return await self._writer.put(items)

    async def tail(self, after: str, limit: int) -> TailPage:
        """Articles in the order in which they first arrived, after ``after``; those of the last ``settle`` seconds are
        not given yet. At most 10,000 articles or 16 MB of text a page. An article may be given twice after faults,
        never left out; see :mod:`monitor.store.elastic_tail`. Raises UsageError for a position that no store gave."""
        await self._skew.check()
        return await self._tail.read(after, limit)

    async def search(self, query: SearchQuery) -> SearchPage:
        """Newest first; every word of the text is required: English by its stem, Chinese as a substring.

        The text is data, whatever it holds; its first 1,000 characters and 32 words count. Raises UsageError when limit
        or offset are out of range.
        """
        check_search(query)
        return await elastic_search.search(self.client, query)

    async def series(self, query: SeriesQuery) -> Sequence[SeriesPoint]:
        """Article counts per step of ``width``, empty steps included. Raises UsageError for more than 100,000 steps."""
        check_series(query)
        return await elastic_search.series(self.client, query)

    async def facets(self, query: SearchQuery) -> Facets:
        """How the matches of a search are spread, counted over all of them; at most 100 values of each kind."""
        return await elastic_spread.facets(self.client, query)

    async def breakdown(self, query: BreakdownQuery) -> Sequence[BreakdownRow]:
        """Article counts of every topic, entity or source. Raises UsageError for another scope or too many steps."""
        check_breakdown(query)
        return await elastic_spread.breakdown(self.client, query)

    async def article(self, article_id: str) -> ScoredArticle | None:
        """One article, or None. What another process wrote is found after the next refresh."""
        try:
            index = self._writer.index_of(key_of(article_id))
        except UnicodeEncodeError:
            return None
        return await elastic_search.article(self.client, article_id, index)

    async def expire(self, before: datetime) -> int:
        """Drops articles published before ``before``; returns how many. Whole months go as one index."""
        return await self._retention.expire(before)

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""
        await self.client.close()
