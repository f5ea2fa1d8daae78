"""What systemd is told of the daemon: ready, reloading, stopping, a line of status, and proofs of progress.

The protocol is sd_notify(3): datagrams of ``KEY=value`` lines to the socket that ``$NOTIFY_SOCKET`` names. Other
supervisors (podman among them) speak it too, so nothing here asks whether systemd itself runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from enum import Enum

import structlog

from monitor.obs.health import Health

_log = structlog.get_logger("systemd")


class Phase(Enum):
    """Where a daemon is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


ALLOWED: Mapping[Phase, float] = {Phase.STARTING: 300.0, Phase.STOPPING: 30.0}
"""Real seconds for which a phase without heartbeats counts as progress: a model that loads, a batch that ends."""


class Supervisor:
    """The socket of the supervisor. A message is one datagram and never blocks; without an address all are dropped.

    ``watchdog``: seconds within which the supervisor wants to hear of progress; 0 when it does not ask.
    """

    def __init__(self, address: str = "", *, watchdog: float = 0.0) -> None:
        # '@' stands for the null byte of Linux's abstract sockets.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = watchdog
        self._complained = False

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> Supervisor:
        """What ``$NOTIFY_SOCKET``, ``$WATCHDOG_USEC`` and ``$WATCHDOG_PID`` describe, see sd_watchdog_enabled(3)."""
        given = os.environ if environment is None else environment
        address = given.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        ours = given.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        usec = given.get("WATCHDOG_USEC", "")
        return cls(address, watchdog=int(usec) / 1e6 if ours and usec.isdecimal() else 0.0)

    def tell(self, **fields: str) -> bool:
        """Sends the fields, e.g. ``tell(READY="1", STATUS="3 sources")``; False when they could not be sent."""
        if not self._address:
            return False
        message = "\n".join(f"{key}={' '.join(value.split())}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._complained:  # once: pings go on, and each would say the same
                self._complained = True
                _log.warning("supervisor_not_told", error=str(error))
            return False
        return True


class Progress:
    """Tells a supervisor about daemons that follow each other in one process (a reload makes a new one).

    The watchdog is pinged only as long as the present daemon makes progress: while it runs, every part that promised
    heartbeats keeps its promise; while it starts or stops, no longer than :data:`ALLOWED`. The pings come from the
    event loop, so a loop that is blocked sends none either.
    """

    def __init__(self, supervisor: Supervisor, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._supervisor = supervisor
        self._monotonic = monotonic
        self._health: Health | None = None
        self._phase = Phase.STARTING
        self._since = monotonic()
        self._status = ""

    def starting(self, health: Health) -> None:
        """A daemon with this health begins to start."""
        self._health = health
        self._enter(Phase.STARTING)
        self._say("starting: opening databases and model")

    def ready(self, status: str) -> None:
        """The daemon has started and takes work. ``status``: a line for 'systemctl status'."""
        self._enter(Phase.RUNNING)
        self._status = status
        self._supervisor.tell(READY="1", STATUS=status)

    def reloading(self) -> None:
        """The daemon ends to make place for one with the configuration of now."""
        self._enter(Phase.STOPPING)
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._supervisor.tell(RELOADING="1", MONOTONIC_USEC=str(usec), STATUS="reloading: finishing work in flight")

    def stopping(self) -> None:
        """The daemon ends for good."""
        self._enter(Phase.STOPPING)
        self._supervisor.tell(STOPPING="1", STATUS="stopping: finishing work in flight")

    def stalled(self) -> list[str]:
        """What makes no progress; empty while everything does."""
        if self._phase is Phase.RUNNING:
            return self._health.stale() if self._health is not None else []
        late = self._monotonic() - self._since > ALLOWED[self._phase]
        return [self._phase.value] if late else []

    def beat(self) -> bool:
        """One look: pings the watchdog when everything makes progress, else says what does not. True when pinged."""
        stalled = self.stalled()
        if stalled:
            line = f"stalled: {', '.join(stalled)}"
            if line != self._status:
                _log.error("stalled", parts=stalled, watchdog_seconds=self._supervisor.watchdog)
            self._say(line)
            return False
        if self._status.startswith("stalled"):
            self._say("making progress again")
        return self._supervisor.tell(WATCHDOG="1")

    async def run(self) -> None:
        """Looks four times within the watchdog's time; returns at once when the supervisor does not ask for it."""
        if not self._supervisor.watchdog:
            return
        while True:
            self.beat()
            await asyncio.sleep(self._supervisor.watchdog / 4)

    def _enter(self, phase: Phase) -> None:
        self._phase, self._since = phase, self._monotonic()

    def _say(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._supervisor.tell(STATUS=status)
