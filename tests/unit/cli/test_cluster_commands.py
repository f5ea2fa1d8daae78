"""``riskwire topics``, ``store`` and ``dlq`` over real servers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import invoke
from click.testing import Result

from monitor.bus.kafka_topics import delete_topics
from monitor.config import load_settings
from monitor.core.clock import SystemClock
from monitor.core.errors import StorageError, UsageError
from monitor.core.types import Delivery, Record
from monitor.obs.metrics import Metrics
from monitor.services.dead_letters import DeadLetters
from monitor.services.topics import ARTICLES
from monitor.storage import elastic_config, kafka_config, open_storage
from monitor.store.elastic_client import ElasticClient, path


def _run(config: Path, *words: str) -> Result:
    return invoke(*words, "-c", str(config))


def _json(config: Path, *words: str) -> Any:
    return json.loads(_run(config, *words, "--json").stdout)


@pytest.fixture
def kafka(tmp_path: Path, kafka_server: str) -> Iterator[Path]:
    file = tmp_path / "riskwire.toml"
    file.write_text(
        f"""
        data_dir = 'data'
        bus.kind = 'kafka'
        [kafka]
        bootstrap = {json.dumps(kafka_server.split(","))}
        topic_prefix = 'cli-{uuid.uuid4().hex[:8]}.'
        partitions = 2
        replication = 1
        min_insync = 1
        """,
        encoding="utf-8",
    )
    yield file
    config = kafka_config(load_settings(file))
    delete_topics(config, [config.name("articles"), config.name("dead-letters")])


@pytest.fixture
def elastic(tmp_path: Path, elastic_server: str) -> Iterator[Path]:
    file = tmp_path / "riskwire.toml"
    file.write_text(
        f"""
        store.kind = 'elastic'
        [elastic]
        urls = ['{elastic_server}']
        prefix = 'cli-{uuid.uuid4().hex[:8]}'
        replicas = 0
        """,
        encoding="utf-8",
    )
    yield file
    config = elastic_config(load_settings(file))

    async def clean() -> None:
        client = ElasticClient(config)
        await client.find("DELETE", path("_index_template", config.alias))
        await client.close()

    asyncio.run(clean())


def test_topics_are_planned_created_listed_and_left_alone(kafka: Path) -> None:
    plan = _json(kafka, "topics", "apply", "--dry-run")["plan"]
    assert [step["action"] for step in plan] == ["create", "create"]
    missing = _run(kafka, "topics", "ls")
    assert missing.exit_code == 1
    assert {row["partitions"] for row in _json(kafka, "topics", "ls")["topics"]} == {0}  # nothing was made so far
    assert _run(kafka, "topics", "apply").stdout.count("Done: create") == 2
    again = _run(kafka, "topics", "apply")
    assert "as configured" in again.stdout
    listed = _run(kafka, "topics", "ls")
    assert listed.exit_code == 0
    rows = _json(kafka, "topics", "ls")["topics"]
    assert [(row["partitions"], row["replication"], row["differences"]) for row in rows] == [(2, 1, []), (2, 1, [])]


def test_partitions_are_added_only_when_asked_for(kafka: Path) -> None:
    _run(kafka, "topics", "apply")
    kafka.write_text(kafka.read_text("utf-8").replace("partitions = 2", "partitions = 3"), encoding="utf-8")
    report = _json(kafka, "topics", "apply")
    assert report["done"] == []
    assert {step["action"] for step in report["left"]} == {"grow"}
    assert "--add-partitions" in _run(kafka, "topics", "apply").stderr
    assert all(row["differences"] for row in _json(kafka, "topics", "ls")["topics"])
    assert _json(kafka, "topics", "apply", "--add-partitions")["left"] == []
    assert {row["partitions"] for row in _json(kafka, "topics", "ls")["topics"]} == {3}


def test_dead_letters_go_through_kafka(kafka: Path) -> None:
    async def begin() -> None:
        async with open_storage(load_settings(kafka), SystemClock()):
            pass

    asyncio.run(begin())  # makes the data folder, where the state lies
    with pytest.raises(StorageError, match="does not exist") as raised:
        _run(kafka, "dlq", "ls")
    assert "riskwire topics apply" in raised.value.hint
    _run(kafka, "topics", "apply")

    async def bury() -> None:
        clock = SystemClock()
        async with open_storage(load_settings(kafka), clock) as storage:
            record = Record(key="k", value="{schlecht: ü".encode(), timestamp=clock.now(), headers={"trace": "t"})
            await storage.bus.publish(ARTICLES, [record])
            (delivery,) = await storage.bus.browse(ARTICLES, limit=9)
            assert isinstance(delivery, Delivery)
            await DeadLetters(storage.bus, clock, Metrics()).add([(delivery, "Kein JSON ü")], stage="score")

    asyncio.run(bury())
    (row,) = [json.loads(line) for line in _run(kafka, "dlq", "ls", "--json").stdout.splitlines()]
    assert (row["reason"], row["stage"], row["attempt"], row["key"]) == ("Kein JSON ü", "score", 1, "k")
    assert row["origin"].split("/")[0] == ARTICLES  # our name, not the cluster's
    assert json.loads(_run(kafka, "dlq", "show", row["id"]).stdout)["value"] == "{schlecht: ü"
    assert _json(kafka, "dlq", "retry")["published"] == 1
    assert _json(kafka, "dlq", "retry")["published"] == 0

    async def published() -> list[Record]:
        async with open_storage(load_settings(kafka), SystemClock(), guest=True) as storage:
            return [delivery.record for delivery in await storage.bus.browse(ARTICLES, limit=9)]

    records = asyncio.run(published())
    assert [(record.key, record.headers) for record in records] == [
        ("k", {"trace": "t"}),
        ("k", {"trace": "t", "attempt": "1"}),
    ]


def test_the_store_is_set_up_and_checked(elastic: Path) -> None:
    before = _run(elastic, "store", "check")
    assert before.exit_code == 1
    assert "riskwire store apply" in before.stdout.replace("\n", " ")
    applied = _json(elastic, "store", "apply")
    assert any("index template" in change for change in applied["changes"])
    assert "Everything is as configured" in _run(elastic, "store", "apply").stdout
    after = _run(elastic, "store", "check", "--json")
    assert after.exit_code == 0
    assert {check["part"] for check in json.loads(after.stdout)["checks"]} >= {"server", "template", "indices"}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("topics", "ls"), "bus.kind = 'kafka'"),
        (("topics", "apply"), "bus.kind = 'kafka'"),
        (("store", "apply"), "store.kind = 'elastic'"),
        (("store", "check"), "store.kind = 'elastic'"),
    ],
)
def test_where_no_cluster_is_configured_the_next_step_is_said(
    tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    file = tmp_path / "riskwire.toml"
    file.write_text("data_dir = 'data'\n", encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        _run(file, *words)
    assert hint in raised.value.hint
