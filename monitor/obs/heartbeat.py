"""A dead man's switch: a URL that is asked again and again while the whole chain makes progress, and only then.

The service behind it (healthchecks.io, Uptime Kuma, Dead Man's Snitch, one's own) raises the alarm when the pings stay
away: the one alarm that also comes when this machine is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp
import structlog

from monitor.core.clock import Clock
from monitor.core.errors import ConfigError
from monitor.obs.metrics import Metrics

_log = structlog.get_logger("heartbeat")


class Heartbeat:
    """Asks ``url`` every ``interval`` real seconds with GET, unless ``stalls()`` names what stands still.

    The URL is a secret and never shown. Any answer but 2xx, redirects among them, counts as failed; a failure is logged
    and counted, and harms nothing else.
    """

    def __init__(
        self,
        url: str,
        *,
        interval: float,
        timeout: float,
        stalls: Callable[[], Sequence[str]],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise ConfigError("observe.heartbeat_url must begin with https:// or http://.")
        self._url = url
        self._interval = interval
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._stalls = stalls
        self._metrics = metrics
        self._clock = clock
        self._said: object = None

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession(timeout=self._timeout, trust_env=True) as session:
            while True:
                await self.turn(session)
                await asyncio.sleep(self._interval)

    async def turn(self, session: aiohttp.ClientSession) -> str:
        """One turn; returns ``ok``, ``failed`` or ``withheld``."""
        stalls = tuple(self._stalls())
        if stalls:
            outcome, reason = "withheld", "; ".join(stalls)
        else:
            reason = await self._ask(session)
            outcome = "failed" if reason else "ok"
        self._metrics.heartbeat_pings.labels(outcome).inc()
        if outcome == "ok":
            self._metrics.heartbeat_ping_timestamp_seconds.set(self._clock.now().timestamp())
        if (outcome, reason) != self._said:  # each state is told once, not every minute
            self._said = (outcome, reason)
            say = _log.info if outcome == "ok" else _log.warning
            say(f"heartbeat_{outcome}", **({"reason": reason} if reason else {}))
        return outcome

    async def _ask(self, session: aiohttp.ClientSession) -> str:
        """Why it failed, or "". The errors of aiohttp quote the URL, so only their names are told."""
        try:
            async with session.get(self._url, allow_redirects=False) as response:
                return "" if 200 <= response.status < 300 else f"the server answered {response.status}"
        except TimeoutError:
            return f"no answer within {self._timeout.total:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__
