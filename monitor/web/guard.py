"""What surrounds every request: who asks and from where, limits, security headers, metrics. Plain ASGI, so that event
streams pass through unbuffered."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Mapping
from ipaddress import ip_address

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.web.context import WebContext
from monitor.web.problems import MEDIA_TYPE, Problem, document

_log = structlog.get_logger("web")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODY_SECONDS = 30.0


def loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(header: str) -> str:
    """The host of a Host header, without port and brackets, in lower case."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, context: WebContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, whole = time.monotonic(), 0, False

        async def sending(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if "/api/" in scope["path"]:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            try:
                self._admit(scope)
                await self._app(scope, self._limited(scope, receive), sending)
            except Problem as problem:
                await _tell(scope, sending, problem)
            except asyncio.CancelledError:
                raise
            except Exception:
                # Whatever a route did not foresee: the log has it (without the values of variables, which may be
                # secrets), the client hears that it failed.
                _log.error("request_broke", path=scope["path"], traceback=traceback.format_exc(limit=-8))
                if not status:
                    await _tell(scope, sending, Problem(500, "This could not be done."))
                elif not whole:
                    raise
        finally:
            self._count(scope, status, time.monotonic() - began)

    def _admit(self, scope: Scope) -> None:
        """Raises Problem when the request is not to be looked at."""
        context = self._context
        request = Request(scope)
        request.state.principal = None
        host = host_of(request.headers.get("host", ""))
        if context.hosts and host not in context.hosts:
            raise Problem(
                421, f"This server does not answer for the host '{host[:100]}'.",
                hint="Add it to [web] hosts if it is one of its names.",
            )  # fmt: skip
        address = scope["client"][0] if scope.get("client") else "unknown"
        principal = context.access.who(request, context.clock.now().timestamp())
        request.state.principal = principal
        if context.access.required and principal is None and "authorization" in request.headers:
            # A wrong token costs more than a right one, so that trying them out takes for ever.
            self._take(context.logins.take(address))
        self._take(
            context.requests.take(f"token:{principal.name}" if principal and context.access.required else address)
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > context.options.max_body:
            self._refused("too_large")
            raise _too_large(context.options.max_body)

    def _take(self, wait: float) -> None:
        if wait:
            self._refused("rate_limited")
            raise Problem(
                429, "Too many requests; wait a little.", headers={"Retry-After": str(int(wait + 0.999))}
            )  # fmt: skip

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Counts the body as it comes, whatever its header says, and bounds how long it may take."""
        limit, seen, over = self._context.options.max_body, 0, False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal seen, over
            if over:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body did not arrive in time.") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                over = not message.get("more_body", False)
                if seen > limit:
                    self._refused("too_large")
                    raise HTTPException(413, f"The body has more than the {limit} bytes allowed.")
            return message

        return limited

    def _refused(self, reason: str) -> None:
        self._context.metrics.http_refused.labels(reason).inc()

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path_format", None) or getattr(route, "path", None) or "other"
        method = scope["method"] if scope["method"] in _METHODS else "GET"
        metrics = self._context.metrics
        metrics.http_requests.labels(method, path, f"{(status or 499) // 100}xx").inc()
        if status in (401, 403):
            self._refused("unauthenticated" if status == 401 else "forbidden")
        if not path.endswith("/live"):
            metrics.http_request_seconds.labels(path).observe(seconds)


def _too_large(limit: int) -> Problem:
    return Problem(413, f"The body has more than the {limit} bytes allowed.", headers={"Connection": "close"})


async def _tell(scope: Scope, send: Send, problem: Problem) -> None:
    body = document(problem.status, problem.detail, scope["path"], hint=problem.hint)
    given = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in given.items()]
    with contextlib.suppress(OSError):  # the client is gone
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
