"""A gate in front of a Kafka server: it ends TLS, asks for a login, goes away and comes back.

The server behind speaks plaintext and without a login, so what the gate adds is what a test exercises: our client's
TLS and SASL against real handshakes. Clients connect to the address that the server tells them; the gate replaces the
server's own by its own in every answer, which is of the same length and so needs no parsing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import struct
from collections.abc import Callable, Mapping

_HANDSHAKE, _AUTHENTICATE, _API_VERSIONS = 17, 36, 18
_FAILED = 58  # SASL_AUTHENTICATION_FAILED
_UNSUPPORTED = 33  # UNSUPPORTED_SASL_MECHANISM

Authenticate = Callable[[bytes], tuple[bytes, bool]]
"""Takes the client's next message; gives the answer and whether the login is complete. Raises ValueError."""


class KafkaGate:
    """One listening port on loopback. Everything happens in the running event loop."""

    def __init__(
        self,
        server: str,
        *,
        tls: ssl.SSLContext | None = None,
        logins: Mapping[str, Callable[[], Authenticate]] | None = None,
    ) -> None:
        self._host, port = server.rsplit(":", 1)
        self._target = int(port)
        self._tls = tls
        self._logins = logins
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.refused = 0
        """Logins that failed."""
        self.entered = 0
        """Logins that succeeded."""
        self.deaf_to: set[int] = set()
        """Requests of these API keys are not passed on and never answered."""
        self.seen: set[int] = set()
        """API keys of requests that came."""

    @property
    def address(self) -> str:
        """What clients are given."""
        return f"{self._host}:{self.port}"

    async def __aenter__(self) -> KafkaGate:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    async def open(self) -> None:
        """Listens, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Cuts every line and refuses new ones."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        for line in self._lines:
            line.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server_reader, server_writer = await asyncio.open_connection(self._host, self._target)
        self._lines |= {writer, server_writer}
        back = asyncio.create_task(self._answers(server_reader, writer))
        try:
            await self._requests(reader, writer, server_writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client went away
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            for line in (writer, server_writer):
                self._lines.discard(line)
                line.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        entered = self._logins is None
        login: Authenticate | None = None
        while True:
            frame = await _frame(reader)
            api, version, correlation = struct.unpack(">hhi", frame[:8])
            self.seen.add(api)
            if api in self.deaf_to:
                continue
            if self._logins is not None and api == _HANDSHAKE:
                body, login = self._shake_hands(frame)
                _send(writer, struct.pack(">i", correlation) + body)
            elif self._logins is not None and api == _AUTHENTICATE and login is not None:
                body, entered = self._authenticate(frame, version, login)
                _send(writer, struct.pack(">i", correlation) + body)
            elif entered or api == _API_VERSIONS:
                _send(server, frame)
            else:
                return  # as a broker does with whoever has not logged in

    async def _answers(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = self._host.encode() + struct.pack(">i", self._target)
        ours = self._host.encode() + struct.pack(">i", self.port)
        try:
            while True:
                _send(writer, (await _frame(server)).replace(theirs, ours))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    def _shake_hands(self, frame: bytes) -> tuple[bytes, Authenticate | None]:
        assert self._logins is not None
        mechanism = _string(frame, 8 + 2 + max(0, struct.unpack(">h", frame[8:10])[0]))
        listed = b"".join(struct.pack(">h", len(name)) + name.encode() for name in self._logins)
        known = mechanism in self._logins
        body = struct.pack(">hi", 0 if known else _UNSUPPORTED, len(self._logins)) + listed
        return body, self._logins[mechanism]() if known else None

    def _authenticate(self, frame: bytes, version: int, login: Authenticate) -> tuple[bytes, bool]:
        at = 8 + 2 + max(0, struct.unpack(">h", frame[8:10])[0])
        if version >= 2:  # flexible: tagged fields of the header, then a compact byte string
            assert frame[at] == 0
            length, at = _uvarint(frame, at + 1)
            said = frame[at : at + length - 1]
        else:
            (length,) = struct.unpack(">i", frame[at : at + 4])
            said = frame[at + 4 : at + 4 + length]
        try:
            answer, entered = login(said)
            error, message = 0, None
        except ValueError as refused:
            answer, entered, error, message = b"", False, _FAILED, str(refused).encode()
            self.refused += 1
        self.entered += entered
        if version >= 2:
            text = b"\x00" if message is None else _to_uvarint(len(message) + 1) + message
            body = b"\x00" + struct.pack(">h", error) + text + _to_uvarint(len(answer) + 1) + answer
            return body + struct.pack(">q", 0) + b"\x00", entered
        text = struct.pack(">h", -1) if message is None else struct.pack(">h", len(message)) + message
        body = struct.pack(">h", error) + text + struct.pack(">i", len(answer)) + answer
        return body + (struct.pack(">q", 0) if version == 1 else b""), entered


def plain(users: Mapping[str, str]) -> Callable[[], Authenticate]:
    """The server's side of RFC 4616."""

    def begin() -> Authenticate:
        def login(said: bytes) -> tuple[bytes, bool]:
            _, user, password = said.decode().split("\0")
            if users.get(user) != password:
                raise ValueError("Authentication failed: Invalid username or password")
            return b"", True

        return login

    return begin


def scram(name: str, users: Mapping[str, str], *, iterations: int = 4096) -> Callable[[], Authenticate]:
    """The server's side of RFC 5802 with the hash ``name`` (sha256, sha512)."""

    def mac(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, name).digest()

    def begin() -> Authenticate:
        salt, nonce = secrets.token_bytes(16), secrets.token_hex(12)
        kept: list[str] = []

        def login(said: bytes) -> tuple[bytes, bool]:
            text = said.decode()
            fields = dict(part.split("=", 1) for part in text.removeprefix("n,,").split(","))
            if not kept:
                user = fields["n"].replace("=2C", ",").replace("=3D", "=")
                first = f"r={fields['r']}{nonce},s={base64.b64encode(salt).decode()},i={iterations}"
                kept.extend([users.get(user, ""), text.removeprefix("n,,"), first])
                return first.encode(), False
            password, client_first, server_first = kept
            salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)
            key = mac(salted, b"Client Key")
            whole = ",".join([client_first, server_first, text.rsplit(",p=", 1)[0]]).encode()
            signature = mac(hashlib.new(name, key).digest(), whole)
            proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
            if not password or not hmac.compare_digest(proof, base64.b64decode(fields["p"])):
                raise ValueError("Authentication failed during authentication due to invalid credentials")
            return b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), whole)), True

        return login

    return begin


def bearer(good: Callable[[str], bool]) -> Callable[[], Authenticate]:
    """The server's side of RFC 7628; ``good`` judges a token."""

    def begin() -> Authenticate:
        def login(said: bytes) -> tuple[bytes, bool]:
            if said == b"\x01":
                raise ValueError("invalid_token")
            (token,) = (part[12:] for part in said.decode().split("\x01") if part.startswith("auth=Bearer "))
            return (b"", True) if good(token) else (b'{"status":"invalid_token"}', False)

        return login

    return begin


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


def _string(frame: bytes, at: int) -> str:
    (length,) = struct.unpack(">h", frame[at : at + 2])
    return frame[at + 2 : at + 2 + length].decode()


def _uvarint(frame: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _to_uvarint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
