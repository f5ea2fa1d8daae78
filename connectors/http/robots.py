"""robots.txt (RFC 9309), asked once an hour per origin. For pages that Riskwire fetches of its own accord; a feed is
published to be polled and is not asked for."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from urllib.robotparser import RobotFileParser

from connectors.http.fetcher import Fetcher
from connectors.http.urls import origin
from monitor.core.clock import Clock
from monitor.core.errors import FetchError, SourceError

_LIMIT = 512 * 1024
"""RFC 9309 2.5 asks for at least 500 KiB."""
_KEPT = 500
_FRESH = timedelta(hours=1)
_RETRY = timedelta(minutes=5)


class Robots:
    """Answers whether a page may be fetched."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._rules: OrderedDict[tuple[str, str, int], tuple[RobotFileParser, datetime]] = OrderedDict()

    async def allows(self, url: str) -> bool:
        """True when robots.txt of the URL's origin lets us fetch it.

        A missing file (4xx) allows everything; an unreachable one (5xx, no connection) forbids everything until it
        is asked again. Raises BlockedAddressError when the guard refuses the origin.
        """
        try:
            key = origin(url)
        except ValueError as error:
            raise FetchError("a page link is no http URL.", code="bad_url") from error
        known = self._rules.get(key)
        if known is None or known[1] <= self._clock.now():
            known = await self._ask(key)
            self._rules[key] = known
            while len(self._rules) > _KEPT:
                self._rules.popitem(last=False)
        self._rules.move_to_end(key)
        rules = known[0]
        agent = self._fetcher.policy.user_agent.split("/", 1)[0]
        delay = rules.crawl_delay(agent)
        if delay:
            self._fetcher.crawl_delay(url, float(delay))
        return rules.can_fetch(agent, url)

    async def _ask(self, key: tuple[str, str, int]) -> tuple[RobotFileParser, datetime]:
        scheme, host, port = key
        rules = RobotFileParser()
        fresh = _FRESH
        shown = f"[{host}]" if ":" in host else host
        try:
            response = await self._fetcher.get(
                f"{scheme}://{shown}:{port}/robots.txt", accept="text/plain", max_bytes=_LIMIT
            )
        except SourceError as error:
            if error.code == "blocked_address":
                raise
            if error.code == "gone" or (error.code.startswith("http_4") and error.code != "http_429"):
                rules.parse([])
            else:
                rules.parse(["User-agent: *", "Disallow: /"])
                fresh = _RETRY
        else:
            rules.parse(response.body.decode("utf-8", "replace").splitlines())
        return rules, self._clock.now() + fresh
