"""Kafka as the doctor sees it: over a real cluster, over addresses where nobody is, and by what a cluster may say."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka.errors import TopicAuthorizationFailedError

from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_topics import (
    BrokerInfo,
    ClusterInfo,
    TopicAction,
    TopicInfo,
    TopicSpec,
    TopicStep,
    apply_topics,
    delete_topics,
)
from monitor.core.clock import ManualClock, SystemClock
from monitor.core.errors import StorageError
from monitor.core.types import Lag, Record
from monitor.doctor import kafka as doctor_kafka
from monitor.doctor.examination import examine
from monitor.doctor.kafka import (
    judge_brokers,
    judge_group,
    judge_group_rights,
    judge_rights,
    judge_state,
    judge_step,
    judge_version,
    kafka_checks,
)
from monitor.doctor.verdict import Verdict
from monitor.services.topics import ARTICLES

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def config(kafka_server: str) -> Iterator[KafkaConfig]:
    mine = KafkaConfig(
        bootstrap=tuple(kafka_server.split(",")),
        topic_prefix=f"doctor-{uuid.uuid4().hex[:8]}.",
        partitions=2,
        replication=1,
        min_insync=1,
    )
    yield mine
    delete_topics(mine, [mine.name("articles"), mine.name("dead-letters")])


async def _ask(config: KafkaConfig) -> dict[str, Verdict]:
    found = await examine(kafka_checks(config, SystemClock()))
    assert all(verdict.advice for verdict in found.verdicts if verdict.status != "ok")
    return {one.part.replace(config.topic_prefix, "").removeprefix("kafka: "): one for one in found.verdicts}


async def test_a_cluster_without_our_topics(config: KafkaConfig) -> None:
    found = await _ask(config)
    assert found[config.bootstrap[0]].status == "ok"
    assert "Cluster " in found[config.bootstrap[0]].finding
    assert found["brokers"].status == "ok"
    for topic in ("topic articles", "topic dead-letters"):
        assert found[topic].status == "fail"
        assert "riskwire topics apply" in found[topic].advice
    assert "riskwire topics apply" in found["group"].advice


async def test_a_cluster_with_our_topics_and_articles_that_wait(config: KafkaConfig) -> None:
    apply_topics(config)
    found = await _ask(config)
    assert {part: verdict.status for part, verdict in found.items() if verdict.status != "ok"} == {}
    assert "nothing waits" in found["group score"].finding
    bus = await KafkaBus.open(config, clock=SystemClock())
    try:
        old = SystemClock().now() - timedelta(hours=2)
        await bus.publish(ARTICLES, [Record(key=str(n), value=b"{}", timestamp=old) for n in range(3)])
        found = await _ask(config)
        assert found["group score"].status == "warn"
        assert "3 articles wait to be scored, the oldest fetched 120 minutes ago" in found["group score"].finding
        assert "clock: kafka" not in found
        ahead = SystemClock().now() + timedelta(seconds=20)
        await bus.publish(ARTICLES, [Record(key="x", value=b"{}", timestamp=ahead)])
        found = await _ask(config)
        assert found["clock: kafka"].status == "warn"
        assert "behind the machine that published" in found["clock: kafka"].finding
    finally:
        await bus.close()


async def test_topics_that_differ_from_the_configuration(config: KafkaConfig) -> None:
    apply_topics(config)
    other = KafkaConfig(
        bootstrap=config.bootstrap,
        topic_prefix=config.topic_prefix,
        partitions=3,
        replication=1,
        min_insync=1,
        dead_letter_days=7,
    )
    found = await examine(kafka_checks(other, SystemClock()))
    told = [verdict for verdict in found.verdicts if verdict.part.startswith("kafka: topic ")]
    assert {verdict.status for verdict in told} == {"warn"}
    text = " ".join(verdict.finding for verdict in told)
    assert "has 2 partitions, 3 are configured" in text
    assert "retention.ms = 604800000" in text


async def test_nobody_at_an_address_is_said_of_that_address_alone(config: KafkaConfig, unused_tcp_port: int) -> None:
    apply_topics(config)
    dead = f"127.0.0.1:{unused_tcp_port}"
    both = KafkaConfig(
        bootstrap=(config.bootstrap[0], dead),
        topic_prefix=config.topic_prefix,
        partitions=2,
        replication=1,
        min_insync=1,
    )
    found = await _ask(both)
    assert [part for part, verdict in found.items() if verdict.status == "fail"] == [dead]
    assert "refused the connection" in found[dead].finding


async def test_a_broker_that_never_answers_is_reported_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        found = await _ask(KafkaConfig(bootstrap=(address,), replication=1, min_insync=1, timeout=2.0))
    assert {verdict.status for verdict in found.values()} == {"fail"}
    assert address in found[address].finding


def test_old_brokers_are_refused() -> None:
    def info(version: str) -> ClusterInfo:
        return ClusterInfo(id="c", version=version, brokers=(), controller=1)

    statuses = {version: judge_version("k", info(version)).status for version in ("0.11", "2.3", "2.4", "4.0", "")}
    assert statuses == {"0.11": "fail", "2.3": "fail", "2.4": "ok", "4.0": "ok", "": "ok"}


def test_brokers_that_are_lost_or_too_few() -> None:
    brokers = tuple(BrokerInfo(id=number, address=f"b{number}:9092", rack="") for number in (1, 2))
    two = ClusterInfo(id="c", version="3.9", controller=1, brokers=brokers)
    (lost,) = judge_brokers(two, ["b2:9092"], KafkaConfig(replication=2, min_insync=1))
    assert lost.status == "fail"
    assert "advertised.listeners" in lost.advice
    (few,) = judge_brokers(two, [], KafkaConfig(replication=3))
    assert few.status == "fail"
    assert "kafka.replication" in few.finding


@pytest.mark.parametrize(
    ("action", "status", "advice"),
    [
        (TopicAction.NOTHING, "ok", ""),
        (TopicAction.CREATE, "fail", "riskwire topics apply"),
        (TopicAction.ALTER, "warn", "riskwire topics apply"),
        (TopicAction.GROW, "warn", "--add-partitions"),
        (TopicAction.KEEP, "warn", "Kafka's own tools"),
    ],
)
def test_every_difference_has_its_next_step(action: TopicAction, status: str, advice: str) -> None:
    spec = TopicSpec(name="articles", partitions=2, replication=1, settings={})
    verdict = judge_step(TopicStep(spec=spec, action=action, text="set this", changes={}))
    assert verdict.status == status
    assert advice in verdict.advice


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({}, None),
        ({"missing": True}, None),
        ({"error": "No."}, "fail"),
        ({"leaderless": (1, 2)}, "fail"),
        ({"lagging": (0,)}, "warn"),
    ],
)
def test_partitions_without_leader_or_copies(state: dict[str, Any], status: str | None) -> None:
    found = judge_state(TopicInfo(name="articles", **state))
    assert [verdict.status for verdict in found] == ([] if status is None else [status])


@pytest.mark.parametrize(
    ("operations", "status", "missing"),
    [
        ((), "ok", []),
        (("DESCRIBE", "READ", "WRITE"), "ok", []),
        (("DESCRIBE", "READ"), "warn", ["--operation Write"]),
        (("DESCRIBE",), "fail", ["--operation Read", "--operation Write"]),
    ],
)
def test_missing_rights_come_with_the_command_that_grants_them(
    operations: tuple[str, ...], status: str, missing: list[str]
) -> None:
    config = KafkaConfig(bootstrap=("b1:9092",), security="sasl_ssl", username="riskwire", password="hunter2")
    info = TopicInfo(name="rw.articles", partitions=2, operations=operations)
    verdict = judge_rights(info, {"READ": "role score", "WRITE": "role ingest"}, config)
    assert verdict.status == status
    assert all(word in verdict.advice for word in missing)
    assert ("kafka-acls --bootstrap-server b1:9092 --add --allow-principal User:riskwire" in verdict.advice) == bool(
        missing
    )
    assert "hunter2" not in repr(verdict)


@pytest.mark.parametrize(
    ("state", "count", "minutes", "status"),
    [
        ("Stable", 0, 0, "ok"),
        ("Stable", 5, 1, "ok"),
        ("Stable", 5, 60, "warn"),
        ("Empty", 0, 0, "ok"),
        ("Dead", 0, 0, "ok"),
        ("Empty", 5, 0, "warn"),
        ("PreparingRebalance", 5, 0, "ok"),
    ],
)
def test_a_group_that_is_behind_or_empty(state: str, count: int, minutes: int, status: str) -> None:
    lag = Lag(count=count, oldest=NOW - timedelta(minutes=minutes) if count else None)
    assert judge_group("score", state, lag, ManualClock(NOW)).status == status


async def test_a_login_that_may_not_read_settings_is_no_failure(
    config: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_topics(config)

    def refuse(_: KafkaConfig) -> tuple[TopicStep, ...]:
        raise StorageError("Kafka does not allow this.") from TopicAuthorizationFailedError()

    monkeypatch.setattr(doctor_kafka, "plan_topics", refuse)
    found = await _ask(config)
    assert found["topics"].status == "warn"
    assert "DESCRIBE_CONFIGS" in found["topics"].finding


@pytest.mark.parametrize(
    ("operations", "status"), [(None, "ok"), (["READ", "DESCRIBE"], "ok"), (["DESCRIBE"], "warn"), ([], "warn")]
)
def test_the_right_to_join_the_group(operations: list[str] | None, status: str) -> None:
    verdict = judge_group_rights("rw.score", operations, KafkaConfig(bootstrap=("b1:9092",)))
    assert verdict.status == status
    assert ("--operation Read --operation Describe --group rw.score" in verdict.advice) == (status == "warn")
