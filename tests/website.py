"""A loopback web site that tests fill with answers, and a policy whose guard lets loopback through."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from connectors.http import HttpPolicy

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """One request as the site saw it."""

    path: str
    headers: Mapping[str, str]


@dataclass
class Site:
    """Answers by path; unknown paths are 404."""

    port: int = 0
    host: str = "127.0.0.1"
    handlers: dict[str, Handler] = field(default_factory=dict)
    requests: list[Seen] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "") -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    def on(self, path: str, handler: Handler) -> str:
        self.handlers[path] = handler
        return self.url(path)

    def put(self, path: str, body: bytes | str = b"", *, status: int = 200, **headers: str) -> str:
        raw = body.encode() if isinstance(body, str) else body
        named = {"Content-Type": "application/xml"} | {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=raw, status=status, headers=named)

        return self.on(path, answer)

    def redirect(self, path: str, to: str, status: int = 302) -> str:
        return self.put(path, status=status, Location=to)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Seen(request.path, dict(request.headers)))
        handler = self.handlers.get(request.path)
        return web.Response(status=404) if handler is None else await handler(request)


async def open_site(host: str = "127.0.0.1") -> tuple[Site, web.AppRunner]:
    site = Site(host=host)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", site.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    site.port = runner.addresses[0][1]
    return site, runner


def loopback(**changes: object) -> HttpPolicy:
    """A policy that lets loopback through and does not wait between requests."""
    values: dict[str, object] = {"allow_networks": ("127.0.0.0/8",), "spacing": 0.0, **changes}
    return HttpPolicy(**values)  # type: ignore[arg-type]


class Names(AbstractResolver):
    """Answers each look-up of a name with the next of its addresses, the last one for ever."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked.append(host)
        known = self.names.get(host)
        if not known:
            raise OSError(None, "no such name")
        address = known.pop(0) if len(known) > 1 else known[0]
        return [
            ResolveResult(
                hostname=host, host=text, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
            for text in address.split()
        ]

    async def close(self) -> None:
        pass
