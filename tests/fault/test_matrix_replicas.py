"""Replicas of every role over one state database: those that die for good are replaced by those that live."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from matrix import disturbed
from rig import LEASE, Rig, Servers

pytestmark = [pytest.mark.timeout(600), pytest.mark.matrix]

WORKERS = {
    "ingest-a": ("ingest",),
    "ingest-b": ("ingest",),
    "score-a": ("score",),
    "score-b": ("score",),
    "detect-a": ("detect", "notify"),
    "detect-b": ("detect", "notify"),
}


async def kill_for_good(rig: Rig, *names: str) -> None:
    for name in names:
        await rig.stop(name, signal.SIGKILL)


async def kill_the_leader(rig: Rig) -> None:
    """The one whose watermark moves; the other stands by."""
    leaders = [name for name, worker in rig.workers.items() if worker.status.get("watermark")]
    assert len(leaders) == 1, leaders
    await kill_for_good(rig, leaders[0])


@pytest.mark.parametrize("postgres", [True], ids=["postgres"])
async def test_the_living_take_over(servers: Servers, tmp_path: Path, postgres: bool) -> None:
    """One of each dies; the leader dies in the step in which the incident opens."""

    async def workers(rig: Rig) -> None:
        await kill_for_good(rig, "ingest-a", "score-a")

    deeds = {4: workers, 9: kill_the_leader}
    await disturbed(tmp_path, servers, deeds, workers=WORKERS, postgres=postgres)


@pytest.mark.parametrize("postgres", [True], ids=["postgres"])
async def test_a_frozen_leader_comes_back_too_late(servers: Servers, tmp_path: Path, postgres: bool) -> None:
    """SIGSTOP for longer than the lease, twice: who wakes up believes to lead, and must change nothing."""

    async def freeze(rig: Rig) -> None:
        for name in [name for name, worker in rig.workers.items() if "detect" in worker.roles]:
            process = rig.workers[name].process
            assert process is not None
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2 * LEASE)
            process.send_signal(signal.SIGCONT)

    await disturbed(tmp_path, servers, {4: freeze, 9: freeze}, workers=WORKERS, postgres=postgres)
