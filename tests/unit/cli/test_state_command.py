"""``riskwire state copy``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.postgres import PASSWORD, Cluster, postgres_cluster  # noqa: F401 - a fixture
from typer.testing import CliRunner

from monitor.cli.main import app
from monitor.core.errors import DatabaseLockedError, StorageError, UsageError
from monitor.core.types import Put
from monitor.db.directory import DataDirectory
from monitor.state.sqlite import SqliteState


@pytest.fixture
def config(tmp_path: Path, postgres_cluster: Cluster) -> Iterator[Path]:  # noqa: F811
    postgres_cluster.command("CREATE DATABASE moved")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    file = tmp_path / "riskwire.toml"
    file.write_text(
        f'data_dir = "data"\n[state]\nurl = "{postgres_cluster.url("moved")}"\npassword_file = "password"\n'
    )
    yield file
    postgres_cluster.command("DROP DATABASE moved WITH (FORCE)")


async def fill(folder: Path) -> None:
    with DataDirectory(folder) as directory:
        state = await SqliteState.open(directory)
        await state.apply([Put(kind="cursor", key=f"feed/{number}", value={"n": number}) for number in range(3)])
        await state.apply([Put(kind="incident", key="i", value={"open": True})])
        await state.close()


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["state", "copy", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.mark.timeout(120)
def test_there_and_back(config: Path, tmp_path: Path) -> None:
    import asyncio

    with pytest.raises(UsageError, match="nothing to copy"):
        call("-c", config)
    asyncio.run(fill(tmp_path / "data"))
    with DataDirectory(tmp_path / "data"), pytest.raises(DatabaseLockedError):
        call("-c", config)
    output = call("-c", config)
    assert "3  cursor" in output
    assert "now holds 4 documents" in output
    with sqlite3.connect(tmp_path / "data" / "state.db") as connection:
        connection.execute("DELETE FROM documents WHERE kind = 'incident'")
        connection.execute("INSERT INTO documents VALUES ('cursor', 'mine', '{}')")
    connection.close()
    with pytest.raises(StorageError, match="cursor/mine"):
        call("-c", config, "--back")
    call("-c", config, "--back", "--replace")
    with sqlite3.connect(tmp_path / "data" / "state.db") as connection:
        rows = connection.execute("SELECT kind, key FROM documents ORDER BY kind, key").fetchall()
    connection.close()
    assert rows == [("cursor", "feed/0"), ("cursor", "feed/1"), ("cursor", "feed/2"), ("incident", "i")]


def test_without_a_database_in_the_configuration_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "riskwire.toml").write_text('data_dir = "data"\n')
    with pytest.raises(UsageError, match="no state database"):
        call("-c", tmp_path / "riskwire.toml")
