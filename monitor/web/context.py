"""What the routes work with, handed over by the composition root. Ports and plain values only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

from fastapi import Depends, Request

from monitor.core.clock import Clock
from monitor.core.ports import Bus, StateStore, Store
from monitor.core.types import Article, Scored, WordWeight
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.web.access import Access
from monitor.web.fresh import Fresh
from monitor.web.limits import RateLimit

T = TypeVar("T")

if TYPE_CHECKING:
    from monitor.web.live import Live


class Words(Protocol):
    """What explains one verdict."""

    @property
    def label(self) -> str:
        """Of what."""

    @property
    def words(self) -> tuple[WordWeight, ...]:
        """In text order."""


class Model(Protocol):
    """The scorer as the API uses it."""

    model: str

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        """See :class:`monitor.core.ports.Scorer`."""

    async def explain_articles(
        self, articles: Sequence[Article], labels: Sequence[Mapping[str, str]]
    ) -> Sequence[Mapping[str, Words]]:
        """For each article the words behind these labels (task → label), by task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One entity of the watchlist."""

    id: str
    name: str
    name_zh: str = ""
    kind: str = ""
    country: str = ""
    tickers: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    aliases_zh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of the model without loading its network. ``names``: label → language → display name."""

    id: str
    name: str
    packaged: bool
    languages: tuple[str, ...]
    tasks: Mapping[str, tuple[str, ...]]
    names: Mapping[str, Mapping[str, Mapping[str, str]]]
    metrics: Mapping[str, Any]
    card: str
    size: int

    def display(self, task: str, label: str, lang: str = "en") -> str:
        """How people see a label; its id when it has no name."""
        names = self.names.get(task, {}).get(label, {})
        return names.get(lang) or names.get("en") or label


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How the API is served. Sizes in bytes."""

    hosts: tuple[str, ...] = ()
    """Host names that are answered for; empty: any."""
    cors_origins: tuple[str, ...] = ()
    max_body: int = 8 * 1024 * 1024
    rate: float = 50.0
    burst: float = 200.0
    max_streams: int = 100
    push: bool = True
    static: Path | None = None
    """Folder of the dashboard's files."""
    bucket_minutes: int = 5
    """Width of the detector's buckets."""


@dataclass(slots=True, kw_only=True)
class WebContext:
    """Everything that routes need. ``model``, ``facts`` and ``watchlist`` load what they give when it is first asked
    for; they raise ModelError or ConfigError."""

    options: WebOptions
    access: Access
    clock: Clock
    store: Store
    state: StateStore
    bus: Bus | None
    metrics: Metrics
    health: Health
    model: Callable[[], Awaitable[Model]]
    facts: Callable[[], Awaitable[ModelFacts]]
    watchlist: Callable[[], Awaitable[Sequence[Entity]]]
    sources: Sequence[tuple[str, str]] = ()
    """Configured sources: name and kind."""
    version: str = ""
    requests: RateLimit = field(init=False)
    logins: RateLimit = field(init=False)
    live: Live = field(init=False)
    fresh: Fresh = field(default_factory=Fresh)

    def __post_init__(self) -> None:
        from monitor.web.live import Live

        self.requests = RateLimit(self.options.rate, self.options.burst, time.monotonic)
        self.logins = RateLimit(0.2, 10, time.monotonic)
        self.live = Live(self)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names that are answered for; empty: any."""
        return self.options.hosts


class Once(Generic[T]):
    """Loads a value on a thread when it is first asked for; a failure is not kept."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._lock = asyncio.Lock()
        self._value: list[T] = []

    @property
    def known(self) -> bool:
        """Whether it was loaded."""
        return bool(self._value)

    async def __call__(self) -> T:
        """The value."""
        async with self._lock:
            if not self._value:
                self._value.append(await asyncio.to_thread(self._load))
            return self._value[0]


def _context(request: Request) -> WebContext:
    context: WebContext = request.app.state.context
    return context


Context = Annotated[WebContext, Depends(_context)]
