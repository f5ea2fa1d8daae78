"""Politeness per host: how many requests at once, and how far apart."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.http.policy import HttpPolicy
from monitor.core.errors import FetchError

_KEPT_HOSTS = 4_096
_MAX_CRAWL_DELAY = 30.0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Host:
    def __init__(self, width: int, spacing: float) -> None:
        self.slots = asyncio.Semaphore(width)
        self.spacing = spacing
        self.next_start = 0.0
        self.users = 0


class HostLimits:
    """Lets requests through one by one per host and not too many over all."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._all = asyncio.Semaphore(policy.concurrency)
        self._hosts: dict[tuple[str, int], _Host] = {}

    def _host(self, key: tuple[str, int]) -> _Host:
        host = self._hosts.get(key)
        if host is None:
            if len(self._hosts) >= _KEPT_HOSTS:
                now = time.monotonic()
                self._hosts = {k: h for k, h in self._hosts.items() if h.users or h.next_start > now}
            host = _Host(self._policy.per_host, 0.0 if _is_loopback(key[0]) else self._policy.spacing)
            self._hosts[key] = host
        return host

    def crawl_delay(self, name: str, port: int, seconds: float) -> None:
        """Raises the spacing of one host, as its robots.txt asks; at most to 30 s."""
        host = self._host((name, port))
        host.spacing = max(host.spacing, min(seconds, _MAX_CRAWL_DELAY))

    @asynccontextmanager
    async def turn(self, name: str, port: int) -> AsyncIterator[None]:
        """Waits for this request's turn. Raises FetchError (``busy``) after the policy's ``queue_timeout``."""
        host = self._host((name, port))
        host.users += 1
        try:
            try:
                async with asyncio.timeout(self._policy.queue_timeout):
                    await host.slots.acquire()
                    try:
                        await self._space(host)
                        await self._all.acquire()
                    except BaseException:
                        host.slots.release()
                        raise
            except TimeoutError:
                raise FetchError(
                    f"{name}: waited {self._policy.queue_timeout:g} s for a turn; too many sources share this host.",
                    code="busy",
                    hint="Poll them less often, or raise http.per_host.",
                ) from None
            try:
                yield
            finally:
                self._all.release()
                host.slots.release()
        finally:
            host.users -= 1

    async def _space(self, host: _Host) -> None:
        now = time.monotonic()
        start = max(now, host.next_start)
        host.next_start = start + host.spacing
        if start > now:
            await asyncio.sleep(start - now)
