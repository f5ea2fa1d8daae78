"""Bad records leave the way here: kept whole, with reason and origin. A flood of them stops the service."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from monitor.core.clock import Clock
from monitor.core.errors import DeadLetterRatioError, RecordError
from monitor.core.ids import digest
from monitor.core.ports import Bus
from monitor.core.types import Delivery, Record
from monitor.obs.metrics import Metrics
from monitor.services.topics import DEAD_LETTERS

_log = structlog.get_logger("dead_letters")

REASON, STAGE, ORIGIN, ORIGIN_KEY, ATTEMPT = "reason", "stage", "origin", "origin_key", "attempt"
"""The headers of a dead letter. ``origin`` is topic/partition/offset; ``attempt`` counts how often the record has
failed: a retry takes it along, so that a record which will never go through can be told from one that was unlucky."""


def attempts_of(headers: Mapping[str, str]) -> int:
    """How often a record with these headers has failed so far."""
    told = headers.get(ATTEMPT, "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0


def revived(letter: Record, now: datetime) -> tuple[str, Record]:
    """The topic that a dead letter came from, and the record to publish there again: key, value and headers as they
    were, with the count of attempts. Raises RecordError when the letter does not say where it came from."""
    topic = letter.headers.get(ORIGIN, "").split("/", 1)[0]
    if not topic or ORIGIN_KEY not in letter.headers:
        raise RecordError(f"The dead letter {letter.key[:12]} does not say where it came from.")
    headers = {name: text for name, text in letter.headers.items() if name not in (REASON, STAGE, ORIGIN, ORIGIN_KEY)}
    return topic, Record(key=letter.headers[ORIGIN_KEY], value=letter.value, timestamp=now, headers=headers)


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
                REASON: reason[:1000],
                STAGE: stage,
                ORIGIN: origin,
                ORIGIN_KEY: delivery.record.key,
                ATTEMPT: str(attempts_of(delivery.record.headers) + 1),
            },
        )
