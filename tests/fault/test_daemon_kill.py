"""SIGKILL between every two delivery steps, and at random moments: the final store is that of an undisturbed run, no
article is lost, none is there twice, and every incident is one message."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from world import FEEDS, World, items

from monitor.app import open_storage
from monitor.config import Settings
from monitor.core.clock import SystemClock
from monitor.core.codec import dumps, incident_from_dict, scored_to_dict, time_to_str

CHILD = Path(__file__).with_name("child_daemon.py")

BETWEEN_STEPS = [
    ("after bus.publish", 12),  # published, cursor not saved
    ("before state.apply", 15),
    ("after state.apply", 15),
    ("after subscription.fetch", 8),
    ("before store.put", 8),  # predicted, not stored
    ("after store.put", 8),  # stored, not committed
    ("after subscription.commit", 8),
    ("before notifier.send", 1),  # in the outbox, not sent
    ("after notifier.send", 1),  # sent, receipt not recorded: the documented window
    ("after slack chat.postMessage", 1),  # the message is there, its chart is not
    ("after slack files.completeUploadExternal", 1),  # both are there, and nobody knows
]
SECONDS = 8.0
"""How long the world's five days last; a poll comes every 0.15 seconds."""

QUICK = {"after bus.publish", "after store.put", "after notifier.send", "after slack chat.postMessage"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(seconds=SECONDS) as served:
        yield served


async def start(world: World, data: Path, die: tuple[str, int] | None = None) -> asyncio.subprocess.Process:
    plan = json.dumps(world.plan(str(data), die))
    return await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), plan, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )


async def line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(90):
        while raw := await child.stdout.readline():
            if raw.startswith((b"READY", b"DONE")):
                return raw.decode().strip()
    return ""


async def ready(world: World, child: asyncio.subprocess.Process) -> None:
    """Waits until the child works, and lets the world's time go on with the child's."""
    word, _, since = (await line(child)).partition(" ")
    assert word == "READY"
    world.release(float(since))


async def finish(world: World, data: Path) -> None:
    """Lets a fresh child do all that is left."""
    child = await start(world, data)
    await ready(world, child)
    assert await line(child) == "DONE"
    assert await child.wait() == 0


async def stored(data: Path) -> dict[str, str]:
    """What the store holds, less the times of fetching and scoring; and that no id is there twice."""
    found: dict[str, str] = {}
    async with open_storage(Settings(data_dir=data), SystemClock()) as storage:
        position = ""
        while (page := await storage.store.tail(position, 500)).items:
            for item in page.items:
                scores = scored_to_dict(item.scored)
                del scores["scored_at"]
                assert item.article.id not in found
                found[item.article.id] = dumps(
                    [item.article.source, item.article.title, time_to_str(item.article.published_at), scores]
                )
            position = page.position
        assert await storage.state.list("outbox") == []
        assert await storage.state.list("undelivered") == []
        # Which series names the surge depends on when its articles were polled; that it opened does not.
        incidents = [incident_from_dict(doc) for _, doc in await storage.state.list("incident")]
        assert any("HSBC" in story.title for incident in incidents for story in incident.evidence)
    return found


def titles() -> set[tuple[str, str]]:
    return {(feed, item.title) for feed in FEEDS for item in items()[feed]}


_undisturbed: dict[str, str] = {}


async def undisturbed(tmp_path: Path) -> dict[str, str]:
    """The store after a run that nothing disturbs; made once."""
    if not _undisturbed:
        async with World(seconds=SECONDS) as served:
            await finish(served, tmp_path / "undisturbed")
        _undisturbed.update(await stored(tmp_path / "undisturbed"))
    return _undisturbed


def check(world: World, found: dict[str, str], expected: dict[str, str], *, in_window: int) -> None:
    assert {(source, title) for source, title, *_ in map(json.loads, found.values())} == titles()
    assert {k: (v, expected.get(k)) for k, v in found.items() if expected.get(k) != v} == {}
    extra = sum(count - 1 for count in world.posts.values())
    assert extra <= in_window, world.posts
    assert set(world.replies.values()) <= {1}, world.replies
    assert world.files
    assert set(world.files.values()) == {1}, world.files


def points() -> list[object]:
    return [
        pytest.param(point, count, id=point.replace(" ", "-"), marks=[] if point in QUICK else [pytest.mark.slow])
        for point, count in BETWEEN_STEPS
    ]


@pytest.mark.parametrize(("point", "count"), points())
async def test_killed_between_two_steps(world: World, tmp_path: Path, point: str, count: int) -> None:
    data = tmp_path / "data"
    child = await start(world, data, (point, count))
    await ready(world, child)
    assert await child.wait() == -signal.SIGKILL, "the point was never reached"
    world.hold()
    await finish(world, data)
    check(
        world,
        await stored(data),
        await undisturbed(tmp_path),
        in_window=0,
    )


@pytest.mark.parametrize(
    "kills", [pytest.param(5), pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])]
)
async def test_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    dice = random.Random(kills)
    data = tmp_path / "data"
    # The world lasts about as long as the killing, so that articles flow all the time.
    async with World(seconds=max(SECONDS, kills * 0.3)) as world:
        killed_after_send = 0
        for _ in range(kills):
            child = await start(world, data)
            await ready(world, child)
            # The moment is random on purpose; nothing is waited for that a test asserts.
            await asyncio.sleep(dice.uniform(0, 0.6))
            before = sum(world.posts.values())
            child.kill()
            await child.wait()
            world.hold()
            killed_after_send += sum(world.posts.values()) - before
        await finish(world, data)
        found = await stored(data)
        check(world, found, await undisturbed(tmp_path), in_window=0)
