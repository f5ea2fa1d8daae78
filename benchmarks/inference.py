"""Speed of the model on this machine: the onnx int8 engine against torch batches padded to 128, on the same texts.

    python benchmarks/inference.py [--texts FILE] [--count N] [--threads N] [--rate N] [--report FILE]

Texts are lines of FILE, or headlines of the BBC archive below $RISKWIRE_SHARED; without either, composed ones.
Reported: headlines/s and tokens/s end to end (tokenisation included), the part of computed positions that is
padding, and, with texts arriving at random at a given rate, the latency of the scorer (p50, p99).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from monitor.core.clock import SystemClock
from monitor.core.types import Article
from monitor.model.artefact import Artefact, locate
from monitor.model.batching import padding_ratio, plan_batches
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TOKEN_BUDGET, TokenEngine
from monitor.model.scorer import ModelScorer

PADDED, PADDED_BATCH = 128, 16


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a file with a text per line")
    parser.add_argument("--model", help="folder of an artefact; the packaged one by default")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--padded-count", type=int, default=128, help="texts for the padded way, which is slow")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rate", type=float, default=50.0, help="arrivals a second for the latency")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long texts arrive")
    parser.add_argument("--report", type=Path, help="write the figures here as JSON")
    args = parser.parse_args()

    artefact = Artefact.load(locate(args.model))
    texts, origin = read_texts(args.texts, args.count)
    engine = choose_engine(artefact, "onnx", threads=args.threads)
    lengths = [len(ids) for ids in engine.tokens([artefact.preprocessing.text(text) for text in texts])]
    rows = [
        throughput(
            "onnx int8, token budget, sorted", texts, lengths, lambda batch: run_sorted(engine, batch), sorted_=True
        ),
        throughput(
            "onnx int8, one at a time", texts[:256], lengths, lambda batch: run_single(engine, batch), sorted_=None
        ),
    ]
    try:
        torch_engine = choose_engine(artefact, "torch", threads=args.threads)
    except Exception as error:  # noqa: BLE001 - the comparison is optional
        print(f"no torch comparison: {error}")
    else:
        rows.append(
            throughput(
                f"torch float32, padded to {PADDED}, batches of {PADDED_BATCH}",
                texts[: args.padded_count],
                lengths,
                lambda batch: run_padded(torch_engine, batch),
                sorted_=False,
            )
        )
        rows.append(
            throughput(
                "torch float32, token budget, sorted",
                texts[: 4 * args.padded_count],
                lengths,
                lambda batch: run_sorted(torch_engine, batch),
                sorted_=True,
            )
        )
    latency = asyncio.run(latencies(artefact, engine, texts, rate=args.rate, seconds=args.seconds))
    result = {
        "model": artefact.id,
        "machine": f"{platform.machine()}, {args.threads} threads of {os.cpu_count()}",
        "texts": origin,
        "tokens_per_text": float(np.mean(lengths)),
        "throughput": rows,
        "latency": latency,
    }
    show(result)
    if args.report:
        args.report.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def read_texts(path: Path | None, count: int) -> tuple[list[str], str]:
    """Texts to run on and where they are from."""
    shared = os.environ.get("RISKWIRE_SHARED")
    archive = Path(shared) / "data" / "archives" / "bbc_business_2022_2024.csv" if shared else None
    rng = random.Random(1)
    if path is not None:
        texts, origin = [line for line in path.read_text("utf-8").splitlines() if line.strip()], path.name
    elif archive is not None and archive.exists():
        with archive.open(encoding="utf-8", newline="") as file:
            texts = [row["title"] for row in csv.DictReader(file) if row["title"]]
        origin = archive.name
    else:
        firms = ["Acme Bank", "Borealis Energy", "江海银行", "Northwind", "Cobalt Mining", "Fenwick Group"]
        acts = [
            "shares fall after a profit warning",
            "to buy a rival for $2.4 billion",
            "names a new chief executive",
            "下调全年业绩预期,股价大跌",
            "beats quarterly forecasts on strong demand for its cloud business",
            "faces an inquiry by the regulator over its reporting of loan losses in the last three years",
        ]
        texts = [f"{rng.choice(firms)} {rng.choice(acts)} {n}" for n in range(count)]
        origin = "composed"
    rng.shuffle(texts)
    while len(texts) < count:
        texts = texts + texts
    return texts[:count], origin


def run_sorted(engine: TokenEngine, texts: Sequence[str]) -> None:
    """The way the scorer does it."""
    engine.predict_tasks([engine.artefact.preprocessing.text(text) for text in texts])


def run_single(engine: TokenEngine, texts: Sequence[str]) -> None:
    """One text a time, in order."""
    for text in texts:
        engine.predict_tasks([engine.artefact.preprocessing.text(text)])


def run_padded(engine: TokenEngine, texts: Sequence[str]) -> None:
    """Every text padded to a constant, in the order of arrival: the way many services do it."""
    import torch

    pad_id, network = engine.artefact.pad_id, engine._network  # type: ignore[attr-defined]
    for start in range(0, len(texts), PADDED_BATCH):
        ids = engine.tokens([engine.artefact.preprocessing.text(text) for text in texts[start : start + PADDED_BATCH]])
        tokens = torch.full((len(ids), PADDED), pad_id)
        mask = torch.zeros((len(ids), PADDED), dtype=torch.long)
        for number, row in enumerate(ids):
            tokens[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        with torch.inference_mode():
            network(tokens, mask)


def throughput(
    name: str,
    texts: Sequence[str],
    lengths: Sequence[int],
    run: Callable[[Sequence[str]], None],
    *,
    sorted_: bool | None,
) -> dict[str, object]:
    """Headlines and tokens a second of ``run`` over ``texts`` after a warm-up, and the padding ratio of its batches."""
    run(texts[:32])
    began = time.perf_counter()
    run(texts)
    seconds = time.perf_counter() - began
    used = list(lengths[: len(texts)])
    if sorted_ is None:
        padding = 0.0
    elif sorted_:
        padding = padding_ratio(used, plan_batches(used, TOKEN_BUDGET))
    else:
        padding = 1.0 - sum(used) / (PADDED * len(used))
    return {
        "way": name,
        "texts": len(texts),
        "headlines_per_second": len(texts) / seconds,
        "tokens_per_second": sum(used) / seconds,
        "padding": padding,
    }


async def latencies(
    artefact: Artefact, engine: TokenEngine, texts: Sequence[str], *, rate: float, seconds: float
) -> dict[str, float]:
    """Milliseconds from arrival to score, texts arriving as a Poisson process; nothing from the cache."""
    scorer = ModelScorer(engine=engine, artefact=artefact, clock=SystemClock(), cache_size=0)
    rng = random.Random(2)
    now = datetime.now(UTC)
    took: list[float] = []

    async def one(number: int) -> None:
        began = time.perf_counter()
        title = texts[number % len(texts)]
        await scorer.score([Article(id=str(number), source="bench", title=title, published_at=now, fetched_at=now)])
        took.append(time.perf_counter() - began)

    began, due, number = time.perf_counter(), 0.0, 0
    async with asyncio.TaskGroup() as group:
        while (due := due + rng.expovariate(rate)) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            group.create_task(one(number))
            number += 1
    stats = scorer.stats
    await scorer.close()
    return {
        "rate": rate,
        "texts": float(len(took)),
        "p50_ms": float(np.percentile(took, 50) * 1000),
        "p99_ms": float(np.percentile(took, 99) * 1000),
        "texts_per_batch": stats.texts / max(1, stats.batches),
        "padding": 1 - stats.tokens / max(1, stats.padded_tokens),
    }


def show(result: dict[str, object]) -> None:
    """Prints the tables."""
    console = Console()
    console.print(
        f"{result['model']} on {result['machine']}; {result['texts']}, {result['tokens_per_text']:.1f} tokens a text",
        highlight=False,
    )
    table = Table("way", "texts", "headlines/s", "tokens/s", "padding")
    for row in result["throughput"]:  # type: ignore[attr-defined]
        table.add_row(
            row["way"], str(row["texts"]), f"{row['headlines_per_second']:,.0f}", f"{row['tokens_per_second']:,.0f}",
            f"{row['padding']:.1%}",
        )  # fmt: skip
    console.print(table)
    latency = result["latency"]
    console.print(
        "latency at {rate:.0f} texts/s: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms; {texts_per_batch:.1f} texts a batch, "
        "padding {padding:.1%}".format(**latency),  # type: ignore[arg-type]
        highlight=False,
    )


if __name__ == "__main__":
    main()
