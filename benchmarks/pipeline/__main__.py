"""What carries the articles, measured without the model: a constant scorer in its place.

    python benchmarks/pipeline throughput    [--backend both] [--articles 50000] [--workers 1,2,4]
    python benchmarks/pipeline clients       [--articles 4000]
    python benchmarks/pipeline million       [--articles 1000000] [--workers 2]
    python benchmarks/pipeline backpressure  [--minutes 10] [--score-rate 100] [--factor 10]

Over ``--kafka HOST:PORT`` and ``--elastic URL`` when given, else over noida-db and a stand-in of Elasticsearch's hot
path (see standin.py), which are started for the run: their figures say nothing about real servers, but what our own
processes need for an article is the same. Every process
is a real one; the articles are made up, in realistic lengths, and always the same. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import process
from backends import Backend, embedded, servers
from rich.console import Console


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, articles in (("throughput", 50_000), ("clients", 4_000), ("million", 1_000_000), ("backpressure", 0)):
        command = commands.add_parser(name)
        command.add_argument("--kafka", default="", help="brokers, 'host:port' with commas; default: noida-db")
        command.add_argument(
            "--elastic", default="noida" if name == "clients" else "standin", help="URL, 'noida' or 'standin'"
        )
        command.add_argument("--folder", type=Path, default=None, help="where the data goes; default: temporary")
        choices = ["servers", "embedded"] + (["both"] if name == "throughput" else [])
        if name != "clients":
            command.add_argument("--backend", choices=choices, default=choices[-1] if len(choices) > 2 else "servers")
        if name != "backpressure":
            command.add_argument("--articles", type=int, default=articles)
        if name == "throughput":
            command.add_argument("--workers", default="1,2,4", help="numbers of score workers, over servers")
            command.add_argument("--score-rate", type=float, default=None, help="most articles/s of one worker")
        if name == "million":
            command.add_argument("--workers", type=int, default=2)
        if name == "backpressure":
            command.add_argument("--minutes", type=float, default=10.0)
            command.add_argument("--score-rate", type=float, default=100.0, help="articles/s that scoring takes")
            command.add_argument("--factor", type=float, default=10.0, help="the source's rate over it")
    one = commands.add_parser("process", help="(internal) one process of the pipeline")
    one.add_argument("--config", type=Path, required=True)
    one.add_argument("--roles", required=True)
    one.add_argument("--articles", type=int, required=True)
    for rate in ("feed-rate", "feed-seconds", "score-rate"):
        one.add_argument(f"--{rate}", type=float, default=None)
    one.add_argument("--noida", action="store_true")
    return parser


@contextmanager
def _backend(kind: str, options: argparse.Namespace) -> Iterator[Backend]:
    """A fresh one: nothing of an earlier run lies in it."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="riskwire-pipeline-") as folder:
        if kind == "embedded":
            with embedded(Path(folder)) as backend:
                yield backend
        else:
            with servers(Path(folder), options.kafka, options.elastic) as backend:
                yield backend


def _throughput(options: argparse.Namespace, console: Console) -> None:
    from runs import run_throughput, show_throughput

    kinds = ("embedded", "servers") if options.backend == "both" else (options.backend,)
    for kind in kinds:
        results = []
        for workers in [1] if kind == "embedded" else [int(number) for number in options.workers.split(",")]:
            with _backend(kind, options) as backend:
                results.append(asyncio.run(run_throughput(backend, workers, options.articles, options.score_rate)))
        show_throughput(console, backend, results)


def main() -> None:
    """The command line."""
    options = _arguments().parse_args()
    if options.command == "process":
        process.main(
            process.Order(
                config=options.config, roles=tuple(options.roles.split(",")), articles=options.articles,
                feed_rate=options.feed_rate, feed_seconds=options.feed_seconds, score_rate=options.score_rate,
                noida=options.noida,
            )
        )  # fmt: skip
        return
    console = Console(width=None if Console().is_terminal else 160)
    console.print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores {_processor()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} before",
        highlight=False,
    )
    if options.command == "throughput":
        _throughput(options, console)
        return
    with _backend(getattr(options, "backend", "servers"), options) as backend:
        if options.command == "clients":
            from clients import run_clients

            asyncio.run(run_clients(console, backend, options.articles))
        elif options.command == "million":
            from runs import run_million

            asyncio.run(run_million(console, backend, options.workers, options.articles))
        else:
            from runs import run_backpressure

            asyncio.run(run_backpressure(console, backend, options.score_rate, options.factor, options.minutes))


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
