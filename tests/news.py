"""A small news world with a fixed seed, and a timeline to test against: push at a time, expect between two times."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.pipeline import DetectPipeline, PipelineConfig
from monitor.core.types import Article, EntityMention, Incident, Scored, ScoredArticle, Scores

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_SYLLABLES = "ba ce di fo gu ha ki lo mu ne pi ra so tu ve wo xa yi zo qua".split()  # noqa: SIM905


def words(rng: random.Random, count: int = 7) -> str:
    """A title that resembles no other."""
    return " ".join("".join(rng.choices(_SYLLABLES, k=3)) for _ in range(count))


def scored(
    number: int | str,
    at: datetime,
    *,
    negative: float = 0.1,
    source: str = "wire",
    topic: str = "markets",
    title: str | None = None,
    entities: Iterable[str] = (),
    fetched: datetime | None = None,
    model: str = "m1",
    url: str = "",
) -> ScoredArticle:
    """One scored article."""
    article = Article(
        id=f"a{number}",
        source=source,
        title=title if title is not None else words(random.Random(f"title {number}")),
        published_at=at,
        fetched_at=fetched or at,
        url=url,
        lang="en",
    )
    return ScoredArticle(
        article=article,
        scored=Scored(
            article_id=article.id,
            model=model,
            scores=Scores(
                topics={topic: 0.9, "other": 0.1},
                sentiments={"negative": negative, "neutral": 1.0 - negative, "positive": 0.0},
            ),
            entities=tuple(EntityMention(id=name, name=name.title(), start=0, end=1) for name in entities),
            scored_at=at,
        ),
    )


def background(
    start: datetime, days: float, *, per_hour: float = 12.0, seed: int = 1, negative: float = 0.2
) -> list[ScoredArticle]:
    """An ordinary flow: busy by day, three sources, two topics, mostly not negative."""
    rng = random.Random(seed)
    items = []
    for hour in range(int(days * 24)):
        rate = per_hour * (1.0 if 7 <= hour % 24 < 18 else 0.4)
        for _ in range(sum(rng.random() < rate / 40 for _ in range(40))):
            at = start + timedelta(hours=hour, seconds=rng.randrange(3600))
            bad = rng.random() < negative
            items.append(
                scored(
                    f"{seed}-{len(items)}",
                    at,
                    negative=0.9 if bad else 0.05,
                    source=rng.choice(["wire", "paper", "blog"]),
                    topic=rng.choice(["markets", "macro"]),
                )
            )
    return sorted(items, key=lambda item: item.article.published_at)


def burst(
    start: datetime, count: int, minutes: float, *, negative: float = 0.95, prefix: str = "burst", **fields: Any
) -> list[ScoredArticle]:
    """``count`` different stories within ``minutes``, from three sources in turn."""
    sources = fields.pop("sources", ("wire", "paper", "blog"))
    return [
        scored(
            f"{prefix}-{n}",
            start + timedelta(minutes=minutes * n / count),
            negative=negative,
            source=sources[n % len(sources)],
            **fields,
        )
        for n in range(count)
    ]


@dataclass
class Timeline:
    """Runs a pipeline over articles, with a tick every minute, and remembers what was told when."""

    pipeline: DetectPipeline = field(default_factory=lambda: DetectPipeline(PipelineConfig()))
    told: list[tuple[datetime, Incident]] = field(default_factory=list)

    def run(self, items: Iterable[ScoredArticle], until: datetime, *, tick: timedelta = timedelta(minutes=1)) -> None:
        """Pushes the items when they are fetched; the watermark is the time."""
        waiting = sorted(items, key=lambda item: item.article.fetched_at)
        at = self.pipeline.watermark or waiting[0].article.fetched_at
        place = 0
        while at <= until:
            begin = place
            while place < len(waiting) and waiting[place].article.fetched_at <= at:
                place += 1
            self.pipeline.feed([*waiting[begin:place]])
            self.told += [(at, incident) for incident in self.pipeline.advance(at).incidents]
            at += tick

    def between(self, first: datetime, last: datetime) -> list[Incident]:
        """What was told in [first, last]."""
        return [incident for at, incident in self.told if first <= at <= last]

    def expect(
        self, first: datetime, last: datetime, like: Callable[[Incident], bool] = lambda incident: True
    ) -> Incident:
        """The first incident told in [first, last] that is ``like`` this."""
        found = [incident for incident in self.between(first, last) if like(incident)]
        assert found, (
            f"nothing like it between {first} and {last}; told: {[(at, i.key, i.state) for at, i in self.told]}"
        )
        return found[0]
