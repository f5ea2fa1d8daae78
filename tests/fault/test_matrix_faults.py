"""On Kafka and Elasticsearch, a process per role: servers that are away, slow, refuse or lose answers; storms of
rebalancing; repetition and disorder; wrong clocks; a full disk."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import elastic_proxy as faults
import pytest
from elastic_proxy import Fault
from kafka_proxy import FETCH, HEARTBEAT, OFFSET_COMMIT, PRODUCE
from matrix import Deed, compare, disturbed, undisturbed
from rig import ROLES, Rig, Servers
from steps import STEPS

pytestmark = pytest.mark.timeout(900)

# How long a fault lasts is real time; nothing is waited for by sleeping that a test asserts.


def broker_refuses(seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        await rig.broker.refuse()
        await asyncio.sleep(seconds)
        await rig.broker.heal()

    return deed


def broker_freezes(seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        rig.broker.freeze()
        await asyncio.sleep(seconds)
        await rig.broker.heal()

    return deed


def broker_cuts(times: int) -> Deed:
    async def deed(rig: Rig) -> None:
        for _ in range(times):
            await rig.broker.cut()
            await asyncio.sleep(0.5)

    return deed


def broker_slow(delay: float, seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        rig.broker.slow(delay)
        await asyncio.sleep(seconds)
        await rig.broker.heal()

    return deed


def broker_deaf(api_key: int, seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        rig.broker.deafen(api_key)
        await asyncio.sleep(seconds)
        await rig.broker.cut()
        await rig.broker.heal()

    return deed


def store_refuses(seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        before = rig.store.fault
        await rig.store.refuse()
        await asyncio.sleep(seconds)
        await rig.store.heal()
        rig.store.fault = before

    return deed


def store_has(fault: Fault, seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        before, rig.store.fault = rig.store.fault, fault
        await asyncio.sleep(seconds)
        rig.store.fault = before

    return deed


def store_begins(fault: Fault) -> Deed:
    """Until the end of the run."""

    async def deed(rig: Rig) -> None:
        rig.store.fault = fault

    return deed


KAFKA = {
    "away-60s": {4: broker_refuses(60)},
    "away-60s-in-the-burst": {7: broker_refuses(60)},
    "frozen-60s": {4: broker_freezes(60)},
    "cut-again-and-again": {step: broker_cuts(6) for step in range(2, 9, 2)},
    "slow": {4: broker_slow(0.2, 20)},
    "acknowledgements-lost": {4: broker_deaf(PRODUCE, 15)},
    "commits-lost": {4: broker_deaf(OFFSET_COMMIT, 15)},
    "fetches-lost": {4: broker_deaf(FETCH, 15)},
    "heartbeats-lost": {4: broker_deaf(HEARTBEAT, 15)},
}

ELASTIC = {
    "away-60s": {4: store_refuses(60)},
    "away-60s-in-the-burst": {7: store_refuses(60)},
    "slow-5s": {4: store_has(faults.slow(5), 30)},
    "429-60s": {4: store_has(faults.too_many(), 60)},
    "429-half": {2: store_begins(faults.too_many(0.5, seed=0))},  # never more than five in a row: waits grow to 30 s
    "503-60s": {4: store_has(faults.unavailable(), 60)},
    "items-429": {2: store_begins(faults.partly(0.4, 429))},
    "items-503": {2: store_begins(faults.partly(0.4, 503))},
    "413": {2: store_begins(faults.too_large(4000))},
    "answers-lost": {2: store_begins(faults.lost_answers(0.5))},
    "items-429-and-answers-lost": {2: store_begins(faults.both(faults.lost_answers(0.3), faults.partly(0.3)))},
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", KAFKA)
async def test_kafka(servers: Servers, tmp_path: Path, name: str) -> None:
    await disturbed(tmp_path, servers, KAFKA[name])


@pytest.mark.matrix
@pytest.mark.parametrize("name", ELASTIC)
async def test_elasticsearch(servers: Servers, tmp_path: Path, name: str) -> None:
    await disturbed(tmp_path, servers, ELASTIC[name])


REASON = "[1:10] failed to parse field [title] of type [text]: unmappable"


async def test_kafka_fails_in_several_ways(servers: Servers, tmp_path: Path) -> None:
    """While everything is published twice and out of order, with garbage in between."""
    deeds = {
        2: broker_refuses(4), 3: Rig.publish_garbage, 4: broker_freezes(4), 6: broker_cuts(4),
        8: broker_deaf(PRODUCE, 4),
    }  # fmt: skip
    await disturbed(tmp_path, servers, deeds, twice=True)


async def test_elasticsearch_fails_in_several_ways(servers: Servers, tmp_path: Path) -> None:
    """While the mapping rejects some articles."""

    def also(fault: Fault) -> Fault:
        return faults.both(fault, faults.rejected(b"unmappable", REASON))

    deeds = {
        0: store_begins(faults.rejected(b"unmappable", REASON)),
        2: store_refuses(4),
        3: store_has(also(faults.slow(2)), 5),
        4: store_has(also(faults.too_many()), 3),
        5: store_begins(also(faults.partly(0.4))),
        7: store_begins(also(faults.lost_answers(0.5))),
        9: store_begins(also(faults.too_large(4000))),
    }
    await disturbed(tmp_path, servers, deeds, rejects=True)


@pytest.mark.matrix
async def test_what_the_mapping_rejects_is_a_dead_letter(servers: Servers, tmp_path: Path) -> None:
    await disturbed(tmp_path, servers, {0: store_begins(faults.rejected(b"unmappable", REASON))}, rejects=True)


@pytest.mark.matrix
async def test_everything_twice_and_out_of_order(servers: Servers, tmp_path: Path) -> None:
    await disturbed(tmp_path, servers, {3: Rig.publish_garbage}, twice=True)


async def storm(rig: Rig, seconds: float, every: float, dice: random.Random) -> tuple[int, int]:
    """Workers join and leave all the time, some gracefully, some by SIGKILL; at least one stays. Returns how many."""
    names = (f"score-{number}" for number in itertools.count())
    there: list[str] = []
    joined = left = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(there) < 2 or (len(there) < 4 and dice.random() < 0.5):
            there.append(next(names))
            rig.start(there[-1], ("score",))
            joined += 1
        else:
            name = there.pop(dice.randrange(len(there)))
            await rig.stop(name, dice.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]))
            left += 1
        await asyncio.sleep(every)
    return joined, left


@pytest.mark.parametrize("seconds", [30, pytest.param(300, marks=pytest.mark.matrix)])
async def test_a_storm_of_rebalancing(servers: Servers, tmp_path: Path, seconds: int) -> None:
    expected = await undisturbed(tmp_path, servers)
    async with Rig(tmp_path / "storm", servers) as rig:
        for role in ROLES:
            rig.start(role)
        await rig.drive(1)
        storming = asyncio.create_task(storm(rig, seconds, 3.0, random.Random(seconds)))
        # Articles flow for as long as the storm lasts.
        began = time.monotonic()
        for step in range(1, STEPS):
            due = began + seconds * (step - 1) / (STEPS - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            rig.begin(step)
            await rig.complete()
        joined, left = await storming
        assert joined + left >= seconds / 3 / 3
        assert left >= 1
        assert rig.workers["score"].deaths == []
        await rig.finish()
        found = await rig.outcome()
        compare(found, expected)
        rig.report(found, {"joined": [joined], "left": [left]}, time.monotonic() - began)


def clocks(**seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        for name, offset in seconds.items():
            rig.set_offset(name, offset)

    return deed


def clock_wrong(name: str, offset: float, seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        rig.set_offset(name, offset)
        await asyncio.sleep(seconds)
        rig.set_offset(name, 0.0)

    return deed


HOUR = 3600.0


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["small", "hour"])
async def test_clocks_jump(servers: Servers, tmp_path: Path, name: str) -> None:
    deeds = {
        "small": {
            2: clocks(ingest=20, score=-20), 4: clocks(ingest=-20, score=20), 5: clocks(detect=20),
            6: clocks(score=-20, detect=-20), 8: clocks(ingest=0, score=0, detect=0),
        },
        "hour": {
            2: clocks(ingest=HOUR), 3: clocks(ingest=-HOUR), 4: clocks(ingest=0),
            5: clock_wrong("score", HOUR, 8), 6: clock_wrong("score", -HOUR, 8),
            7: clock_wrong("detect", HOUR, 8), 8: clock_wrong("detect", -HOUR, 8),
        },
    }[name]  # fmt: skip
    await disturbed(tmp_path, servers, deeds)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of eight megabytes."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no small file system can be mounted: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def write_until_full(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def fill(disk: Path, seconds: float) -> Deed:
    async def deed(rig: Rig) -> None:
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            write_until_full(ballast)
        await asyncio.sleep(seconds)
        ballast.unlink()

    return deed


@pytest.mark.matrix
async def test_the_disk_of_the_state_is_full(servers: Servers, tmp_path: Path, small_disk: Path) -> None:
    folder = tmp_path / "disturbed" / "data"
    folder.mkdir(parents=True)
    for role in ("ingest", "detect"):
        (small_disk / role).mkdir()
        (folder / role).symlink_to(small_disk / role)
    await disturbed(tmp_path, servers, {3: fill(small_disk, 6), 7: fill(small_disk, 6)})
