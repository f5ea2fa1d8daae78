"""Compares this machine's clock with the cluster's: the tail can wait for late articles, but not for wrong clocks."""

from __future__ import annotations

import time
from statistics import median

from monitor.core.clock import Clock
from monitor.core.errors import StorageError, UnavailableError
from monitor.db.values import to_micros
from monitor.store.elastic_client import ElasticClient
from monitor.store.elastic_errors import RefusedError

EVERY = 60.0
"""Seconds between two looks; a clock that jumps is looked at at once."""
_JUMP = 5.0


async def measure(client: ElasticClient, clock: Clock) -> float | None:
    """Seconds by which this clock is ahead of the cluster's (the median of its nodes); None when it does not tell."""
    began = time.monotonic()
    try:
        answer = await client.request("GET", "/_nodes/stats/os", params={"filter_path": "nodes.*.timestamp"})
    except RefusedError:
        return None
    times = [int(node["timestamp"]) for node in answer.get("nodes", {}).values() if "timestamp" in node]
    if not times:
        return None
    half = (time.monotonic() - began) / 2
    return to_micros(clock.now()) / 1e6 - half - median(times) / 1e3


class SkewGuard:
    """Refuses to go on with a clock that is too far from the cluster's."""

    def __init__(self, client: ElasticClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._limit = client.config.max_skew_seconds
        self._looked: tuple[float, float] | None = None
        """Monotonic and wall time of the last look."""

    async def check(self) -> None:
        """Raises StorageError when the clock is off. Looks at most once a minute, and after every jump."""
        if not self._limit:
            return
        now, wall = time.monotonic(), to_micros(self._clock.now()) / 1e6
        if self._looked is not None:
            passed = now - self._looked[0]
            if passed < EVERY and abs(wall - self._looked[1] - passed) < _JUMP:
                return
        try:
            skew = await measure(self._client, self._clock)
        except UnavailableError:
            return  # the request that follows says so, in the terms of its caller
        if skew is not None and abs(skew) > self._limit:
            raise StorageError(
                f"This machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Elasticsearch's.",
                hint="Synchronise the clocks (NTP): the order of arrival depends on them.",
            )
        self._looked = (now, wall)
