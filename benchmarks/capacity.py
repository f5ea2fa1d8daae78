"""What a rate of articles needs, from what was measured: partitions, workers, GPUs, shards, storage, cost.

``python benchmarks/capacity.py`` prints the table of docs/scale.md. Every figure is an option, so that yours can take
the place of ours; ``--json`` prints the figures and the table for programs.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, fields

RATES = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """``measured`` names the document that holds the measurement; ``assumed`` says why there is none."""

    headline_rate: float = 333  # docs/model.md, "Engines": onnx int8, two cores, 29.3 tokens
    headline_tokens: float = 29.3  # the same
    tokens: float = 64  # assumed: what a title and a short first paragraph take; set yours
    score_cpu_us: float = 491  # docs/scale.md, end to end: everything of score but the model, two workers
    read_cpu_us: float = 174  # docs/scale.md, end to end: the tail of the detector
    feed_cpu_us: float = 162  # docs/scale.md, end to end: publishing
    envelope_bytes: float = 1_200  # docs/scale.md: an article on the bus
    stored_bytes: float = 3_000  # assumed: an article in Elasticsearch, one copy; 2.5 times its envelope
    gpu_rate: float = 3_000  # assumed: headlines a second of one GPU; ours has not been measured
    state_rate: float = 161  # docs/scale.md: changes of ten documents a second in PostgreSQL, one writer
    peak: float = 5  # assumed: the busiest minutes against the hour's mean
    use: float = 0.6  # assumed: how full a worker is at the peak
    log_days: float = 7  # retention.log_days
    article_days: float = 400  # retention.articles_days
    copies: float = 2  # elastic.replicas = 1, and the first
    replication: float = 3  # kafka.replication
    shard_gb: float = 30  # assumed: a month's shard; Elastic advises 10 to 50 GB
    broker_mb_s: float = 1  # assumed: what one partition carries with ease
    core_price: float = 0.04  # assumed: dollars an hour of one core with 4 GB
    gpu_price: float = 0.8  # assumed: dollars an hour of a machine with a small GPU
    gb_price: float = 0.1  # assumed: dollars a month of one GB of fast disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one rate needs. GB are 10^9 bytes; prices are dollars a month of 730 hours, without Kafka's, Elasticsearch's
    and PostgreSQL's processors."""

    articles_per_hour: int
    peak_per_second: float
    score_workers: int
    gpus: int
    partitions: int
    ingest_replicas: int
    detector_core: float
    kafka_gb: float
    elastic_gb: float
    shards_a_month: int
    cpu_price: float
    gpu_price: float
    storage_price: float


def worker_rate(given: Inputs) -> float:
    """Articles a second of one worker of two cores. The model's time grows with the tokens (short texts: the matrix
    products dominate); the plumbing runs beside it on the same two cores."""
    model = given.headline_tokens / given.tokens * given.headline_rate
    return 1 / (1 / model + given.score_cpu_us / 2e6)


def need(rate: int, given: Inputs) -> Need:
    """The needs of ``rate`` articles an hour."""
    mean = rate / 3600
    peak = mean * given.peak
    workers = max(2, math.ceil(peak / (worker_rate(given) * given.use)))  # two: one may die
    gpu = given.headline_tokens / given.tokens * given.gpu_rate * given.use
    gpus = max(2, math.ceil(peak / gpu))
    by_bytes = math.ceil(peak * given.envelope_bytes / (given.broker_mb_s * 1e6))
    partitions = max(8, by_bytes, 8 * math.ceil(2 * workers / 8))  # twice the workers: room to grow; eights
    daily = mean * 86_400
    kafka = daily * given.log_days * given.envelope_bytes * given.replication / 1e9
    month = daily * 30.4 * given.stored_bytes / 1e9
    elastic = daily * given.article_days * given.stored_bytes * given.copies / 1e9
    feeders = max(2, math.ceil(peak * given.feed_cpu_us / 1e6 / given.use))
    detector = peak * given.read_cpu_us / 1e6
    hours = 730
    others = feeders * 0.25 + 2 * 1 + 2 * 0.1 + 2 * 0.25  # cores of ingest, detect, notify, web as the chart asks
    return Need(
        articles_per_hour=rate,
        peak_per_second=peak,
        score_workers=workers,
        gpus=gpus,
        partitions=partitions,
        ingest_replicas=feeders,
        detector_core=detector,
        kafka_gb=kafka,
        elastic_gb=elastic,
        shards_a_month=max(1, math.ceil(month / given.shard_gb)),
        cpu_price=(2 * workers + others) * given.core_price * hours,
        gpu_price=(gpus * given.gpu_price + others * given.core_price) * hours,
        storage_price=(kafka + elastic) * given.gb_price,
    )


def _text(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def table(needs: list[Need]) -> str:
    """As Markdown: a row for each need, a column for each rate."""
    head, *rows = (item.name for item in fields(Need))
    lines = [f"| {head.replace('_', ' ')} | " + " | ".join(_text(getattr(item, head)) for item in needs) + " |"]
    lines.append("|---|" + "---|" * len(needs))
    cells = [(row.replace("_", " "), [_text(getattr(item, row)) for item in needs]) for row in rows]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in cells]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table for the rates given."""
    parser = argparse.ArgumentParser(description="What a rate of articles needs, from what was measured.")
    parser.add_argument("rates", nargs="*", type=int, default=list(RATES), help="articles an hour")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    for item in fields(Inputs):
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=float, default=item.default)
    given = vars(parser.parse_args(arguments))
    inputs = Inputs(**{item.name: given[item.name] for item in fields(Inputs)})
    wrong = [item.name for item in fields(Inputs) if not getattr(inputs, item.name) > 0]
    if wrong or min(given["rates"]) <= 0:
        parser.error("every figure must be above 0")
    needs = [need(rate, inputs) for rate in given["rates"]]
    if given["json"]:
        told = {"inputs": asdict(inputs), "worker_rate": worker_rate(inputs), "needs": [asdict(item) for item in needs]}
        print(json.dumps(told, indent=2))
    else:
        print(f"One worker of two cores: {worker_rate(inputs):.0f} articles/s of {inputs.tokens:g} tokens.\n")
        print(table(needs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
