"""What one subscription holds of a topic: fetched records that wait to be taken, and how far each partition is done.

Shared by the event loop (takes, finishes) and the consumer's thread (puts, commits); no I/O. Unlike
:class:`monitor.bus.group.Claim` it does not count on dense offsets: Kafka leaves holes where a record was compacted
away or a transaction ended.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.bus.group import share_out
from monitor.core.types import Delivery

FETCH_BYTES = 8 * 1024 * 1024
"""A fetch ends early when its values reach this size; it always gives at least one record."""
BUFFER_BYTES = 64 * 1024 * 1024
"""Values held over all partitions; what is beyond stays with the brokers."""


@dataclass(slots=True, eq=False)
class Claim:
    """The hold on one partition. A new hold is a new object, so what belongs to a former one is told apart."""

    partition: int
    waiting: deque[Delivery] = field(default_factory=deque)
    """Fetched, not yet taken."""
    size: int = 0
    """Bytes of values waiting."""
    taken: deque[int] = field(default_factory=deque)
    """Offsets taken and not yet part of the prefix, in order."""
    done: set[int] = field(default_factory=set)
    """Offsets finished behind a gap."""
    position: int = -1
    """The offset after the finished prefix; -1 until something was finished."""
    durable: int = -1
    """The position that the brokers are known to hold."""

    def finish(self, offset: int) -> None:
        """Takes a commit; one that was never taken here, or is part of the prefix already, is ignored."""
        if not self.taken or not self.taken[0] <= offset <= self.taken[-1]:
            return
        self.done.add(offset)
        while self.taken and self.taken[0] in self.done:
            first = self.taken.popleft()
            self.done.remove(first)
            self.position = first + 1


class Claims:
    """All holds of one subscription, bounded by ``records`` and BUFFER_BYTES."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._claims: dict[int, Claim] = {}
        self._paused: set[int] = set()
        self._last = -1  # the partition served last: the next take begins behind it

    @property
    def partitions(self) -> tuple[int, ...]:
        """What is held."""
        with self._lock:
            return tuple(sorted(self._claims))

    @property
    def unfinished(self) -> bool:
        """Whether something was taken of which no commit has come yet."""
        with self._lock:
            return any(claim.taken for claim in self._claims.values())

    @property
    def waiting(self) -> int:
        """Records that wait to be taken."""
        with self._lock:
            return sum(len(claim.waiting) for claim in self._claims.values())

    def assign(self, partitions: Iterable[int]) -> None:
        """New holds."""
        with self._lock:
            for partition in partitions:
                self._claims[partition] = Claim(partition)

    def revoke(self, partitions: Iterable[int]) -> None:
        """Drops holds with everything that waits in them."""
        with self._lock:
            for partition in partitions:
                self._claims.pop(partition, None)
                self._paused.discard(partition)

    def put(self, partition: int, deliveries: Sequence[Delivery]) -> None:
        """Adds fetched records."""
        with self._lock:
            claim = self._claims.get(partition)
            if claim is not None:
                claim.waiting.extend(deliveries)
                claim.size += sum(len(delivery.record.value) for delivery in deliveries)

    def take(self, limit: int) -> list[Delivery]:
        """Up to ``limit`` records, in order within each partition and evenly over the partitions."""
        with self._lock:
            order = sorted(self._claims.values(), key=lambda claim: (claim.partition <= self._last, claim.partition))
            result: list[Delivery] = []
            size = 0
            for claim, count in zip(order, share_out([len(claim.waiting) for claim in order], limit), strict=True):
                for _ in range(count):
                    if result and size >= FETCH_BYTES:
                        return result
                    delivery = claim.waiting.popleft()
                    claim.taken.append(delivery.offset)
                    claim.size -= len(delivery.record.value)
                    size += len(delivery.record.value)
                    result.append(delivery)
                    self._last = claim.partition
            return result

    def finish(self, deliveries: Iterable[Delivery]) -> None:
        """Takes commits; those of partitions that are no longer held are ignored."""
        with self._lock:
            for delivery in deliveries:
                claim = self._claims.get(delivery.partition)
                if claim is not None:
                    claim.finish(delivery.offset)

    def moved(self) -> dict[int, tuple[Claim, int]]:
        """Partitions whose finished prefix the brokers do not hold yet: the hold and its position."""
        with self._lock:
            return {
                partition: (claim, claim.position)
                for partition, claim in self._claims.items()
                if claim.position > claim.durable
            }

    def stored(self, positions: Mapping[int, tuple[Claim, int]]) -> None:
        """Notes that the brokers hold these."""
        with self._lock:
            for claim, position in positions.values():
                claim.durable = max(claim.durable, position)

    @property
    def room(self) -> int:
        """Records that may still be fetched."""
        return max(0, self._records - self.waiting)

    def crowded(self) -> tuple[set[int], set[int]]:
        """Which partitions to pause and which to resume: each may hold its even share of the room, all together no
        more than the room. A paused one goes on when half of its share is free, so that the brokers are asked for
        more than a record at a time."""
        with self._lock:
            number = max(1, len(self._claims))
            records, size = max(1, self._records // number), BUFFER_BYTES // number
            none_left = sum(len(claim.waiting) for claim in self._claims.values()) >= self._records
            full = {
                partition
                for partition, claim in self._claims.items()
                if none_left or len(claim.waiting) >= records or claim.size >= size
            }
            free = {
                partition
                for partition in self._paused - full
                if len(self._claims[partition].waiting) * 2 <= records and self._claims[partition].size * 2 <= size
            }
            pause = full - self._paused
            self._paused |= pause
            self._paused -= free
            return pause, free

    @property
    def resting(self) -> bool:
        """Whether there is nothing to fetch from: no partition is held, or all are paused."""
        with self._lock:
            return len(self._paused) == len(self._claims)
