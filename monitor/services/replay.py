"""Pushes an archive through the live pipeline in event time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from monitor.core.clock import Clock, ManualClock
from monitor.core.ports import Accept, Bus
from monitor.core.types import Article
from monitor.services.topics import ARTICLES, SCORE_GROUP


class ArchiveFeeder:
    """A listener that is fed by an archive instead of a client.

    With a :class:`ManualClock` it goes as fast as scoring follows and moves the clock along with the articles'
    times; with any other clock it waits until each article's time has come. ``finished`` is set after the last
    article is on the bus.
    """

    name = "replay"

    def __init__(
        self,
        articles: Iterable[Article],
        *,
        clock: Clock,
        bus: Callable[[], Bus],
        batch: int = 500,
        most_pending: int = 5_000,
        progress: Callable[[int, datetime], None] = lambda _count, _at: None,
    ) -> None:
        self._articles = articles
        self._clock = clock
        self._bus = bus
        self._batch = batch
        self._most_pending = most_pending
        self._progress = progress
        self.finished = asyncio.Event()
        self.count = 0
        self.disordered = 0
        """Articles older than one before them; they are counted at the time of their neighbours."""

    async def run(self, accept: Accept) -> None:
        """Feeds the archive, then waits to be cancelled (as a listener does)."""
        iterator = iter(self._articles)
        # Reading and parsing an archive is blocking work.
        while batch := await asyncio.to_thread(self._next_batch, iterator):
            if isinstance(self._clock, ManualClock):
                await self._feed_fast(batch, accept, self._clock)
            else:
                await self._feed_timed(batch, accept)
            self._progress(self.count, batch[-1].published_at)
        self.finished.set()
        await asyncio.Event().wait()

    def _next_batch(self, iterator: Iterator[Article]) -> list[Article]:
        batch: list[Article] = []
        for article in iterator:
            batch.append(article)
            if len(batch) >= self._batch:
                break
        return batch

    async def _feed_fast(self, batch: Sequence[Article], accept: Accept, clock: ManualClock) -> None:
        await accept(batch)
        self.count += len(batch)
        for article in batch:
            if article.published_at < clock.now():
                self.disordered += 1
            else:
                clock.set(article.published_at)
        while (await self._bus().lag(ARTICLES, SCORE_GROUP)).count > self._most_pending:
            await asyncio.sleep(0.02)

    async def _feed_timed(self, batch: Sequence[Article], accept: Accept) -> None:
        start = 0
        while start < len(batch):
            wait = (batch[start].published_at - self._clock.now()).total_seconds()
            if wait > 0:
                await self._clock.sleep(wait)
            # Everything that is due by now, at least the one waited for, goes in one publish.
            due = self._clock.now() + timedelta(seconds=1)
            end = start + 1
            while end < len(batch) and batch[end].published_at <= due:
                end += 1
            await accept(batch[start:end])
            self.count += end - start
            start = end
