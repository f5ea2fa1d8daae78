"""``riskwire run`` under a supervisor that speaks sd_notify: ready, status, reload, stop, pings that prove progress."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e_tools import RISKWIRE

from monitor.obs.health import Health
from monitor.obs.systemd import ALLOWED, Phase, Progress, Supervisor

CONFIG = """
data_dir = "data"
[observe]
listen = ""
[drift]
enabled = false
"""


class Listener:
    """The supervisor's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def waiting(self) -> list[dict[str, str]]:
        """The messages that have come, oldest first."""
        messages = []
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    async def until(self, key: str, value: str | None = None, *, timeout: float = 150) -> list[dict[str, str]]:
        """The messages up to and with the first that has ``key`` (of ``value``)."""
        seen = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout):
            while True:
                data = await loop.sock_recv(self._socket, 4096)
                message = dict(line.split("=", 1) for line in data.decode().splitlines())
                seen.append(message)
                if key in message and value in (None, message[key]):
                    return seen


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    heard = Listener(tmp_path / "notify")
    yield heard
    heard.close()


class HandClock:
    """A clock that a test sets."""

    rate = 1.0

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def test_the_environment_says_whom_to_tell_and_how_often(tmp_path: Path) -> None:
    address = str(tmp_path / "s")
    pid = str(os.getpid())
    of = Supervisor.of_environment
    assert of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid}).watchdog == 30
    assert of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}).watchdog == 30
    assert of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog == 0
    assert of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "soon"}).watchdog == 0
    assert of({"WATCHDOG_USEC": "30000000"}).watchdog == 0
    assert not of({}).tell(READY="1")
    assert not of({"NOTIFY_SOCKET": "vsock:2:1234"}).tell(READY="1")
    assert not of({"NOTIFY_SOCKET": address}).tell(READY="1"), "nobody listens: no error, and nothing sent"


def test_a_status_of_many_lines_cannot_smuggle_in_a_field(listener: Listener) -> None:
    assert Supervisor(listener.address).tell(STATUS="two\nREADY=1")
    assert listener.waiting() == [{"STATUS": "two READY=1"}]


def test_abstract_sockets_are_told_too() -> None:
    name = f"riskwire-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name)
        heard.setblocking(False)
        assert Supervisor("@" + name).tell(READY="1")
        assert heard.recv(100) == b"READY=1"


def test_pings_stop_while_a_part_is_stalled_and_go_on_when_it_moves_again(listener: Listener) -> None:
    clock = HandClock()
    health = Health(clock)
    progress = Progress(Supervisor(listener.address, watchdog=60), monotonic=clock.monotonic)
    progress.starting(health)
    progress.ready("detect; 3 sources")
    health.beat("detect", allow=timedelta(seconds=100))
    health.beat("notify", allow=timedelta(seconds=1000))
    assert progress.beat()
    assert listener.waiting()[-1] == {"WATCHDOG": "1"}
    clock.at += timedelta(seconds=101)
    assert not progress.beat()
    assert not progress.beat()
    assert listener.waiting() == [{"STATUS": "stalled: detect"}], "said once, and no ping"
    health.beat("detect", allow=timedelta(seconds=100))
    assert progress.beat()
    assert listener.waiting() == [{"STATUS": "making progress again"}, {"WATCHDOG": "1"}]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING])
def test_a_start_or_stop_that_takes_too_long_is_a_stall(listener: Listener, phase: Phase) -> None:
    clock = HandClock()
    progress = Progress(Supervisor(listener.address, watchdog=60), monotonic=clock.monotonic)
    progress.starting(Health(clock))
    if phase is Phase.STOPPING:
        progress.reloading()
    clock.at += timedelta(seconds=ALLOWED[phase])
    assert progress.beat()
    clock.at += timedelta(seconds=1)
    listener.waiting()
    assert not progress.beat()
    assert listener.waiting() == [{"STATUS": f"stalled: {phase.value}"}]


@pytest.mark.timeout(400)
async def test_the_daemon_tells_its_supervisor_everything(tmp_path: Path, listener: Listener) -> None:
    path = tmp_path / "riskwire.toml"
    path.write_text(CONFIG, encoding="utf-8")
    environment = {**os.environ, "NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "400000"}
    child = await asyncio.create_subprocess_exec(
        RISKWIRE, "run", "--role", "notify", "-c", str(path),
        cwd=tmp_path, env=environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        start = await listener.until("READY")
        assert any(message.get("STATUS", "").startswith("starting") for message in start)
        assert start[-1]["STATUS"] == "notify; 0 sources"
        for _ in range(3):
            await listener.until("WATCHDOG")
        child.send_signal(signal.SIGHUP)
        reload = await listener.until("RELOADING")
        assert int(reload[-1]["MONOTONIC_USEC"]) > 0
        again = await listener.until("READY")
        assert "STOPPING" not in {key for message in again for key in message}
        child.send_signal(signal.SIGTERM)
        stop = await listener.until("STOPPING")
        assert stop[-1]["STATUS"].startswith("stopping")
    finally:
        if child.returncode is None:
            child.terminate()
        _, err = await child.communicate()
    assert child.returncode == 0, err.decode()


STALLING = """
from datetime import timedelta
from monitor.obs import health
beat = health.Health.beat
def short(self, part, *, allow):
    if part != "notify" or part not in self._beats:
        beat(self, part, allow=timedelta(seconds=1.5) if part == "notify" else allow)
health.Health.beat = short
from monitor.cli.main import main
main()
"""
"""The real daemon, whose notify part beats once and then never again."""


@pytest.mark.timeout(400)
async def test_a_stalled_part_of_the_running_daemon_gets_no_pings(tmp_path: Path, listener: Listener) -> None:
    path = tmp_path / "riskwire.toml"
    path.write_text(CONFIG + "[notify]\ninterval = 1\n", encoding="utf-8")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STALLING, "run", "--role", "notify", "-c", str(path),
        cwd=tmp_path, env={**os.environ, "NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "400000"},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await listener.until("READY")
        before = await listener.until("STATUS", "stalled: notify")
        assert {"WATCHDOG": "1"} in before
        with pytest.raises(TimeoutError):  # five times the period in which a ping is due
            await listener.until("WATCHDOG", timeout=0.5)
    finally:
        child.terminate()
        _, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    assert "stalled" in err.decode()
