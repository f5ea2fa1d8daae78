"""Servers on loopback for notifiers: one that takes web hooks, and a mail server; both keep what they get and can be
told to refuse."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiohttp import web


@dataclass
class Answer:
    """What the next request meets."""

    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    lose: bool = False
    """The request is taken, but the client never hears of it."""


@dataclass
class HookServer:
    """Requests in their order: headers, raw body, and the body as JSON."""

    url: str = ""
    taken: list[tuple[dict[str, str], bytes, Any]] = field(default_factory=list)
    script: deque[Answer] = field(default_factory=deque)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        answer = self.script.popleft() if self.script else Answer()
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if 200 <= answer.status < 300:
            self.taken.append((dict(request.headers), body, json.loads(body)))
        if answer.lose:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=answer.status, headers=answer.headers, text="{}")

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.taken]


@asynccontextmanager
async def hook_server() -> AsyncIterator[HookServer]:
    """A running server on a free loopback port."""
    server = HookServer()
    app = web.Application()
    app.router.add_post("/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook/secret-path"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass
class MailServer:
    """Mails in their order. ``replies`` overrides the reply to a command, e.g. {"RCPT": "550 no such user"}."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    silent: bool = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        try:
            if self.silent:
                await reader.read()
                return
            await say(self.replies.get("CONNECT", "220 mail.example ESMTP"))
            while line := (await reader.readline()).decode("latin-1").strip():
                verb = line.partition(" ")[0].upper()
                if verb in self.replies:
                    await say(self.replies[verb])
                elif verb == "EHLO":
                    await say("250-mail.example")
                    await say("250 8BITMIME")
                elif verb == "DATA":
                    await say("354 go on")
                    raw = await reader.readuntil(b"\r\n.\r\n")
                    parsed = message_from_bytes(raw[:-5].replace(b"\r\n..", b"\r\n."), policy=policy.default)
                    assert isinstance(parsed, EmailMessage)
                    self.mails.append(parsed)
                    await say("250 taken")
                elif verb == "QUIT":
                    await say("221 bye")
                    return
                else:
                    await say("250 ok")
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A running mail server on a free loopback port."""
    server = MailServer()
    running = await asyncio.start_server(server.handle, "127.0.0.1", 0, limit=10_000_000)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        running.close()
        await running.wait_closed()
