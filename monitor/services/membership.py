"""Who is there: the replicas of a group, as the state store knows them.

A member is two documents: ``member`` (stable, the fence of what it does in the group's name) and ``member_beat``
(changes with every heartbeat), as with leases; ``member_keys`` says what it can take. A member that has been silent for
``lease_seconds`` by the clock of whoever looks is buried: its documents are deleted, conditional on its silence. From
then on it is dead for everyone at once; when it was only asleep, its next heartbeat tells it so and it joins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from monitor.core.errors import ConflictError, LeaseLostError
from monitor.core.ports import StateStore
from monitor.core.types import JSON, Change, Delete, Expect, Put
from monitor.services.steady import BEATS, VALID, Steady, SteadyClock, Watch, unique_name

MEMBER_KIND = "member"
BEAT_KIND = "member_beat"
KEYS_KIND = "member_keys"
PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member as the others see it."""

    id: str
    """Unique, also over restarts."""
    instance: str
    """Its name, which a restart may keep."""
    keys: frozenset[str]
    """What it can take."""


class Membership:
    """One process's place in a group. One task uses it; ``held`` and ``fence`` may be asked by any."""

    def __init__(
        self,
        state: StateStore,
        *,
        group: str,
        instance: str,
        keys: Iterable[str],
        lease_seconds: float,
        steady: Steady | None = None,
    ) -> None:
        self.group = group
        self.instance = instance
        self.seconds = lease_seconds
        self.every = lease_seconds / BEATS
        """Seconds between heartbeats."""
        self.id = ""
        self._keys = sorted(set(keys))
        self._state = state
        self._steady: Steady = steady or SteadyClock()
        self._watch = Watch(self._steady)
        self._known: dict[str, Member] = {}
        self._deadline = 0.0
        self._beats = 0

    @property
    def held(self) -> bool:
        """Whether this process may count itself a member, by its own clock."""
        return self.remaining() > 0

    @property
    def fence(self) -> Expect:
        """The condition of what this process does as a member. Raises LeaseLostError when it is none."""
        if not self.id:
            raise LeaseLostError(f"This process is no member of '{self.group}'.")
        return Expect(kind=MEMBER_KIND, key=self.place(self.id), value=self._document())

    def remaining(self) -> float:
        """Seconds for which this process stays a member without a further heartbeat; not above 0 when it is none."""
        return self._deadline - self._steady.now() if self.id else 0.0

    def place(self, member: str) -> str:
        """The key of a member's documents."""
        return f"{self.group}/{member}"

    async def join(self) -> None:
        """Registers, under a name never used before. Raises StorageError."""
        self.id = ""
        began = self._steady.now()
        name = unique_name(self.instance)
        key = self.place(name)
        await self._state.apply([
            Put(kind=MEMBER_KIND, key=key, value=self._document()),
            Put(kind=KEYS_KIND, key=key, value={"keys": list(self._keys)}),
            self._beat(key),
        ])  # fmt: skip
        self.id, self._deadline = name, began + VALID * self.seconds

    async def beat(self) -> None:
        """One heartbeat. Raises LeaseLostError when the others have buried this member, StorageError."""
        began = self._steady.now()
        fence = self.fence
        try:
            await self._state.apply([self._beat(fence.key)], given=[fence])
        except ConflictError as error:
            raise LeaseLostError(f"This member of '{self.group}' was silent for too long and was replaced.") from error
        self._deadline = max(self._deadline, began + VALID * self.seconds)

    async def look(self) -> Sequence[Member]:
        """Everyone who is not buried, by id; buries those who have been silent for too long. Raises StorageError."""
        members = await self._listed(MEMBER_KIND)
        beats = await self._listed(BEAT_KIND)
        found: dict[str, Member] = {}
        for member, document in members.items():
            beat = beats.get(member)
            silent = self._watch.unchanged(member, (document, beat))
            if silent >= self.seconds and member != self.id and await self._bury(member, document, beat):
                continue
            known = self._known.get(member) or await self._read(member, document)
            if known is not None:
                found[member] = known
        self._watch.forget_all_but(set(members))
        self._known = found
        return [found[member] for member in sorted(found)]

    async def leave(self) -> None:
        """Takes back the registration. Raises StorageError."""
        if not self.id:
            return
        fence, self.id = self.fence, ""
        try:
            await self._state.apply(_removal(fence.key), given=[fence])
        except ConflictError:
            return  # buried before

    def _document(self) -> Mapping[str, JSON]:
        return {"instance": self.instance}

    def _beat(self, key: str) -> Put:
        self._beats += 1
        return Put(kind=BEAT_KIND, key=key, value={"beat": self._beats})

    async def _bury(self, member: str, document: Mapping[str, JSON], beat: Mapping[str, JSON] | None) -> bool:
        key = self.place(member)
        try:
            await self._state.apply(
                _removal(key),
                given=[
                    Expect(kind=MEMBER_KIND, key=key, value=document),
                    Expect(kind=BEAT_KIND, key=key, value=beat),
                ],
            )
        except ConflictError:
            return False  # it has stirred, or another was quicker: the next look tells
        return True

    async def _read(self, member: str, document: Mapping[str, JSON]) -> Member | None:
        keys = await self._state.get(KEYS_KIND, self.place(member))
        if keys is None:
            return None  # gone since it was listed
        names = keys["keys"]
        return Member(
            id=member,
            instance=str(document["instance"]),
            keys=frozenset(map(str, names)) if isinstance(names, list) else frozenset(),
        )

    async def _listed(self, kind: str) -> dict[str, Mapping[str, JSON]]:
        begin = after = f"{self.group}/"
        found: dict[str, Mapping[str, JSON]] = {}
        while True:
            rows = await self._state.list(kind, after=after, limit=PAGE)
            for key, document in rows:
                if not key.startswith(begin):
                    return found
                found[key.removeprefix(begin)] = document
                after = key
            if len(rows) < PAGE:
                return found


def _removal(key: str) -> list[Change]:
    return [Delete(kind=kind, key=key) for kind in (MEMBER_KIND, BEAT_KIND, KEYS_KIND)]
