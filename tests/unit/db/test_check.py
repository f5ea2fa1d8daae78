"""What the doctor is told of a data folder."""

from __future__ import annotations

import shutil
import sqlite3
from collections import namedtuple
from datetime import UTC, datetime

import pytest

from monitor.bus.sqlite import SqliteBus
from monitor.core.clock import ManualClock
from monitor.core.types import Put, Record
from monitor.db.check import Finding, check
from monitor.state.sqlite import SqliteState
from monitor.store.sqlite import SqliteStore

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def by_part(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.part: finding for finding in findings}


@pytest.fixture
async def filled(directory):
    clock = ManualClock(NOW)
    bus = await SqliteBus.open(directory, clock=clock)
    await bus.publish("t", [Record(key=str(n), value=b"x" * 1000, timestamp=NOW) for n in range(100)])
    await bus.close()
    await (await SqliteStore.open(directory, clock=clock)).close()
    state = await SqliteState.open(directory)
    await state.apply([Put(kind="k", key="a", value={})])
    await state.close()
    return directory


async def test_a_sound_folder(filled):
    found = by_part(check(filled))
    assert all(finding.status in ("ok", "warn") for finding in found.values())
    assert found["log.db"].status == found["store.db"].status == found["state.db"].status == "ok"
    assert "schema version 1" in found["log.db"].finding
    assert "in use by process" in found["folder"].finding
    filled.close()
    assert "is free" in by_part(check(filled.path))["folder"].finding


def test_a_folder_that_is_not_there(tmp_path):
    (finding,) = check(tmp_path / "none")
    assert finding.status == "warn"
    assert "riskwire run" in finding.advice
    assert not (tmp_path / "none").exists()


def test_files_that_are_not_there_are_not_created(directory):
    assert "Not there yet" in by_part(check(directory))["store.db"].finding
    assert not directory.file("store.db").exists()


async def test_damage_is_found(filled):
    with filled.file("log.db").open("r+b") as file:
        file.seek(12 * 4096)
        file.write(b"\xa5" * 4096)
    found = by_part(check(filled))
    assert found["log.db"].status == "fail"
    assert "log.db" in found["log.db"].finding
    assert found["log.db"].advice
    assert found["store.db"].status == "ok"


async def test_a_newer_file_is_found(filled):
    connection = sqlite3.connect(filled.file("state.db"))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    found = by_part(check(filled))["state.db"]
    assert found.status == "fail"
    assert "version 99" in found.finding


def test_little_space_is_found(directory, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 500_000_000))
    assert by_part(check(directory))["disk"].status == "warn"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 1_000))
    assert by_part(check(directory))["disk"].status == "fail"


def test_a_folder_open_to_others_is_found(directory):
    assert "rights" not in by_part(check(directory))
    directory.path.chmod(0o755)
    assert by_part(check(directory))["rights"].status == "warn"
