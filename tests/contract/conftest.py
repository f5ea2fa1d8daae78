"""Every port's contract runs over every implementation: add a home to a list below and the whole suite covers it."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from elastic_home import ElasticStoreHome
from servers.postgres import Place, postgres_place  # noqa: F401 - a fixture
from servers.sql_on_sqlite import SqliteFile

from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_topics import TopicSpec, apply_topics, delete_topics, topic_specs
from monitor.bus.sqlite import SqliteBus
from monitor.core.clock import ManualClock
from monitor.core.ports import Bus, StateStore, Store
from monitor.db.directory import DataDirectory
from monitor.state.postgres import PostgresState
from monitor.state.sql import SqlState
from monitor.state.sqlite import SqliteState
from monitor.store.sqlite import SqliteStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class Home(Protocol):
    """Where an implementation keeps its data. ``open`` may be called again after ``stop``: a restart."""

    async def stop(self) -> None: ...


class _SqliteHome:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory: DataDirectory | None = None

    def _enter(self) -> DataDirectory:
        assert self._directory is None, "stop it first"
        self._directory = DataDirectory(self._path / "data")
        return self._directory

    def _leave(self) -> None:
        if self._directory is not None:
            self._directory.close()
            self._directory = None


class SqliteBusHome(_SqliteHome):
    partitions = 4
    quiet = 0.05
    """Seconds of silence after which nothing more is coming."""
    atomic = True
    """Whether the records of one publish become visible together."""
    expires = True
    """Whether ``expire`` drops records; where it does not, the servers' own retention does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._bus: SqliteBus | None = None

    async def open(self) -> Bus:
        self._bus = await SqliteBus.open(self._enter(), partitions=self.partitions, clock=ManualClock(NOW))
        return self._bus

    async def stop(self) -> None:
        if self._bus is not None:
            await self._bus.close()
        self._leave()


class SqliteStoreHome(_SqliteHome):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._store: SqliteStore | None = None

    async def open(self) -> Store:
        self._store = await SqliteStore.open(self._enter(), clock=ManualClock(NOW))
        return self._store

    async def stop(self) -> None:
        if self._store is not None:
            await self._store.close()
        self._leave()


class SqliteStateHome(_SqliteHome):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._state: SqliteState | None = None

    async def open(self) -> StateStore:
        self._state = await SqliteState.open(self._enter())
        return self._state

    async def stop(self) -> None:
        if self._state is not None:
            await self._state.close()
        self._leave()


class KafkaBusHome:
    """A cluster over TCP; topics of its own for every test."""

    needs = "kafka_server"
    place: str
    partitions = 4
    quiet = 1.5  # a group is shared anew in two rounds of heartbeats
    atomic = False
    expires = False
    topics = ("t", "u", "dead", "nothing")

    def __init__(self, path: Path) -> None:
        self._prefix = f"contract.{uuid.uuid4().hex[:12]}."
        self._bus: KafkaBus | None = None
        self._made = False

    @property
    def config(self) -> KafkaConfig:
        return KafkaConfig(
            bootstrap=tuple(self.place.split(",")),
            topic_prefix=self._prefix,
            partitions=self.partitions,
            replication=1,
            min_insync=1,
            session_timeout=6,
            timeout=20,
            settle_timeout=15,  # so that a test may count on who reads what
        )

    @property
    def specs(self) -> list[TopicSpec]:
        pattern = topic_specs(self.config)[0]
        return [dataclasses.replace(pattern, name=self._prefix + name) for name in self.topics]

    async def open(self) -> Bus:
        if not self._made:
            self._made = True
            assert not (await asyncio.to_thread(apply_topics, self.config, self.specs)).left
        self._bus = await KafkaBus.open(self.config, clock=ManualClock(NOW))
        return self._bus

    async def stop(self) -> None:
        if self._bus is not None:
            await self._bus.close()

    async def remove(self) -> None:
        if self._made:
            await asyncio.to_thread(delete_topics, self.config, [spec.name for spec in self.specs])


BUSES = [SqliteBusHome, KafkaBusHome]
STORES = [SqliteStoreHome, ElasticStoreHome]


class SqlOnSqliteStateHome(_SqliteHome):
    """The SQLAlchemy store over the embedded store's file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._state: SqlState | None = None

    async def open(self) -> StateStore:
        directory = self._enter()
        await (await SqliteState.open(directory)).close()
        self._state = SqlState(SqliteFile(directory.file("state.db")))
        return self._state

    async def stop(self) -> None:
        if self._state is not None:
            await self._state.close()
        self._leave()


class PostgresStateHome:
    needs = "postgres_place"
    place: Place

    def __init__(self, path: Path) -> None:
        self._state: PostgresState | None = None

    async def open(self) -> StateStore:
        self._state = await PostgresState.open(self.place.url, password=self.place.password, schema=self.place.schema)
        return self._state

    async def stop(self) -> None:
        if self._state is not None:
            await self._state.close()


STATES = [SqliteStateHome, SqlOnSqliteStateHome, PostgresStateHome]


@pytest.fixture(params=BUSES)
async def bus_home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    home = request.param(tmp_path)
    if needs := getattr(home, "needs", ""):
        home.place = request.getfixturevalue(needs)
    yield home
    await home.stop()
    if remove := getattr(home, "remove", None):  # a server's data outlives the test
        await remove()


@pytest.fixture
async def bus(bus_home) -> Bus:
    return await bus_home.open()


@pytest.fixture(params=STORES)
async def store_home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    home = request.param(tmp_path)
    if needs := getattr(home, "needs", ""):  # a server is only started for those who need it
        home.place = request.getfixturevalue(needs)
    yield home
    await home.stop()
    if remove := getattr(home, "remove", None):  # a server is shared: nothing of the test stays
        await remove()


@pytest.fixture
async def store(store_home) -> Store:
    return await store_home.open()


@pytest.fixture(params=STATES)
async def state_home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    home = request.param(tmp_path)
    if needs := getattr(home, "needs", ""):  # a server is only started for those who need it
        home.place = request.getfixturevalue(needs)
    yield home
    await home.stop()


@pytest.fixture
async def state(state_home) -> StateStore:
    return await state_home.open()
