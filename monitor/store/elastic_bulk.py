"""Writes articles: one document per article id, whatever is put again, answered for item by item.

An article that the cluster does not have yet is a ``create``: its text travels once, and two writers of the same id
cannot both succeed. One that it has is a partial ``update`` without arrival and first fetch, so that a redelivery keeps
its place in the tail. Which of the two it is comes from a bounded memory of recent ids and, for the others, from one
search by ids over all months; both may be wrong by a refresh, so a ``create`` that meets an existing document becomes
an update and an ``update`` that meets none becomes a create.

An article stays in the index it was first written to, also when its publication date moves to another month.

The arrival stamp is taken when the request is sent. A put is answered OK only when the stamp that is stored is so
recent that every reader still looks at it again (see :mod:`monitor.store.elastic_tail`): a request that hung for
minutes, or one of an earlier attempt that came through late, is stamped anew.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import structlog

from monitor.core.clock import Clock
from monitor.core.codec import time_from_str
from monitor.core.errors import CodecError, StorageError, UnavailableError
from monitor.core.types import PutOutcome, PutReport, PutResult, ScoredArticle
from monitor.db.values import to_micros
from monitor.store.elastic_client import ElasticClient
from monitor.store.elastic_document import Document, check_of, to_document
from monitor.store.elastic_errors import RefusedError, reason_of
from monitor.store.elastic_indices import Indices
from monitor.store.rows import RejectedError

KNOWN_IDS = 100_000
"""Recent ids whose index is remembered."""
ROUNDS = 6
"""How often an item is sent in one put: create, update, stamped anew …"""
_CLOCK_STEP = 5_000_000
"""Microseconds by which a clock may step back before arrivals follow it."""

_log = structlog.get_logger("elastic")


@dataclass(slots=True)
class _Item:
    document: Document
    places: list[int]
    """Where in the report it is: the same id may occur more than once."""
    fetched_at: str
    index: str = ""
    exists: bool = False
    restamp: bool = False
    arrival: int = 0
    """The stamp it was last sent with."""

    def lines(self) -> tuple[bytes, bytes]:
        target: dict[str, object] = {"_index": self.index, "_id": self.document.key}
        check = check_of(self.document.key, self.arrival)
        stamp = b'{"arrival":%d,"arrival_check":%d,' % (self.arrival, check)
        content = self.document.content
        if not self.exists:
            fetched = b'"fetched_at":%s,' % json.dumps(self.fetched_at).encode()
            return _line({"create": target}), stamp + fetched + content[1:]
        fields = stamp + content[1:] if self.restamp else content
        body = b'{"doc":' + fields + b',"_source":["arrival","fetched_at"]}'
        return _line({"update": target | {"retry_on_conflict": 3}}), body

    @property
    def size(self) -> int:
        return len(self.document.content) + 400


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(slots=True)
class _Put:
    """The answers of one put."""

    outcomes: dict[int, PutResult] = field(default_factory=dict)
    unavailable: UnavailableError | None = None

    def settle(self, items: Iterable[_Item], outcome: PutOutcome, reason: str = "") -> None:
        for item in items:
            for place in item.places:
                self.outcomes[place] = PutResult(
                    article_id=self.outcomes[place].article_id, outcome=outcome, reason=reason
                )


class BulkWriter:
    """Puts articles. ``window`` is how long after its stamp an arrival is looked at again, in seconds."""

    def __init__(self, client: ElasticClient, indices: Indices, clock: Clock) -> None:
        self._client = client
        self._config = client.config
        self._indices = indices
        self._clock = clock
        self._known: OrderedDict[str, str] = OrderedDict()
        self._last = 0
        self._not_before = 0.0
        self._fresh = int(self._config.window_seconds / 2 * 1_000_000)

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        """See :meth:`monitor.core.ports.Store.put`. Raises StorageError when waiting would not help."""
        put = _Put()
        todo = self._encode(items, put)
        if todo:
            await self._wait()
            try:
                await self._place(todo)
                for _ in range(ROUNDS):
                    todo = await self._round(todo, put)
                    if not todo:
                        break
                put.settle(todo, PutOutcome.RETRY, "Others write the same article at this moment.")
            except UnavailableError as error:
                self._note(error, put)
                put.settle(todo, PutOutcome.RETRY, str(error))
        return PutReport(results=tuple(put.outcomes[place] for place in range(len(items))))

    def index_of(self, key: str) -> str | None:
        """The index of an article that was written here not long ago."""
        return self._known.get(key)

    def forget(self, index: str) -> None:
        """The index was dropped."""
        for key in [key for key, name in self._known.items() if name == index]:
            del self._known[key]

    def _encode(self, items: Sequence[ScoredArticle], put: _Put) -> list[_Item]:
        """Checks every item; of several with one id the last one's content counts, with the first one's fetch."""
        found: dict[str, _Item] = {}
        for place, scored in enumerate(items):
            article_id = scored.article.id
            put.outcomes[place] = PutResult(article_id=article_id, outcome=PutOutcome.OK)
            try:
                document = to_document(scored)
            except RejectedError as error:
                reason = f"The article cannot be stored: {error}."
                put.outcomes[place] = PutResult(article_id=article_id, outcome=PutOutcome.REJECT, reason=reason)
                continue
            if (item := found.get(document.key)) is None:
                found[document.key] = _Item(document, [place], document.fetched_at)
            else:
                item.document = document
                item.places.append(place)
        return list(found.values())

    async def _wait(self) -> None:
        """Until the moment the cluster asked to be left alone for (Retry-After) is over."""
        while (rest := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(rest)

    def _note(self, error: UnavailableError, put: _Put) -> None:
        put.unavailable = error
        if error.retry_after:
            self._not_before = time.monotonic() + error.retry_after
        _log.warning("elastic_unavailable", error=error.message, retry_after=error.retry_after)

    async def _place(self, todo: Sequence[_Item]) -> None:
        """Decides for every item which index it goes to, and makes the indices that are not there."""
        unknown = []
        for item in todo:
            if (index := self._known.get(item.document.key)) is not None:
                item.index, item.exists = index, True
            else:
                unknown.append(item)
        for start in range(0, len(unknown), 1000):
            part = unknown[start : start + 1000]
            where = await self._indices.locate([item.document.key for item in part])
            for item in part:
                found = where.get(item.document.key)
                item.exists = found is not None
                item.index = found or self._config.index(item.document.month.astimezone(UTC))
        for index in {item.index for item in todo if not item.exists}:
            await self._indices.ensure(index)

    async def _round(self, todo: Sequence[_Item], put: _Put) -> list[_Item]:
        """Sends every item once; returns those to be sent again at once."""
        again: list[_Item] = []
        chunks = self._chunks(todo)
        for number, chunk in enumerate(chunks):
            try:
                again += await self._send(chunk, put)
            except UnavailableError as error:
                # What follows would wait for the same time-out: it is put again with the rest, later.
                self._note(error, put)
                for rest in chunks[number:]:
                    put.settle(rest, PutOutcome.RETRY, str(error))
                put.settle(again, PutOutcome.RETRY, str(error))
                return []
        return again

    def _chunks(self, items: Sequence[_Item]) -> list[list[_Item]]:
        chunks: list[list[_Item]] = []
        size = 0
        for item in items:
            if not chunks or len(chunks[-1]) >= self._config.bulk_items or size + item.size > self._config.bulk_bytes:
                chunks.append([])
                size = 0
            chunks[-1].append(item)
            size += item.size
        return chunks

    async def _send(self, chunk: Sequence[_Item], put: _Put) -> list[_Item]:
        lines: list[bytes] = []
        for item in chunk:
            if not item.exists or item.restamp:
                item.arrival = self._stamp()
            lines += item.lines()
        try:
            answer = await self._client.lines("/_bulk", lines)
        except RefusedError as error:
            if error.status not in (400, 413):
                raise
            if len(chunk) == 1:
                put.settle(chunk, PutOutcome.REJECT, _too_large(error) if error.status == 413 else error.message)
                return []
            middle = len(chunk) // 2
            return await self._send(chunk[:middle], put) + await self._send(chunk[middle:], put)
        results = answer.get("items", ())
        if len(results) != len(chunk):
            raise UnavailableError(f"A bulk of {len(chunk)} articles was answered with {len(results)} results.")
        again = []
        for item, result in zip(chunk, results, strict=True):
            if await self._judge(item, next(iter(result.values())), put):
                again.append(item)
        return again

    async def _judge(self, item: _Item, result: Mapping[str, Any], put: _Put) -> bool:
        """Notes what became of an item; True when it is to be sent again."""
        status = int(result.get("status", 500))
        if status < 300:
            self._remember(item)
            if self._stale(item, result):
                item.exists = item.restamp = True
                return True
            put.settle([item], PutOutcome.OK)
            return False
        kind, reason = reason_of(result.get("error"))
        if kind == "index_not_found_exception":  # dropped meanwhile, or the cluster makes none by itself
            self._indices.forget(item.index)
            self._known.pop(item.document.key, None)
            item.exists = False
            item.index = self._config.index(item.document.month.astimezone(UTC))
            await self._indices.ensure(item.index)
            return True
        if status == 404:  # the document is gone
            self._known.pop(item.document.key, None)
            item.exists = item.restamp = False
            return True
        if status == 409:  # somebody was faster, or an earlier attempt of ours came through
            item.exists = True
            return True
        if kind == "cluster_block_exception" or status == 429 or status >= 500:
            put.settle([item], PutOutcome.RETRY, f"Elasticsearch cannot take it now ({kind}: {reason}).")
            return False
        if kind == "strict_dynamic_mapping_exception":
            raise StorageError(
                f"Index {item.index} does not know a field of this version of Riskwire: {reason}.",
                hint="Run 'riskwire store apply', then start again; nothing is lost.",
            )
        if status in (401, 403):
            raise StorageError(
                f"Elasticsearch does not permit writing to {item.index}: {reason}.",
                hint="Grant the privileges that docs/elastic.md lists.",
            )
        put.settle([item], PutOutcome.REJECT, f"Elasticsearch refused the article ({kind}: {reason}).")
        return False

    def _stale(self, item: _Item, result: Mapping[str, Any]) -> bool:
        """Whether the stored arrival is too old to be sure that every reader finds it.

        An old arrival of an article that was fetched again since is in order: it has been read long ago. One whose
        first fetch is the very one at hand may be a write that nobody was told of.
        """
        oldest = to_micros(self._clock.now()) - self._fresh
        if not item.exists:
            return item.arrival < oldest
        stored = (result.get("get") or {}).get("_source") or {}
        arrival = int(stored.get("arrival", item.arrival if item.restamp else 0))
        if arrival >= oldest:
            return False
        try:
            same_fetch = time_from_str(stored.get("fetched_at")) == time_from_str(item.fetched_at)
        except CodecError:
            same_fetch = True
        return item.restamp or same_fetch

    def _remember(self, item: _Item) -> None:
        self._known[item.document.key] = item.index
        self._known.move_to_end(item.document.key)
        if len(self._known) > KNOWN_IDS:
            self._known.popitem(last=False)

    def _stamp(self) -> int:
        """Microseconds since 1970, each once in this writer; a clock that was set back far is followed."""
        now = to_micros(self._clock.now())
        self._last = self._last + 1 if now <= self._last < now + _CLOCK_STEP else now
        return self._last


def _too_large(error: RefusedError) -> str:
    return f"The article alone is larger than the cluster takes in one request ({error.message})"
