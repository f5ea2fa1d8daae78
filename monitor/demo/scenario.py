"""The packaged scenario: what happens in the invented world, which feed prints it when, what ought to be noticed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from monitor.core.errors import UsageError
from monitor.core.types import SeriesKey
from monitor.demo.feeds import FEEDS, DemoFeed

START = datetime(2026, 3, 2, tzinfo=UTC)
END = datetime(2026, 3, 26, 14, tzinfo=UTC)
SEED = 20_260_302


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoArticle:
    """One article as a feed prints it, with what the makers know of it.

    ``story`` is equal for all copies of one story. ``incident`` is the key of the planned incident that it drives, or
    empty. ``tone`` is the intended reading.
    """

    guid: str
    feed: str
    title: str
    summary: str
    url: str
    published_at: datetime
    lang: str
    topic: str
    tone: str
    story: str
    incident: str = ""
    trap: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedIncident:
    """An incident that ought to be raised: which series, when its news break and end, from how many stories."""

    name: str
    key: SeriesKey
    kind: str
    start: datetime
    end: datetime
    stories: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A surge of articles that ought not to raise an incident about ``topic``."""

    name: str
    kind: str
    topic: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The whole world. Immutable; loading it twice gives equal scenarios."""

    feeds: tuple[DemoFeed, ...]
    start: datetime
    end: datetime
    truth: tuple[PlannedIncident, ...]
    traps: tuple[Trap, ...]
    articles: tuple[DemoArticle, ...]
    """All articles in order of publication."""
    _by_feed: dict[str, tuple[DemoArticle, ...]] = field(default_factory=dict, repr=False, compare=False)
    _times: dict[str, tuple[datetime, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls) -> Scenario:
        """Builds the packaged scenario (a fraction of a second)."""
        from monitor.demo.world import build

        world = build(START, END, SEED)
        scenario = cls(feeds=FEEDS, start=START, end=END, truth=world.truth, traps=world.traps, articles=world.articles)
        for feed in FEEDS:
            own = tuple(article for article in world.articles if article.feed == feed.name)
            scenario._by_feed[feed.name] = own
            scenario._times[feed.name] = tuple(article.published_at for article in own)
        return scenario

    @property
    def watchlist(self) -> Path:
        """The CSV file with the invented institutions that come to harm; give it to the entity matcher."""
        return Path(str(resources.files("monitor.demo").joinpath("data", "watchlist.csv")))

    def feed(self, name: str) -> DemoFeed:
        """The feed of this name. Raises UsageError."""
        for feed in self.feeds:
            if feed.name == name:
                return feed
        raise UsageError(f"The demo has no feed '{name}'.", hint=f"It has {', '.join(f.name for f in self.feeds)}.")

    def articles_until(self, feed: str, now: datetime) -> Sequence[DemoArticle]:
        """What ``feed`` has published up to ``now``, oldest first."""
        return self._by_feed[self.feed(feed).name][: self.count_until(feed, now)]

    def count_until(self, feed: str, now: datetime) -> int:
        """How many articles ``feed`` has published up to ``now``."""
        return bisect_right(self._times[self.feed(feed).name], now)
