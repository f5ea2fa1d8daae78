"""What our clients need for an article, beside the same libraries in a loop of their own without our code.

Everything happens in this process, one thing after the other, so that its processor time belongs to the one call that
is measured. The library's loop does what one writes first from its documentation, with our settings of compression,
batch sizes and acknowledgements; it promises less (no bounded buffer, no contiguous commits, no check for late writes).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends import Backend
from elasticsearch import AsyncElasticsearch, helpers
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from news import ConstantScorer, Newsroom
from process import wait_for_records
from rich.console import Console
from rich.table import Table

from monitor import app
from monitor.config import load_settings
from monitor.core.clock import SystemClock
from monitor.core.codec import decode_article, encode_article
from monitor.core.types import Article, Record, ScoredArticle
from monitor.services.topics import ARTICLES, SCORE_GROUP

BATCH = 256
"""Articles of one fetch and one bulk request: what the score role takes."""
PUBLISH = 500
"""Records of one publish: what the ingest role sends."""
PAGE = 1000
"""Articles of one page of the tail: what the detector asks for."""
_TAIL_SECONDS = 30.0


@dataclass(slots=True)
class Figure:
    """Seconds for some articles: on the clock, and of this process on a processor."""

    articles: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def measured(self, articles: int) -> Iterator[None]:
        """Adds what happens inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.articles += articles


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


async def run_clients(console: Console, backend: Backend, count: int) -> None:
    """The table."""
    if "kafka" in backend.pids:
        wait_for_records()
    articles = list(Newsroom().articles(0, count, of=count))
    scorer = ConstantScorer()
    items = [
        ScoredArticle(article=article, scored=scored)
        for article, scored in zip(articles, await scorer.score(articles), strict=True)
    ]
    records = [Record(key=a.id, value=encode_article(a), timestamp=a.fetched_at) for a in articles]
    ours: dict[str, Figure] = {}
    raw: dict[str, Figure] = {}
    settings = load_settings(backend.config("clients"))
    async with app.open_storage(settings, SystemClock()) as storage:
        warm = max(1, min(500, count // 10))
        await storage.bus.publish(ARTICLES, records[:warm])
        ours["Kafka: publish"] = figure = Figure()
        with figure.measured(count - warm):
            for part in _parts(records[warm:], PUBLISH):
                await storage.bus.publish(ARTICLES, part)

        ours["Kafka: consume and commit"] = figure = Figure()
        async with storage.bus.subscribe(ARTICLES, SCORE_GROUP) as subscription:
            await subscription.commit(first := await subscription.fetch(1, 30.0))
            with figure.measured(count - len(first)):
                seen = len(first)
                while seen < count:
                    deliveries = await subscription.fetch(BATCH, 5.0)
                    await subscription.commit(deliveries)
                    seen += len(deliveries)

        await storage.store.put(items[:warm])
        ours["Elasticsearch: bulk"] = figure = Figure()
        with figure.measured(count - warm):
            for part in _parts(items[warm:], BATCH):
                report = await storage.store.put(part)
                if not report.ok:
                    raise RuntimeError(f"not stored: {next(r for r in report.results if r.reason).reason}")
        await asyncio.sleep(2 * settings.elastic.refresh_seconds + 3)  # until the tail gives all: a pause, no wait
        ours["Elasticsearch: tail"] = figure = Figure()
        position, seen, deadline = "", 0, time.monotonic() + _TAIL_SECONDS
        with figure.measured(count):
            while seen < count and time.monotonic() < deadline:
                page = await storage.store.tail(position, PAGE)
                position, seen = page.position, seen + len(page.items)
        if seen < count:
            raise RuntimeError(f"the tail gave {seen} of {count} articles")
    await asyncio.to_thread(_raw_kafka, backend, settings.kafka.compression, records, raw)
    await _raw_elastic(backend, count, raw)
    codec = _codec(articles)
    _show(console, backend, ours, raw, codec)


def _raw_kafka(backend: Backend, compression: str, records: Sequence[Record], raw: dict[str, Figure]) -> None:
    topic, brokers = f"{backend.prefix}.raw", backend.kafka.split(",")
    admin = KafkaAdminClient(bootstrap_servers=brokers)
    admin.create_topics([NewTopic(topic, 8, 1)])
    admin.close()
    producer = KafkaProducer(
        bootstrap_servers=brokers, acks="all", compression_type=compression, batch_size=128 * 1024, linger_ms=5
    )
    warm = max(1, min(500, len(records) // 10))
    raw["Kafka: publish"] = figure = Figure()
    for number, part in enumerate((records[:warm], records[warm:])):
        with figure.measured(len(part)) if number else Figure().measured(0):
            for batch in _parts(part, PUBLISH):
                for sent in [producer.send(topic, key=r.key.encode(), value=r.value) for r in batch]:
                    sent.get(30)
    producer.close()
    consumer = KafkaConsumer(
        topic, bootstrap_servers=brokers, group_id=f"{backend.prefix}.raw", auto_offset_reset="earliest",
        enable_auto_commit=False, max_poll_records=BATCH,
    )  # fmt: skip
    raw["Kafka: consume and commit"] = figure = Figure()
    seen = 0
    while not seen:
        seen = sum(map(len, consumer.poll(1000, max_records=1).values()))
    with figure.measured(len(records) - seen):
        while seen < len(records):
            seen += sum(map(len, consumer.poll(5000, max_records=BATCH).values()))
            consumer.commit()
    consumer.close()


async def _raw_elastic(backend: Backend, count: int, raw: dict[str, Figure]) -> None:
    """The documents that our store has written, into an index of the same mapping."""
    index = f"{backend.prefix}-articles-0000.00"
    headers = {"accept": "application/vnd.elasticsearch+json; compatible-with=8"}
    async with AsyncElasticsearch(backend.elastic.split(",")) as plain:
        client = plain.options(headers=headers)
        documents = [hit async for hit in helpers.async_scan(client, index=f"{backend.prefix}-*", size=PAGE)]
        if len(documents) != count:
            raise RuntimeError(f"the store holds {len(documents)} documents of {count}")
        await client.indices.create(index=index)  # by our template, as every month's index

        async def actions() -> AsyncIterator[dict[str, Any]]:
            for hit in documents:
                yield {"_index": index, "_id": hit["_id"], "_source": hit["_source"]}

        try:
            raw["Elasticsearch: bulk"] = figure = Figure()
            with figure.measured(count):
                async for _ in helpers.async_streaming_bulk(client, actions(), chunk_size=BATCH):
                    pass
            await client.indices.refresh(index=index)
            raw["Elasticsearch: tail"] = figure = Figure()
            with figure.measured(count):
                async for _ in helpers.async_scan(client, index=index, size=PAGE):
                    pass
        finally:
            await client.indices.delete(index=index)


def _codec(articles: Sequence[Article]) -> dict[str, Figure]:
    """The envelope on the bus, which is part of ingest and score and no client's work."""
    encode, decode = Figure(), Figure()
    with encode.measured(len(articles)):
        payloads = [encode_article(article) for article in articles]
    with decode.measured(len(articles)):
        for payload in payloads:
            decode_article(payload)
    return {"envelope: encode": encode, "envelope: decode and check": decode}


def _show(
    console: Console, backend: Backend, ours: dict[str, Figure], raw: dict[str, Figure], codec: dict[str, Figure]
) -> None:
    table = Table(title=f"CPU of our process for one article, beside the bare library. {backend.servers}")
    for title in ("", "ours: CPU µs", "share of ours", "ours: articles/s", "library: CPU µs", "library: articles/s",
                  "CPU, ours : library"):  # fmt: skip
        table.add_column(title, justify="right" if title else "left")
    micros: Callable[[Figure], float] = lambda figure: figure.cpu / figure.articles * 1e6  # noqa: E731
    whole = sum(map(micros, [*ours.values(), *codec.values()]))
    for name, figure in {**ours, **codec}.items():
        cells = [f"{micros(figure):,.0f}", f"{micros(figure) / whole:.0%}", f"{figure.articles / figure.wall:,.0f}"]
        if bare := raw.get(name):
            cells += [f"{micros(bare):,.0f}", f"{bare.articles / bare.wall:,.0f}"]
            cells += [f"{micros(figure) / micros(bare):.2f}"]
        table.add_row(name, *cells)
    table.add_row("all", f"{whole:,.0f}", "100%")
    console.print(table)
