"""Bad records leave the way here: kept whole, with reason and origin. A flood of them stops the service."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import structlog

from monitor.core.clock import Clock
from monitor.core.errors import DeadLetterRatioError
from monitor.core.ids import digest
from monitor.core.ports import Bus
from monitor.core.types import Delivery, Record
from monitor.obs.metrics import Metrics
from monitor.services.topics import DEAD_LETTERS

_log = structlog.get_logger("dead_letters")


class DeadLetters:
    """Publishes bad records to the dead-letter topic.

    When more than ``ratio`` of the last ``window`` records (and at least ``minimum``) were bad, ``add`` raises
    DeadLetterRatioError *before* publishing: a bad deploy must stop, not drain the topic into the dead letters.
    """

    def __init__(
        self, bus: Bus, clock: Clock, metrics: Metrics, *, ratio: float = 0.2, minimum: int = 20, window: int = 1000
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._ratio = ratio
        self._minimum = minimum
        self._recent: deque[bool] = deque(maxlen=window)

    def good(self, count: int) -> None:
        """Notes ``count`` records that went through."""
        self._recent.extend([False] * min(count, self._recent.maxlen or count))

    async def add(self, letters: Sequence[tuple[Delivery, str]], *, stage: str) -> None:
        """Publishes (delivery, reason) pairs; durable on return."""
        if not letters:
            return
        self._recent.extend([True] * len(letters))
        bad = sum(self._recent)
        if bad >= self._minimum and bad > self._ratio * len(self._recent):
            raise DeadLetterRatioError(
                f"{bad} of the last {len(self._recent)} records could not be processed (last reason: {letters[-1][1]})",
                hint="Nothing was dropped: they stay on the bus. Fix the cause, then start again.",
            )
        await self._bus.publish(DEAD_LETTERS, [self._record(delivery, reason, stage) for delivery, reason in letters])
        for delivery, reason in letters:
            self._metrics.dead_letters.labels(stage).inc()
            _log.warning("dead_letter", stage=stage, key=delivery.record.key, reason=reason)

    def _record(self, delivery: Delivery, reason: str, stage: str) -> Record:
        origin = f"{delivery.topic}/{delivery.partition}/{delivery.offset}"
        return Record(
            key=digest(origin),
            value=delivery.record.value,
            timestamp=self._clock.now(),
            headers={
                **delivery.record.headers,
                "reason": reason[:1000],
                "stage": stage,
                "origin": origin,
                "origin_key": delivery.record.key,
            },
        )
