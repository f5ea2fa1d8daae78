"""An HTTP server that answers as Elasticsearch's documentation says it does, for what the stand-in server lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Reply = tuple[int, Any] | tuple[int, Any, Mapping[str, str]]


def info(number: str = "8.17.4", flavor: str = "default") -> dict[str, Any]:
    """GET / (https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-info)."""
    return {
        "name": "instance-0000000000",
        "cluster_name": "news",
        "cluster_uuid": "NIW95f6vS9C8LRGFMZGPzA",
        "version": {
            "number": number, "build_flavor": flavor, "build_type": "docker", "build_hash": "929dfd0",
            "lucene_version": "9.12.0", "build_date": "2025-03-22T00:00:00.000Z", "build_snapshot": False,
            "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    }  # fmt: skip


def error(status: int, kind: str, reason: str, **more: Any) -> Reply:
    """An error answer."""
    cause = {"type": kind, "reason": reason} | more
    return status, {"error": {"root_cause": [cause], **cause}, "status": status}


class ScriptedElastic:
    """Answers by (method, path); a reply may be a function of the request. What is not scripted is a 404."""

    def __init__(self) -> None:
        self.replies: dict[tuple[str, str], Reply | Callable[[Request], Reply]] = {("GET", "/"): (200, info())}
        self.requests: list[Request] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> ScriptedElastic:
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, asked: web.Request) -> web.Response:
        request = Request(
            method=asked.method,
            path=asked.path,
            query=dict(asked.query),
            headers=dict(asked.headers),
            body=await asked.read(),
        )
        self.requests.append(request)
        reply = self.replies.get((asked.method, asked.path), error(404, "resource_not_found_exception", "not found"))
        status, body, *headers = reply(request) if callable(reply) else reply
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = headers[0] if headers else PRODUCT
        return web.Response(status=status, body=payload, headers={"Content-Type": "application/json", **named})

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests to a path."""
        return [request for request in self.requests if (request.method, request.path) == (method, path)]
