"""A Slack on loopback that enforces what Slack documents: the Web API's limits, errors, rate limits and identity of
messages, threads, files in three steps, and Socket Mode with its envelopes and acknowledgements."""

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

from aiohttp import WSMsgType, web

TOKEN = "xoxb-1111-secret-2222"
APP_TOKEN = "xapp-1-secret-3333"
CHANNEL = "C0RISK"
_TEXT = {"plain_text", "mrkdwn"}
_READING = {"conversations.history": "channels:history", "conversations.replies": "channels:history"}
_WRITING = {"files.getUploadURLExternal": "files:write", "files.completeUploadExternal": "files:write"}


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
    """The server's state: messages by (channel, ts), their threads, files, calls, and a script of troubles."""

    url: str = ""
    messages: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    threads: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    whispers: list[dict[str, Any]] = field(default_factory=list)
    """What only one person saw (chat.postEphemeral)."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    script: deque[Script] = field(default_factory=deque)
    down: str = ""
    """The error of every call while Slack is down."""
    limited: dict[str, float] = field(default_factory=dict)
    """Channels that are rate limited, with their Retry-After."""
    channels: set[str] = field(default_factory=lambda: {CHANNEL})
    history_allowed: bool = True
    scopes: tuple[str, ...] = ("chat:write", "channels:history", "files:write")
    """As every answer to a valid token names them."""
    member: bool = True
    """Whether the app is in the channel."""
    ahead: float = 0.0
    """Seconds by which its clock differs."""
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    # -- the Web API -----------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        if request.content_type == "application/json":
            body = await request.json()
        elif request.method == "GET":
            body = dict(request.query)
        else:
            body = {**request.query, **await request.post()}
        self.calls.append((method, body))
        trouble = self.script.popleft() if self.script else Script()
        if self.down:
            trouble = Script(status=503, error=self.down)
        channel = str(body.get("channel", ""))
        if channel in self.limited:
            trouble = Script(status=429, error="ratelimited", headers={"Retry-After": f"{self.limited[channel]:g}"})
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
        if method == "apps.connections.open":
            if authorization != f"Bearer {APP_TOKEN}":
                return {"ok": False, "error": "invalid_auth"}
            return {"ok": True, "url": self.url.replace("http", "ws", 1).replace("/api/", "/socket?ticket=t1")}
        if authorization != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if method == "auth.test":
            return {"ok": True, "url": "https://bank.slack.com/", "team": "Bank", "user": "riskwire", "bot_id": "B1"}
        if needed := _WRITING.get(method):
            if needed not in self.scopes:
                return {"ok": False, "error": "missing_scope", "needed": needed}
            return self._file(method, body)
        if body.get("channel") not in self.channels:
            return {"ok": False, "error": "channel_not_found"}
        if method == "conversations.info":
            if "channels:read" not in self.scopes:
                return {"ok": False, "error": "missing_scope", "needed": "channels:read"}
            return {"ok": True, "channel": {"id": CHANNEL, "is_archived": False, "is_member": self.member}}
        if method in _READING:
            return self._read(method, body)
        return self._write(method, body)

    def _read(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        if not self.member:
            return {"ok": False, "error": "not_in_channel"}
        if not self.history_allowed or "channels:history" not in self.scopes:
            return {"ok": False, "error": "missing_scope"}
        limit, channel = int(body.get("limit", 100)), body["channel"]
        if method == "conversations.replies":
            key = (channel, body.get("ts", ""))
            if key not in self.messages:
                return {"ok": False, "error": "thread_not_found"}
            parent = {"ts": key[1], **self.messages[key]}
            return {"ok": True, "messages": [parent, *self.threads.get(key, [])][:limit]}
        mine = sorted(((ts, m) for (where, ts), m in self.messages.items() if where == channel), reverse=True)
        return {"ok": True, "messages": [{"ts": ts, **message} for ts, message in mine][:limit]}

    def _write(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        blocks = body.get("blocks", [])
        if reason := wrong_blocks(blocks):
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [reason]}}
        if len(body.get("text", "")) > 40_000:
            return {"ok": False, "error": "msg_too_long"}
        if not body.get("text") and not blocks:
            return {"ok": False, "error": "no_text"}
        message = {name: body.get(name) for name in ("text", "blocks", "metadata")}
        if method == "chat.postEphemeral":
            self.whispers.append({"user": body.get("user"), **message})
            return {"ok": True, "message_ts": f"1700000000.{next(self.numbers):06d}"}
        if method == "chat.update":
            key = (body["channel"], body.get("ts", ""))
            if key not in self.messages:
                return {"ok": False, "error": "message_not_found"}
            # An update without metadata keeps what was there.
            message["metadata"] = message["metadata"] or self.messages[key]["metadata"]
        elif method == "chat.postMessage":
            key = (body["channel"], f"1700000000.{next(self.numbers):06d}")
            if thread := body.get("thread_ts"):
                if (body["channel"], thread) not in self.messages:
                    return {"ok": False, "error": "thread_not_found"}
                self.threads.setdefault((body["channel"], thread), []).append({"ts": key[1], **message})
                return {"ok": True, "channel": key[0], "ts": key[1]}
        else:
            return {"ok": False, "error": "unknown_method"}
        self.messages[key] = message
        return {"ok": True, "channel": key[0], "ts": key[1]}

    def _file(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        if method == "files.getUploadURLExternal":
            if not body.get("filename") or int(body.get("length") or 0) <= 0:
                return {"ok": False, "error": "invalid_arguments"}
            name = f"F{next(self.numbers):06d}"
            return {"ok": True, "file_id": name, "upload_url": self.url.replace("/api/", f"/upload/{name}")}
        files = body.get("files") or "[]"
        listed = json.loads(files) if isinstance(files, str) else files
        channel, thread = body.get("channel_id") or body.get("channels", ""), body.get("thread_ts")
        if channel not in self.channels:
            return {"ok": False, "error": "channel_not_found"}
        if any(item["id"] not in self.uploads for item in listed):
            return {"ok": False, "error": "file_not_found"}
        names = [b["filename"] for m, b in self.calls if m == "files.getUploadURLExternal"]
        self.threads.setdefault((channel, thread), []).append(
            {"ts": f"1700000000.{next(self.numbers):06d}", "files": [{"id": listed[0]["id"], "name": names[-1]}]}
        )
        return {"ok": True, "files": listed}

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Where the second step of an upload goes."""
        content = await request.read()
        if request.content_type.startswith("multipart/"):
            form = await request.post()
            parts = [value for value in form.values() if hasattr(value, "file")]
            content = parts[0].file.read() if parts else content  # type: ignore[union-attr]
        self.uploads[request.match_info["name"]] = content
        return web.Response(text=f"OK - {len(content)}")

    # -- Socket Mode -----------------------------------------------------------------------------------------------

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """One connection: says hello, then passes on what people press."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}})
        self.sockets.append(socket)
        self.connected.set()
        async for message in socket:
            if message.type is WSMsgType.TEXT and (data := json.loads(message.data)).get("envelope_id"):
                self.acknowledged.put_nowait(data["envelope_id"])
        self.sockets.remove(socket)
        return socket

    async def press(
        self, action: dict[str, Any], *, envelope: str = "e1", user: str = "ann", at: float = 1.0e9
    ) -> None:
        """Somebody uses a button or menu of a message; returns when the envelope is on its way."""
        payload = {
            "type": "block_actions",
            "user": {"id": f"U{user}", "username": user},
            "channel": {"id": CHANNEL},
            "actions": [{"action_ts": f"{at:.6f}", **action}],
        }
        await self.connected.wait()
        await self.sockets[-1].send_json(
            {"type": "interactive", "envelope_id": envelope, "payload": payload, "accepts_response_payload": True}
        )

    def thread(self) -> list[str]:
        """The texts of all replies in all threads, in their order."""
        return [str(m["text"]) for replies in self.threads.values() for m in replies if m.get("text")]

    def charts(self) -> list[str]:
        """The names of all files in all threads."""
        return [f["name"] for replies in self.threads.values() for m in replies for f in m.get("files", ())]


def wrong_blocks(blocks: Any) -> str:
    """Why Slack would refuse the blocks; empty when it would not."""
    if not isinstance(blocks, list) or len(blocks) > 50:
        return "more than 50 blocks"
    names = [block["block_id"] for block in blocks if "block_id" in block]
    if len(set(names)) < len(names) or any(not 1 <= len(name) <= 255 for name in names):
        return "block ids must be unique and have 1 to 255 characters"
    for block in blocks:
        if reason := _wrong_block(block):
            return reason
    json.dumps(blocks)
    return ""


def _wrong_block(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind == "header":
        if block["text"].get("type") != "plain_text":
            return "header must be plain_text"
        return _wrong_text(block["text"], 150, "header")
    if kind == "section":
        if "text" not in block and "fields" not in block:
            return "section needs text or fields"
        if "text" in block and (reason := _wrong_text(block["text"], 3000, "section")):
            return reason
        fields = block.get("fields", [{"type": "mrkdwn", "text": "x"}])
        if not 1 <= len(fields) <= 10:
            return "section takes 1 to 10 fields"
        if reason := next((r for f in fields if (r := _wrong_text(f, 2000, "field"))), ""):
            return reason
        return _wrong_element(block["accessory"]) if "accessory" in block else ""
    if kind == "context":
        if not 1 <= len(block["elements"]) <= 10:
            return "context needs 1 to 10 elements"
        return next((r for e in block["elements"] if (r := _wrong_text(e, 3000, "context"))), "")
    if kind == "actions":
        if not 1 <= len(block["elements"]) <= 25:
            return "actions needs 1 to 25 elements"
        return next((r for e in block["elements"] if (r := _wrong_element(e))), "")
    if kind == "divider":
        return ""
    return f"unknown block {kind}"


def _wrong_text(text: dict[str, Any], limit: int, where: str) -> str:
    if text.get("type") not in _TEXT or not 1 <= len(text.get("text", "")) <= limit:
        return f"{where} text must have 1 to {limit} characters"
    return ""


def _wrong_element(element: dict[str, Any]) -> str:
    kind = element.get("type")
    if not 1 <= len(element.get("action_id", "")) <= 255:
        return "action_id must have 1 to 255 characters"
    if kind == "button":
        if len(element.get("value", "")) > 2000:
            return "button value must have at most 2000 characters"
        return _wrong_text(element["text"], 75, "button")
    if kind in ("overflow", "static_select"):
        most = 5 if kind == "overflow" else 100
        if not 1 <= len(element["options"]) <= most:
            return f"{kind} takes 1 to {most} options"
        for option in element["options"]:
            if not 1 <= len(option["value"]) <= 150:
                return "option value must have 1 to 150 characters"
            if reason := _wrong_text(option["text"], 75, "option"):
                return reason
        return _wrong_text(element["placeholder"], 150, "placeholder") if kind == "static_select" else ""
    return f"unknown element {kind}"


@asynccontextmanager
async def slack_server() -> AsyncIterator[SlackServer]:
    """A running server on a free loopback port."""
    server = SlackServer()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", server.handle)
    app.router.add_post("/upload/{name}", server.upload)
    app.router.add_get("/socket", server.socket)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    server.url = f"http://127.0.0.1:{address[1]}/api/"
    try:
        yield server
    finally:
        for socket in list(server.sockets):
            await socket.close()
        await runner.cleanup()
