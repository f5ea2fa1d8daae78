"""The SQLAlchemy state store over the embedded store's very file: what shows that both have one schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from monitor.core.errors import StorageError
from monitor.state.documents import Place


class SqliteFile:
    """A ``state.db`` as a :class:`monitor.state.sql.Server`."""

    connections = 2
    deadline = 30.0

    def __init__(self, path: Path) -> None:
        self.name = f"file {path}"
        self.engine = create_engine(f"sqlite:///{path}", pool_size=self.connections, connect_args={"timeout": 20})

        @event.listens_for(self.engine, "connect")
        def own_transactions(connection: Any, _: object) -> None:
            connection.isolation_level = None  # pysqlite would begin too late

        @event.listens_for(self.engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def enter(self, connection: Connection, *, given: Sequence[Place], changed: Sequence[Place]) -> None:
        pass  # BEGIN IMMEDIATE: one writer at a time

    def failure(self, error: DBAPIError, *, unknown: bool) -> StorageError:
        return StorageError(f"SQLite failed: {error.orig}")

    def passing(self, error: DBAPIError) -> bool:
        return False

    def cut(self, driver_connection: Any) -> None:
        driver_connection.interrupt()
