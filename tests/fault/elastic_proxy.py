"""A proxy before Elasticsearch that injects faults: whole answers and single items of a bulk request.

The answers that it makes up have the shapes of the documented ones:
https://www.elastic.co/guide/en/elasticsearch/reference/8.19/docs-bulk.html
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

_HOP = frozenset({"host", "connection", "content-length", "content-encoding", "transfer-encoding", "accept-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a bulk request."""

    action: str
    meta: Mapping[str, Any]
    source: bytes | None

    def line(self) -> bytes:
        head = json.dumps({self.action: self.meta}).encode() + b"\n"
        return head if self.source is None else head + self.source + b"\n"

    def refused(self, status: int, kind: str, reason: str) -> dict[str, Any]:
        """The answer for this item alone."""
        body = {"_index": self.meta.get("_index", ""), "_id": self.meta.get("_id", ""), "status": status}
        return {self.action: body | {"error": {"type": kind, "reason": reason}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_bulk(self) -> bool:
        """Whether it is a bulk request."""
        return self.path.endswith("/_bulk")

    @property
    def writes(self) -> bool:
        """Whether it changes documents."""
        return self.is_bulk or any(part in self.path for part in ("/_doc", "/_update", "/_create"))

    def items(self) -> list[Item]:
        """The items of a bulk request."""
        lines, found = iter(self.body.splitlines()), []
        for line in lines:
            if line.strip():
                ((action, meta),) = json.loads(line).items()
                found.append(Item(action=action, meta=meta, source=None if action == "delete" else next(lines)))
        return found


Forward = Callable[[Asked], Awaitable[Answer]]
Fault = Callable[[Asked, Forward], Awaitable[Answer | None]]
"""Answers a request, itself or by forwarding it; None: the connection ends without an answer."""


def _error(status: int, kind: str, reason: str) -> Answer:
    body = {"error": {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason}}
    return Answer(status=status, headers=_JSON, body=json.dumps(body | {"status": status}).encode())


_JSON = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}


def slow(seconds: float) -> Fault:
    """Every request takes that much longer."""

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        await asyncio.sleep(seconds)
        return await forward(asked)

    return fault


def too_many(share: float = 1.0, *, seed: int = 1) -> Fault:
    """Status 429 for that share of the requests that write."""
    dice = Random(seed)

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        if asked.writes and dice.random() < share:
            return _error(429, "es_rejected_execution_exception", "rejected execution of coordinating operation")
        return await forward(asked)

    return fault


def unavailable() -> Fault:
    """Status 503 for everything (a cluster without a master)."""

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        return _error(503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master];")

    return fault


def lost_answers(share: float, *, seed: int = 2) -> Fault:
    """Writes are done; their answers are lost with the connection."""
    dice = Random(seed)

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        lost = asked.writes and dice.random() < share
        answer = await forward(asked)
        return None if lost else answer

    return fault


def too_large(limit: int) -> Fault:
    """Status 413 for bodies of more than ``limit`` bytes, as ``http.max_content_length`` and proxies answer it."""

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        if len(asked.body) > limit:
            return Answer(status=413, headers={"Content-Type": "text/html"}, body=b"<h1>413 Content Too Large</h1>")
        return await forward(asked)

    return fault


def partly(share: float, status: int = 429, *, seed: int = 3, once: bool = False) -> Fault:
    """That share of the items of every bulk request fails and is not stored (``once``: no item twice)."""
    dice, failed = Random(seed), set[str]()

    def choose(item: Item) -> dict[str, Any] | None:
        if (once and item.meta.get("_id") in failed) or dice.random() >= share:
            return None
        failed.add(str(item.meta.get("_id")))
        kind = "es_rejected_execution_exception" if status == 429 else "unavailable_shards_exception"
        return item.refused(status, kind, "primary shard is not active" if status != 429 else "rejected execution")

    return items(choose)


def rejected(words: bytes, reason: str) -> Fault:
    """Items whose document contains ``words`` do not fit the mapping."""

    def choose(item: Item) -> dict[str, Any] | None:
        if item.source is not None and words in item.source:
            return item.refused(400, "document_parsing_exception", reason)
        return None

    return items(choose)


def items(choose: Callable[[Item], dict[str, Any] | None]) -> Fault:
    """Answers the chosen items of every bulk request itself, in their places, and forwards the others."""

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        if not asked.is_bulk:
            return await forward(asked)
        asked_items = asked.items()
        made_up = [choose(item) for item in asked_items]
        passed = [item for item, made in zip(asked_items, made_up, strict=True) if made is None]
        if len(passed) == len(asked_items):
            return await forward(asked)
        headers, given = dict(_JSON), []
        if passed:
            body = b"".join(item.line() for item in passed)
            answer = await forward(
                Asked(method=asked.method, path=asked.path, query=asked.query, headers=asked.headers, body=body)
            )
            if answer.status != 200:
                return answer
            headers, given = dict(answer.headers), json.loads(answer.body)["items"]
        theirs = iter(given)
        merged = [next(theirs) if made is None else made for made in made_up]
        whole = {"took": 1, "errors": True, "items": merged}
        return Answer(status=200, headers=headers, body=json.dumps(whole).encode())

    return fault


def both(first: Fault, second: Fault) -> Fault:
    """The first fault, with the second behind it."""

    async def fault(asked: Asked, forward: Forward) -> Answer | None:
        dropped = False

        async def onward(inner: Asked) -> Answer:
            nonlocal dropped
            answer = await second(inner, forward)
            if answer is None:
                dropped = True
                return _error(502, "dropped", "dropped")
            return answer

        answer = await first(asked, onward)
        return None if dropped else answer

    return fault


class ElasticProxy:
    """Listens on a loopback port and passes everything on to ``upstream`` (a URL), through ``fault`` when it is set."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.fault: Fault | None = None
        self.statuses: Counter[int] = Counter()
        """Answers given, by status; 0 for connections ended without one."""
        self.bulk_items: Counter[int] = Counter()
        """Items of bulk answers, by status."""
        self.sent: Counter[str] = Counter()
        """How often each document id was in a bulk request."""

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> ElasticProxy:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        assert self._session is not None
        await self._session.close()

    async def _listen(self) -> None:
        if self._runner is None:
            app = web.Application(client_max_size=2**30)
            app.router.add_route("*", "/{path:.*}", self._handle)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
            self._port = self._runner.addresses[0][1]

    async def heal(self) -> None:
        """Everything passes again."""
        self.fault = None
        await self._listen()

    async def refuse(self) -> None:
        """As if the server were not there: connections end, new ones are refused."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _forward(self, asked: Asked) -> Answer:
        assert self._session is not None
        headers = {k: v for k, v in asked.headers.items() if k.lower() not in _HOP}
        url = f"{self._upstream}{asked.path}" + (f"?{asked.query}" if asked.query else "")
        async with self._session.request(
            asked.method, URL(url, encoded=True), data=asked.body or None, headers=headers
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            return Answer(status=answer.status, headers=kept, body=await answer.read())

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            method=request.method,
            path=request.rel_url.raw_path,
            query=request.rel_url.raw_query_string,
            headers=dict(request.headers),
            body=await request.read(),  # aiohttp has taken off its content encoding
        )
        if asked.is_bulk:
            self.sent.update(str(item.meta.get("_id")) for item in asked.items())
        try:
            answer = await (self.fault(asked, self._forward) if self.fault is not None else self._forward(asked))
        except (aiohttp.ClientError, TimeoutError):
            answer = _error(502, "bad_gateway", "the upstream did not answer")
        self.statuses[answer.status if answer is not None else 0] += 1
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if asked.is_bulk and answer.status == 200:
            for item in json.loads(answer.body)["items"]:
                self.bulk_items.update(int(result["status"]) for result in item.values())
        if request.method == "HEAD":
            return web.Response(status=answer.status, headers=answer.headers)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
