"""Divides keys (the names of sources) among the members of a group, so that each is one member's at a time.

Whose a key is, says rendezvous hashing over the members that can take it: every member computes the same answer, and a
member that comes or goes moves only its own share. The answer is a wish; what counts is the key's ``owner`` document.
A member takes a key whose owner has given it back, or is no member any more, by a conditional change; it gives back a
key that should be another's once its work in flight has ended. What a member writes for a key is conditional on the
owner document, so one that slept through its replacement writes nothing.

Heartbeats are per member, owner documents change only when a key changes hands, and are read only by a member that
misses one of its keys: the cost does not grow with the number of keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from monitor.core.errors import ConflictError, LeaseLostError, StorageError
from monitor.core.ports import StateStore
from monitor.core.types import JSON, Change, Expect, Put
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.membership import MEMBER_KIND, Member, Membership
from monitor.services.ownership import OWNER_KIND, Owners, in_batches, rendezvous
from monitor.services.steady import Steady, SteadyClock, end, nap, passing

SWEEP = 4
"""Lease times between two readings of all owner documents, for what went astray."""

Gained = Callable[[Mapping[str, float | None]], Awaitable[None]]
"""Told which keys are this process's from now on, with the seconds that the last owner would have waited before its
next work for it, where it left them. May be told of a key again; may raise StorageError and is then told again."""
Lost = Callable[[Collection[str]], Mapping[str, float]]
"""Told which keys are not this process's any more; returns in how many seconds work for them is due (seconds and no
time of day: the next owner's clock may be another)."""

_log = structlog.get_logger("sharding")


class Sharding:
    """One process's part of the division. :meth:`run` keeps it up; :meth:`holding` brackets work for a key."""

    def __init__(
        self,
        state: StateStore,
        *,
        group: str,
        instance: str,
        keys: Iterable[str],
        lease_seconds: float,
        metrics: Metrics,
        health: Health,
        steady: Steady | None = None,
    ) -> None:
        self.keys = tuple(sorted(set(keys)))
        self._state = state
        self._steady: Steady = steady or SteadyClock()
        self._membership = Membership(
            state, group=group, instance=instance, keys=self.keys, lease_seconds=lease_seconds, steady=self._steady
        )
        self._owners = Owners(state, group)
        self._metrics = metrics
        self._health = health
        self._failed = metrics.lease_renewals_failed.labels(group)
        self._gained: Gained = _nothing
        self._lost: Lost = lambda _names: {}
        self._owned: dict[str, Mapping[str, JSON]] = {}
        self._parting: dict[str, tuple[Mapping[str, JSON], float | None]] = {}
        self._untold: dict[str, float | None] = {}
        self._leaving: frozenset[str] = frozenset()
        self._flights: dict[str, asyncio.Timeout] = {}
        self._cut: set[str] = set()
        self._severed: set[str] = set()
        self._swept = self._steady.now()
        self._wanted: tuple[tuple[Member, ...], frozenset[str]] | None = None
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._buried = False
        self._lapsed = False

    @property
    def owned(self) -> frozenset[str]:
        """The keys that are this process's by their documents."""
        return frozenset(self._owned)

    def attach(self, gained: Gained, lost: Lost) -> None:
        """Who is told of gains and losses; once, before :meth:`run`."""
        self._gained, self._lost = gained, lost

    def stop(self) -> None:
        """Asks :meth:`run` to give everything back and end. Work in flight should have ended, or is waited for."""
        self._stop.set()

    def holds(self, key: str) -> bool:
        """Whether this process may work for ``key`` now, by its own clock."""
        return key in self._owned and not self._buried and not self._lapsed and self._membership.held

    def fence(self, key: str) -> Expect:
        """The condition of every write for ``key``. Raises LeaseLostError when it is not this process's."""
        if key not in self._owned:
            raise LeaseLostError(f"'{key}' is not this process's.")
        return Expect(kind=OWNER_KIND, key=self._owners.place(key), value=self._owned[key])

    @asynccontextmanager
    async def holding(self, key: str) -> AsyncIterator[None]:
        """Work for ``key``: cut off when this process can no longer be sure to be a member. Raises LeaseLostError when
        the key is not this process's, or turns out not to be when something is written for it."""
        if not self.holds(key) or key in self._leaving or key in self._flights:
            if key not in self._flights:  # what is in flight is planned again when it ends
                self._remember(key)
            raise LeaseLostError(f"'{key}' is not this process's.")
        conflict = False
        try:
            async with asyncio.timeout(None) as scope:
                self._flights[key] = scope
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            self._remember(key)
            raise LeaseLostError(f"'{key}' was cut off: no heartbeat got through in time.") from error
        except LeaseLostError:
            self._remember(key)
            raise
        except ConflictError as error:
            conflict = True
            raise LeaseLostError(f"'{key}' is another's by now.") from error
        finally:
            del self._flights[key]
            self._cut.discard(key)
            if conflict and key in self._owned:
                self._drop([key])
            if conflict or key in self._leaving or self._stop.is_set() or self._buried or self._lapsed:
                self._wake.set()

    async def run(self) -> None:
        """Until :meth:`stop`; then gives everything back. Raises StorageError when the state store is broken for good;
        while it is only away, nothing is worked on and this waits."""
        await self._join()
        tasks = [asyncio.ensure_future(self._beat()), asyncio.ensure_future(self._watch())]
        stopping = asyncio.ensure_future(self._stop.wait())
        turning = asyncio.ensure_future(self._turn())
        try:
            await asyncio.wait([*tasks, turning, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, turning):
                if task.done() and (error := task.exception()) is not None:
                    raise error
            await end([turning])
            await self._give_back()
        finally:
            await end([*tasks, turning, stopping])
            self._cut_off()
            self._drop(self._owned)

    # -- keeping up ------------------------------------------------------------------------------------------------

    async def _join(self) -> None:
        while True:
            try:
                await self._membership.join()
            except StorageError as error:
                self._note(error)
            else:
                self._buried = self._lapsed = False
                self._beaten()
                _log.info("joined", member=self._membership.id, keys=len(self.keys))
                return
            await nap(self._steady, self._membership.every, self._stop)
            if self._stop.is_set():
                return

    async def _beat(self) -> None:
        while True:
            await self._steady.sleep(self._membership.every)
            if self._buried:
                continue
            try:
                # A request that hangs must leave time for another before the membership is over.
                async with asyncio.timeout(self._membership.every):
                    await self._membership.beat()
            except TimeoutError:
                self._note(StorageError("The state store does not answer."))
            except LeaseLostError as error:
                _log.warning("replaced", member=self._membership.id, reason=str(error))
                self._buried = True
                self._cut_off()
                self._wake.set()
            except StorageError as error:
                self._note(error)
            else:
                self._beaten()
                if self._lapsed:
                    self._wake.set()

    async def _watch(self) -> None:
        """Stops the work when no heartbeat has got through in time, before the others may take over."""
        while True:
            left = self._membership.remaining()
            if left > 0:
                await self._steady.sleep(left)
                continue
            if not self._lapsed and not self._buried:
                self._lapsed = True
                self._cut_off()
                _log.warning("lapsed", member=self._membership.id, keys=len(self._owned))
                self._wake.set()
            await self._steady.sleep(self._membership.every / 4)

    async def _turn(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._settle()
            except LeaseLostError:
                pass  # the next heartbeat tells more
            except StorageError as error:
                self._note(error)
            self._metrics.sources_owned.set(len(self._owned))
            await nap(self._steady, self._membership.every, self._wake)

    async def _settle(self) -> None:
        """One look at who is there, and what follows from it for this process."""
        if self._buried:
            await self._landed()
            self._drop([*self._owned])
            self._parting.clear()
            self._severed.clear()
            await self._join()
        elif self._lapsed:
            if not self._membership.held:
                return
            # The heartbeat got through after all and nobody has come in between: the keys are still ours.
            await self._landed()
            # All but those that were cut off: what they were writing may still be on its way, so they get a new token.
            self._drop(self._severed)
            self._severed.clear()
            self._lapsed = False
            self._untold |= dict.fromkeys(self._owned)
        members = await self._membership.look()
        self._metrics.members.labels(self._membership.group).set(len(members))
        wanted = self._wants(tuple(members))
        self._leaving = frozenset(self._owned) - wanted
        self._part([key for key in self._leaving if key not in self._flights])
        if self._steady.now() - self._swept >= SWEEP * self._membership.seconds:
            await self._sweep(wanted)
        await self._release()
        missing = [key for key in sorted(wanted) if key not in self._owned and key not in self._parting]
        if missing:
            await self._claim(missing, members)
        await self._tell()

    async def _sweep(self, wanted: frozenset[str]) -> None:
        """Finds what is this process's without its knowing: a claim that arrived after its answer was given up."""
        for key, document in (await self._owners.all()).items():
            mine = document["owner"] == self._membership.id
            if mine and key not in self._owned and key not in self._parting and key not in wanted:
                self._parting[key] = (document, None)
        self._swept = self._steady.now()

    def _wants(self, members: tuple[Member, ...]) -> frozenset[str]:
        if self._wanted is None or self._wanted[0] != members:
            mine = frozenset(key for key in self.keys if rendezvous(key, members) == self._membership.id)
            self._wanted = (members, mine)
            _log.info("members", count=len(members), share=len(mine), of=len(self.keys))
        return self._wanted[1]

    async def _tell(self) -> None:
        fresh = {key: wait for key, wait in self._untold.items() if key in self._owned}
        if fresh:
            await self._gained(fresh)
        for key in fresh:
            self._untold.pop(key, None)

    # -- giving and taking -----------------------------------------------------------------------------------------

    def _part(self, keys: Sequence[str]) -> None:
        """No more work for keys that have none in flight; their documents are still this process's to give back."""
        waits = self._lost(keys) if keys else {}
        for key in keys:
            self._parting[key] = (self._owned.pop(key), waits.get(key))
            self._untold.pop(key, None)

    async def _release(self) -> None:
        async def give(keys: Sequence[str]) -> None:
            changes: list[Change] = []
            for key in keys:
                document, wait = self._parting[key]
                free: Mapping[str, JSON] = {"owner": "", "token": document["token"], "wait": wait}
                changes.append(Put(kind=OWNER_KIND, key=self._owners.place(key), value=free))
            given = [Expect(kind=OWNER_KIND, key=self._owners.place(key), value=self._parting[key][0]) for key in keys]
            await self._state.apply(changes, given=given)
            for key in keys:
                del self._parting[key]

        refused = await in_batches(sorted(self._parting), give)
        for key in refused:  # another's already, or freed by an attempt whose answer was lost
            self._parting.pop(key, None)

    async def _claim(self, missing: Sequence[str], members: Sequence[Member]) -> None:
        present = {member.id for member in members}
        documents = await self._owners.some(missing)
        takes: dict[str, tuple[Mapping[str, JSON], list[Expect], float | None]] = {}
        for key in missing:
            document = documents.get(key)
            owner = str(document["owner"]) if document is not None else ""
            own = owner == self._membership.id
            if owner in present and not own:
                continue  # it will be given back
            given = [Expect(kind=OWNER_KIND, key=self._owners.place(key), value=document)]
            if owner and not own:
                given.append(Expect(kind=MEMBER_KIND, key=self._membership.place(owner), value=None))
            mine: Mapping[str, JSON] = {
                "owner": self._membership.id,
                "token": int(str(document["token"])) + 1 if document is not None else 1,
            }
            wait = document.get("wait") if document is not None else None
            takes[key] = (mine, given, float(wait) if isinstance(wait, int | float) else None)

        async def take(keys: Sequence[str]) -> None:
            given = {(expect.kind, expect.key): expect for key in keys for expect in takes[key][1]}
            member = self._membership.fence
            given[member.kind, member.key] = member
            changes = [Put(kind=OWNER_KIND, key=self._owners.place(key), value=takes[key][0]) for key in keys]
            try:
                await self._state.apply(changes, given=list(given.values()))
            except ConflictError:
                if await self._state.get(member.kind, member.key) is None:
                    raise LeaseLostError("This member was replaced.") from None
                raise
            for key in keys:
                self._own(key, takes[key][0], takes[key][2])

        await in_batches(sorted(takes), take)

    def _own(self, key: str, document: Mapping[str, JSON], wait: float | None) -> None:
        self._owned[key] = document
        self._untold[key] = wait

    def _remember(self, key: str) -> None:
        """Work for it was refused: when it is ours after all, or again, whoever plans the work must hear of it."""
        if key in self._owned:
            self._untold.setdefault(key, None)

    def _drop(self, keys: Iterable[str]) -> None:
        """They are not this process's any more, whatever it would like."""
        gone = [key for key in list(keys) if self._owned.pop(key, None) is not None]
        for key in gone:
            self._untold.pop(key, None)
        if gone:
            self._lost(gone)
        self._metrics.sources_owned.set(len(self._owned))

    async def _give_back(self) -> None:
        """Everything is free for the others at once."""
        self._leaving = frozenset(self._owned)
        try:
            if self._buried:
                return
            await self._landed()
            self._part([*self._owned])
            await self._release()
            await self._membership.leave()
        except StorageError as error:
            # The others find out by themselves, after the lease time.
            _log.warning("not_given_back", keys=len(self._parting), error=str(error))
        self._metrics.sources_owned.set(0)

    # -- work in flight --------------------------------------------------------------------------------------------

    def _cut_off(self) -> None:
        now = asyncio.get_running_loop().time()
        for key in self._flights.keys() - self._cut:
            self._cut.add(key)
            self._severed.add(key)
            self._flights[key].reschedule(now)

    async def _landed(self) -> None:
        """Waits until nothing is in flight."""
        while self._flights:
            self._wake.clear()
            await nap(self._steady, self._membership.every / 4, self._wake)

    def _beaten(self) -> None:
        allowed = timedelta(seconds=10 * self._membership.seconds)
        self._health.beat(f"member {self._membership.group}", allow=allowed)

    def _note(self, error: StorageError) -> None:
        if not passing(error):
            raise error
        self._failed.inc()
        _log.warning("state_store_away", member=self._membership.id, error=str(error))


async def _nothing(_names: Mapping[str, float | None]) -> None:
    """Nobody is to be told."""
