"""What only the Kafka bus promises: outages survived, other programs understood, topics as configured."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka import KafkaAdminClient
from servers.kafka_gate import KafkaGate

from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_record import TIME_HEADER
from monitor.bus.kafka_topics import (
    TopicAction,
    apply_topics,
    delete_topics,
    describe_cluster,
    describe_group,
    describe_topics,
    plan_topics,
    topic_specs,
)
from monitor.core.clock import SystemClock
from monitor.core.errors import RecordError, StorageError
from monitor.core.types import Delivery, Record

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LONG = 20.0


def record(number: int, **fields: Any) -> Record:
    return Record(**({"key": f"k{number}", "value": str(number).encode(), "timestamp": NOW} | fields))


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(delivery.record.value) for delivery in deliveries]


async def read(subscription: Any, count: int) -> list[Delivery]:
    got: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(got) < count:
            got += await subscription.fetch(100, 1.0)
    return got


@pytest.fixture
async def bare(kafka_server: str) -> AsyncIterator[KafkaConfig]:
    """A cluster without our topics."""
    config = KafkaConfig(
        bootstrap=tuple(kafka_server.split(",")),
        topic_prefix=f"kafka.{uuid.uuid4().hex[:12]}.",
        partitions=3,
        replication=1,
        min_insync=1,
        session_timeout=6,
        timeout=10,
        settle_timeout=10,
    )
    yield config
    await asyncio.to_thread(delete_topics, config, [spec.name for spec in topic_specs(config)])


@pytest.fixture
async def config(bare: KafkaConfig) -> KafkaConfig:
    assert not (await asyncio.to_thread(apply_topics, bare)).left
    return bare


@pytest.fixture
async def bus(config: KafkaConfig) -> AsyncIterator[KafkaBus]:
    opened = await KafkaBus.open(config, clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
async def gate(config: KafkaConfig) -> AsyncIterator[KafkaGate]:
    (server, *more) = config.bootstrap
    if more or server.rsplit(":", 1)[0] not in ("localhost", "127.0.0.1"):
        pytest.skip("a gate on loopback cannot stand in front of a remote cluster")
    async with KafkaGate(server) as opened:
        yield opened


# Topics


async def test_topics_are_planned_made_and_then_as_configured(bare: KafkaConfig) -> None:
    plan = await asyncio.to_thread(plan_topics, bare)
    assert [step.action for step in plan] == [TopicAction.CREATE, TopicAction.CREATE]
    assert await asyncio.to_thread(plan_topics, bare) == plan  # planning made nothing
    report = await asyncio.to_thread(apply_topics, bare)
    assert [step.action for step in report.done] == [TopicAction.CREATE, TopicAction.CREATE]
    assert not report.left
    assert not (await asyncio.to_thread(apply_topics, bare)).done
    for info in await asyncio.to_thread(describe_topics, bare):
        assert (info.partitions, info.replication, info.leaderless, info.error) == (3, 1, (), "")


async def test_settings_that_differ_are_told_and_set(config: KafkaConfig) -> None:
    changed = replace(config, dead_letter_days=7)
    (articles, letters) = await asyncio.to_thread(plan_topics, changed)
    assert articles.action is TopicAction.NOTHING
    assert letters.action is TopicAction.ALTER
    assert dict(letters.changes) == {"retention.ms": str(7 * 86_400_000)}
    assert "retention.ms = 604800000 (is 7776000000)" in letters.text
    assert not (await asyncio.to_thread(apply_topics, changed)).left


async def test_partitions_are_added_only_when_told_and_never_removed(config: KafkaConfig) -> None:
    more = replace(config, partitions=5)
    report = await asyncio.to_thread(apply_topics, more)
    assert not report.done
    assert [step.action for step in report.left] == [TopicAction.GROW, TopicAction.GROW]
    report = await asyncio.to_thread(apply_topics, more, add_partitions=True)
    assert not report.left
    assert {info.partitions for info in await asyncio.to_thread(describe_topics, more)} == {5}
    fewer = await asyncio.to_thread(apply_topics, replace(config, partitions=2), add_partitions=True)
    assert not fewer.done
    assert [step.action for step in fewer.left] == [TopicAction.KEEP, TopicAction.KEEP]
    assert "cannot remove partitions" in fewer.left[0].text


async def test_the_cluster_and_a_group_are_described(config: KafkaConfig, bus: KafkaBus) -> None:
    cluster = await asyncio.to_thread(describe_cluster, config)
    assert cluster.brokers
    assert cluster.version
    assert await asyncio.to_thread(describe_group, config, "never-used") in ("Dead", "Empty")
    async with bus.subscribe("articles", "g"):
        assert await asyncio.to_thread(describe_group, config, "g") == "Stable"


async def test_missing_topics_are_told_with_the_next_step(bare: KafkaConfig) -> None:
    bus = await KafkaBus.open(bare, clock=SystemClock())
    try:
        for call in (
            bus.publish("articles", [record(1)]),
            bus.lag("articles", "g"),
            bus.browse("articles", limit=1),
            bus.subscribe("articles", "g").__aenter__(),
        ):
            with pytest.raises(StorageError, match=r"articles' does not exist .* 'riskwire topics apply'"):
                await call
        assert {info.missing for info in await asyncio.to_thread(describe_topics, bare)} == {True}  # not made by asking
    finally:
        await bus.close()


async def test_nobody_at_the_address_is_told_with_the_next_step() -> None:
    from servers.waiting import free_port

    with pytest.raises(StorageError, match=r"refused the connection: is it running\? .* kafka\.bootstrap"):
        await KafkaBus.open(KafkaConfig(bootstrap=(f"127.0.0.1:{free_port()}",), timeout=1), clock=SystemClock())


# Records


async def test_a_record_too_large_is_refused_before_anything_is_sent(bus: KafkaBus) -> None:
    records = [record(1), record(2, value=b"x" * 5_000_000)]
    with pytest.raises(RecordError, match=r"'k2' has 50\d+ bytes; .* takes 4194304"):
        await bus.publish("articles", records)
    assert not await bus.browse("articles", limit=10)


async def test_the_topics_own_limit_counts(config: KafkaConfig) -> None:
    small = replace(config, max_message_bytes=20_000)
    await asyncio.to_thread(apply_topics, small)
    bus = await KafkaBus.open(config, clock=SystemClock())
    try:
        with pytest.raises(RecordError, match="takes 20000"):
            await bus.publish("articles", [record(1, value=b"x" * 30_000)])
        await bus.publish("articles", [record(2, value=b"x" * 19_000)])
    finally:
        await bus.close()


async def test_an_old_article_is_kept_from_its_publishing_on(config: KafkaConfig, bus: KafkaBus) -> None:
    """The brokers delete by CreateTime: it must be the present, whatever the record's own time is."""
    from kafka import KafkaConsumer

    await bus.publish("articles", [record(1, timestamp=datetime(1999, 1, 1, tzinfo=UTC))])

    def look() -> Any:
        consumer = KafkaConsumer(
            config.name("articles"), bootstrap_servers=list(config.bootstrap), auto_offset_reset="earliest"
        )
        try:
            found = consumer.poll(timeout_ms=20_000)
        finally:
            consumer.close()
        return next(iter(found.values()))[0]

    message = await asyncio.to_thread(look)
    assert abs(message.timestamp / 1000 - time.time()) < 120
    assert dict(message.headers)[TIME_HEADER] == b"1999-01-01T00:00:00Z"


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_compression_is_the_readers_no_matter(config: KafkaConfig, compression: Any) -> None:
    bus = await KafkaBus.open(replace(config, compression=compression), clock=SystemClock())
    try:
        await bus.publish("articles", [record(n) for n in range(3000)])
        assert Counter(numbers(list(await bus.browse("articles", limit=3000)))) == Counter(range(3000))
    finally:
        await bus.close()


# Another program


@pytest.fixture
def kcat() -> str:
    program = shutil.which("kcat")
    if program is None:
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")
    return program


async def run(program: str, *arguments: str, stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_kcat_reads_our_messages_keys_and_headers(config: KafkaConfig, bus: KafkaBus, kcat: str) -> None:
    sent = [record(n, key=f"银行 {n}", headers={"reason": "坏", "n": str(n)}) for n in range(20)]
    await bus.publish("articles", sent)
    told = await run(
        kcat, "-b", ",".join(config.bootstrap), "-t", config.name("articles"), "-C", "-e", "-q", "-f", "%k|%s|%h\n"
    )
    expected = {
        f"{r.key}|{r.value.decode()}|{TIME_HEADER}=2026-03-02T09:00:00Z,reason=坏,n={r.value.decode()}" for r in sent
    }
    assert set(told.splitlines()) == expected


async def test_we_read_what_kcat_writes(config: KafkaConfig, bus: KafkaBus, kcat: str) -> None:
    arguments = ["-b", ",".join(config.bootstrap), "-t", config.name("articles"), "-P", "-K", "|", "-H", "who=kcat"]
    before = datetime.now(UTC) - timedelta(seconds=1)
    await run(kcat, *arguments, stdin="schlüssel|wert 银\n")
    async with bus.subscribe("articles", "g") as subscription:
        (got,) = await read(subscription, 1)
        assert (got.record.key, got.record.value.decode()) == ("schlüssel", "wert 银")
        assert got.record.headers == {"who": "kcat"}
        assert before <= got.record.timestamp <= datetime.now(UTC) + timedelta(seconds=1)  # its CreateTime
        lag = await bus.lag("articles", "g")
        assert (lag.count, lag.oldest) == (1, got.record.timestamp)
        await subscription.commit([got])
    assert (await bus.lag("articles", "g")).count == 0


async def test_messages_without_key_value_or_text_do_not_stop_the_reader(config: KafkaConfig, bus: KafkaBus) -> None:
    from kafka import KafkaProducer

    def write() -> None:
        producer = KafkaProducer(bootstrap_servers=list(config.bootstrap))
        producer.send(config.name("articles"), value=None, key=b"\xff\xfe", headers=[("h", b"\xff")])
        producer.send(config.name("articles"), value=b"\x00", headers=[(TIME_HEADER, b"no time"), ("twice", b"1")])
        producer.close()

    await asyncio.to_thread(write)
    async with bus.subscribe("articles", "g") as subscription:
        got = await read(subscription, 2)
        assert sorted(d.record.value for d in got) == [b"", b"\x00"]
        assert {d.record.key for d in got} == {"", "\\xff\\xfe"}
        await subscription.commit(got)


# Outages


async def test_everything_waits_for_brokers_that_went_away(config: KafkaConfig, gate: KafkaGate) -> None:
    bus = await KafkaBus.open(replace(config, bootstrap=(gate.address,)), clock=SystemClock())
    try:
        await bus.publish("articles", [record(n) for n in range(10)])
        async with bus.subscribe("articles", "g") as subscription:
            first = await read(subscription, 10)
            await gate.shut()
            assert not await subscription.fetch(10, 0.2)
            committing = asyncio.create_task(subscription.commit(first))
            publishing = asyncio.create_task(bus.publish("articles", [record(n) for n in range(10, 20)]))
            done, _ = await asyncio.wait({committing, publishing}, timeout=8)  # longer than the session
            assert not done
            await gate.open()
            await asyncio.wait_for(publishing, 60)
            await asyncio.wait_for(committing, 60)
            rest: set[int] = set()
            async with asyncio.timeout(60):
                while not rest >= set(range(10, 20)):
                    got = list(await subscription.fetch(100, 1.0))
                    rest |= set(numbers(got))
                    await subscription.commit(got)
        assert (await bus.lag("articles", "g")).count == 0
        assert sorted(numbers(list(await bus.browse("articles", limit=100)))) == list(range(20))  # none twice
    finally:
        await bus.close()


async def test_waiting_for_brokers_has_an_end(config: KafkaConfig, gate: KafkaGate) -> None:
    short = replace(config, bootstrap=(gate.address,), timeout=2, delivery_timeout=3)
    bus = await KafkaBus.open(short, clock=SystemClock())
    try:
        await bus.publish("articles", [record(1)])
        async with bus.subscribe("articles", "g") as subscription:
            got = await read(subscription, 1)
            await gate.shut()
            began = time.monotonic()
            with pytest.raises(StorageError, match="within 3 seconds"):
                await subscription.commit(got)
            with pytest.raises(StorageError, match=r"Kafka at .*(not confirmed|does not answer|refused)"):
                await bus.publish("articles", [record(2)])
            with pytest.raises(StorageError, match="Kafka at"):
                await bus.lag("articles", "g")
            assert time.monotonic() - began < 60
            await gate.open()
            await subscription.commit(got)
            await bus.publish("articles", [record(3)])
        assert (await bus.lag("articles", "g")).count >= 1
    finally:
        await bus.close()


async def test_closing_while_the_brokers_are_away_has_an_end(config: KafkaConfig, gate: KafkaGate) -> None:
    bus = await KafkaBus.open(replace(config, bootstrap=(gate.address,)), clock=SystemClock())
    async with bus.subscribe("articles", "g") as subscription:
        await bus.publish("articles", [record(1)])
        await read(subscription, 1)
        await gate.shut()
        publishing = asyncio.create_task(bus.publish("articles", [record(2)]))
        await asyncio.sleep(0)
        began = time.monotonic()
        await bus.close()
        assert time.monotonic() - began < 20
        with pytest.raises(StorageError):
            await asyncio.wait_for(publishing, LONG)


async def test_a_slow_worker_stays_in_its_group_and_its_buffer_is_bounded(config: KafkaConfig) -> None:
    bus = await KafkaBus.open(replace(config, buffer_records=30), clock=SystemClock())
    try:
        await bus.publish("articles", [record(n) for n in range(400)])
        async with bus.subscribe("articles", "g") as subscription:
            got = list(await subscription.fetch(10, LONG))
            deadline = time.monotonic() + 1.5 * config.session_timeout  # "the model takes its time"
            while time.monotonic() < deadline:
                await asyncio.sleep(0.5)
                assert subscription.waiting <= 30
            assert subscription.partitions == (0, 1, 2)
            await subscription.commit(got)
            assert (await bus.lag("articles", "g")).count == 390
            got += await read(subscription, 390)
            assert sorted(numbers(got)) == list(range(400))
    finally:
        await bus.close()


async def test_lag_is_known_again_after_the_oldest_records_are_gone(config: KafkaConfig, bus: KafkaBus) -> None:
    await bus.publish("articles", [record(n, key="same", timestamp=NOW + timedelta(minutes=n)) for n in range(10)])
    async with bus.subscribe("articles", "g") as subscription:
        await subscription.commit((await read(subscription, 10))[:2])
    place = (await bus.browse("articles", limit=1))[0].partition

    def cut() -> None:
        from kafka import TopicPartition

        admin = KafkaAdminClient(bootstrap_servers=list(config.bootstrap))
        try:
            admin.delete_records({TopicPartition(config.name("articles"), place): 5})
        finally:
            admin.close()

    await asyncio.to_thread(cut)
    lag = await bus.lag("articles", "g")
    assert (lag.count, lag.oldest) == (5, NOW + timedelta(minutes=5))
    async with bus.subscribe("articles", "g") as subscription:
        assert numbers(await read(subscription, 5)) == [5, 6, 7, 8, 9]
