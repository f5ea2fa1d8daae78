"""The processes of one run: started, listened to, measured from outside, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
from backends import Backend

MAIN = Path(__file__).with_name("__main__.py")
_CLOSE_SECONDS = 40.0
STALLED_SECONDS = 60.0
"""A run that brings nothing new for so long has failed."""


@dataclass(slots=True)
class Member:
    """One process and what it last said."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    said: dict[str, Any] = field(default_factory=dict)
    most_rss: int = 0

    def memory(self) -> tuple[int, int]:
        """Resident and proportional set size in bytes."""
        info = psutil.Process(self.process.pid).memory_full_info()
        return info.rss, info.pss

    async def listen(self) -> None:
        """Takes its lines until it ends. Raises RuntimeError with its log when it failed."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said = json.loads(line)
        code = await self.process.wait()
        if code:
            raise RuntimeError(f"the process {self.name} ended with {code}:\n{self.log.read_text()[-3000:]}")


class Fleet:
    """The processes of one run."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.members: list[Member] = []
        self._listening: list[asyncio.Task[None]] = []

    async def start(self, name: str, roles: Sequence[str], **options: object) -> Member:
        """Starts a process with some roles; ``options`` are those of the command ``process``."""
        log = self.backend.folder / f"{name}.log"
        arguments = [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if value is not None]
        if "kafka" in self.backend.pids:
            arguments.append("--noida")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RISKWIRE_")}
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(MAIN), "process", f"--config={self.backend.config(name)}",
                f"--roles={','.join(roles)}", *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=out, limit=1 << 20,
                env=environment | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        member = Member(name, process, log)
        self.members.append(member)
        self._listening.append(asyncio.create_task(member.listen(), name=name))
        return member

    def check(self) -> None:
        """Raises what a process failed with; a process that ended by itself has failed."""
        for task in self._listening:
            if task.done():
                task.result()
                raise RuntimeError(f"the process {task.get_name()} ended by itself")

    async def until(
        self, done: Callable[[], bool], *, progress: Callable[[], object], each: Callable[[], None] = lambda: None,
        stalled: float = STALLED_SECONDS,
    ) -> None:  # fmt: skip
        """Looks four times a second until ``done``; calls ``each`` every time. Raises RuntimeError when a process
        ended or ``progress`` does not change for ``stalled`` seconds."""
        last, since = progress(), time.monotonic()
        while not done():
            self.check()
            each()
            if (present := progress()) != last:
                last, since = present, time.monotonic()
            elif time.monotonic() - since > stalled:
                raise RuntimeError(f"nothing new for {stalled:.0f} s; the processes said last: {self.said()}")
            await asyncio.sleep(0.25)

    def said(self) -> Mapping[str, Mapping[str, Any]]:
        """What every process said last."""
        return {member.name: member.said for member in self.members}

    def server_cpu(self) -> dict[str, float]:
        """Processor seconds of the servers that were started for the run."""
        result = {}
        for name, pid in self.backend.pids.items():
            times = psutil.Process(pid).cpu_times()
            result[name] = times.user + times.system
        return result

    async def stop(self) -> None:
        """SIGTERM to all, and the last line of each. Raises RuntimeError when one failed or did not end."""
        for member in self.members:
            if member.process.returncode is None:
                member.process.send_signal(signal.SIGTERM)
        if self._listening:
            _, late = await asyncio.wait(self._listening, timeout=_CLOSE_SECONDS)
            if late:
                raise RuntimeError(f"did not end within {_CLOSE_SECONDS:.0f} s: {[task.get_name() for task in late]}")
            for task in self._listening:
                task.result()

    async def kill(self) -> None:
        """Leaves nothing behind."""
        for member in self.members:
            if member.process.returncode is None:
                member.process.kill()
                await member.process.wait()
        for task in self._listening:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, RuntimeError):
                await task


@asynccontextmanager
async def fleet(backend: Backend) -> AsyncIterator[Fleet]:
    """A fleet that is killed in the end, if it was not stopped."""
    made = Fleet(backend)
    try:
        yield made
    finally:
        await made.kill()
