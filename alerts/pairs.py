"""Entities within topics: which of those pairs bring enough to be series of their own.

A thousand entities times thirty topics are too many series, nearly all of them empty. A pair is counted with slow
forgetting; it becomes a series once it brings enough, but not nearly all that its entity brings: then it would say what
the entity says. At most ``limit`` pairs are series, the busiest; a pair that becomes one is watched from then on as if
nothing were known of it. Arrival order decides, so that a restart changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from alerts.series import SeriesConfig
from monitor.core.errors import CodecError
from monitor.core.types import Scope, ScoredArticle, SeriesKey

__all__ = ["PairConfig", "Pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairConfig:
    """When an entity within a topic becomes a series."""

    enabled: bool = True
    admit: float = 30.0
    """Stories of late, an older one counting half every ``half_life``, from which a pair is a series."""
    share: float = 0.7
    """Most of what its entity brings: above it the entity's own series says the same."""
    limit: int = 200
    """Most pairs that are series."""
    counters: int = 4000
    """Most pairs and entities that are counted."""
    half_life: timedelta = timedelta(days=28)
    replace: float = 1.5
    """So many times as busy must a pair be as the idlest series whose place it takes."""


@dataclass(slots=True)
class _Count:
    value: float
    at: int
    active: bool = False


class Pairs:
    """Counts of pairs (``topic/entity``) and of entities (``/entity``). Deterministic; bounded."""

    def __init__(self, config: PairConfig, series: SeriesConfig, width: timedelta) -> None:
        self.config, self._series = config, series
        self._half_life = config.half_life / width
        self._counts: dict[str, _Count] = {}
        self._active = 0
        self.changed: set[str] = set()
        """Counts that changed or left since they were last written."""
        self.begun: set[SeriesKey] = set()
        """Pairs that became series since the last bucket closed."""
        self.dropped: set[SeriesKey] = set()
        """Pairs that are no series any more, since the last bucket closed."""

    def __len__(self) -> int:
        return self._active

    def names(self, item: ScoredArticle) -> tuple[str, ...]:
        """The pairs of an article: its topic when it is clear, with each of its entities."""
        topics = item.scored.scores.topics
        if not self.config.enabled or not topics or not item.scored.entities:
            return ()
        topic = item.scored.scores.topic
        if topics[topic] < self._series.topic_threshold:
            return ()
        return tuple(f"{topic}/{entity}" for entity in sorted({e.id for e in item.scored.entities}))

    def keys(self, names: tuple[str, ...]) -> tuple[SeriesKey, ...]:
        """Those of the pairs that are series."""
        known = self._counts
        return tuple(_key(name) for name in names if name in known and known[name].active)

    def count(self, item: ScoredArticle, names: tuple[str, ...], index: int, held: Callable[[SeriesKey], bool]) -> None:
        """Counts a new story of bucket ``index``. ``held``: whether an incident is open on a series."""
        if not self.config.enabled:
            return
        for entity in sorted({e.id for e in item.scored.entities}):
            self._add(f"/{entity}", index)
        for name in names:
            count = self._add(name, index)
            if not count.active and count.value >= self.config.admit:
                self._admit(name, count, index, held)
        if len(self._counts) > self.config.counters:
            self._thin(index)

    def _add(self, name: str, index: int) -> _Count:
        count = self._counts.get(name)
        if count is None:
            count = self._counts[name] = _Count(value=0.0, at=index)
        count.value = self._now(count, index) + 1.0
        count.at = max(count.at, index)
        self.changed.add(name)
        return count

    def _now(self, count: _Count, index: int) -> float:
        value: float = count.value * 0.5 ** (max(0, index - count.at) / self._half_life)
        return value

    def _admit(self, name: str, count: _Count, index: int, held: Callable[[SeriesKey], bool]) -> None:
        whole = self._counts.get(f"/{name.partition('/')[2]}")
        if whole is None or count.value > self.config.share * self._now(whole, index):
            return
        if self._active >= self.config.limit:
            free = [
                (self._now(other, index), name_)
                for name_, other in self._counts.items()
                if other.active and not held(_key(name_))
            ]
            if not free or count.value < self.config.replace * min(free)[0]:
                return
            self._drop(min(free)[1])
        count.active = True
        self._active += 1
        self.begun.add(_key(name))
        self.dropped.discard(_key(name))

    def _drop(self, name: str) -> None:
        self._counts[name].active = False
        self._active -= 1
        self.dropped.add(_key(name))
        self.begun.discard(_key(name))
        self.changed.add(name)

    def _thin(self, index: int) -> None:
        """Forgets a quarter of the counts that are no series, the smallest."""
        idle = sorted((self._now(count, index), name) for name, count in self._counts.items() if not count.active)
        for _, name in idle[: max(1, self.config.counters // 4)]:
            del self._counts[name]
            self.changed.add(name)

    # -- documents -------------------------------------------------------------------------------------------------

    def to_doc(self, name: str) -> dict[str, Any] | None:
        """A count as a JSON object; None when it is not kept any more."""
        count = self._counts.get(name)
        return None if count is None else {"count": count.value, "at": count.at, "series": count.active}

    def load(self, docs: Mapping[str, Mapping[str, Any]]) -> None:
        """The inverse of :meth:`to_doc`. Raises CodecError."""
        try:
            for name, doc in docs.items():
                self._counts[name] = _Count(value=float(doc["count"]), at=int(doc["at"]), active=bool(doc["series"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored count of a pair is incomplete: {error}.") from error
        self._active = sum(count.active for count in self._counts.values())


def _key(name: str) -> SeriesKey:
    return SeriesKey(scope=Scope.PAIR, value=name)
