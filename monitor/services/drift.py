"""Looks, once a day or so, whether the news or what the model makes of it has drifted. Tells the metrics and the log.

Nobody is paged: drift is a reason to look at the model, not at the news. The log has a warning when a check begins to
say ``drift``, and none while it goes on saying so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import structlog

from monitor.core.clock import Clock
from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError, RiskwireError
from monitor.core.ports import StateStore, Store
from monitor.core.types import Put, ScoredArticle, SearchQuery
from monitor.obs.metrics import Metrics
from monitor.services.scheduler import Scheduler

DRIFT_KIND = "drift"
LAST_KEY = "last"
PAGE = 200
BLOCK_CAP = 1000
"""Articles read of one block; of a larger one, pages spread evenly over it."""
OFFSET_LIMIT = 100_000
LEAST_BLOCKS = 5
FIRST_DELAY = timedelta(minutes=5)
"""After a start, so that the daemon catches up first."""

_log = structlog.get_logger("drift")

BlockT = TypeVar("BlockT")
Observe = Callable[[datetime, Sequence[ScoredArticle]], BlockT]


class CheckResult(Protocol):
    """What a check says (``monitor.model.drift.checks.Check``)."""

    @property
    def name(self) -> str:
        """Which check."""

    @property
    def state(self) -> str:
        """``quiet``, ``small``, ``drift`` or ``unknown``."""

    @property
    def value(self) -> float | None:
        """The effect."""

    @property
    def p_holm(self) -> float | None:
        """The corrected p-value."""


Compare = Callable[[Sequence[BlockT], Sequence[BlockT]], Sequence[CheckResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What is compared: [since, until) against [before, since), in blocks of ``width``."""

    before: datetime
    since: datetime
    until: datetime
    width: timedelta

    @classmethod
    def ending(cls, until: datetime, *, recent: timedelta, reference: timedelta) -> Windows:
        """Blocks of a day, or of a sixth of the recent window where that is shorter; an hour at least."""
        width = timedelta(days=1) if recent >= LEAST_BLOCKS * timedelta(days=1) else recent / (LEAST_BLOCKS + 1)
        width = max(width, timedelta(hours=1))
        since = until - max(1, round(recent / width)) * width
        return cls(before=since - max(1, round(reference / width)) * width, since=since, until=until, width=width)


async def collect(
    store: Store, observe: Observe[BlockT], *, since: datetime, until: datetime, width: timedelta, cap: int = BLOCK_CAP
) -> list[BlockT]:
    """The blocks of [since, until), by publication time; ``observe`` runs in a thread. Raises StorageError."""
    blocks: list[BlockT] = []
    start = since
    while start < until:
        items = await _read(store, start, min(start + width, until), cap)
        blocks.append(await asyncio.to_thread(observe, start, items))
        start += width
    return blocks


async def _read(store: Store, since: datetime, until: datetime, cap: int) -> list[ScoredArticle]:
    first = await store.search(SearchQuery(since=since, until=until, limit=PAGE))
    items = list(first.items)
    total = min(first.total, OFFSET_LIMIT)
    wanted = max(1, cap // PAGE)
    pages = -(-total // PAGE)
    step = max(1.0, pages / wanted)
    for number in range(1, min(pages, wanted)):
        page = await store.search(SearchQuery(since=since, until=until, limit=PAGE, offset=int(number * step) * PAGE))
        items += page.items
    return items


class DriftService(Generic[BlockT]):
    """Plans itself: the next look is ``interval`` after the last one, also over restarts. While ``leads`` says no,
    another replica looks."""

    def __init__(
        self,
        *,
        store: Store,
        state: StateStore,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
        observe: Observe[BlockT],
        compare: Compare[BlockT],
        model: str,
        interval: timedelta,
        recent: timedelta,
        reference: timedelta,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leads = leads
        self._store = store
        self._state = state
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._observe = observe
        self._compare = compare
        self._model = model
        self._interval = interval
        self._recent = recent
        self._reference = reference
        self._drifting: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Takes up what the last look said and plans the next."""
        now = self._clock.now()
        saved = await self._state.get(DRIFT_KIND, LAST_KEY)
        due = now + FIRST_DELAY
        if saved is not None:
            last, names = self._restore(saved)
            self._drifting = names
            if last is not None:
                due = max(due, last + self._interval)
        self._plan(due)

    async def look(self) -> Sequence[CheckResult]:
        """One look: compares, sets the metrics, logs what is new. Raises StorageError or ModelError."""
        now = self._clock.now()
        windows = Windows.ending(now, recent=self._recent, reference=self._reference)
        old = await collect(
            self._store, self._observe, since=windows.before, until=windows.since, width=windows.width
        )  # fmt: skip
        new = await collect(self._store, self._observe, since=windows.since, until=windows.until, width=windows.width)
        checks = await asyncio.to_thread(self._compare, old, new)
        drifting = frozenset(check.name for check in checks if check.state == "drift")
        for check in checks:
            known = check.value is not None
            self._metrics.drift_effect.labels(check.name).set(check.value if check.value is not None else float("nan"))
            self._metrics.drifting.labels(check.name).set(1 if check.state == "drift" else 0)
            if known and check.name in drifting - self._drifting:
                _log.warning(
                    "drift", check=check.name, effect=round(float(check.value or 0), 4), p=check.p_holm,
                    model=self._model, advice="See 'riskwire drift'; label and retrain when the model has lost by it.",
                )  # fmt: skip
        for name in sorted(self._drifting - drifting):
            _log.info("drift_over", check=name)
        self._metrics.drift_checked.set(now.timestamp())
        self._drifting = drifting
        value = {"at": time_to_str(now), "model": self._model, "drifting": sorted(drifting)}
        await self._state.apply([Put(kind=DRIFT_KIND, key=LAST_KEY, value=value)])
        return checks

    async def _job(self) -> None:
        if not self._leads():
            self._plan(self._clock.now() + FIRST_DELAY)
            return
        try:
            await self.look()
        except RiskwireError as error:
            # A report that fails is no reason to stop the daemon; whatever else is broken shows where it is used.
            _log.warning("drift_not_checked", error=str(error))
        self._plan(self._clock.now() + self._interval)

    def _plan(self, due: datetime) -> None:
        self._scheduler.at("drift", due, self._job)

    def _restore(self, saved: Mapping[str, Any]) -> tuple[datetime | None, frozenset[str]]:
        try:
            names = frozenset(map(str, saved["drifting"])) if saved.get("model") == self._model else frozenset()
            return time_from_str(saved["at"]), names
        except (KeyError, TypeError, CodecError):
            return None, frozenset()
