"""A Slack Web API on loopback that enforces what Slack documents: limits, errors, rate limits, message identity."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

TOKEN = "xoxb-1111-secret-2222"
CHANNEL = "C0RISK"


@dataclass
class Script:
    """What the next call meets instead of an answer."""

    status: int = 200
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    delay: float = 0.0
    lose_answer: bool = False
    """The message is taken, but the client never hears of it."""


@dataclass
class SlackServer:
    """The server's state: messages by (channel, ts), calls, and a script of troubles."""

    url: str = ""
    messages: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    script: deque[Script] = field(default_factory=deque)
    history_allowed: bool = True
    scopes: tuple[str, ...] = ("chat:write", "channels:history")
    """As every answer to a valid token names them."""
    member: bool = True
    """Whether the app is in the channel."""
    ahead: float = 0.0
    """Seconds by which its clock differs."""
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        if request.content_type == "application/json":
            body = await request.json()
        elif request.method == "GET":
            body = dict(request.query)
        else:
            body = dict(await request.post())
        self.calls.append((method, body))
        trouble = self.script.popleft() if self.script else Script()
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        if trouble.body is not None:
            return web.Response(status=trouble.status, text=trouble.body, headers=trouble.headers)
        if trouble.error or trouble.status != 200:
            answer = {"ok": False, "error": trouble.error} if trouble.error else {}
            return web.json_response(answer, status=trouble.status, headers=trouble.headers)
        answer = self.answer(method, body, request.headers.get("Authorization", ""))
        if trouble.lose_answer:
            assert request.transport is not None
            request.transport.close()
        told = format_datetime(datetime.now(UTC) + timedelta(seconds=self.ahead), usegmt=True)
        headers = {"Date": told}
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            headers["x-oauth-scopes"] = ",".join(self.scopes)
        return web.json_response(answer, headers=headers)

    def answer(self, method: str, body: dict[str, Any], authorization: str) -> dict[str, Any]:
        if authorization != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if method == "auth.test":
            return {"ok": True, "url": "https://bank.slack.com/", "team": "Bank", "user": "riskwire", "bot_id": "B1"}
        if body.get("channel") != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        if method == "conversations.info":
            if "channels:read" not in self.scopes:
                return {"ok": False, "error": "missing_scope", "needed": "channels:read"}
            return {"ok": True, "channel": {"id": CHANNEL, "is_archived": False, "is_member": self.member}}
        if method == "conversations.history":
            if not self.member:
                return {"ok": False, "error": "not_in_channel"}
            if not self.history_allowed:
                return {"ok": False, "error": "missing_scope"}
            found = [{"ts": ts, **message} for (_, ts), message in sorted(self.messages.items(), reverse=True)]
            return {"ok": True, "messages": found[: int(body.get("limit", 100))]}
        blocks = body.get("blocks", [])
        if reason := wrong_blocks(blocks):
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [reason]}}
        if len(body.get("text", "")) > 40_000:
            return {"ok": False, "error": "msg_too_long"}
        if method == "chat.update":
            key = (body["channel"], body.get("ts", ""))
            if key not in self.messages:
                return {"ok": False, "error": "message_not_found"}
        elif method == "chat.postMessage":
            key = (body["channel"], f"1700000000.{next(self.numbers):06d}")
        else:
            return {"ok": False, "error": "unknown_method"}
        self.messages[key] = {name: body.get(name) for name in ("text", "blocks", "metadata")}
        return {"ok": True, "channel": key[0], "ts": key[1]}


def wrong_blocks(blocks: Any) -> str:
    """Why Slack would refuse the blocks; empty when it would not."""
    if not isinstance(blocks, list) or len(blocks) > 50:
        return "more than 50 blocks"
    for block in blocks:
        kind = block.get("type")
        if kind == "header":
            text, limit = block["text"], 150
            if text.get("type") != "plain_text":
                return "header must be plain_text"
        elif kind == "section":
            text, limit = block["text"], 3000
        elif kind == "context":
            if not 1 <= len(block["elements"]) <= 10:
                return "context needs 1 to 10 elements"
            text, limit = block["elements"][0], 3000
        else:
            return f"unknown block {kind}"
        if not 1 <= len(text.get("text", "")) <= limit:
            return f"{kind} text must have 1 to {limit} characters"
        json.dumps(text)
    return ""


@asynccontextmanager
async def slack_server() -> AsyncIterator[SlackServer]:
    """A running server on a free loopback port."""
    server = SlackServer()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    server.url = f"http://127.0.0.1:{address[1]}/api/"
    try:
        yield server
    finally:
        await runner.cleanup()
