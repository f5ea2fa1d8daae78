"""The embedded store: scored articles in one SQLite file, with full-text search and time series."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Self

from monitor.core.clock import Clock
from monitor.core.errors import UsageError
from monitor.core.types import (
    BreakdownQuery,
    BreakdownRow,
    Facets,
    PutOutcome,
    PutReport,
    PutResult,
    ScoredArticle,
    SearchPage,
    SearchQuery,
    SeriesPoint,
    SeriesQuery,
    TailPage,
)
from monitor.db.database import Database
from monitor.db.directory import DataDirectory
from monitor.db.schema import STORE
from monitor.db.values import to_micros
from monitor.store import queries, spread, tables
from monitor.store.rows import COLUMNS, RejectedError, Row, encode

TAIL_LIMIT = 10_000
TAIL_BYTES = 16 * 1024 * 1024
"""A page of the tail ends early when its texts reach this size; it always gives at least one article."""
_EXPIRE_STEP = 500
_BODY = 4 + COLUMNS.index("body")


class SqliteStore:
    """A :class:`~monitor.core.ports.Store` in ``store.db``."""

    def __init__(self, database: Database, generation: str) -> None:
        """Use :meth:`open`."""
        self.database = database
        self._generation = generation

    @classmethod
    async def open(cls, directory: DataDirectory, *, clock: Clock) -> Self:
        """Opens or creates ``store.db``. Raises StorageError (see :meth:`Database.open`)."""
        del clock  # the store writes no time of its own; the parameter is there for stores that do
        database = await Database.open(directory, STORE, tables.MIGRATIONS)
        try:
            generation = await database.read(lambda c: str(c.execute("SELECT id FROM generation").fetchone()[0]))
        except BaseException:
            await database.close()
            raise
        return cls(database, generation)

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        """Idempotent upsert by article id, durable on return.

        An item that can never be stored (half characters, a date outside 1900 to 2199, scores that are no numbers …)
        is REJECT with its reason and does not hold up the others. Raises StorageError when the file cannot be written;
        then none of the items is stored.
        """

        def work(connection: sqlite3.Connection) -> tuple[PutResult, ...]:
            rows: list[Row] = []
            results = []
            for scored in items:
                try:
                    rows.append(encode(scored))
                    results.append(PutResult(article_id=scored.article.id, outcome=PutOutcome.OK))
                except RejectedError as error:
                    reason = f"The article cannot be stored: {error}."
                    results.append(PutResult(article_id=scored.article.id, outcome=PutOutcome.REJECT, reason=reason))
            tables.put(connection, rows)
            return tuple(results)

        return PutReport(results=await self.database.write(work) if items else ())

    async def tail(self, after: str, limit: int) -> TailPage:
        """Articles in the order in which they first arrived, after ``after``.

        A position names the file it comes from: one of another file (the store was moved aside and began anew) means
        the beginning, so that nothing is skipped. At most 10,000 articles or 16 MB of text a page.
        Raises UsageError for a position that no store gave.
        """
        start = self._parse(after)
        count = max(0, min(limit, TAIL_LIMIT))

        def work(connection: sqlite3.Connection) -> tuple[list[ScoredArticle], int]:
            found: list[ScoredArticle] = []
            position, size = start, 0
            rows = connection.execute(
                f"{tables.READ} WHERE articles.position > ? ORDER BY articles.position LIMIT ?", (start, count)
            )
            for row in rows:
                found.append(tables.item(row))
                position = row[0]
                size += len(row[_BODY])
                if size >= TAIL_BYTES:
                    break
            return found, position

        items, position = await self.database.read(work)
        return TailPage(items=tuple(items), position=f"{self._generation}:{position}" if position else after)

    async def search(self, query: SearchQuery) -> SearchPage:
        """Newest first; every word of the text is required: English by its stem, Chinese as a substring.

        The text is data, whatever it holds; its first 1,000 characters and 32 words count. Raises UsageError when limit
        or offset are out of range.
        """
        queries.check_search(query)
        return await self.database.read(lambda connection: queries.search(connection, query))

    async def series(self, query: SeriesQuery) -> Sequence[SeriesPoint]:
        """Article counts per step of ``width``, empty steps included. Raises UsageError for more than 100,000 steps."""
        queries.check_series(query)
        return await self.database.read(lambda connection: queries.series(connection, query))

    async def facets(self, query: SearchQuery) -> Facets:
        """How the matches of a search are spread; of more than 20,000 matches the newest stand for all."""
        return await self.database.read(lambda connection: spread.facets(connection, query))

    async def breakdown(self, query: BreakdownQuery) -> Sequence[BreakdownRow]:
        """Article counts of every topic, entity or source. Raises UsageError for another scope or too many steps."""
        spread.check_breakdown(query)
        return await self.database.read(lambda connection: spread.breakdown(connection, query))

    async def article(self, article_id: str) -> ScoredArticle | None:
        """One article, or None."""
        try:
            article_id.encode()
        except UnicodeEncodeError:
            return None

        def work(connection: sqlite3.Connection) -> ScoredArticle | None:
            row = connection.execute(f"{tables.READ} WHERE articles.id = ?", (article_id,)).fetchone()
            return None if row is None else tables.item(row)

        return await self.database.read(work)

    async def expire(self, before: datetime) -> int:
        """Drops articles published before ``before``; returns how many. The file keeps its size; new articles take
        the freed space."""
        limit = to_micros(before)
        total = 0
        while dropped := await self.database.write(lambda c: tables.expire(c, limit, _EXPIRE_STEP)):
            total += dropped
        return total

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""
        await self.database.close()

    def _parse(self, position: str) -> int:
        if not position:
            return 0
        generation, _, number = position.partition(":")
        if not number.isdecimal() or len(number) > 18:
            raise UsageError(f"{position[:40]!r} is no position in the article store.")
        return int(number) if generation == self._generation else 0
