"""Leases: at most one process at a time does a thing, and one that was late cannot write any more.

Two documents: ``lease`` says who holds it (holder, and a token that only grows); it changes when the holder changes and
is the fence: every write of the holder's work is conditional on it. ``lease_beat`` changes with every renewal. They are
two so that a renewal does not break a write that is on its way, nor wait for it.

Nobody compares clocks. Who waits takes over when neither document has changed for ``lease_seconds`` of its own
monotonic clock, as the leader election of Kubernetes does it; the change is conditional on both, so a renewal that
comes first wins. Who holds stops acting when its last renewal, counted from before it was asked for, is older than
``VALID`` of that time. Whatever a stalled process still tries to write is refused by the fence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitor.core.errors import ConflictError, LeaseLostError
from monitor.core.ports import StateStore
from monitor.core.types import JSON, Change, Expect, Put
from monitor.services.steady import BEATS, VALID, Steady, SteadyClock, Watch, unique_name

LEASE_KIND = "lease"
BEAT_KIND = "lease_beat"


class Lease:
    """One process's side of a lease. Not for use by several tasks at once, except :meth:`apply` and :meth:`claim`."""

    def __init__(
        self, state: StateStore, *, name: str, instance: str, lease_seconds: float, steady: Steady | None = None
    ) -> None:
        self.name = name
        self.holder = unique_name(instance)
        self.seconds = lease_seconds
        self.every = lease_seconds / BEATS
        """Seconds between renewals."""
        self._state = state
        self._steady: Steady = steady or SteadyClock()
        self._watch = Watch(self._steady)
        self._mine: Mapping[str, JSON] | None = None
        self._deadline = 0.0
        self._beats = 0
        self._silent = 0.0

    @property
    def held(self) -> bool:
        """Whether this process may act, by its own clock."""
        return self.remaining() > 0

    @property
    def token(self) -> int | None:
        """The fencing number of what is held; greater than every one before."""
        return None if self._mine is None else int(str(self._mine["token"]))

    @property
    def fence(self) -> Expect:
        """The condition of every write of the holder's work. Raises LeaseLostError when nothing is held."""
        if self._mine is None:
            raise LeaseLostError(f"This process does not hold the lease '{self.name}'.")
        return Expect(kind=LEASE_KIND, key=self.name, value=self._mine)

    def remaining(self) -> float:
        """Seconds for which this process may act without a further renewal; not above 0 when it may not."""
        return self._deadline - self._steady.now() if self._mine is not None else 0.0

    def patience(self) -> float:
        """Seconds until another attempt to acquire is of use."""
        return max(0.0, min(self.every, self.seconds - self._silent))

    async def acquire(self) -> bool:
        """One attempt: takes the lease when it is free or its holder silent. Raises StorageError."""
        began = self._steady.now()
        held = await self._state.get(LEASE_KIND, self.name)
        beat = await self._state.get(BEAT_KIND, self.name)
        self._silent = self._watch.unchanged(self.name, (held, beat))
        # What is this process's own has lapsed, or its answer was lost. It gets a new token all the same: a write of
        # the earlier term that is still on its way must find another fence.
        others = held is not None and held["holder"] not in ("", self.holder)
        if others and self._silent < self.seconds:
            return False
        token = int(str(held["token"])) + 1 if held is not None else 1
        mine: Mapping[str, JSON] = {"holder": self.holder, "token": token}
        try:
            await self._state.apply(
                [Put(kind=LEASE_KIND, key=self.name, value=mine), self._beat(token)],
                given=[
                    Expect(kind=LEASE_KIND, key=self.name, value=held),
                    Expect(kind=BEAT_KIND, key=self.name, value=beat),
                ],
            )
        except ConflictError:
            self._silent = 0.0
            return False
        self._mine, self._deadline = mine, began + VALID * self.seconds
        return True

    async def renew(self) -> None:
        """Raises LeaseLostError when another holds it, StorageError when that is not known."""
        began = self._steady.now()
        fence = self.fence
        try:
            await self._state.apply([self._beat(self.token or 0)], given=[fence])
        except ConflictError as error:
            raise await self._lost(error) from error
        if self._mine is fence.value:
            self._deadline = max(self._deadline, began + VALID * self.seconds)

    def forget(self) -> None:
        """Holds nothing any more, as far as this process is concerned."""
        self._mine = None

    async def release(self) -> None:
        """Lets the next one in at once; harmless when nothing is held. Raises StorageError."""
        if self._mine is None:
            return
        fence, self._mine = self.fence, None
        try:
            free: Mapping[str, JSON] = {"holder": "", "token": (fence.value or {})["token"]}
            await self._state.apply([Put(kind=LEASE_KIND, key=self.name, value=free)], given=[fence])
        except ConflictError:
            return  # another has it: nothing to give back

    async def apply(self, changes: Sequence[Change], given: Sequence[Expect] = ()) -> None:
        """Writes as the holder. Raises LeaseLostError, with nothing changed, when this process is it no longer;
        ConflictError when ``given`` is not so; StorageError."""
        try:
            await self._state.apply(changes, given=[self.fence, *given])
        except LeaseLostError:
            raise
        except ConflictError as error:
            raise await self._lost(error) from error

    async def claim(self, changes: Sequence[Change] = ()) -> None:
        """What must come right before an act that cannot be taken back: writes ``changes`` (or only looks) under the
        fence, then asks the clock, with nothing in between. Raises as :meth:`apply` does."""
        await self.apply(changes)
        if not self.held:
            raise LeaseLostError(f"The lease '{self.name}' was not renewed in time.")

    def _beat(self, token: int) -> Put:
        self._beats += 1  # also when it fails: an attempt that got through unseen must differ from the next
        return Put(kind=BEAT_KIND, key=self.name, value={"token": token, "beat": self._beats})

    async def _lost(self, error: ConflictError) -> ConflictError:
        """What a refused write means: the lease is lost, or only something else was not so."""
        mine = self._mine
        held = await self._state.get(LEASE_KIND, self.name)
        if mine is not None and held == mine:
            return error
        if self._mine is mine:
            self._mine = None
        other = str(held["holder"]) if held is not None else ""
        return LeaseLostError(f"The lease '{self.name}' is held by {other or 'nobody'} now.")


class FencedState:
    """A :class:`~monitor.core.ports.StateStore` for the holder's work: every write is conditional on the lease."""

    def __init__(self, state: StateStore, lease: Lease) -> None:
        self._state = state
        self._lease = lease

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        """One document, or None."""
        return await self._state.get(kind, key)

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        """As the store beneath."""
        return await self._state.list(kind, after=after, limit=limit)

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        """As the store beneath; raises LeaseLostError, with nothing changed, when the lease is another's."""
        await self._lease.apply(changes, given)

    async def close(self) -> None:
        """Nothing: the store beneath belongs to whoever opened it."""
