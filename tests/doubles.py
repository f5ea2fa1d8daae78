"""Doubles for the ports: small, in memory, and able to fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from monitor.core.codec import encode_article
from monitor.core.errors import ConflictError, ModelInputError, SourceError
from monitor.core.types import (
    JSON,
    Article,
    Change,
    Cursor,
    Delivery,
    Evidence,
    Expect,
    Incident,
    IncidentState,
    Lag,
    Page,
    Put,
    PutOutcome,
    PutReport,
    PutResult,
    Record,
    Scope,
    Scored,
    ScoredArticle,
    Scores,
    SeriesKey,
    Severity,
    TailPage,
)

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def article(number: int = 0, **fields: object) -> Article:
    """An article whose fields can be replaced one by one."""
    values: dict[str, object] = {
        "id": f"a{number:05d}",
        "source": "wire",
        "title": f"Headline number {number}",
        "published_at": START + timedelta(seconds=number),
        "fetched_at": START + timedelta(seconds=number + 5),
        "lang": "en",
    }
    return Article(**(values | fields))  # type: ignore[arg-type]


def scored(item: Article, negative: float = 0.5, topic: str = "macro") -> ScoredArticle:
    """The article with given probabilities."""
    rest = (1 - negative) / 2
    scores = Scores(topics={topic: 1.0}, sentiments={"negative": negative, "neutral": rest, "positive": rest})
    return ScoredArticle(
        article=item, scored=Scored(article_id=item.id, model="double", scores=scores, scored_at=item.fetched_at)
    )


def record(item: Article) -> Record:
    """The article as ingest publishes it."""
    return Record(key=item.id, value=encode_article(item), timestamp=item.fetched_at)


def evidence(number: int = 1, **fields: object) -> Evidence:
    """A driving headline whose fields can be replaced one by one."""
    values: dict[str, object] = {
        "article_id": f"a{number}",
        "story_id": f"s{number}",
        "title": f"Bank {number} fails",
        "source": f"wire{number}",
        "url": f"https://news.example/{number}",
        "published_at": START,
        "heat": 1,
        "negative": 0.9,
    }
    return Evidence(**(values | fields))  # type: ignore[arg-type]


def incident(name: str = "one", revision: int = 1, **fields: object) -> Incident:
    """A surge of everything, just opened, without evidence; its fields can be replaced one by one."""
    values: dict[str, object] = {
        "id": name,
        "key": SeriesKey(scope=Scope.ALL, value="*"),
        "state": IncidentState.OPEN,
        "severity": Severity.WARNING,
        "observed": 9.2,
        "expected": 1.5,
        "low": 0.0,
        "high": 4.0,
        "p_value": 1e-6,
        "q_value": 1e-5,
        "opened_at": START,
        "updated_at": START,
        "revision": revision,
    }
    return Incident(**(values | fields))  # type: ignore[arg-type]


class ListBus:
    """One partition per topic in memory. ``fail_next`` makes the next publish raise it."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self.committed: dict[tuple[str, str], int] = {}
        self.fail_next: Exception | None = None

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        self.topics.setdefault(topic, []).extend(records)

    @asynccontextmanager
    async def _subscribe(self, topic: str, group: str) -> AsyncIterator[_ListSubscription]:
        yield _ListSubscription(self, topic, group)

    def subscribe(self, topic: str, group: str):  # type: ignore[no-untyped-def]
        return self._subscribe(topic, group)

    async def lag(self, topic: str, group: str) -> Lag:
        rest = self.topics.get(topic, [])[self.committed.get((topic, group), 0) :]
        return Lag(count=len(rest), oldest=min((r.timestamp for r in rest), default=None))

    async def browse(self, topic: str, *, limit: int, newest: bool = False) -> Sequence[Delivery]:
        records = self.topics.get(topic, [])
        found = [Delivery(topic=topic, partition=0, offset=i, record=r) for i, r in enumerate(records)]
        return found[-limit:] if newest else found[:limit]

    async def expire(self, before: datetime) -> int:
        return 0

    async def close(self) -> None:
        pass


class _ListSubscription:
    def __init__(self, bus: ListBus, topic: str, group: str) -> None:
        self._bus, self._topic, self._group = bus, topic, group
        self._next = bus.committed.get((topic, group), 0)

    async def fetch(self, limit: int, timeout: float) -> Sequence[Delivery]:
        records = self._bus.topics.get(self._topic, [])[self._next : self._next + limit]
        found = [
            Delivery(topic=self._topic, partition=0, offset=self._next + i, record=r) for i, r in enumerate(records)
        ]
        self._next += len(found)
        await asyncio.sleep(0)
        return found

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        self._bus.committed[(self._topic, self._group)] = max(d.offset for d in deliveries) + 1


class DictStore:
    """Keeps articles in memory. ``outcomes`` scripts what becomes of an id: a list of outcomes, one per put."""

    def __init__(self) -> None:
        self.items: dict[str, ScoredArticle] = {}
        self.outcomes: dict[str, list[PutOutcome]] = {}
        self.puts: list[list[str]] = []

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        self.puts.append([item.article.id for item in items])
        results = []
        for item in items:
            script = self.outcomes.get(item.article.id)
            outcome = script.pop(0) if script else PutOutcome.OK
            if outcome is PutOutcome.OK:
                self.items[item.article.id] = item
            results.append(PutResult(article_id=item.article.id, outcome=outcome, reason=outcome.value))
        return PutReport(results=tuple(results))

    async def tail(self, after: str, limit: int) -> TailPage:
        start = int(after or 0)
        items = tuple(list(self.items.values())[start : start + limit])
        return TailPage(items=items, position=str(start + len(items)))


class DictState:
    """A state store in memory. ``fail_next`` makes the next apply raise it."""

    def __init__(self) -> None:
        self.docs: dict[str, dict[str, Mapping[str, JSON]]] = {}
        self.fail_next: Exception | None = None
        self.applied = 0

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        return self.docs.get(kind, {}).get(key)

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        return sorted((k, v) for k, v in self.docs.get(kind, {}).items() if k > after)[:limit]

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        for expect in given:
            if self.docs.get(expect.kind, {}).get(expect.key) != expect.value:
                raise ConflictError(f"{expect.kind}/{expect.key}")
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        self.applied += 1
        for change in changes:
            docs = self.docs.setdefault(change.kind, {})
            if isinstance(change, Put):
                docs[change.key] = change.value
            else:
                docs.pop(change.key, None)

    async def close(self) -> None:
        pass


class FixedScorer:
    """Scores by a function of the title; titles that contain ``poison`` are refused."""

    model = "double"

    def __init__(self, negative: Callable[[str], float] = lambda _: 0.5) -> None:
        self._negative = negative
        self.batches: list[int] = []

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        self.batches.append(len(articles))
        await asyncio.sleep(0)
        if any("poison" in item.title for item in articles):
            raise ModelInputError("A text cannot be taken: it is poison.")
        return [scored(item, self._negative(item.title)).scored for item in articles]


class ScriptedSource:
    """Answers polls with scripted pages or errors, then with empty pages."""

    def __init__(self, name: str, script: Sequence[Page | SourceError]) -> None:
        self.name = name
        self.script = list(script)
        self.cursors: list[Cursor | None] = []
        self.polled = asyncio.Event()

    async def poll(self, cursor: Cursor | None) -> Page:
        self.cursors.append(cursor)
        self.polled.set()
        step = self.script.pop(0) if self.script else Page(articles=(), cursor=cursor or Cursor())
        if isinstance(step, SourceError):
            raise step
        return step
