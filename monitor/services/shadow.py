"""A second model scores a sample of the articles beside the one that is set; its verdicts are compared, not believed.

The main path never waits for it: articles are offered after they are stored, and dropped when the shadow is behind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from monitor.core.clock import Clock
from monitor.core.codec import time_to_str
from monitor.core.errors import ConflictError, ModelError, RecordError, StorageError
from monitor.core.ids import digest
from monitor.core.ports import Scorer, StateStore
from monitor.core.types import Expect, Put, ScoredArticle, Scores
from monitor.obs.metrics import Metrics

SHADOW_KIND = "shadow"
CAPACITY = 1024
BATCH = 32
SAVE_EVERY = 200
EXAMPLES = 20

_log = structlog.get_logger("shadow")


@dataclass(slots=True)
class Sums:
    """Paired sums: articles, equal verdicts, and the difference of the probabilities of negative (shadow less main)."""

    n: int = 0
    topic: int = 0
    sentiment: int = 0
    negative: float = 0.0
    shift: float = 0.0
    shift_squared: float = 0.0

    def add(self, main: Scores, other: Scores) -> None:
        """Counts one article."""
        gap = other.negative - main.negative
        self.n += 1
        self.topic += main.topic == other.topic
        self.sentiment += main.sentiment == other.sentiment
        self.negative += main.negative
        self.shift += gap
        self.shift_squared += gap * gap

    def merge(self, more: Sums) -> None:
        """Takes what was counted elsewhere."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(more, name))

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def figures(self) -> dict[str, Any]:
        """``n``, agreement by task, mean probability of negative by the main model, and its shift with the 95 % normal
        interval of the mean."""
        if not self.n:
            return {"n": 0}
        mean = self.shift / self.n
        spread = math.sqrt(max(0.0, self.shift_squared / self.n - mean * mean) / self.n)
        return {
            "n": self.n,
            "topic_agreement": self.topic / self.n,
            "sentiment_agreement": self.sentiment / self.n,
            "mean_negative": self.negative / self.n,
            "shift_of_negative": mean,
            "interval": [mean - 1.96 * spread, mean + 1.96 * spread],
        }


@dataclass(slots=True)
class Comparison:
    """Everything kept of one pair of models. ``topics``: by the main model's topic. ``moves``: how often a sentiment
    (main, then shadow) became another. ``examples``: those whose probability of negative moved most."""

    main: str
    shadow: str
    since: str
    updated: str = ""
    dropped: int = 0
    failed: int = 0
    all: Sums = field(default_factory=Sums)
    topics: dict[str, Sums] = field(default_factory=dict)
    moves: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The document's key in the state store."""
        return f"{self.main}|{self.shadow}"

    def add(self, item: ScoredArticle, other: Scores) -> None:
        """Counts one article."""
        main = item.scored.scores
        self.all.add(main, other)
        self.topics.setdefault(main.topic, Sums()).add(main, other)
        if main.sentiment != other.sentiment:
            move = f"{main.sentiment} > {other.sentiment}"
            self.moves[move] = self.moves.get(move, 0) + 1
        self.examples.append({
            "id": item.article.id,
            "title": item.article.title[:200],
            "main": round(main.negative, 4),
            "shadow": round(other.negative, 4),
        })  # fmt: skip
        if len(self.examples) > 4 * EXAMPLES:
            self._trim()

    def merge(self, more: Comparison) -> None:
        """Takes what another worker, or this one since it last saved, has counted of the same two models."""
        self.dropped += more.dropped
        self.failed += more.failed
        self.all.merge(more.all)
        for topic, sums in more.topics.items():
            self.topics.setdefault(topic, Sums()).merge(sums)
        for move, count in more.moves.items():
            self.moves[move] = self.moves.get(move, 0) + count
        self.examples += more.examples

    def _trim(self) -> None:
        self.examples.sort(key=lambda row: -abs(row["shadow"] - row["main"]))
        del self.examples[EXAMPLES:]

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        self._trim()
        return {
            "main": self.main,
            "shadow": self.shadow,
            "since": self.since,
            "updated": self.updated,
            "dropped": self.dropped,
            "failed": self.failed,
            "all": self.all.to_dict(),
            "topics": {name: sums.to_dict() for name, sums in self.topics.items()},
            "moves": dict(self.moves),
            "examples": list(self.examples),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """The inverse of :meth:`to_dict`. Raises StorageError."""
        try:
            return cls(
                main=data["main"],
                shadow=data["shadow"],
                since=data["since"],
                updated=data["updated"],
                dropped=int(data["dropped"]),
                failed=int(data["failed"]),
                all=Sums(**data["all"]),
                topics={name: Sums(**sums) for name, sums in data["topics"].items()},
                moves={str(k): int(v) for k, v in data["moves"].items()},
                examples=[dict(row) for row in data["examples"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"The kept comparison of two models cannot be read: {error!r}.") from error


class ShadowService:
    """Scores what it is offered with ``scorer`` until ``until``, at most ``CAPACITY`` articles behind."""

    def __init__(
        self,
        *,
        scorer: Scorer,
        main: str,
        state: StateStore,
        clock: Clock,
        metrics: Metrics,
        until: datetime,
        share: float,
    ) -> None:
        self._scorer = scorer
        self._main = main
        self._state = state
        self._clock = clock
        self._metrics = metrics
        self._until = until
        self._share = share
        self._queue: asyncio.Queue[ScoredArticle | None] = asyncio.Queue(CAPACITY)
        self._missed = 0
        self._over = False
        self.finished = asyncio.Event()
        """Set when :meth:`run` has ended."""

    def offer(self, items: Sequence[ScoredArticle]) -> None:
        """Takes a sample of articles that the main model has scored; never waits."""
        if self._over:
            return
        if self._clock.now() >= self._until:
            self.stop()
            return
        for item in items:
            if item.scored.model != self._main or not _sampled(item.article.id, self._share):
                continue
            if self._queue.qsize() >= CAPACITY - 1:  # the last place is for the end
                self._missed += 1
                self._metrics.shadow_articles.labels("dropped").inc()
            else:
                self._queue.put_nowait(item)

    def stop(self) -> None:
        """Ends :meth:`run` after the batch in flight; what waits is dropped."""
        if not self._over:
            self._over = True
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)

    async def run(self) -> None:
        """Works until :meth:`stop` or the end of its time. Raises StorageError; a model that fails ends the shadow, not
        the daemon."""
        try:
            await self._run()
        finally:
            self._over = True
            self.finished.set()

    async def _run(self) -> None:
        fresh = self._nothing()
        unsaved = 0
        while (item := await self._queue.get()) is not None:
            batch = [item]
            while len(batch) < BATCH and not self._queue.empty():
                more = self._queue.get_nowait()
                if more is None:
                    self._over = True
                    break
                batch.append(more)
            try:
                unsaved += await self._compare(fresh, batch)
            except ModelError as error:
                _log.warning("shadow_failed", model=self._scorer.model, error=str(error))
                break
            if unsaved >= SAVE_EVERY or self._queue.empty():
                await self._save(fresh)
                fresh, unsaved = self._nothing(), 0
            if self._over:
                break
        kept = await self._save(fresh)
        _log.info("shadow_over", model=self._scorer.model, **kept.all.figures())

    def _nothing(self) -> Comparison:
        return Comparison(main=self._main, shadow=self._scorer.model, since=time_to_str(self._clock.now()))

    async def _compare(self, kept: Comparison, batch: Sequence[ScoredArticle]) -> int:
        try:
            results = await self._scorer.score([item.article for item in batch])
        except RecordError:
            # Rare, and only of this model: the batch is left out rather than searched for the one text.
            kept.failed += len(batch)
            self._metrics.shadow_articles.labels("failed").inc(len(batch))
            return 0
        for item, result in zip(batch, results, strict=True):
            kept.add(item, result.scores)
        self._metrics.shadow_articles.labels("scored").inc(len(batch))
        return len(batch)

    async def _save(self, fresh: Comparison) -> Comparison:
        """Adds what is new to what is stored, which other workers add to as well; returns the sum."""
        fresh.dropped += self._missed
        self._missed = 0
        while True:
            saved = await self._state.get(SHADOW_KIND, fresh.key)
            kept = Comparison.from_dict(saved) if saved is not None else self._nothing()
            kept.merge(fresh)
            kept.updated = time_to_str(self._clock.now())
            put = Put(kind=SHADOW_KIND, key=kept.key, value=kept.to_dict())
            try:
                await self._state.apply([put], given=[Expect(kind=SHADOW_KIND, key=kept.key, value=saved)])
            except ConflictError:
                continue  # another was quicker; one of those who try always gets through
            break
        if kept.all.n:
            self._metrics.shadow_agreement.labels("topic").set(kept.all.topic / kept.all.n)
            self._metrics.shadow_agreement.labels("sentiment").set(kept.all.sentiment / kept.all.n)
        return kept


def _sampled(article_id: str, share: float) -> bool:
    """By hash: the same articles whatever the order, so that two runs see the same sample."""
    return int(digest("shadow", article_id, size=8), 16) < share * 2**64
