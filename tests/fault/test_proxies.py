"""The fault proxies do what they say: what is asserted behind them rests on it."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import elastic_proxy as faults
import pytest
from elastic_proxy import ElasticProxy
from kafka_proxy import HEARTBEAT, JOIN_GROUP, PRODUCE, KafkaProxy, leave_request, member_of, rewritten

CLIENT = Path(__file__).with_name("kafka_one.py")


def classic(host: str, port: int) -> bytes:
    return struct.pack(">h", len(host)) + host.encode() + struct.pack(">i", port)


def flexible(host: str, port: int) -> bytes:
    return bytes([len(host) + 1]) + host.encode() + struct.pack(">i", port)


@pytest.mark.parametrize("form", [classic, flexible])
def test_every_address_of_the_port_is_rewritten_and_nothing_else(form: Any) -> None:
    body = b"\0\0\0\x07" + form("localhost", 9092) + b"x" + form("kafka-1.example.org", 9092) + form("localhost", 9093)
    expected = b"\0\0\0\x07" + form("127.0.0.1", 5) + b"x" + form("127.0.0.1", 5) + form("localhost", 9093)
    assert rewritten(body, 9092, "127.0.0.1", 5) == expected
    assert rewritten(b"\x01" + struct.pack(">i", 9092), 9092, "h", 5) == b"\x01" + struct.pack(">i", 9092)


def test_the_member_is_read_from_every_request_that_shows_it() -> None:
    header = struct.pack(">i", 7) + struct.pack(">h", 4) + b"riskwire"[:4]

    def short(text: str) -> bytes:
        return struct.pack(">h", len(text)) + text.encode()

    def compact(text: str) -> bytes:
        return bytes([len(text) + 1]) + text.encode()

    number = struct.pack(">i", 5)
    old_join = struct.pack(">hh", JOIN_GROUP, 5) + header + short("g") + number + number + short("m-1")
    new_join = struct.pack(">hh", JOIN_GROUP, 7) + header + b"\0" + compact("g") + number + number + compact("m-1")
    old_beat = struct.pack(">hh", HEARTBEAT, 3) + header + short("g") + number + short("m-1") + short("")
    new_beat = struct.pack(">hh", HEARTBEAT, 4) + header + b"\0" + compact("g") + number + compact("m-1") + b"\0\0"
    for frame in (old_join, new_join, old_beat, new_beat):
        assert member_of(frame) == ("g", "m-1")
    assert member_of(leave_request(("g", "m-1"))[4:]) == ("g", "m-1")
    first_join = struct.pack(">hh", JOIN_GROUP, 5) + header + short("g") + number + number + short("")
    assert member_of(first_join) is None  # the coordinator has not named it yet
    assert member_of(struct.pack(">hh", PRODUCE, 9) + header) is None


async def test_a_member_that_died_is_no_member_when_its_session_is_over(broker: KafkaProxy) -> None:
    topic = f"proxy-{uuid.uuid4().hex[:8]}"
    assert await kafka("produce", broker.address, topic, 10) == "ok"
    member = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", str(CLIENT), "join", broker.address, topic, "60",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert member.stdout is not None
    assert (await member.stdout.readline()).strip() == b"1"
    member.kill()
    await member.wait()
    # The next one gets the record as well: nobody waits for the dead one for longer than its session.
    assert await kafka("join", broker.address, topic, 20) == "1"
    assert [group for group, _ in broker.expelled] == [topic]


@pytest.fixture
async def broker(kafka_server: str) -> AsyncIterator[KafkaProxy]:
    async with KafkaProxy(kafka_server) as proxy:
        yield proxy


@pytest.fixture
async def elastic(elastic_server: str) -> AsyncIterator[ElasticProxy]:
    async with ElasticProxy(elastic_server) as proxy:
        yield proxy


async def kafka(action: str, address: str, topic: str, seconds: float) -> str:
    """See kafka_one.py."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", str(CLIENT), action, address, topic, str(seconds),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return (await child.communicate())[0].decode().strip()


async def test_clients_stay_behind_the_proxy(broker: KafkaProxy, kafka_server: str) -> None:
    topic = f"proxy-{uuid.uuid4().hex[:8]}"
    assert await kafka("produce", broker.address, topic, 10) == "ok"
    assert broker.requests[PRODUCE] == 1  # not to the broker's own address
    assert await kafka("count", broker.address, topic, 2) == "1"
    await broker.refuse()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(*broker.address.split(":"))
    await broker.heal()
    assert await kafka("produce", broker.address, topic, 10) == "ok"
    assert await kafka("count", kafka_server, topic, 2) == "2"


async def test_a_deaf_broker_stores_what_it_never_acknowledges(broker: KafkaProxy, kafka_server: str) -> None:
    topic = f"proxy-{uuid.uuid4().hex[:8]}"
    assert await kafka("produce", broker.address, topic, 10) == "ok"
    broker.deafen(PRODUCE)
    assert (await kafka("produce", broker.address, topic, 3)).endswith("Error")
    assert broker.swallowed[PRODUCE] >= 1
    assert int(await kafka("count", kafka_server, topic, 2)) >= 2


async def test_a_frozen_broker_goes_on_where_it_stopped(broker: KafkaProxy) -> None:
    topic = f"proxy-{uuid.uuid4().hex[:8]}"
    assert await kafka("produce", broker.address, topic, 10) == "ok"
    broker.freeze()
    waiting = asyncio.create_task(kafka("produce", broker.address, topic, 30))
    _, pending = await asyncio.wait([waiting], timeout=1)
    assert pending
    await broker.heal()
    assert await waiting == "ok"


async def bulk(url: str, index: str, ids: list[str]) -> tuple[int, Any]:
    body = "".join(f'{{"index": {{"_index": "{index}", "_id": "{i}"}}}}\n{{"n": "word {i}"}}\n' for i in ids)
    headers = {"Content-Type": "application/x-ndjson"}
    async with aiohttp.ClientSession() as session:  # noqa: SIM117 — one after the other
        async with session.post(f"{url}/_bulk?refresh=true", data=body.encode(), headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text


async def count(url: str, index: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/{index}/_count") as answer:
        return int((await answer.json()).get("count", 0))


def statuses(answer: Any) -> list[int]:
    return [item["index"]["status"] for item in answer["items"]]


async def test_faults_of_elasticsearch(elastic: ElasticProxy, elastic_server: str) -> None:
    index, ids = f"proxy-{uuid.uuid4().hex[:8]}", [str(n) for n in range(10)]
    status, answer = await bulk(elastic.url, index, ["a"])
    assert (status, statuses(answer)) == (200, [201])

    elastic.fault = faults.too_many()
    assert (await bulk(elastic.url, index, ids))[0] == 429
    elastic.fault = faults.too_large(100)
    assert (await bulk(elastic.url, index, ids))[0] == 413
    assert await count(elastic_server, index) == 1

    elastic.fault = faults.partly(0.5, once=True)
    _, answer = await bulk(elastic.url, index, ids)
    failed = [i for i, s in zip(ids, statuses(answer), strict=True) if s == 429]
    assert 0 < len(failed) < 10
    assert await count(elastic_server, index) == 1 + 10 - len(failed)  # in their own places, and really not stored
    _, answer = await bulk(elastic.url, index, failed)
    assert set(statuses(answer)) == {201}

    elastic.fault = faults.rejected(b"word 3", "failed to parse field [n]")
    _, answer = await bulk(elastic.url, index, ids)
    assert [i for i, s in zip(ids, statuses(answer), strict=True) if s == 400] == ["3"]

    elastic.fault = faults.lost_answers(1.0)
    with pytest.raises(aiohttp.ClientConnectionError):
        await bulk(elastic.url, index, ["b"])
    assert await count(elastic_server, index) == 12  # done all the same

    elastic.fault = faults.slow(0.3)
    began = time.monotonic()
    assert (await bulk(elastic.url, index, ["c"]))[0] == 200
    assert time.monotonic() - began >= 0.3

    await elastic.refuse()
    with pytest.raises(aiohttp.ClientConnectionError):
        await bulk(elastic.url, index, ["d"])
    await elastic.heal()
    assert (await bulk(elastic.url, index, ["d"]))[0] == 200
    assert elastic.statuses[429] == 1
    assert elastic.sent["3"] >= 3
