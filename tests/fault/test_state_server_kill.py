"""SIGKILL of the PostgreSQL server in the middle of many applies: what was acknowledged is there whole, what was not is
there whole or not at all, and the store comes back by itself when the server does."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import pytest
from servers.postgres import Cluster, Place, postgres_cluster, postgres_place  # noqa: F401 - fixtures

from monitor.core.errors import StorageError
from monitor.core.types import Expect, Put
from monitor.state.postgres import PostgresState

WRITERS = 10
DOCUMENTS = 8
"""Documents that each apply changes together."""


@dataclass
class Writer:
    """Raises the version of its documents, all in one apply, each on the condition of the one before."""

    name: str
    acknowledged: int = 0
    asked: int = 0

    def value(self, version: int) -> dict[str, object]:
        return {"version": version, "ballast": f"{self.name} {version} " * 50}

    async def work(self, state: PostgresState, acknowledgements: asyncio.Queue[str]) -> StorageError:
        while True:
            version = self.acknowledged
            self.asked = version + 1
            try:
                await state.apply(
                    [Put(kind=self.name, key=f"{n}", value=self.value(self.asked)) for n in range(DOCUMENTS)],
                    given=[Expect(kind=self.name, key="0", value=self.value(version) if version else None)],
                )
            except StorageError as error:
                return error
            self.acknowledged = self.asked
            acknowledgements.put_nowait(self.name)

    async def check(self, state: PostgresState) -> None:
        documents = [document for _, document in await state.list(self.name)]
        versions = {document["version"] for document in documents} or {0}
        assert len(versions) == 1, f"{self.name} is half written: {versions}"
        (version,) = versions
        assert version in (self.acknowledged, self.asked), f"{self.acknowledged} was acknowledged, found {version}"
        assert len(documents) == (DOCUMENTS if version else 0)
        assert all(document == self.value(int(str(version))) for document in documents)
        self.acknowledged = int(str(version))


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.slow)])
async def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(
    kills: int,
    postgres_cluster: Cluster,  # noqa: F811
    postgres_place: Place,  # noqa: F811
) -> None:
    state = await PostgresState.open(
        postgres_place.url, password=postgres_place.password, schema=postgres_place.schema, timeout=20
    )
    rng = random.Random(11)
    writers = [Writer(f"w{number}") for number in range(WRITERS)]
    outcomes: Counter[str] = Counter()
    for _ in range(kills):
        acknowledgements: asyncio.Queue[str] = asyncio.Queue()
        working = [asyncio.create_task(writer.work(state, acknowledgements)) for writer in writers]
        for _ in range(rng.randint(1, 120)):
            await asyncio.wait_for(acknowledgements.get(), 60)
            outcomes["acknowledged"] += 1
        await asyncio.to_thread(postgres_cluster.kill)
        for error in await asyncio.wait_for(asyncio.gather(*working), 60):
            assert "PostgreSQL at " in error.message
            outcomes["in doubt" if "not known" in error.message else "not done"] += 1
        outcomes["acknowledged"] += acknowledgements.qsize()
        await asyncio.to_thread(postgres_cluster.start)
        before = [writer.acknowledged for writer in writers]
        for writer in writers:
            await writer.check(state)  # the same store object: it connects again by itself
        outcomes["in doubt, but stored"] += sum(
            writer.acknowledged > earlier for writer, earlier in zip(writers, before, strict=True)
        )
    await state.close()
    print(f"{kills} kills: {dict(outcomes)}")
    assert outcomes["acknowledged"] == sum(writer.acknowledged for writer in writers) - outcomes["in doubt, but stored"]
    assert outcomes["in doubt, but stored"] <= outcomes["in doubt"]
    assert outcomes["not done"] or outcomes["in doubt"]
