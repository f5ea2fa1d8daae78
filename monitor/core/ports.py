"""The ports of Riskwire. Each has an embedded implementation and, where it helps, one for scale; the same contract
suite (``tests/contract``) runs over all of them. The docstrings state what an implementer must guarantee."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from monitor.core.types import (
    JSON,
    Article,
    BreakdownQuery,
    BreakdownRow,
    Bucket,
    Change,
    Cursor,
    Delivery,
    Expect,
    Facets,
    Finding,
    Incident,
    Lag,
    Page,
    PutReport,
    Receipt,
    Record,
    Scored,
    ScoredArticle,
    Scores,
    SearchPage,
    SearchQuery,
    SeriesPoint,
    SeriesQuery,
    TailPage,
    WordWeight,
)

StateT = TypeVar("StateT")


@runtime_checkable
class Source(Protocol):
    """Something that is polled for articles.

    Obligations: ``poll`` never returns an article twice for the same content when given the cursor of the last
    page; article ids are stable; it ends within its own time cap; what went wrong is raised as
    :class:`~monitor.core.errors.SourceError`, never swallowed. The caller saves the cursor only after the articles
    are durable, so a crash repeats a page.
    """

    name: str

    async def poll(self, cursor: Cursor | None) -> Page:
        """New and changed articles since ``cursor`` (``None``: the first poll)."""


Accept = Callable[[Sequence[Article]], Awaitable[None]]
"""Takes articles and returns when they are durable."""


@runtime_checkable
class Listener(Protocol):
    """A source that is pushed to. It answers its client only after ``accept`` has returned."""

    name: str

    async def run(self, accept: Accept) -> None:
        """Serves until cancelled; on cancellation it stops listening and finishes the requests in flight."""


class Subscription(Protocol):
    """A consumer's place in a topic, as a member of its group."""

    async def fetch(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """Up to ``limit`` records after those already fetched, in order within each partition; waits at most
        ``timeout`` real seconds for the first one; an empty sequence means nothing came."""

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Marks deliveries done. Only a contiguous prefix per partition becomes durable; a gap holds back what lies
        behind it until it is closed. What is not committed is delivered again to the next subscription."""


class Bus(Protocol):
    """A partitioned, durable log. At-least-once."""

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Appends; returns when durable. A record that cannot be sent at all is refused before any of the call is
        visible; when the transport fails, some may be, and the caller publishes all of them again."""

    def subscribe(self, topic: str, group: str) -> AbstractAsyncContextManager[Subscription]:
        """Joins ``group``; reading starts at its committed offsets, or at the oldest record for a new group."""

    async def lag(self, topic: str, group: str) -> Lag:
        """What ``group`` has not yet committed of ``topic``."""

    async def browse(self, topic: str, *, limit: int, newest: bool = False) -> Sequence[Delivery]:
        """Reads without a group, oldest first (or the newest ``limit`` ones): for operators."""

    async def expire(self, before: datetime) -> int:
        """Drops records older than ``before`` that every known group has committed; returns how many."""

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""


class Engine(Protocol):
    """Runs the model. Synchronous; exactly one thread owns an engine."""

    model: str
    """The artefact's id."""

    def predict(self, batch: Sequence[str]) -> Sequence[Scores]:
        """Scores in the order of the batch. Raises ModelInputError when a text of the batch cannot be taken."""


class Scorer(Protocol):
    """Turns articles into scored ones: micro-batches, caches, finds entities."""

    model: str

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        """In the order of the articles. Raises RecordError when one of them is bad (the caller bisects)."""


@runtime_checkable
class Explainer(Protocol):
    """Says which words moved a verdict."""

    async def explain(self, texts: Sequence[str], *, task: str, label: str) -> Sequence[Sequence[WordWeight]]:
        """For each text its signed word weights for ``label`` of ``task`` (``topic`` or ``sentiment``), in text order;
        none for a text without words. Raises ModelInputError when one of the texts cannot be taken."""


class Store(Protocol):
    """Keeps scored articles for reading."""

    async def put(self, items: Sequence[ScoredArticle]) -> PutReport:
        """Idempotent upsert by article id, durable on return. A second put of an id replaces its content but keeps
        its arrival position and its first ``fetched_at``."""

    async def tail(self, after: str, limit: int) -> TailPage:
        """Articles in the order in which they first arrived, after position ``after`` ("" is the beginning).
        Misses nothing: what is returned later never has an earlier position."""

    async def search(self, query: SearchQuery) -> SearchPage:
        """Newest first; English by words, Chinese by substring."""

    async def series(self, query: SeriesQuery) -> Sequence[SeriesPoint]:
        """Article counts per step, empty steps included."""

    async def facets(self, query: SearchQuery) -> Facets:
        """How the matches of a search are spread; ``limit`` and ``offset`` play no part. Of many matches the newest
        (20,000 at least) may stand for all."""

    async def breakdown(self, query: BreakdownQuery) -> Sequence[BreakdownRow]:
        """Article counts of every topic, entity or source that has any in the time asked for, those with the most
        expected negatives first; at most 1,000 of them and 1,000 steps."""

    async def article(self, article_id: str) -> ScoredArticle | None:
        """One article, or None."""

    async def expire(self, before: datetime) -> int:
        """Drops articles published before ``before``; returns how many."""

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""


class StateStore(Protocol):
    """Small JSON documents by (kind, key): cursors, baselines, incidents, outbox, receipts. Always transactional."""

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        """One document, or None."""

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        """Documents of a kind in the order of their keys, those with a key greater than ``after``."""

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        """All changes or none, durable on return. ``given`` is what must be so, seen in the same transaction: when
        it is not, nothing is changed and ConflictError is raised."""

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""


class IncidentMirror(Protocol):
    """A copy of the incidents for other programs. The state store keeps the truth."""

    name: str
    """Says where the copy is; another name is another copy."""

    async def write(self, incidents: Sequence[Incident]) -> Mapping[str, str]:
        """Writes the incidents, durable on return. Idempotent by id; an older revision never replaces a newer one.
        Returns, by id, why an incident will never be taken. Raises StorageError when none of them may have been
        written; the caller writes all of them again."""

    async def close(self) -> None:
        """Releases everything."""


class Detector(Protocol[StateT]):
    """Finds surges in one series. Pure: no clock, no I/O, no randomness; the state is frozen and JSON-codable."""

    def initial(self) -> StateT:
        """The state of a series never seen before."""

    def step(self, state: StateT, bucket: Bucket) -> tuple[StateT, Finding | None]:
        """Takes the next closed bucket of the series. Buckets that are skipped count as empty ones, so that the
        cost follows the active series. A finding is returned for every bucket that was tested; whether it is
        an incident is decided over all series together."""


class Notifier(Protocol):
    """Tells people of an incident."""

    name: str

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Sends, or edits the message that ``previous`` names. A receipt without data says that an earlier attempt
        may have got through: look for its message first where that is possible. Raises RetryableNotifyError or
        PermanentNotifyError; nothing else. Ends within its own time cap."""


@runtime_checkable
class Interactive(Protocol):
    """A notifier that people can answer: what they press becomes documents of the state store."""

    async def listen(self, submit: Callable[[Sequence[Change]], Awaitable[None]]) -> None:
        """Serves until cancelled, whatever happens to its connection; returns at once when it takes no answers.
        ``submit`` returns when the documents are durable and raises StorageError; only then is somebody told that it
        worked. The same answer given twice makes the same document."""
