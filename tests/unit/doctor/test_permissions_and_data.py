"""Files of secrets, the disk, and the data folder."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.app import open_storage
from monitor.backends import ElasticSection, KafkaSection
from monitor.config import NotifierEntry, Settings, SourceEntry
from monitor.core.clock import SystemClock
from monitor.doctor.data import data_checks
from monitor.doctor.examination import examine
from monitor.doctor.permissions import permission_checks, secret_files
from monitor.doctor.verdict import Verdict

_Usage = namedtuple("_Usage", "total used free")


def _file(path: Path, mode: int, text: str = "hunter2\n") -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


async def _permissions(settings: Settings, config: Path | None = None) -> list[Verdict]:
    return list((await examine(permission_checks(settings, config))).verdicts)


async def test_a_secret_that_everybody_may_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    open_file, closed = _file(tmp_path / "open", 0o644), _file(tmp_path / "closed", 0o640)
    settings = Settings(
        kafka=KafkaSection(password_file=open_file, ca_file=open_file), elastic=ElasticSection(api_key_file=closed)
    )
    kafka, elastic = await _permissions(settings)
    assert (kafka.status, elastic.status) == ("warn", "ok")
    assert "kafka.password_file" in kafka.finding
    assert kafka.advice == f"'chmod 600 {open_file}'"
    assert "hunter2" not in repr((kafka, elastic))


async def test_a_secret_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    settings = Settings(kafka=KafkaSection(key_file=tmp_path / "none"))
    (verdict,) = await _permissions(settings)
    assert verdict.status == "fail"
    assert "No such file" in verdict.finding


def test_private_keys_and_options_of_notifiers_are_found_certificates_are_not(tmp_path: Path) -> None:
    settings = Settings(
        base=tmp_path,
        kafka=KafkaSection(key_file=tmp_path / "k", cert_file=tmp_path / "c", ca_file=tmp_path / "a"),
        notifiers=(NotifierEntry.model_validate({"kind": "pager", "name": "p", "token_file": "t"}),),
    )
    assert dict(secret_files(settings)) == {
        "kafka.key_file": tmp_path / "k",
        "notifier 'p': token_file": tmp_path / "t",
    }


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        (Settings(), False),
        (Settings(kafka=KafkaSection(password=SecretStr("hunter2"))), True),
        (Settings(notifiers=(NotifierEntry.model_validate({"kind": "slack", "token": "xoxb-1"}),)), True),
        (Settings(notifiers=(NotifierEntry.model_validate({"kind": "slack", "token_env": "SLACK"}),)), False),
        (
            Settings(sources=(SourceEntry.model_validate({"name": "x", "headers": {"Authorization": "Basic x"}}),)),
            True,
        ),
        (Settings(sources=(SourceEntry.model_validate({"name": "x", "headers": {"Accept": "x"}}),)), False),
    ],
)
async def test_a_configuration_that_holds_secrets_is_looked_at_as_well(
    tmp_path: Path, settings: Settings, asked: bool
) -> None:
    verdicts = await _permissions(settings, _file(tmp_path / "riskwire.toml", 0o644))
    assert [verdict.status for verdict in verdicts] == (["warn"] if asked else [])


async def _data(folder: Path, unused: frozenset[str] = frozenset()) -> dict[str, Verdict]:
    return {one.part: one for one in (await examine(data_checks(folder, unused=unused))).verdicts}


async def test_databases_that_are_kept_elsewhere_are_not_looked_at(tmp_path: Path) -> None:
    async with open_storage(Settings(data_dir=tmp_path / "data"), SystemClock()):
        pass
    assert {"data: log.db", "data: store.db", "data: state.db"} <= set(await _data(tmp_path / "data"))
    found = await _data(tmp_path / "data", frozenset({"log.db", "store.db"}))
    assert {part for part in found if part.endswith(".db")} == {"data: state.db"}


@pytest.mark.parametrize(("free", "status"), [(5_000_000_000, "ok"), (500_000_000, "warn"), (1_000_000, "fail")])
async def test_the_disk_is_looked_at_before_the_folder_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    asked: list[str] = []

    def usage(path: str | os.PathLike[str]) -> _Usage:
        asked.append(os.fspath(path))
        return _Usage(10_000_000_000, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    found = await _data(tmp_path / "not" / "yet")
    assert found["data: disk"].status == status
    assert bool(found["data: disk"].advice) == (status != "ok")
    assert asked == [str(tmp_path)]
    assert found["data: folder"].status == "warn"
