"""``riskwire doctor`` as a whole: what it prints, its exit codes, and that it always ends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from cli_tools import invoke
from e2e_tools import needs_model
from servers.postgres import PASSWORD, Place, postgres_place  # noqa: F401 - a fixture

from monitor.bus.kafka_topics import apply_topics, delete_topics
from monitor.config import load_settings
from monitor.doctor.state import state_checks
from monitor.storage import elastic_config, kafka_config
from monitor.store.elastic_client import ElasticClient, path
from monitor.store.elastic_template import apply as apply_template

SECRETS = ("hunter2", "xoxb-9", PASSWORD)


def _configure(folder: Path, text: str) -> Path:
    file = folder / "riskwire.toml"
    file.write_text(f"data_dir = '{folder}/data'\n{text}", encoding="utf-8")
    return file


def _report(config: Path, *words: str) -> tuple[int, dict[str, Any]]:
    result = invoke("doctor", "--json", "-c", str(config), *words)
    for secret in SECRETS:
        assert secret not in result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert all(check["next_step"] for check in report["checks"] if check["status"] != "ok")
    return result.exit_code, report


def _parts(report: dict[str, Any], status: str) -> set[str]:
    return {check["part"] for check in report["checks"] if check["status"] == status}


@needs_model()
def test_three_servers_that_are_set_up(
    tmp_path: Path,
    kafka_server: str,
    elastic_server: str,
    postgres_place: Place,  # noqa: F811
) -> None:
    (tmp_path / "password").write_text(f"{postgres_place.password or ''}\n", encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    name = uuid.uuid4().hex[:8]
    config = _configure(
        tmp_path,
        f"""
        bus.kind = 'kafka'
        kafka = {{ bootstrap = {json.dumps(kafka_server.split(","))}, topic_prefix = 'd{name}.', partitions = 2,
                  replication = 1, min_insync = 1 }}
        store.kind = 'elastic'
        elastic = {{ urls = ['{elastic_server}'], prefix = 'd{name}', replicas = 0 }}
        state.url = '{postgres_place.url}'
        {"state.password_file = 'password'" if postgres_place.password else ""}
        observe.listen = ''
        """.replace("\n                  ", " "),
    )
    kafka, elastic = kafka_config(load_settings(config)), elastic_config(load_settings(config))
    try:
        apply_topics(kafka)
        asyncio.run(apply_template(elastic))
        code, report = _report(config, "--offline")
    finally:
        delete_topics(kafka, [kafka.name("articles"), kafka.name("dead-letters")])

        async def clean() -> None:
            client = ElasticClient(elastic)
            await client.find("DELETE", path("_index_template", elastic.alias))
            await client.close()

        asyncio.run(clean())
    assert _parts(report, "fail") == set()
    assert code == 0
    assert {"kafka: brokers", f"kafka: group d{name}.score", "elastic: template", "clock: elastic", "state: clock"} <= (
        _parts(report, "ok")
    )
    assert not any(part.endswith(".db") for part in _parts(report, "ok"))


def test_three_servers_that_are_down(tmp_path: Path, unused_tcp_port: int) -> None:
    config = _configure(
        tmp_path,
        f"""
        bus.kind = 'kafka'
        kafka.bootstrap = ['127.0.0.1:{unused_tcp_port}']
        kafka.security = 'sasl_plaintext'
        kafka.username = 'me'
        kafka.password = 'hunter2'
        kafka.timeout = 1
        store.kind = 'elastic'
        elastic.urls = ['http://127.0.0.1:{unused_tcp_port}']
        elastic.api_key = 'hunter2'
        state.url = 'postgresql://me:hunter2@127.0.0.1:{unused_tcp_port}/riskwire'
        observe.listen = ''
        model.path = 'nowhere'
        [[notifiers]]
        kind = 'slack'
        token = 'xoxb-9'
        channel = 'C1'
        base_url = 'http://127.0.0.1:{unused_tcp_port}/api/'
        """,
    )
    began = time.monotonic()
    code, report = _report(config)
    assert time.monotonic() - began < 20
    assert code == 1
    failed = _parts(report, "fail")
    assert {
        "model",
        "notifier: slack",
        f"kafka: 127.0.0.1:{unused_tcp_port}",
        "elastic: server",
        "state: server",
    } <= failed
    assert "secrets" in _parts(report, "warn")  # the file may be read by everybody, and holds some


def test_a_secret_that_is_missing_is_said_of_its_part_and_the_rest_goes_on(tmp_path: Path) -> None:
    config = _configure(
        tmp_path,
        """
        bus.kind = 'kafka'
        kafka.security = 'sasl_ssl'
        kafka.username = 'me'
        kafka.password_file = 'absent'
        model.path = 'nowhere'
        """,
    )
    code, report = _report(config, "--offline")
    assert code == 1
    assert {"kafka", "secrets", "model"} <= _parts(report, "fail")
    assert "watchlist" in _parts(report, "ok")


def test_people_get_a_table_in_which_nothing_is_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    odd = tmp_path / "[red]odd"
    odd.mkdir()
    config = _configure(odd, "model.path = 'nowhere'\n")
    result = invoke("doctor", "--offline", "-c", str(config))
    assert result.exit_code == 1
    assert "next step" in result.stdout
    assert "[red]odd" in result.stdout


async def test_a_database_that_nobody_serves(unused_tcp_port: int) -> None:
    from monitor.core.clock import SystemClock
    from monitor.doctor.examination import examine

    url = f"postgresql://me@127.0.0.1:{unused_tcp_port}/riskwire"
    (verdict,) = (await examine(state_checks(url, "hunter2", SystemClock()))).verdicts
    assert verdict.status == "fail"
    assert "hunter2" not in repr(verdict)
    assert verdict.advice


_HANGING = """
import threading
from monitor.cli.main import main
from monitor.doctor import plan
from monitor.doctor.verdict import Check
import asyncio

async def hang():
    await asyncio.to_thread(threading.Event().wait)  # a thread that asyncio would wait for at the end

plan.checks_of = lambda *_, **__: [Check(part="disk", look=hang, limit=0.2, remedy="Unmount it.")]
main()
"""


def test_it_ends_although_a_check_hangs_in_a_thread(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HANGING, "doctor", "--offline", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [(c["part"], c["finding"], c["next_step"]) for c in report["checks"] if c["status"] == "fail"] == [
        ("disk", "No answer within 0.2 seconds.", "Unmount it.")
    ]
