"""Runs parsers in child processes that can be stopped.

Why not threads: a thread cannot be ended, and a regular expression that runs away inside the parser would hold the
interpreter lock and with it the whole daemon. A child process is killed at its deadline, its memory is limited by the
system, and the main process keeps its time for the event loop.

A call names a function ``(payload: bytes, args: dict) -> JSON`` of this package. Frames are length-prefixed; both
directions carry JSON headers, so nothing is ever unpickled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from monitor.core.errors import MalformedError, SourceError, TooLargeError

HEAD = struct.Struct(">IQ")
ANSWER = struct.Struct(">Q")
ANSWER_LIMIT = 256 * 1024 * 1024
_ERRORS = {"MalformedError": MalformedError, "TooLargeError": TooLargeError}


class _Worker:
    """One child process; ``calls`` counts what it has done."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.calls = 0

    async def ask(self, function: str, args: Mapping[str, object], payload: bytes) -> Any:
        head = json.dumps({"function": function, "args": args}).encode()
        self.stdin.write(HEAD.pack(len(head), len(payload)) + head)
        self.stdin.write(payload)
        await self.stdin.drain()
        (size,) = ANSWER.unpack(await self.stdout.readexactly(ANSWER.size))
        if size > ANSWER_LIMIT:
            raise TooLargeError(f"A parser gave {size} bytes back, more than {ANSWER_LIMIT}.")
        self.calls += 1
        return json.loads(await self.stdout.readexactly(size))

    async def stop(self) -> None:
        self.stdin.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it may end between the check and the signal
                self.process.kill()
        await self.process.wait()
        # The pipe is read to its end so that its transport closes with the process.
        while await self.stdout.read(65536):
            pass


class WorkerPool:
    """Up to ``size`` parser processes, started when first needed, replaced after ``recycle`` calls.

    ``memory`` limits the address space of each child, in bytes.
    """

    def __init__(self, *, size: int | None = None, memory: int = 2 * 1024**3, recycle: int = 5_000) -> None:
        self._slots = asyncio.Semaphore(size or min(2, os.cpu_count() or 1))
        self._memory = memory
        self._recycle = recycle
        self._idle: list[_Worker] = []
        self._closed = False

    async def __aenter__(self) -> WorkerPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(
        self, function: str, args: Mapping[str, object], payload: bytes, *, deadline: float, what: str
    ) -> Any:
        """Runs ``module:function`` in a child and returns its JSON result.

        ``deadline`` is in real seconds and starts when a child is free; ``what`` names the input in errors. Raises
        SourceError with code ``parse_timeout`` or ``parse_crash``, or what the function itself raised.
        """
        async with self._slots:
            if self._closed:
                raise SourceError(f"{what}: the parsers are shut down.", code="closed")
            worker = self._idle.pop() if self._idle else await self._start()
            healthy = False
            try:
                async with asyncio.timeout(deadline):
                    answer = await worker.ask(function, args, payload)
                healthy = worker.calls < self._recycle
            except TimeoutError:
                raise SourceError(
                    f"{what}: reading its {len(payload)} bytes took more than {deadline:g} s and was stopped.",
                    code="parse_timeout",
                    hint="Look at the feed in a browser; it is damaged, hostile or far too long.",
                ) from None
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise SourceError(
                    f"{what}: the parser process ended while reading its {len(payload)} bytes (out of memory?).",
                    code="parse_crash",
                ) from error
            finally:
                if healthy and not self._closed:
                    self._idle.append(worker)
                else:
                    await worker.stop()
        if "error" in answer:
            error_type = _ERRORS.get(answer["error"], SourceError)
            raise error_type(f"{what}: {answer['message']}", hint=answer["hint"], code=answer["code"])
        return answer["ok"]

    async def _start(self) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "connectors.worker_main",
            str(self._memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        return _Worker(process)

    async def close(self) -> None:
        """Ends every idle child; those at work end with their call."""
        self._closed = True
        while self._idle:
            await self._idle.pop().stop()
