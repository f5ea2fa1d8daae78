"""A proxy before a Kafka broker that can be away, cut, frozen, slow or deaf.

Kafka's clients leave the address that they were given and go to the one that the broker advertises. So the proxy reads
the frames of the protocol (https://kafka.apache.org/protocol#protocol_common), remembers which request each
correlation id belongs to, and puts its own address into the answers that name brokers. One broker per proxy.

It also does what a group coordinator does and noida-db 0.2.3 does not: it ends the membership of consumers not
heard of for the session timeout, by leaving the group in their name. (Without that a group waits forever for a member
that was killed. A real broker has done it before, and answers that it knows no such member.)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import time
from collections import Counter
from typing import NamedTuple

_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER = 3, 10, 60
_NAMES_BROKERS = frozenset({_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER})
_HOST = re.compile(rb"[A-Za-z0-9.:_-]+\Z")
PRODUCE, FETCH, OFFSET_COMMIT, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 0, 1, 8, 11, 12, 13, 14
_FLEXIBLE = {JOIN_GROUP: 6, HEARTBEAT: 4, LEAVE_GROUP: 4, SYNC_GROUP: 4}
"""From which version on the requests that name a member are 'flexible'."""

Member = tuple[str, str]
"""A group and a member's id in it."""


class _Reader:
    """Reads a request's fields one after the other."""

    def __init__(self, body: bytes, flexible: bool) -> None:
        self._body, self._at, self._flexible = body, 0, flexible

    def skip(self, count: int) -> None:
        self._at += count

    def tags(self) -> None:
        """Tagged fields of the header: none of our clients sends any."""
        assert self._body[self._at] == 0
        self._at += 1

    def text(self) -> str:
        if self._flexible:
            length = self._body[self._at] - 1
            assert length < 0x7F, "longer names than any of ours"
            self._at += 1
        else:
            (length,) = struct.unpack_from(">h", self._body, self._at)
            self._at += 2
        value = self._body[self._at : self._at + max(0, length)]
        self._at += max(0, length)
        return value.decode()


def member_of(frame: bytes) -> Member | None:
    """The member that a request names, if it is one that shows or ends membership."""
    api_key, version = struct.unpack(">hh", frame[:4])
    if api_key not in _FLEXIBLE or (api_key == LEAVE_GROUP and version >= 3):
        return None
    flexible = version >= _FLEXIBLE[api_key]
    (client,) = struct.unpack_from(">h", frame, 8)
    reader = _Reader(frame[10 + max(0, client) :], flexible)
    if flexible:
        reader.tags()
    group = reader.text()
    if api_key == JOIN_GROUP:
        reader.skip(8 if version >= 1 else 4)
    elif api_key != LEAVE_GROUP:
        reader.skip(4)
    member = reader.text()
    return (group, member) if member else None


def leave_request(member: Member) -> bytes:
    """LeaveGroup, version 1."""
    body = struct.pack(">hhih", LEAVE_GROUP, 1, 1, -1)
    for text in member:
        body += struct.pack(">h", len(text)) + text.encode()
    return struct.pack(">i", len(body)) + body


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


class _Asked(NamedTuple):
    """A request that waits for its answer."""

    api_key: int
    member: Member | None

    @property
    def waits(self) -> bool:
        """Whether the coordinator answers it when the others are there."""
        return self.api_key in (JOIN_GROUP, SYNC_GROUP)


class KafkaProxy:
    """Listens on a loopback port, passes everything on to ``upstream`` until told otherwise."""

    def __init__(self, upstream: str, *, session_timeout: float = 6.0) -> None:
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
        self.expelled: list[Member] = []
        """Members whose session ended."""
        self._session = session_timeout
        self._heard: dict[Member, float] = {}
        self._asking: Counter[Member] = Counter()
        """Members whose join or sync is under way: they are waited for, whatever the time."""
        self._watch: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """'host:port' for clients."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> KafkaProxy:
        await self._listen()
        self._watch = asyncio.create_task(self._end_sessions())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watch is not None
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)
        await self.refuse()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def heal(self) -> None:
        """Everything passes again."""
        self._delay, self._deaf = 0.0, frozenset()
        self._flow.set()
        self._heard = dict.fromkeys(self._heard, time.monotonic())  # a broker that was away begins anew as well
        await self._listen()

    async def _end_sessions(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            if self._server is None or not self._flow.is_set():
                continue
            late = time.monotonic() - self._session
            for member, heard in tuple(self._heard.items()):
                if heard < late and not self._asking[member]:
                    self._heard.pop(member, None)
                    if await self._leave(member):
                        self.expelled.append(member)

    async def _leave(self, member: Member) -> bool:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(leave_request(member))
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            answer = await reader.readexactly(size)
            return struct.unpack(">h", answer[-2:])[0] == 0
        finally:
            writer.close()
            await writer.wait_closed()

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
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._flow.wait()
                up_reader, up_writer = await asyncio.open_connection(*self._upstream)
                self._writers.add(up_writer)
                try:
                    asked: dict[int, _Asked] = {}
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._requests(reader, up_writer, asked))
                        group.create_task(self._answers(up_reader, writer, asked))
                finally:
                    for request in asked.values():
                        self._answered(request)
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
            request = asked[correlation] = _Asked(api_key, member_of(frame))
            self.requests[api_key] += 1
            self._saw(frame, asked)
            if request.member is not None:
                self._heard[request.member] = time.monotonic()
                if request.waits:
                    self._asking[request.member] += 1
                if api_key == LEAVE_GROUP:
                    del self._heard[request.member]
            await self._send(out, frame)

    async def _answers(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        while True:
            frame = await self._frame(reader)
            request = asked.pop(struct.unpack(">i", frame[:4])[0], _Asked(-1, None))
            self._answered(request)
            api_key = request.api_key
            if api_key in self._deaf:
                self.swallowed[api_key] += 1
                continue
            if api_key in _NAMES_BROKERS:
                frame = rewritten(frame, self._upstream[1], "127.0.0.1", self._port)
            await self._send(out, await self._changed(frame, api_key, asked))

    def _saw(self, frame: bytes, connection: object) -> None:
        """A request on its way to the broker; for those who build on this."""

    async def _changed(self, frame: bytes, api_key: int, connection: object) -> bytes:
        """What becomes of an answer on its way to the client; for those who build on this."""
        return frame

    def _answered(self, request: _Asked) -> None:
        if request.member is not None and request.waits:
            self._asking[request.member] -= 1
            if request.member in self._heard:
                self._heard[request.member] = time.monotonic()

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
