"""A consumer group inside one process: who reads which partition, and how far each has come. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from monitor.bus.log import Slot

MemberT = TypeVar("MemberT")


@dataclass(slots=True, eq=False)
class Claim:
    """A member's hold on one partition. A new hold is a new object, so what belongs to a former one is told apart."""

    slot: int
    partition: int
    committed: int = -1
    """The offset after the last one committed; -1 until it was looked up."""
    position: int = -1
    """The offset to fetch next."""
    durable: int = -1
    """The committed offset that the log is known to hold."""
    done: set[int] = field(default_factory=set)
    """Committed offsets behind a gap."""

    @property
    def placed(self) -> bool:
        """Whether it is known where to start."""
        return self.position >= 0

    def start(self, offset: int) -> None:
        """Begins at the group's committed offset."""
        self.committed = self.position = self.durable = offset

    def finish(self, offset: int) -> None:
        """Takes a commit; one that was never fetched here, or is committed already, is ignored."""
        if self.committed <= offset < self.position:
            self.done.add(offset)
            while self.committed in self.done:
                self.done.remove(self.committed)
                self.committed += 1


class Group(Generic[MemberT]):
    """Shares the partitions of a topic among members: each to exactly one, evenly, moving as few as possible."""

    def __init__(self, number: int, slots: Sequence[Slot]) -> None:
        self.number = number
        """The group's id in the log."""
        self._slots = {slot.partition: slot.slot for slot in slots}
        self._claims: dict[MemberT, dict[int, Claim]] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody is in the group."""
        return not self._claims

    @property
    def members(self) -> Iterable[MemberT]:
        """Everybody in the group."""
        return tuple(self._claims)

    def claims(self, member: MemberT) -> Mapping[int, Claim]:
        """What a member holds, by partition."""
        return self._claims[member]

    def join(self, member: MemberT) -> None:
        """Adds a member and shares anew."""
        self._claims[member] = {}
        self._share()

    def leave(self, member: MemberT) -> None:
        """Removes a member and shares anew; what it had not committed goes to others."""
        self._claims.pop(member, None)
        if self._claims:
            self._share()

    def _share(self) -> None:
        least, more = divmod(len(self._slots), len(self._claims))
        free = set(self._slots)
        wanting: list[tuple[dict[int, Claim], int]] = []
        by_load = sorted(self._claims.values(), key=len, reverse=True)  # stable: the longest in the group first
        for rank, held in enumerate(by_load):
            quota = least + (1 if rank < more else 0)
            for partition in sorted(held)[quota:]:
                del held[partition]
            free -= held.keys()
            wanting.append((held, quota))
        spare = iter(sorted(free))
        for held, quota in wanting:
            while len(held) < quota:
                partition = next(spare)
                held[partition] = Claim(slot=self._slots[partition], partition=partition)


def share_out(available: Sequence[int], limit: int) -> list[int]:
    """How many records to take of each partition: as even as what is there allows, ``limit`` in all."""
    taken = [0] * len(available)
    hungry = [index for index, count in enumerate(available) if count > 0]
    left = limit
    while left > 0 and hungry:
        each = max(1, left // len(hungry))
        for index in hungry:
            step = min(each, available[index] - taken[index], left)
            taken[index] += step
            left -= step
        hungry = [index for index in hungry if taken[index] < available[index]]
    return taken
