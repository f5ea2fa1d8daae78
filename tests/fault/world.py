"""A small world for the fault tests: a few feeds over loopback whose items appear as simulated time passes, and a
Slack that keeps what it is told."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

from aiohttp import web

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 5
SURGE = START + timedelta(days=DAYS - 1, hours=12)
END = START + timedelta(days=DAYS)
PRINTING = timedelta(hours=2)
"""How long after its time an item is in its feed, so that none is from the future for a poll that is under way."""
FEEDS = ("alpha", "beta", "gamma", "delta", "epsilon")

_SUBJECTS = ("Lender", "Insurer", "Carmaker", "Miner", "Retailer", "Airline", "Utility", "Brewer", "Builder")
_VERBS = ("opens", "reviews", "renews", "extends", "publishes", "presents", "discusses", "confirms", "updates", "signs")
_OBJECTS = ("office plan", "supply deal", "annual report", "staff rules", "pension terms", "site lease", "fleet order")
_PLACES = ("Leeds", "Osaka", "Lyon", "Lima", "Perth", "Oslo", "Turin", "Quito", "Accra", "Hanoi", "Tampa", "Delhi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of a feed."""

    guid: str
    title: str
    at: datetime


def items() -> dict[str, list[Item]]:
    """Each feed's items by time; the same in every run. The last day holds a burst about one bank."""
    random = Random(7)
    world: dict[str, list[Item]] = {}
    for feed in FEEDS:
        found: list[Item] = []
        at = START
        while (at := at + timedelta(minutes=random.expovariate(1 / 90))) < END - timedelta(hours=2):
            words = (random.choice(_SUBJECTS), random.choice(_VERBS), random.choice(_OBJECTS), random.choice(_PLACES))
            found.append(Item(guid=f"{feed}-{len(found)}", title=f"{' '.join(words)} {len(found)} {feed}", at=at))
        for number in range(8):
            at = SURGE + timedelta(minutes=7 * number + FEEDS.index(feed))
            place = _PLACES[(number + FEEDS.index(feed)) % len(_PLACES)]
            title = f"HSBC {_OBJECTS[number % 7]} collapse feared by {_SUBJECTS[number]} clients in {place} {feed}"
            found.append(Item(guid=f"{feed}-s{number}", title=title, at=at))
        world[feed] = sorted(found, key=lambda item: item.at)
    return world


class World:
    """Serves the feeds and a Slack Web API on one loopback port."""

    def __init__(self, *, seconds: float) -> None:
        self.items = items()
        self.rate = (END - START).total_seconds() / seconds
        self._anchor = START
        self._since: float | None = None
        self.posts: Counter[str] = Counter()
        self.updates: Counter[str] = Counter()
        self.replies: Counter[tuple[str, int]] = Counter()
        """What the threads were told, by incident and revision."""
        self.threads: dict[str, list[dict[str, Any]]] = {}
        self.files: Counter[str] = Counter()
        self._uploads: dict[str, str] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        app = web.Application()
        app.router.add_get("/feed/{name}", self._feed)
        app.router.add_route("*", "/api/{method}", self._slack)
        app.router.add_post("/upload", self._upload)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self.base = ""

    def now(self) -> datetime:
        """The simulated time, the same that the daemon's clock shows."""
        if self._since is None:
            return self._anchor
        return min(END, self._anchor + timedelta(seconds=(time.monotonic() - self._since) * self.rate))

    def hold(self) -> None:
        """Time stands still: no daemon runs. (How long a process takes to start must not decide what is news.)"""
        self._anchor, self._since = self.now(), None

    def release(self, since: float) -> None:
        """Time goes on: a daemon is ready since that monotonic time, at which its own clock began to run."""
        self._since = since

    async def __aenter__(self) -> World:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def plan(self, data: str, die: tuple[str, int] | None = None) -> dict[str, Any]:
        """What the child is told."""
        return {
            "data": data,
            "feeds": {name: f"{self.base}/feed/{name}" for name in FEEDS},
            "slack": f"{self.base}/api/",
            "now": self.now().isoformat(),
            "end": END.isoformat(),
            "rate": self.rate,
            "die": die,
        }

    async def _feed(self, request: web.Request) -> web.Response:
        now = self.now()
        entries = "".join(
            f"<item><guid isPermaLink='false'>{item.guid}</guid><title>{item.title}</title>"
            f"<link>{self.base}/story/{item.guid}</link><pubDate>{format_datetime(item.at)}</pubDate></item>"
            for item in reversed(self.items[request.match_info["name"]])
            if item.at <= now - PRINTING
        )
        body = f"<?xml version='1.0'?><rss version='2.0'><channel><title>x</title>{entries}</channel></rss>"
        return web.Response(text=body, content_type="application/rss+xml")

    async def _upload(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="OK")

    def _file(self, method: str, query: dict[str, str]) -> web.Response:
        if method == "files.getUploadURLExternal":
            name = f"F{len(self._uploads)}"
            self._uploads[name] = query["filename"]
            return web.json_response({"ok": True, "file_id": name, "upload_url": f"{self.base}/upload"})
        listed = json.loads(query["files"])
        for item in listed:
            self.files[self._uploads[item["id"]]] += 1
            self.threads.setdefault(query["thread_ts"], []).append({"files": [{"name": self._uploads[item["id"]]}]})
        return web.json_response({"ok": True, "files": listed})

    async def _slack(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        if method == "conversations.history":
            found = [{"ts": ts, "metadata": message.get("metadata")} for ts, message in self.messages.items()]
            return web.json_response({"ok": True, "messages": found[::-1]})
        if method == "conversations.replies":
            return web.json_response({"ok": True, "messages": self.threads.get(request.query["ts"], [])})
        if method.startswith("files."):
            return self._file(method, {**request.query})
        body: dict[str, Any] = dict(
            await (request.json() if request.content_type == "application/json" else request.post())
        )
        metadata = body.get("metadata") or "{}"
        body["metadata"] = json.loads(metadata) if isinstance(metadata, str) else metadata
        incident = str(body["metadata"].get("event_payload", {}).get("incident"))
        if method == "chat.postMessage" and body.get("thread_ts"):
            self.threads.setdefault(str(body["thread_ts"]), []).append(body)
            self.replies[incident, int(body["metadata"]["event_payload"]["revision"])] += 1
            return web.json_response({"ok": True, "channel": "C1", "ts": f"{sum(self.replies.values())}.000200"})
        if method == "chat.postMessage":
            ts = f"{len(self.messages) + 1}.000100"
            self.messages[ts] = body
            self.posts[incident] += 1
            return web.json_response({"ok": True, "channel": "C1", "ts": ts})
        if method == "chat.update" and str(body["ts"]) in self.messages:
            self.messages[str(body["ts"])] |= body
            self.updates[incident] += 1
            return web.json_response({"ok": True, "channel": "C1", "ts": str(body["ts"])})
        return web.json_response({"ok": False, "error": "unknown_method"})
