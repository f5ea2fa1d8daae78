"""A proxy before a Kafka broker that can be away, cut, frozen, slow or deaf.

Kafka's clients leave the address that they were given and go to the one that the broker advertises. So the proxy reads
the frames of the protocol (https://kafka.apache.org/protocol#protocol_common), remembers which request each
correlation id belongs to, and puts its own address into the answers that name brokers. One broker per proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections import Counter

_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER = 3, 10, 60
_NAMES_BROKERS = frozenset({_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER})
_HOST = re.compile(rb"[A-Za-z0-9.:_-]+\Z")
PRODUCE, FETCH, OFFSET_COMMIT, JOIN_GROUP, HEARTBEAT = 0, 1, 8, 11, 12


def rewritten(body: bytes, port: int, new_host: str, new_port: int) -> bytes:
    """A frame's body in which every 'host, port' of that port is another one. Strings carry their length before them:
    two bytes in the older versions of a message, one byte of length + 1 in the newer, 'flexible' ones."""
    sought, host = struct.pack(">i", port), new_host.encode()
    result, rest = b"", body
    while (at := rest.find(sought)) >= 0:
        head = rest[:at]
        for length in range(1, min(at, 120)):
            if not _HOST.match(head[at - length :]):
                continue
            if at >= length + 2 and head[at - length - 2 : at - length] == struct.pack(">h", length):
                head = head[: at - length - 2] + struct.pack(">h", len(host)) + host
                sought_new = struct.pack(">i", new_port)
                break
            if head[at - length - 1] == length + 1:
                head = head[: at - length - 1] + bytes([len(host) + 1]) + host
                sought_new = struct.pack(">i", new_port)
                break
        else:
            sought_new = sought  # the number stands for something else here
        result += head + sought_new
        rest = rest[at + 4 :]
    return result + rest


class KafkaProxy:
    """Listens on a loopback port, passes everything on to ``upstream`` until told otherwise."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.split(",")[0].rpartition(":")
        self._upstream = (host, int(port))
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self._delay = 0.0
        self._deaf: frozenset[int] = frozenset()
        self.requests: Counter[int] = Counter()
        """Requests seen, by API key."""
        self.swallowed: Counter[int] = Counter()
        """Answers that were kept from the client, by API key."""
        self.connections = 0

    @property
    def address(self) -> str:
        """'host:port' for clients."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> KafkaProxy:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def heal(self) -> None:
        """Everything passes again."""
        self._delay, self._deaf = 0.0, frozenset()
        self._flow.set()
        await self._listen()

    async def refuse(self) -> None:
        """As if the broker were not there: connections end, new ones are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Ends every connection at once; new ones are taken."""
        for writer in tuple(self._writers):
            writer.transport.abort()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Connections stay and new ones are taken, but nothing gets through: a broker that hangs."""
        self._flow.clear()

    def slow(self, seconds: float) -> None:
        """Every frame takes that much longer, each way."""
        self._delay = seconds

    def deafen(self, *api_keys: int) -> None:
        """The broker gets such requests and acts; its answers are lost."""
        self._deaf = frozenset(api_keys)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._flow.wait()
                up_reader, up_writer = await asyncio.open_connection(*self._upstream)
                self._writers.add(up_writer)
                try:
                    asked: dict[int, int] = {}
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._requests(reader, up_writer, asked))
                        group.create_task(self._answers(up_reader, writer, asked))
                finally:
                    self._writers.discard(up_writer)
                    up_writer.transport.abort()
        except* (OSError, asyncio.IncompleteReadError):
            pass  # a side closed: so does the other
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        while True:
            frame = await self._frame(reader)
            api_key, _, correlation = struct.unpack(">hhi", frame[:8])
            asked[correlation] = api_key
            self.requests[api_key] += 1
            await self._send(out, frame)

    async def _answers(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        while True:
            frame = await self._frame(reader)
            api_key = asked.pop(struct.unpack(">i", frame[:4])[0], -1)
            if api_key in self._deaf:
                self.swallowed[api_key] += 1
                continue
            if api_key in _NAMES_BROKERS:
                frame = rewritten(frame, self._upstream[1], "127.0.0.1", self._port)
            await self._send(out, frame)

    async def _frame(self, reader: asyncio.StreamReader) -> bytes:
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        frame = await reader.readexactly(size)
        if self._delay:
            await asyncio.sleep(self._delay)
        await self._flow.wait()
        return frame

    @staticmethod
    async def _send(out: asyncio.StreamWriter, frame: bytes) -> None:
        out.write(struct.pack(">i", len(frame)) + frame)
        await out.drain()
