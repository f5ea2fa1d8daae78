"""The ``archive`` connector: a file given out in pages, as a source."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

from connectors.archive.mapping import ColumnMapping
from connectors.archive.reader import BadRow, Position, read_from
from connectors.base import ConnectorContext, SourceSpec
from connectors.options import Options
from monitor.core.clock import Clock
from monitor.core.errors import ConfigError, SourceError, UsageError
from monitor.core.types import Article, Cursor, Page


def build(spec: SourceSpec, context: ConnectorContext) -> ArchiveSource:
    """The entry point ``archive``. Options: ``path``, ``mapping``, ``page_size``, ``interval``. Raises ConfigError."""
    options = Options(spec)
    path = context.base / Path(options.text("path")).expanduser()
    text = options.text("mapping", "")
    try:
        mapping = ColumnMapping.parse(text) if text else None
    except UsageError as error:
        raise ConfigError(f"Source '{spec.name}': option 'mapping': {error.message}", hint=error.hint) from error
    page_size = options.whole("page_size", 1_000, low=1, high=10_000)
    interval = options.duration("interval", 60.0, low=1)
    options.finish()
    return ArchiveSource(spec.name, path, context.clock, mapping=mapping, page_size=page_size, interval=interval)


class ArchiveSource:
    """A :class:`~monitor.core.ports.Source` over one file; rows appended later are found by later polls.

    The cursor is the position after the last row, so that no row is given twice and nothing stays open between polls.
    Counts: ``entries``, ``row_invalid``; the last bad row of a page is kept in :attr:`last_bad`.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        clock: Clock,
        *,
        mapping: ColumnMapping | None = None,
        page_size: int = 1_000,
        interval: float = 60.0,
    ) -> None:
        self.name = name
        self.last_bad: BadRow | None = None
        self._path = path
        self._clock = clock
        self._mapping = mapping
        self._page_size = page_size
        self._interval = interval

    async def poll(self, cursor: Cursor | None) -> Page:
        """The next page of rows. Raises SourceError (``file``, ``malformed``)."""
        start = _position(cursor)
        try:
            return await asyncio.to_thread(self._read, start)
        except UsageError as error:
            raise SourceError(error.message, hint=error.hint, code="file") from error

    def _read(self, start: Position) -> Page:
        counts: Counter[str] = Counter()
        articles: list[Article] = []
        position = start
        rows = read_from(self._path, start, mapping=self._mapping, source=self.name, on_error=self._note)
        more = False
        try:
            for article, after in rows:
                position = after
                counts["entries"] += 1
                if article is None:
                    counts["row_invalid"] += 1
                else:
                    articles.append(article)
                if counts["entries"] >= self._page_size:
                    more = True
                    break
        finally:
            rows.close()
        now = self._clock.now()
        return Page(
            articles=articles,
            cursor=Cursor(data={"offset": position.offset, "line": position.line}),
            not_before=now if more else now + timedelta(seconds=self._interval),
            counts=dict(counts),
        )

    def _note(self, bad: BadRow) -> None:
        self.last_bad = bad


def _position(cursor: Cursor | None) -> Position:
    data = cursor.data if cursor else {}
    offset, line = data.get("offset"), data.get("line")
    if isinstance(offset, int) and isinstance(line, int) and offset >= 0 and line >= 0:
        return Position(offset=offset, line=line)
    return Position()
