"""Moving the state: everything arrives, nothing that was there is lost unasked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from servers.postgres import Place

from monitor.core.errors import ConflictError, StorageError
from monitor.core.types import Delete, Put
from monitor.db.directory import DataDirectory
from monitor.state.copying import BATCH, copy_state
from monitor.state.postgres import PostgresState
from monitor.state.sqlite import SqliteState

DOCUMENTS = [
    *(Put(kind="baseline", key=f"topic/{number:04d}", value={"n": number, "f": number / 7}) for number in range(450)),
    Put(kind="cursor", key="", value={"odd": "the empty key"}),
    Put(kind="cursor", key="feed/央行", value={"text": "坏账 \x00 \ud800"}),
    Put(kind="incident", key="a", value={"open": True}),
]


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[SqliteState]:
    with DataDirectory(tmp_path / "source") as directory:
        state = await SqliteState.open(directory)
        await state.apply(DOCUMENTS)
        yield state
        await state.close()


@pytest.fixture
async def target(postgres_place: Place) -> AsyncIterator[PostgresState]:
    state = await PostgresState.open(postgres_place.url, password=postgres_place.password, schema=postgres_place.schema)
    yield state
    await state.close()


async def everything(state: Any) -> dict[tuple[str, str], Any]:
    found = {}
    for kind in await state.kinds():
        if (first := await state.get(kind, "")) is not None:
            found[kind, ""] = first
        found |= {(kind, key): value for key, value in await state.list(kind, limit=10_000)}
    return found


WANTED = {(document.kind, document.key): dict(document.value) for document in DOCUMENTS}


async def test_all_arrives_and_a_second_copy_changes_nothing(source: SqliteState, target: PostgresState) -> None:
    assert await copy_state(source, target) == {"baseline": 450, "cursor": 2, "incident": 1}
    assert await everything(target) == WANTED
    assert await copy_state(source, target) == {"baseline": 450, "cursor": 2, "incident": 1}
    assert await everything(target) == await everything(source) == WANTED


async def test_there_and_back_again(source: SqliteState, target: PostgresState, tmp_path: Path) -> None:
    await copy_state(source, target)
    with DataDirectory(tmp_path / "back") as directory:
        back = await SqliteState.open(directory)
        await copy_state(target, back)
        assert await everything(back) == WANTED
        await back.close()


async def test_a_copy_that_was_broken_off_is_continued(source: SqliteState, target: PostgresState) -> None:
    await target.apply(DOCUMENTS[:BATCH])
    await copy_state(source, target)
    assert await everything(target) == WANTED


@pytest.mark.parametrize(
    "other", [Put(kind="incident", key="b", value={}), Put(kind="incident", key="a", value={"open": False})]
)
async def test_what_the_target_holds_is_only_replaced_when_asked(
    source: SqliteState, target: PostgresState, other: Put
) -> None:
    await target.apply([other])
    with pytest.raises(StorageError, match=f"incident/{other.key}.*nothing was copied"):
        await copy_state(source, target)
    assert await everything(target) == {(other.kind, other.key): dict(other.value)}
    await copy_state(source, target, replace=True)
    assert await everything(target) == WANTED


async def test_a_writer_beside_the_copy_is_noticed(source: SqliteState, target: PostgresState) -> None:
    class Late(PostgresState):
        """Somebody else puts a document just before the first batch."""

        async def apply(self, changes: Any, *, given: Any = ()) -> None:
            await target.apply([Put(kind="incident", key="a", value={"mine": 1})])
            await target.apply(changes, given=given)

    late = Late(target._server)
    with pytest.raises(ConflictError, match="Something else writes"):
        await copy_state(source, late)
    assert (await target.get("incident", "a")) == {"mine": 1}
    await target.apply([Delete(kind="incident", key="a")])
