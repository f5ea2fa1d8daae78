"""Copies incidents to where people look at them with other programs (Elasticsearch, for Kibana).

What is to be copied is written down in the transaction that changes the incident (kind ``mirror``), and crossed out
after the copy is written: at least once, whatever crashes. Copying never holds up detection: while the target is away
or refuses, the notes stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import structlog

from monitor.core.codec import dumps, incident_from_dict
from monitor.core.errors import CodecError, ConflictError, LeaseLostError, StorageError
from monitor.core.ports import IncidentMirror, StateStore
from monitor.core.types import JSON, Change, Delete, Expect, Incident, Put

INCIDENT = "incident"
MIRROR = "mirror"
"""Kind of the notes, by incident id."""
TARGET = "mirror.target"
"""Kind of the one document that names where everything has been copied to."""
BATCH = 200

_log = structlog.get_logger("mirror")


class MirroredState:
    """A state store that notes every incident that is written, in the same transaction."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        """As the store's."""
        return await self._state.get(kind, key)

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        """As the store's."""
        return await self._state.list(kind, after=after, limit=limit)

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        """As the store's, with a note for every incident among the changes."""
        last = {change.key: change for change in changes if isinstance(change, Put) and change.kind == INCIDENT}
        notes = [Put(kind=MIRROR, key=key, value={"content": _digest(change.value)}) for key, change in last.items()]
        await self._state.apply([*changes, *notes], given=given)

    async def close(self) -> None:
        """As the store's."""
        await self._state.close()


def _digest(value: Mapping[str, JSON]) -> str:
    """Tells the incident's contents apart: a note is crossed out only if it is still the one that was copied."""
    return hashlib.sha256(dumps(value).encode(errors="surrogatepass")).hexdigest()[:32]


class MirrorService:
    """Copies what is noted. ``leads``: whether this process is the one that does it for all."""

    def __init__(self, *, state: StateStore, mirror: IncidentMirror, leads: Callable[[], bool] = lambda: True) -> None:
        self._state = state
        self._mirror = mirror
        self._leads = leads
        self._filled = False
        self._told = ""

    async def pass_once(self) -> int:
        """Copies what is noted, and everything when the target is a new one; returns how many incidents it wrote.
        What the target cannot take is logged and tried again in the next pass. Raises StorageError of the state only.
        """
        if not self._leads():
            return 0
        written = 0 if self._filled else await self._fill()
        if not self._filled:
            return written
        while notes := await self._state.list(MIRROR, limit=BATCH):
            done = await self._copy(notes)
            written += done
            if done < len(notes) or len(notes) < BATCH:
                break
        return written

    async def _fill(self) -> int:
        """The incidents from before the mirror was switched on, or was pointed elsewhere."""
        known = await self._state.get(TARGET, "name")
        written = 0
        if known is None or known.get("name") != self._mirror.name:
            after = ""
            while rows := await self._state.list(INCIDENT, after=after, limit=BATCH):
                after = rows[-1][0]
                incidents = [found for _, doc in rows if (found := self._read(doc)) is not None]
                if not await self._write(incidents):
                    return written
                written += len(incidents)
            await self._state.apply([Put(kind=TARGET, key="name", value={"name": self._mirror.name})])
        self._filled = True
        return written

    async def _copy(self, notes: Sequence[tuple[str, Mapping[str, JSON]]]) -> int:
        """Copies the noted incidents and crosses the notes out; returns how many, 0 when the target took none."""
        incidents: list[Incident] = []
        for key, _ in notes:
            doc = await self._state.get(INCIDENT, key)
            if doc is not None and (incident := self._read(doc)) is not None:
                incidents.append(incident)
        if not await self._write(incidents):
            return 0
        done = 0
        for key, note in notes:
            try:
                await self._state.apply(
                    [Delete(kind=MIRROR, key=key)], given=[Expect(kind=MIRROR, key=key, value=note)]
                )
            except LeaseLostError:
                raise
            except ConflictError:  # it changed meanwhile: the next pass copies it again
                continue
            done += 1
        return done

    async def _write(self, incidents: Sequence[Incident]) -> bool:
        try:
            refused = await self._mirror.write(incidents)
        except StorageError as error:
            if str(error) != self._told:
                _log.warning("incidents_not_copied", target=self._mirror.name, error=str(error))
            self._told = str(error)
            return False
        self._told = ""
        for name, reason in refused.items():
            _log.error("incident_not_copied", id=name, target=self._mirror.name, reason=reason)
        return True

    def _read(self, doc: Mapping[str, JSON]) -> Incident | None:
        try:
            return incident_from_dict(doc)
        except CodecError as error:
            _log.error("incident_not_copied", id=str(doc.get("id", "")), reason=str(error))
            return None
