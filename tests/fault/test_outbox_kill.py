"""SIGKILL at every step of telling Slack: an incident is one message, each change is told once, its end is not lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from slack_server import CHANNEL, SlackServer, slack_server

pytestmark = pytest.mark.timeout(300)  # each starts up to five processes

CHILD = Path(__file__).with_name("child_outbox.py")
SENDING = (
    "before state.apply",
    "after slack conversations.replies",
    "after slack chat.update",
    "after slack chat.postMessage",
    "after slack files.getUploadURLExternal",
    "after slack files.completeUploadExternal",
    "after state.apply",
)
CASES = [
    ("open", "before state.apply", 1),
    ("open", "after state.apply", 1),
    ("open", "after slack chat.postMessage", 1),
    ("open", "after slack files.completeUploadExternal", 1),
    ("open", "before state.apply", 2),
    *((step, point, 1) for step in ("worse", "over") for point in SENDING),
    ("digest", "after slack conversations.history", 1),
    ("digest", "after slack chat.postMessage", 1),
    ("digest", "before state.apply", 1),
]
QUICK = {
    ("worse", "after slack chat.update"),
    ("worse", "after slack chat.postMessage"),
    ("worse", "after slack files.completeUploadExternal"),
    ("over", "after slack chat.update"),
    ("over", "before state.apply"),
    ("digest", "after slack chat.postMessage"),
}


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


async def child(server: SlackServer, data: Path, step: str, die: tuple[str, int] | None = None) -> int:
    plan = json.dumps({"data": str(data), "slack": server.url, "step": step, "die": die})
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), plan, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(90):
        said, _ = await process.communicate()
    assert process.returncode is not None
    assert process.returncode in (0, -signal.SIGKILL), said.decode()
    return process.returncode


@pytest.mark.parametrize(
    ("step", "point", "count"),
    [
        pytest.param(
            *case, id="-".join(map(str, case)).replace(" ", "-"), marks=[] if case[:2] in QUICK else [pytest.mark.slow]
        )
        for case in CASES
    ],
)
async def test_killed_while_telling(server: SlackServer, tmp_path: Path, step: str, point: str, count: int) -> None:
    steps = ["open", "worse", "over"]
    if step == "digest":
        steps = ["digest"]
    for one in steps[: steps.index(step)]:
        assert await child(server, tmp_path, one) == 0
    assert await child(server, tmp_path, step, (point, count)) == -signal.SIGKILL, "the point was never reached"
    assert await child(server, tmp_path, "nothing") == 0
    for one in steps[steps.index(step) + 1 :]:
        assert await child(server, tmp_path, one) == 0
    assert [channel for channel, _ in server.messages] == [CHANNEL], "one message"
    (message,) = server.messages.values()
    if step == "digest":
        assert "1 incidents below the bar" in str(message["text"]) or "1 incident below the bar" in str(message)
        return
    assert "RESOLVED" in str(message["text"])
    severity = [text for text in server.thread() if "Severity up" in text]
    ended = [text for text in server.thread() if "Now *resolved*" in text]
    assert (len(severity), len(ended)) == (1, 1), server.thread()
    assert sorted(server.charts()) == [f"riskwire-i1-{mark}.png" for mark in ("critical", "resolved", "warning")]
