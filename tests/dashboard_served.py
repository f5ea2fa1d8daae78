"""The real application on a real SQLite store, in a thread of its own with its own event loop."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from doubles import evidence, incident

from alerts.commands import COMMAND, Command, act
from alerts.documents import INCIDENT
from monitor import app, serving
from monitor.config import Settings
from monitor.core.clock import SystemClock
from monitor.core.codec import incident_to_dict
from monitor.core.types import (
    Action,
    Article,
    Delete,
    EntityMention,
    Incident,
    Put,
    Scope,
    Scored,
    ScoredArticle,
    Scores,
    SeriesKey,
    Severity,
    TrendPoint,
    WordWeight,
)
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.storage import Storage

T = TypeVar("T")
TOPICS = ("markets", "fed_central_banks", "energy_oil", "macro", "earnings", "legal_regulation", "currencies")
ENGLISH = (
    "Harbour Bank shares sink after fraud probe",
    "Regulator opens inquiry into lender",
    "Oil steady before OPEC",
)
CHINESE = ("港湾银行因违规被罚款", "央行宣布下调利率", "原油价格暴跌拖累市场")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    label: str
    words: tuple[WordWeight, ...]


class WordModel:
    """In place of the network: every word counts, long ones for the verdict."""

    model = "test@1"

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        return [scored(item).scored for item in articles]

    async def explain_articles(
        self, articles: Sequence[Article], labels: Sequence[Mapping[str, str]]
    ) -> Sequence[Mapping[str, _Words]]:
        return [
            {task: _Words(label=label, words=_weights(item.title)) for task, label in wanted.items()}
            for item, wanted in zip(articles, labels, strict=True)
        ]


def _weights(text: str) -> tuple[WordWeight, ...]:
    at, found = 0, []
    for word in text.split(" "):
        if word:
            found.append(WordWeight(word=word, start=at, end=at + len(word), weight=(len(word) - 3) / 20))
        at += len(word) + 1
    return tuple(found)


def scored(article: Article, *, negative: float = 0.9, topic: str = "markets", entity: str = "") -> ScoredArticle:
    """With the scores given."""
    rest = 1 - negative
    return ScoredArticle(
        article=article,
        scored=Scored(
            article_id=article.id,
            model="test@1",
            scores=Scores(
                topics={name: 0.7 if name == topic else 0.05 for name in TOPICS},
                sentiments={"negative": negative, "neutral": rest * 0.7, "positive": rest * 0.3},
            ),
            entities=(EntityMention(id=entity, name=entity, start=0, end=4),) if entity else (),
            story_signature="",
            scored_at=article.fetched_at,
        ),
    )


def piece(name: str, title: str, *, at: datetime | None = None, **fields: Any) -> Article:
    """An article of now."""
    when = at or datetime.now(UTC)
    values: dict[str, Any] = {"id": name, "source": "wire", "title": title, "lang": "en", "published_at": when}
    return Article(**(values | {"fetched_at": when} | fields))


def day(now: datetime, count: int = 700) -> list[ScoredArticle]:
    """A day of news, English and Chinese, worse in the markets of late."""
    rng, items = random.Random(7), []
    for number in range(count):
        at = now - timedelta(seconds=rng.uniform(30, 86_000))
        topic = rng.choice(TOPICS)
        bad = topic == "markets" and now - at < 4 * HOUR
        negative = min(0.97, max(0.02, rng.gauss(0.8 if bad else 0.3, 0.2)))
        chinese = rng.random() < 0.3
        title = f"{rng.choice(CHINESE)}（{number}）" if chinese else f"{rng.choice(ENGLISH)}, report {number}"
        article = piece(
            f"n{number}", title, at=at, source=rng.choice(("wire", "gazette", "caijing")),
            lang="zh" if chinese else "en", url=f"https://news.example/{number}",
        )  # fmt: skip
        items.append(scored(article, negative=negative, topic=topic, entity="harbour-bank" if number % 9 == 0 else ""))
    return items


def surge(name: str, now: datetime, **fields: Any) -> Incident:
    """An incident of the markets with all that a page shows."""
    start = now.replace(minute=0, second=0, microsecond=0)
    title = "Harbour Bank shares sink after fraud probe"
    trend = tuple(
        TrendPoint(start=start - hours * HOUR, observed=9.0 if hours < 3 else 1.0, expected=1.2, low=0.0, high=4.0)
        for hours in range(23, -1, -1)
    )
    values: dict[str, Any] = {
        "key": SeriesKey(scope=Scope.TOPIC, value="markets"),
        "severity": Severity.CRITICAL,
        "title": "Markets",
        "reason": "27 negative stories in 3 hours where 3.6 are usual, from 3 sources.",
        "opened_at": now - 2 * HOUR,
        "updated_at": now - HOUR,
        "stories": 27,
        "sources": ("wire", "gazette", "caijing"),
        "entities": ("harbour-bank",),
        "evidence": tuple(
            evidence(
                number,
                title=title,
                heat=4 - number,
                published_at=now - HOUR,
                topic="markets",
                article_id=f"n{number}",
                words=_weights(title),
            )
            for number in range(1, 4)
        ),
        "history": (Action(at=now - HOUR, by="riskwire", what="severity rose to critical"),),
        "trend": trend,
    }
    return incident(name, **(values | fields))


class Served:
    """Starts on entering, stops on leaving. What a test changes goes through :meth:`put` and :meth:`incident`."""

    def __init__(self, folder: Path, **web: Any) -> None:
        self._settings = Settings(
            data_dir=folder, web={"listen": "127.0.0.1:0", "rate": 2000.0, "burst": 4000.0, **web}
        )  # type: ignore[call-arg]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="dashboard", daemon=True)
        self._server: serving.WebServer | None = None
        self._failed: BaseException | None = None
        self.storage: Storage | None = None
        self.url = ""

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(60)
        if self._failed is not None:
            self._thread.join(30)
            self._loop.close()
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(30)
        self._loop.close()

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._run())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self._failed = error
            self._ready.set()

    async def _run(self) -> None:
        clock = SystemClock()
        async with AsyncExitStack() as stack:
            self.storage = await stack.enter_async_context(
                app.open_storage(self._settings, clock, bus=False, store=True)
            )
            self._server = await serving.build_web(
                self._settings, clock, self.storage, metrics=Metrics(), health=Health(clock), scorer=WordModel(),
                close=stack.push_async_callback,
            )  # fmt: skip
            assert self._server is not None
            self.url = f"http://127.0.0.1:{await self._server.start()}"
            self._ready.set()
            await self._server.run()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def put(self, *items: ScoredArticle) -> None:
        """Into the store."""
        assert self.storage is not None
        for first in range(0, len(items), 500):
            assert self.call(self.storage.store.put(items[first : first + 500])).ok

    def incident(self, value: Incident) -> None:
        """As the detector writes it."""
        assert self.storage is not None
        self.call(self.storage.state.apply([Put(kind=INCIDENT, key=value.id, value=incident_to_dict(value))]))

    def commands(self) -> list[tuple[str, Command]]:
        """What was asked for and not taken yet."""
        assert self.storage is not None
        rows = self.call(self.storage.state.list(COMMAND))
        return [(key, Command.from_doc(doc)) for key, doc in rows]

    def take(self, value: Incident) -> Incident:
        """Does with all commands what the detector's next tick does."""
        assert self.storage is not None
        changes: list[Put | Delete] = []
        for key, command in self.commands():
            if command.incident == value.id:
                value = act(value, command)
            changes.append(Delete(kind=COMMAND, key=key))
        changes.append(Put(kind=INCIDENT, key=value.id, value=incident_to_dict(value)))
        self.call(self.storage.state.apply(changes))
        return replace(value)
