"""Made-up news in realistic lengths, the same on every machine, and a scorer that takes no time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from monitor.core.types import SENTIMENTS, Article, EntityMention, Scored, Scores

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
SPAN = timedelta(days=50)
"""The articles' dates go over two months, so that more than one monthly index is written."""

_WORDS = """
bank shares profit falls rises market fed rates inflation loss quarter deal oil stocks bond fund growth warns sales
price debt chief trade cut raises outlook dollar yield merger fraud probe default credit rating lawsuit
""".split()  # noqa: SIM905
_HAN = "的一是在中国银行股市上海利率经济增长下降风险公司业绩亏损投资者央行贷款债券违约评级监管调查市场预期美元人民币"
_TOPICS = tuple(f"topic_{number:02d}" for number in range(20))


def _running(weights: Sequence[float]) -> list[float]:
    return list(itertools.accumulate(weights))


class Newsroom:
    """Writes articles one after the other. Every fourth is Chinese; half have a summary, the others a longer body of a
    log-normal length (median 900 characters, up to 8,000); a tenth is a title alone.

    Sentences come from a supply of 3,000 a language, drawn by Zipf's law from 20,000 words: cheap to join, so that the
    newsroom is not what is measured.
    """

    def __init__(self, seed: int = 1) -> None:
        self._random = rng = Random(seed)
        made = {"".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 11))) for _ in range(20_000)}
        words = [*_WORDS, *sorted(made)]
        totals = _running([1 / rank for rank in range(1, len(words) + 1)])
        self._english = [
            " ".join(rng.choices(words, cum_weights=totals, k=rng.randint(8, 24))).capitalize() + "."
            for _ in range(3_000)
        ]
        self._chinese = ["".join(rng.choices(_HAN, k=rng.randint(12, 45))) + "。" for _ in range(3_000)]

    def articles(self, start: int, stop: int, *, of: int) -> Iterator[Article]:
        """The articles numbered from ``start`` to ``stop - 1`` of ``of`` in all, to be asked for in order."""
        for number in range(start, stop):
            yield self._article(number, of)

    def _article(self, number: int, count: int) -> Article:
        """The id begins with ``number`` (see :func:`number_of`)."""
        rng = self._random
        chinese = number % 4 == 3
        supply, mean, gap = (self._chinese, 29, "") if chinese else (self._english, 100, " ")
        title = supply[int(rng.random() * 3_000)][: (24 if chinese else 72)].rstrip(".。 ")
        kind = rng.random()
        length = 0.0 if kind < 0.1 else 250.0 if kind < 0.55 else min(8_000.0, rng.lognormvariate(6.8, 0.7))
        if chinese:
            length *= 0.35  # as many ideas in fewer characters
        body = gap.join(supply[int(rng.random() * 3_000)] for _ in range(int(length / mean + 0.999)))
        published = FIRST + SPAN * (number / max(1, count))
        name = f"{number:08x}{rng.getrandbits(96):024x}"
        source = f"source_{int(rng.random() * 300):03d}"
        return Article(
            id=name,
            source=source,
            title=title,
            body=body,
            url=f"https://{source}.example.org/news/{name}",
            lang="zh" if chinese else "en",
            published_at=published,
            fetched_at=published + timedelta(seconds=40),
            meta={"guid": name},
        )


def number_of(article_id: str) -> int:
    """The number that an article of the newsroom was given."""
    return int(article_id[:8], 16)


class ConstantScorer:
    """A :class:`~monitor.core.ports.Scorer` that gives everything the same verdict, two entities and a signature.

    ``rate`` is how many articles a second it takes; None is as many as come.
    """

    model = "constant@0000000000000000"

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate
        rest = 0.4 / (len(_TOPICS) - 1)
        self._scores = Scores(
            topics={name: 0.6 if name == "topic_07" else rest for name in _TOPICS},
            sentiments=dict(zip(SENTIMENTS, (0.5, 0.3, 0.2), strict=True)),
        )
        self._entities = tuple(EntityMention(id=f"entity_{n:03d}", name="Name", start=0, end=4) for n in (7, 42))
        self._free_at = 0.0

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        """In the order of the articles."""
        if self.rate is not None:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + len(articles) / self.rate
            await asyncio.sleep(self._free_at - now)
        at = datetime.now(UTC)
        return [
            Scored(
                article_id=article.id,
                model=self.model,
                scores=self._scores,
                entities=self._entities,
                story_signature=article.id[-16:],
                scored_at=at,
            )
            for article in articles
        ]
