"""How fast the embedded bus, store and state store are on this machine.

    python benchmarks/storage.py [--articles 200000] [--folder DIR] [--tokenizers]

Everything is durable: every acknowledged write has been through fsync. The texts are synthetic: words drawn with
Zipf's law, a quarter of the articles Chinese, spread evenly over 90 days. ``--tokenizers`` compares the index of the
store with FTS5's trigram tokenizer over the same texts, in size and in what it finds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.bus.sqlite import SqliteBus
from monitor.core.clock import SystemClock
from monitor.core.codec import encode_article
from monitor.core.types import (
    SENTIMENTS,
    Article,
    EntityMention,
    Put,
    Record,
    Scored,
    ScoredArticle,
    Scores,
    SearchQuery,
    SeriesKey,
    SeriesQuery,
)
from monitor.db.directory import DataDirectory
from monitor.state.sqlite import SqliteState
from monitor.store.sqlite import SqliteStore
from monitor.store.words import indexed, match_expression

NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 90
TOPICS = tuple(f"topic_{number:02d}" for number in range(20))
COMMON = [
    "bank",
    "shares",
    "profit",
    "falls",
    "rises",
    "market",
    "fed",
    "rates",
    "inflation",
    "loss",
    "quarter",
    "deal",
    "oil",
    "stocks",
    "bond",
    "fund",
    "growth",
    "warns",
    "sales",
    "price",
    "debt",
    "chief",
    "trade",
    "cut",
    "raises",
    "outlook",
    "dollar",
    "yield",
    "merger",
    "fraud",
    "probe",
    "default",
    "credit",
    "rating",
    "lawsuit",
]
HAN = "的一是在中国银行股市上海利率经济增长下降风险公司业绩亏损投资者央行贷款债券违约评级监管调查市场预期美元人民币"


class Words:
    """Headlines that are reproducible and have common, rare and unique words."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        made = {"".join(self._random.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(20_000)}
        self._words = [*COMMON, *sorted(made)]
        weights = [1 / rank for rank in range(1, len(self._words) + 1)]
        self._totals = list(_running(weights))

    def english(self, count: int) -> str:
        """``count`` words."""
        return " ".join(self._random.choices(self._words, cum_weights=self._totals, k=count))

    def chinese(self, count: int) -> str:
        """``count`` characters."""
        return "".join(self._random.choices(HAN, k=count))


def _running(weights: list[float]) -> Iterator[float]:
    total = 0.0
    for weight in weights:
        total += weight
        yield total


def make_articles(count: int, seed: int = 1) -> list[ScoredArticle]:
    """Scored headlines with a short summary."""
    rng, words = random.Random(seed), Words(seed)
    return [_article(number, count, rng, words) for number in range(count)]


def _article(number: int, count: int, rng: random.Random, words: Words) -> ScoredArticle:
    chinese = number % 4 == 3
    title = words.chinese(18) if chinese else words.english(11)
    body = words.chinese(60) if chinese else words.english(30)
    published = NOW - timedelta(days=DAYS) + timedelta(days=DAYS) * (number / count)
    topic = rng.choice(TOPICS)
    raw = [rng.random() + (5 if name == topic else 0) for name in TOPICS]
    feeling = [rng.random() for _ in SENTIMENTS]
    article_id = f"{rng.getrandbits(128):032x}"
    entities = tuple(
        EntityMention(id=f"entity_{rng.randrange(150):03d}", name="Name", start=0, end=4)
        for _ in range(rng.randrange(3))
    )
    return ScoredArticle(
        article=Article(
            id=article_id,
            source=f"source_{rng.randrange(500):03d}",
            title=title,
            body=body,
            url=f"https://news.example.org/{article_id}",
            lang="zh" if chinese else "en",
            published_at=published,
            fetched_at=published,
        ),
        scored=Scored(
            article_id=article_id,
            model="model@0123456789abcdef",
            scores=Scores(
                topics={name: value / math.fsum(raw) for name, value in zip(TOPICS, raw, strict=True)},
                sentiments={n: v / math.fsum(feeling) for n, v in zip(SENTIMENTS, feeling, strict=True)},
            ),
            entities=entities,
            story_signature=f"{rng.getrandbits(64):016x}",
            scored_at=published,
        ),
    )


def show(name: str, figure: str) -> None:
    """One row of the table."""
    print(f"| {name} | {figure} |", flush=True)


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def median_ms(call: Callable[[], Awaitable[object]], rounds: int = 7) -> float:
    """The median over some rounds, in milliseconds."""
    return statistics.median([await timed(call) for _ in range(rounds)]) * 1000


async def bench_bus(directory: DataDirectory, articles: list[ScoredArticle]) -> None:
    """Publish and consume."""
    bus = await SqliteBus.open(directory, clock=SystemClock())
    records = [
        Record(key=item.article.id, value=encode_article(item.article), timestamp=item.article.published_at)
        for item in articles
    ]

    for batch, count in ((1, 500), (32, 10_000), (256, 20_000)):
        part = records[:count]
        began = time.perf_counter()
        for start in range(0, len(part), batch):
            await bus.publish("t", part[start : start + batch])
        show(f"publish, batches of {batch}", f"{len(part) / (time.perf_counter() - began):,.0f} records/s")

    began = time.perf_counter()
    await asyncio.gather(*(bus.publish("t", [record]) for record in records[:5_000]))
    show("publish, 5,000 single records at once", f"{5_000 / (time.perf_counter() - began):,.0f} records/s")

    for size in (32, 256):
        async with bus.subscribe("t", f"group{size}") as subscription:
            began, count = time.perf_counter(), 0
            while page := await subscription.fetch(size, 0.0):
                await subscription.commit(page)
                count += len(page)
            show(f"fetch + commit, {size} at a time", f"{count / (time.perf_counter() - began):,.0f} records/s")
    show("lag", f"{await median_ms(lambda: bus.lag('t', 'group32')):.2f} ms")
    began = time.perf_counter()
    dropped = await bus.expire(NOW + timedelta(days=1))
    show("expire", f"{dropped / (time.perf_counter() - began):,.0f} records/s")
    await bus.close()


async def bench_state(directory: DataDirectory) -> None:
    """Small transactions."""
    state = await SqliteState.open(directory)
    document = {"baseline": [0.5] * 168, "model": "m"}
    began = time.perf_counter()
    for number in range(500):
        await state.apply([Put(kind="k", key=str(number), value=document)])
    show("state: apply one document (168 numbers)", f"{500 / (time.perf_counter() - began):,.0f}/s")
    began = time.perf_counter()
    for number in range(20):
        await state.apply([Put(kind="k", key=f"{number}/{n}", value=document) for n in range(200)])
    show("state: apply 200 documents at once", f"{4_000 / (time.perf_counter() - began):,.0f} documents/s")
    await state.close()


async def bench_store(directory: DataDirectory, articles: list[ScoredArticle]) -> None:
    """Put, tail, search, series."""
    store = await SqliteStore.open(directory, clock=SystemClock())
    place = 0
    for batch, count in ((1, 500), (32, 9_600), (256, len(articles))):
        part = articles[place : place + count]
        place += len(part)
        began = time.perf_counter()
        for start in range(0, len(part), batch):
            await store.put(part[start : start + batch])
        seconds = time.perf_counter() - began
        show(f"put, batches of {batch} ({len(part):,} articles)", f"{len(part) / seconds:,.0f} articles/s")
    path = directory.file("store.db")
    size = path.stat().st_size
    show(f"size at {len(articles):,} articles", f"{size / 1e6:,.0f} MB, {size / len(articles):,.0f} bytes each")

    began = time.perf_counter()
    for start in range(0, 10_240, 256):
        await store.put(articles[start : start + 256])
    show("put again (redelivery), batches of 256", f"{10_240 / (time.perf_counter() - began):,.0f} articles/s")

    began, after, count = time.perf_counter(), "", 0
    while (page := await store.tail(after, 500)).items:
        after, count = page.position, count + len(page.items)
    show("tail, 500 at a time", f"{count / (time.perf_counter() - began):,.0f} articles/s")

    probe = articles[len(articles) // 2].article
    rare = articles[4].article.title.split()[-1]
    queries = {
        "newest 20": SearchQuery(),
        "English, the most common word": SearchQuery(text="bank"),
        "English, two common words": SearchQuery(text="profit falls"),
        "English, a rarer word": SearchQuery(text=rare),
        "English, common word in one topic and week": SearchQuery(
            text="bank", topic=TOPICS[0], since=NOW - timedelta(days=7)
        ),
        "Chinese, one character": SearchQuery(text="银"),
        "Chinese, two characters": SearchQuery(text="银行"),
        "Chinese, four characters": SearchQuery(text=articles[3].article.title[4:8]),
        "one topic": SearchQuery(topic=TOPICS[0]),
        "one entity": SearchQuery(entity="entity_007"),
        "one source, negative": SearchQuery(source=probe.source, sentiment="negative"),
    }
    for name, query in queries.items():
        total = (await store.search(query)).total
        show(f"search: {name} ({total:,} hits)", f"{await median_ms(lambda q=query: store.search(q)):.1f} ms")

    for name, days, width in (("week by hour", 7, 1), ("90 days by hour", 90, 1)):
        for key in ("all:*", f"topic:{TOPICS[0]}", "entity:entity_007"):
            asked = SeriesQuery(
                key=SeriesKey.parse(key), since=NOW - timedelta(days=days), until=NOW, width=timedelta(hours=width)
            )
            show(f"series: {key}, {name}", f"{await median_ms(lambda q=asked: store.series(q)):.1f} ms")

    seconds = await timed(lambda: store.expire(NOW - timedelta(days=DAYS * 0.95)))
    show("expire", f"{len(articles) * 0.05 / seconds:,.0f} articles/s")
    await store.close()

    async def reopen() -> None:
        await (await SqliteStore.open(directory, clock=SystemClock())).close()

    show("open and close", f"{await median_ms(reopen, 3):.0f} ms")


def compare_tokenizers(folder: Path, articles: list[ScoredArticle]) -> None:
    """The store's pairs against trigrams, over the same texts."""
    variants: dict[str, tuple[str, Callable[[str], str], Callable[[str], str]]] = {
        "pairs + porter": ("porter unicode61 remove_diacritics 2", indexed, match_expression),
        "trigram": ("trigram", str, lambda text: f'"{text}"'),
    }
    words = ("bank", "profit", "银行", "央行贷款", "银")
    print(f"\n| index | build | size | {' | '.join(words)} |\n{'|---' * (3 + len(words))}|")
    for name, (tokenizer, prepare, expression) in variants.items():
        path = folder / f"{name.replace(' ', '')}.db"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(f"CREATE VIRTUAL TABLE w USING fts5 (title, body, content='', tokenize='{tokenizer}')")
        began = time.perf_counter()
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO w (rowid, title, body) VALUES (?, ?, ?)",
            [(n, prepare(i.article.title), prepare(i.article.body)) for n, i in enumerate(articles)],
        )
        connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        cells = []
        for word in words:
            began = time.perf_counter()
            count = connection.execute("SELECT COUNT(*) FROM w WHERE w MATCH ?", (expression(word),)).fetchone()[0]
            cells.append(f"{count:,} in {(time.perf_counter() - began) * 1000:.1f} ms")
        connection.close()
        print(f"| {name} | {seconds:.1f} s | {path.stat().st_size / 1e6:.0f} MB | {' | '.join(cells)} |", flush=True)
    for word in ("银行", "银"):
        began = time.perf_counter()
        count = sum(1 for item in articles if word in item.article.title or word in item.article.body)
        print(f"\n`{word}` really occurs in {count:,} articles.", end=" ")
    print()


async def bench(options: argparse.Namespace, folder: Path) -> None:
    """The whole table."""
    print(
        f"{options.articles:,} articles, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores\n\n"
        "| what | |\n|---|---|"
    )
    articles = make_articles(options.articles)
    with DataDirectory(folder / "data") as directory:
        await bench_bus(directory, articles)
        await bench_state(directory)
        await bench_store(directory, articles)
    if options.tokenizers:
        compare_tokenizers(folder, articles)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=None, help="a folder on the disk to measure; default: temporary")
    parser.add_argument("--tokenizers", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        asyncio.run(bench(options, Path(folder)))


if __name__ == "__main__":
    main()
