"""Live articles and incidents for everybody who watches: one look into the stores for all, one bounded queue each."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from monitor.core.errors import RiskwireError
from monitor.web.incidents import Incidents
from monitor.web.problems import encoded
from monitor.web.views import article_view

if TYPE_CHECKING:
    from monitor.web.context import WebContext

_log = structlog.get_logger("web")
KEPT = 500
"""Events that a client who comes back can be given."""
QUEUE = 200
"""Events that wait for one client; further ones are left out, and it is told how many."""
HEARTBEAT_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_IDLE_LOOK_SECONDS = 5.0
_AGE = timedelta(minutes=10)
"""Older arrivals are no news any more (the detector was away, or this process just started)."""
_PAGE = 500
POSITION = ("detect", "position")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    id: str
    kind: str
    data: Mapping[str, Any]

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return f"id: {self.id}\nevent: {self.kind}\ndata: ".encode() + encoded(self.data) + b"\n\n"


Wanted = Callable[[Event], bool]


@dataclass(slots=True, eq=False)
class _Client:
    wanted: Wanted
    waiting: deque[Event] = field(default_factory=deque)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: int = 0

    def offer(self, event: Event) -> None:
        if not self.wanted(event):
            return
        if len(self.waiting) >= QUEUE:
            self.dropped += 1
        else:
            self.waiting.append(event)
        self.woken.set()


class Live:
    """Run :meth:`run` beside the server; :meth:`stop` ends every stream."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self.incidents = Incidents(context.state)
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._clients: set[_Client] = set()
        self._position: str | None = None
        self._revisions: dict[str, int] | None = None
        self._stopped = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether no further client is taken."""
        return len(self._clients) >= self._context.options.max_streams

    async def run(self) -> None:
        """Looks for news until stopped. A store that is away is asked again."""
        failing = False
        while not self._stopped.is_set():
            try:
                await self.look()
                failing = False
            except RiskwireError as error:
                if not failing:
                    _log.warning("live_waits", error=str(error))
                failing = True
            self._context.health.beat("web", allow=timedelta(seconds=300 * self._context.clock.rate))
            pause = _LOOK_SECONDS if self._clients else _IDLE_LOOK_SECONDS
            try:
                await asyncio.wait_for(self._stopped.wait(), pause)
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Ends every stream."""
        self._stopped.set()
        for client in self._clients:
            client.woken.set()

    async def look(self) -> None:
        """Tells everybody of what came since the last look. Raises StorageError."""
        await self._look_for_articles()
        incidents = await self.incidents.all()
        known, now = self._revisions, {str(view["id"]): int(view["revision"]) for view in incidents}
        if known is not None:
            for view in reversed(incidents):
                if known.get(str(view["id"])) != view["revision"]:
                    self._tell("incident", view)
        self._revisions = now

    async def _look_for_articles(self) -> None:
        if self._position is None:
            # The detector has read up to here: nobody needs to see the whole store go by.
            saved = await self._context.state.get(*POSITION)
            self._position = str(saved["position"]) if saved else ""
        for _ in range(20):
            page = await self._context.store.tail(self._position, _PAGE)
            oldest = self._context.clock.now() - _AGE
            for item in page.items:
                if item.scored.scored_at >= oldest:
                    self._tell("article", article_view(item))
            self._position = page.position
            if len(page.items) < _PAGE:
                return
            await asyncio.sleep(0)

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        self._number += 1
        event = Event(id=f"{self._boot}-{self._number}", kind=kind, data=data)
        self._kept.append(event)
        for client in self._clients:
            client.offer(event)

    async def stream(self, wanted: Wanted, last_id: str, hello: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """What one client reads: what it missed since ``last_id``, if that is still known, then what happens."""
        metrics, client = self._context.metrics, _Client(wanted)
        self._clients.add(client)
        metrics.sse_clients.set(len(self._clients))
        try:
            missed, resumed = self._since(last_id)
            for event in missed:
                client.offer(event)
            yield b"event: hello\ndata: " + encoded({**hello, "resumed": resumed}) + b"\n\n"
            while not self._stopped.is_set():
                client.woken.clear()
                while client.waiting:
                    event = client.waiting.popleft()
                    metrics.sse_events.labels(event.kind).inc()
                    yield event.encode()
                if client.dropped:
                    count, client.dropped = client.dropped, 0
                    metrics.sse_dropped.inc()
                    yield b"event: dropped\ndata: " + encoded({"count": count}) + b"\n\n"
                if client.waiting:
                    continue
                try:
                    await asyncio.wait_for(client.woken.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    metrics.sse_events.labels("heartbeat").inc()
                    yield b": beat\n\n"
        finally:
            self._clients.discard(client)
            metrics.sse_clients.set(len(self._clients))

    def _since(self, last_id: str) -> tuple[list[Event], bool]:
        kept = list(self._kept)
        for index, event in enumerate(kept):
            if event.id == last_id:
                return kept[index + 1 :], True
        return [], last_id == f"{self._boot}-{self._number}"
