"""The tail: articles in the order of their arrival, none left out.

Arrival is a number that the writer takes from its clock (microseconds) when it sends the article. That gives an order,
but no guarantee that what becomes visible later has a later number: requests take time, a refresh comes when it comes,
clocks differ, a write that timed out may still come through. So:

- Only arrivals older than ``settle`` are given; in quiet times that alone keeps the order.
- A position holds, beside the last arrival given, how many articles the ``window`` before it held and a checksum of
  them. A reader counts again: when count or checksum differ, something came late (or was removed). It then lists the
  ids of the window and gives those it has not given.
- A writer answers OK only for arrivals that are at most half a window old (:mod:`monitor.store.elastic_bulk`), so what
  is late is within the window of every reader.

What a reader has given is kept in memory, not in the position. A reader that starts anew lists the window once; when
the window has changed before it could, it gives the window again: twice rather than never. Each read is one point in
time (PIT), so counting and reading see the same articles.
"""

from __future__ import annotations

import re
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from monitor.core.clock import Clock
from monitor.core.errors import StorageError, UsageError
from monitor.core.types import TailPage
from monitor.db.values import to_micros
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_document import check_of, digest_of, from_document

PAGE = 250
"""Articles fetched by one request."""
TAIL_LIMIT = 10_000
TAIL_BYTES = 16 * 1024 * 1024
"""A page of the tail ends early when its texts reach this size; it always gives at least one article."""
LISTED = 10_000
"""Ids listed by one request."""
REMEMBERED = 64
"""Positions whose given articles are kept in memory."""
LEARNT = 200_000
"""A larger window is not listed by a reader that starts anew."""
KEEP_ALIVE = "2m"

_OURS = re.compile(r"e1-(\d{1,17})-(\d{1,18}):(\d{1,9})", re.ASCII)
_OTHERS = re.compile(r"[0-9a-f]{8}:\d{1,18}", re.ASCII)


class Tally(NamedTuple):
    """How many articles, and the sum of their checks."""

    articles: int
    check: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands: everything up to ``arrival`` is given; ``tally`` is of the window before it."""

    arrival: int
    tally: Tally

    def __str__(self) -> str:
        return f"e1-{self.arrival}-{self.tally.check}:{self.tally.articles}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """None is the beginning: "" or a position of an embedded store, which was read before this one. Raises
        UsageError for a position that no store gave."""
        if match := _OURS.fullmatch(text):
            arrival, check, count = map(int, match.groups())
            return cls(arrival, Tally(count, check))
        if not text or _OTHERS.fullmatch(text):
            return None
        raise UsageError(f"{text[:40]!r} is no position in the article store.")


@dataclass(slots=True)
class _Given:
    """What one reader has given, in that order."""

    digests: array[int] = field(default_factory=lambda: array("Q"))
    arrivals: array[int] = field(default_factory=lambda: array("q"))
    dropped: int = 0
    """Entries removed from the front."""

    @property
    def end(self) -> int:
        return self.dropped + len(self.digests)

    def upto(self, end: int) -> _Given:
        """Itself, or a copy that ends at ``end``: a reader that goes back must not forget for the others."""
        if end == self.end:
            return self
        kept = max(0, end - self.dropped)
        return _Given(self.digests[:kept], self.arrivals[:kept], self.dropped)

    def add(self, hits: Sequence[Mapping[str, Any]]) -> None:
        for hit in hits:
            self.digests.append(digest_of(hit["_id"]))
            self.arrivals.append(_arrival(hit))

    def prune(self, before: int) -> None:
        """Forgets the oldest entries, once they are many."""
        old = 0
        while old < len(self.arrivals) and self.arrivals[old] <= before:
            old += 1
        if old > 1000 and old > len(self.arrivals) // 2:
            del self.digests[:old], self.arrivals[:old]
            self.dropped += old


@dataclass(slots=True)
class _Mark:
    """A position in memory."""

    given: _Given
    end: int
    tally: Tally


def _arrival(hit: Mapping[str, Any]) -> int:
    return int(hit["sort"][0])


class Tail:
    """Reads the tail of one store."""

    def __init__(self, client: ElasticClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._window = int(client.config.window_seconds * 1_000_000)
        self._settle = int(client.config.settle * 1_000_000)
        self._marks: OrderedDict[str, _Mark] = OrderedDict()

    async def read(self, after: str, limit: int) -> TailPage:
        """See :meth:`monitor.core.ports.Store.tail`. Raises UsageError, StorageError."""
        position = Position.parse(after)
        room = max(0, min(limit, TAIL_LIMIT))
        if not room:
            return TailPage(items=(), position=after, behind=self._client.config.settle)
        bound = to_micros(self._clock.now()) - self._settle
        async with _point_in_time(self._client) as view:
            if view is None:
                return TailPage(items=(), position=after, behind=self._client.config.settle)
            return await self._read(view, after, position or Position(0, Tally(0, 0)), room, bound)

    async def _read(self, view: _View, after: str, start: Position, room: int, bound: int) -> TailPage:
        low = start.arrival - self._window
        mark = self._marks.get(after)
        expected = mark.tally if mark else start.tally
        actual = await view.tally(low, start.arrival) if start.arrival else Tally(0, 0)
        given = mark.given.upto(mark.end) if mark else _Given()
        late: list[Mapping[str, Any]] = []
        if actual != expected:
            known = set(given.digests)
            late = [hit for hit in await view.ids(low, start.arrival) if digest_of(hit["_id"]) not in known]
        elif mark is None and 0 < actual.articles <= LEARNT:
            given.add(await view.ids(low, start.arrival))
        rest = late[room:]
        hits = await view.articles([hit["_id"] for hit in late[:room]])
        if rest or len(hits) >= room:
            fresh: list[Mapping[str, Any]] = []
        else:
            fresh = await view.page(start.arrival, bound, room - len(hits))
        hits += fresh
        end = Position(start.arrival, actual)
        if fresh:
            arrival = _arrival(fresh[-1])
            end = Position(arrival, await view.tally(arrival - self._window, arrival))
        if rest:
            lacking = sum(check_of(hit["_id"], _arrival(hit)) for hit in rest)
            end = Position(end.arrival, Tally(end.tally.articles - len(rest), end.tally.check - lacking))
        given.add(hits)
        text = str(end) if hits else after
        if end.arrival:
            self._remember(text, given, end)
        items = tuple(from_document(hit["_source"]) for hit in hits)
        return TailPage(items=items, position=text, behind=self._client.config.settle)

    def _remember(self, text: str, given: _Given, end: Position) -> None:
        given.prune(end.arrival - 2 * self._window)
        self._marks[text] = _Mark(given, given.end, end.tally)
        self._marks.move_to_end(text)
        while len(self._marks) > REMEMBERED:
            self._marks.popitem(last=False)


class _View:
    """One point in time of all months' indices."""

    def __init__(self, client: ElasticClient, pit: str) -> None:
        self._client = client
        self.pit = pit

    async def _search(self, body: dict[str, Any]) -> Mapping[str, Any]:
        answer = await self._client.request(
            "POST",
            "/_search",
            body | {"pit": {"id": self.pit, "keep_alive": KEEP_ALIVE}},
            params={"allow_partial_search_results": "false"},
        )
        self.pit = answer.get("pit_id", self.pit)
        return answer

    async def tally(self, after: int, upto: int) -> Tally:
        """Of arrivals in (after, upto]."""
        answer = await self._search({
            "size": 0,
            "track_total_hits": True,
            "query": _between(after, upto),
            "aggs": {"check": {"sum": {"field": "arrival_check"}}},
        })  # fmt: skip
        # A sum of 31-bit numbers is exact in a double for four million articles.
        check = answer.get("aggregations", {}).get("check", {}).get("value")  # none when every index is gone
        return Tally(int(answer["hits"]["total"]["value"]), int(check or 0))

    async def ids(self, after: int, upto: int) -> list[Mapping[str, Any]]:
        """Ids and arrivals in (after, upto], in order."""
        return await self._walk(_between(after, upto), LISTED, None, source=False)

    async def page(self, after: int, upto: int, limit: int) -> list[Mapping[str, Any]]:
        """Up to ``limit`` articles after ``after``; those of the same arrival as the last one are among them."""
        hits = await self._walk(_between(after, upto), PAGE, limit, source=True)
        if not hits:
            return hits
        last = _arrival(hits[-1])
        have = {hit["_id"] for hit in hits}
        same = await self._walk(_between(last - 1, last), PAGE, None, source=True)
        return hits + [hit for hit in same if hit["_id"] not in have]

    async def articles(self, keys: Sequence[str]) -> list[Mapping[str, Any]]:
        """Whole articles, in the order of their arrival."""
        hits: list[Mapping[str, Any]] = []
        for start in range(0, len(keys), PAGE):
            hits += await self._walk({"ids": {"values": keys[start : start + PAGE]}}, PAGE, None, source=True)
        return sorted(hits, key=_arrival)

    async def _walk(
        self, query: dict[str, Any], step: int, limit: int | None, *, source: bool
    ) -> list[Mapping[str, Any]]:
        hits: list[Mapping[str, Any]] = []
        size = 0
        after: Sequence[Any] | None = None
        while limit is None or len(hits) < limit:
            count = step if limit is None else min(step, limit - len(hits))
            body: dict[str, Any] = {
                "size": count, "_source": source, "track_total_hits": False, "query": query,
                "sort": [{"arrival": "asc"}, {"_shard_doc": "asc"}],
            }  # fmt: skip
            if after is not None:
                body["search_after"] = list(after)
            found = (await self._search(body))["hits"]["hits"]
            hits += found
            if len(found) < count:
                break
            after = found[-1]["sort"]
            if source and limit is not None:
                size += sum(len(hit["_source"]["title"]) + len(hit["_source"]["body"]) for hit in found)
                if size >= TAIL_BYTES:
                    break
        return hits


def _between(after: int, upto: int) -> dict[str, Any]:
    return {"range": {"arrival": {"gt": after, "lte": upto}}}


@asynccontextmanager
async def _point_in_time(client: ElasticClient) -> AsyncIterator[_View | None]:
    """None when there is no index yet."""
    params = {
        "keep_alive": KEEP_ALIVE, "ignore_unavailable": "true", "allow_no_indices": "false",
        "preference": "riskwire-tail",
    }  # fmt: skip
    # By the pattern of the months' names rather than their alias: it means the same, and servers are about that do not
    # look behind an alias here (noida-db 0.2 takes one of its indices).
    answer = await client.find("POST", path(client.config.pattern, "_pit"), **params)
    if answer is None:
        yield None
        return
    view = _View(client, str(answer["id"]))
    try:
        yield view
    except BaseException:
        await _forget(client, view)
        raise
    await _forget(client, view)


async def _forget(client: ElasticClient, view: _View) -> None:
    """The cluster drops it by itself after a while; failing to say so is no failure of the read."""
    try:
        await client.find("DELETE", "/_pit", {"id": view.pit})
    except StorageError:
        return
