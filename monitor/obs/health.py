"""Liveness and readiness, and the small HTTP endpoint that serves them with the metrics."""

from __future__ import annotations

from datetime import datetime, timedelta

from aiohttp import web

from monitor.core.clock import Clock
from monitor.core.errors import ConfigError
from monitor.obs.metrics import Metrics


class Health:
    """Collects heartbeats of the parts. A part that has not beaten for its allowance makes the daemon unhealthy."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[datetime, timedelta]] = {}
        self.ready = False

    def beat(self, part: str, *, allow: timedelta) -> None:
        """``part`` makes progress now and promises to beat again within ``allow``."""
        self._beats[part] = (self._clock.now(), allow)

    def forget(self, part: str) -> None:
        """``part`` has ended in order and promises nothing any more (a leader that stands by again)."""
        self._beats.pop(part, None)

    def ages(self) -> dict[str, tuple[float, float]]:
        """By part: seconds since its last heartbeat, and seconds within which it promised the next."""
        now = self._clock.now()
        return {part: ((now - at).total_seconds(), allow.total_seconds()) for part, (at, allow) in self._beats.items()}

    def stale(self) -> list[str]:
        """The parts that broke their promise."""
        now = self._clock.now()
        return sorted(part for part, (at, allow) in self._beats.items() if now - at > allow)


def build_app(health: Health, metrics: Metrics) -> web.Application:
    """``/healthz`` (200 while every part makes progress), ``/readyz`` (200 while work is taken), ``/metrics``."""

    async def healthz(_: web.Request) -> web.Response:
        stale = health.stale()
        if stale:
            return web.json_response({"status": "stalled", "parts": stale}, status=503)
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response({"ready": health.ready}, status=200 if health.ready else 503)

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", expose)
    return app


class HealthServer:
    """Serves :func:`build_app` on one address."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        self._host = host
        self._port = port

    async def start(self) -> int:
        """Listens; returns the port. Raises ConfigError when the address is taken or not ours."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"Cannot listen on {self._host}:{self._port} for health and metrics: {error.strerror}.",
                hint="Set [observe] listen to a free address, or to '' to switch it off.",
            ) from error
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stops listening."""
        await self._runner.cleanup()
