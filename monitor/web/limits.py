"""How often a client may ask: a token bucket each, in a table that does not grow without bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class RateLimit:
    """``rate`` requests a second in the long run, ``burst`` at once, for each of the last ``clients`` clients.

    Who falls out of the table begins anew with a full bucket; it takes ``clients`` other addresses to get there.
    """

    def __init__(self, rate: float, burst: float, now: Callable[[], float], *, clients: int = 10_000) -> None:
        self.rate, self.burst = rate, burst
        self._now = now
        self._clients = clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str, cost: float = 1.0) -> float:
        """Takes ``cost`` from the client's bucket; returns 0, or the seconds to wait when it holds too little."""
        now = self._now()
        level = self.level(client, now)
        wait = 0.0 if level >= cost else (cost - level) / self.rate
        self._buckets[client] = (level if wait else level - cost, now)
        self._buckets.move_to_end(client)
        while len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return wait

    def level(self, client: str, now: float | None = None) -> float:
        """What the client's bucket holds."""
        now = self._now() if now is None else now
        level, at = self._buckets.get(client, (self.burst, now))
        return min(self.burst, level + max(0.0, now - at) * self.rate)
