"""Incidents are copied at least once, idempotently, and copying never holds up what writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import doubles
import pytest

from monitor.core.codec import incident_to_dict
from monitor.core.errors import StorageError, UnavailableError
from monitor.core.types import Incident, Put
from monitor.services.mirror import BATCH, MIRROR, MirroredState, MirrorService


class ListMirror:
    """Keeps what it is given, as a target with versions does. ``fail`` is raised by the next write."""

    def __init__(self, name: str = "copy") -> None:
        self.name = name
        self.docs: dict[str, Incident] = {}
        self.writes = 0
        self.fail: StorageError | None = None
        self.refuse: dict[str, str] = {}
        self.during: Incident | None = None
        self.state: MirroredState | None = None

    async def write(self, incidents: Sequence[Incident]) -> Mapping[str, str]:
        if self.fail is not None:
            raise self.fail
        self.writes += len(incidents)
        for incident in incidents:
            if incident.id not in self.refuse:
                self.docs[incident.id] = max(incident, self.docs.get(incident.id, incident), key=lambda i: i.revision)
        if self.during is not None and self.state is not None:
            changed, self.during = self.during, None
            await self.state.apply([_put(changed)])
        return {name: why for name, why in self.refuse.items() if name in {one.id for one in incidents}}

    async def close(self) -> None:
        pass


def _put(incident: Incident) -> Put:
    return Put(kind="incident", key=incident.id, value=incident_to_dict(incident))


@pytest.fixture
def state() -> doubles.DictState:
    return doubles.DictState()


async def test_what_is_written_is_noted_in_the_same_transaction_and_copied(state: doubles.DictState) -> None:
    mirror = ListMirror()
    mirrored, service = MirroredState(state), MirrorService(state=state, mirror=mirror)
    state.fail_next = StorageError("no room")
    with pytest.raises(StorageError):
        await mirrored.apply([_put(doubles.incident("lost"))])
    assert not state.docs.get(MIRROR)
    await service.pass_once()  # the target is known from now on
    await mirrored.apply([_put(doubles.incident("a")), Put(kind="other", key="b", value={})])
    assert list(state.docs[MIRROR]) == ["a"]
    assert await service.pass_once() == 1
    assert mirror.docs == {"a": doubles.incident("a")}
    assert not state.docs[MIRROR]
    assert await service.pass_once() == 0


async def test_a_target_that_is_away_costs_nothing_but_time(state: doubles.DictState) -> None:
    mirror = ListMirror()
    mirrored, service = MirroredState(state), MirrorService(state=state, mirror=mirror)
    await service.pass_once()
    for error in (UnavailableError("away"), StorageError("not permitted")):
        mirror.fail = error
        await mirrored.apply([_put(doubles.incident("a", revision=2))])
        assert await service.pass_once() == 0
        assert list(state.docs[MIRROR]) == ["a"]
    mirror.fail = None
    assert await service.pass_once() == 1
    assert mirror.docs["a"].revision == 2


async def test_a_change_while_copying_is_copied_too(state: doubles.DictState) -> None:
    mirror = ListMirror()
    mirrored, service = MirroredState(state), MirrorService(state=state, mirror=mirror)
    mirror.state = mirrored
    await service.pass_once()
    await mirrored.apply([_put(doubles.incident("a"))])
    # Of the same revision: words are added to an incident without people being told anew.
    mirror.during = replace(doubles.incident("a"), reason="with words")
    await service.pass_once()
    assert list(state.docs[MIRROR]) == ["a"]
    await service.pass_once()
    assert mirror.docs["a"].reason == "with words" or mirror.writes == 2
    assert not state.docs[MIRROR]


async def test_a_crash_between_copy_and_note_repeats_the_copy(state: doubles.DictState) -> None:
    mirror = ListMirror()
    mirrored, service = MirroredState(state), MirrorService(state=state, mirror=mirror)
    await service.pass_once()
    await mirrored.apply([_put(doubles.incident("a"))])
    state.fail_next = StorageError("crash")
    with pytest.raises(StorageError):
        await service.pass_once()
    assert await MirrorService(state=state, mirror=mirror).pass_once() == 1
    assert mirror.writes == 2
    assert mirror.docs == {"a": doubles.incident("a")}


async def test_what_was_there_before_is_copied_once_for_every_target(state: doubles.DictState) -> None:
    names = [f"i{number:04}" for number in range(BATCH + 3)]
    await state.apply([_put(doubles.incident(name)) for name in names])
    for target in ("one", "two"):
        mirror = ListMirror(target)
        mirror.fail = UnavailableError("away")
        assert await MirrorService(state=state, mirror=mirror).pass_once() == 0
        mirror.fail = None
        assert await MirrorService(state=state, mirror=mirror).pass_once() == len(names)
        assert sorted(mirror.docs) == names
        assert await MirrorService(state=state, mirror=mirror).pass_once() == 0


async def test_what_the_target_never_takes_does_not_hold_up_the_others(state: doubles.DictState) -> None:
    mirror = ListMirror()
    mirror.refuse = {"bad": "mapper_parsing_exception"}
    mirrored, service = MirroredState(state), MirrorService(state=state, mirror=mirror)
    await service.pass_once()
    await mirrored.apply([_put(doubles.incident("bad")), _put(doubles.incident("good"))])
    await state.apply([Put(kind=MIRROR, key="gone", value={"content": ""})])
    await state.apply([Put(kind="incident", key="odd", value={"id": "odd"}), Put(kind=MIRROR, key="odd", value={})])
    assert await service.pass_once() == 4
    assert sorted(mirror.docs) == ["good"]
    assert not state.docs[MIRROR]


async def test_only_who_leads_copies(state: doubles.DictState) -> None:
    mirror = ListMirror()
    await MirroredState(state).apply([_put(doubles.incident("a"))])
    assert await MirrorService(state=state, mirror=mirror, leads=lambda: False).pass_once() == 0
    assert not mirror.docs
