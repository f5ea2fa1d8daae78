"""Runs the application with uvicorn inside the daemon's event loop; signals are the daemon's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from monitor.core.errors import ConfigError
from monitor.web.context import WebContext

_log = structlog.get_logger("web")
_GRACE_SECONDS = 3
_BACKLOG = 256


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals alone."""
        yield


class WebServer:
    """Serves on one address from :meth:`start` until :meth:`stop`."""

    def __init__(
        self, app: ASGIApp, context: WebContext, host: str, port: int, *, trusted: tuple[str, ...] = ()
    ) -> None:
        self._context = context
        self._host, self._port = host, port
        self._server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", server_header=False, date_header=True,
                proxy_headers=bool(trusted), forwarded_allow_ips=list(trusted), h11_max_incomplete_event_size=32_768,
                timeout_keep_alive=30, timeout_graceful_shutdown=_GRACE_SECONDS, limit_concurrency=1_000,
                ws="none", loop="none",
            )
        )  # fmt: skip
        self._sockets: list[socket.socket] = []

    async def start(self) -> int:
        """Listens; returns the port. Raises ConfigError when the address is taken or not ours."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            host = "127.0.0.1" if self._host == "localhost" else self._host
            listener.bind((host, self._port))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"Cannot listen on {self._host}:{self._port} for the API and dashboard: {error.strerror}.",
                hint="Set [web] listen to a free address, or to '' to switch it off.",
            ) from error
        self._sockets = [listener]
        port: int = listener.getsockname()[1]
        _log.info("listening", address=f"http://{self._host}:{port}", login=self._context.access.required)
        return port

    async def run(self) -> None:
        """Serves until stopped, looking for live events meanwhile. Raises what breaks."""
        looking = asyncio.create_task(self._context.live.run())
        serving = asyncio.create_task(self._server.serve(sockets=self._sockets))
        try:
            done, _ = await asyncio.wait([looking, serving], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.stop()
            await asyncio.gather(serving, looking, return_exceptions=True)
            for listener in self._sockets:
                listener.close()

    def stop(self) -> None:
        """Takes no more requests; those in flight have three seconds, streams end at once."""
        self._context.live.stop()
        self._server.should_exit = True
