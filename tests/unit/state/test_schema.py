"""One schema for both: what SQLAlchemy defines is what the embedded store writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from servers.sql_on_sqlite import SqliteFile
from sqlalchemy import create_engine, inspect

from monitor.core.types import Put
from monitor.db.directory import DataDirectory
from monitor.db.schema import STATE
from monitor.state import schema
from monitor.state.sql import SqlState
from monitor.state.sqlite import MIGRATIONS, SqliteState


def _columns(path: Path, table: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"PRAGMA table_info({table})").fetchall()
    finally:
        connection.close()


def test_both_take_the_same_number_of_steps() -> None:
    assert len(schema.MIGRATIONS) == len(MIGRATIONS) == STATE.version == schema.VERSION


async def test_both_migrations_make_the_same_table(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "data") as directory:
        await (await SqliteState.open(directory)).close()
    ours = tmp_path / "ours.db"
    engine = create_engine(f"sqlite:///{ours}")
    with engine.begin() as connection:
        assert schema.version_of(connection, "file", None) == 0
        schema.migrate(connection, 0)
        assert schema.version_of(connection, "file", None) == schema.VERSION
        assert {column["name"] for column in inspect(connection).get_columns("documents")} == {"kind", "key", "value"}
    engine.dispose()
    assert _columns(ours, "documents") == _columns(tmp_path / "data" / STATE.file, "documents")


async def test_each_reads_what_the_other_wrote(tmp_path: Path) -> None:
    value = {"text": "坏账 \x00 \ud800", "n": 0.1 + 0.2}
    with DataDirectory(tmp_path / "data") as directory:
        embedded = await SqliteState.open(directory)
        over_sqlalchemy = SqlState(SqliteFile(directory.file(STATE.file)))
        await embedded.apply([Put(kind="a", key="x", value=value)])
        await over_sqlalchemy.apply([Put(kind="b", key="y", value=value)])
        for state in (embedded, over_sqlalchemy):
            assert await state.get("a", "x") == await state.get("b", "y") == value
            assert await state.kinds() == ["a", "b"]
        await over_sqlalchemy.close()
        await embedded.close()
