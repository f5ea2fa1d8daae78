"""The real daemon over many loopback feeds: CPU, memory, missed polls.

    python benchmarks/daemon.py --feeds 500 --minutes 10

The feeds are served by a process of their own, so that its work is not counted. Every minute some feeds get a new
article. A poll counts as missed when a feed was not asked in a minute in which it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import psutil
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

_PARTS = (
    ("Lender", "Insurer", "Carmaker", "Miner", "Retailer", "Airline", "Utility", "Chipmaker", "Builder", "Broker"),
    ("beats", "misses", "raises", "cuts", "confirms", "delays", "denies", "settles", "expands", "sells"),
    ("profit forecast", "dividend", "bond sale", "fraud probe", "stake", "plant", "loan book", "store network"),
)


def serve(pipe: Connection, feeds: int, per_minute: int) -> None:
    """Serves the feeds until told to stop, then sends the times at which each was asked."""
    asyncio.run(_serve(pipe, feeds, per_minute))


async def _serve(pipe: Connection, feeds: int, per_minute: int) -> None:
    random = Random(1)
    items: list[list[str]] = [[] for _ in range(feeds)]
    bodies = [b""] * feeds
    tags = [""] * feeds
    asked: list[list[float]] = [[] for _ in range(feeds)]
    serial = 0

    def add(feed: int) -> None:
        nonlocal serial
        serial += 1
        title = f"{' '.join(random.choice(words) for words in _PARTS)} in quarter {serial}"
        now = format_datetime(datetime.now(UTC))
        items[feed].insert(
            0, f"<item><guid isPermaLink='false'>{serial}</guid><title>{title}</title><pubDate>{now}</pubDate></item>"
        )
        del items[feed][30:]
        bodies[feed] = f"<rss version='2.0'><channel><title>f</title>{''.join(items[feed])}</channel></rss>".encode()
        tags[feed] = f'"{serial}"'

    for feed in range(feeds):
        for _ in range(10):
            add(feed)

    async def answer(request: web.Request) -> web.Response:
        feed = int(request.match_info["feed"])
        asked[feed].append(time.monotonic())
        if request.headers.get("If-None-Match") == tags[feed]:
            return web.Response(status=304)
        return web.Response(body=bodies[feed], headers={"ETag": tags[feed], "Content-Type": "application/rss+xml"})

    app = web.Application()
    app.router.add_get("/{feed:\\d+}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    pipe.send(runner.addresses[0][1])
    while not pipe.poll():
        await asyncio.sleep(60 / max(1, per_minute))
        add(random.randrange(feeds))
    await runner.cleanup()
    pipe.send((asked, serial))


def config(folder: Path, feeds: int, port: int, metrics: int) -> Path:
    """Writes the daemon's configuration."""
    lines = [
        f'data_dir = "{folder}/data"',
        "[ingest]",
        "per_host_concurrent = 64\nper_host_spacing = 0\nspread = 60",
        'allow_networks = ["127.0.0.0/8"]',
        f'[observe]\nlisten = "127.0.0.1:{metrics}"\nlog_level = "warning"',
    ]
    lines += [
        f'[[sources]]\nname = "f{feed}"\nurl = "http://127.0.0.1:{port}/{feed}"\ninterval = 60\nmin_interval = 30'
        for feed in range(feeds)
    ]
    path = folder / "riskwire.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def scrape(port: int) -> Mapping[str, float]:
    """The daemon's metrics by sample name, summed over labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
    return totals


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feeds", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--articles-per-minute", type=int, default=120)
    args = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, args.feeds, args.articles_per_minute), daemon=True
    )
    server.start()
    port = ours.recv()
    with tempfile.TemporaryDirectory() as name:
        metrics_port = port + 1 if port < 65000 else port - 1
        path = config(Path(name), args.feeds, port, metrics_port)
        result = measure(path, args, metrics_port)
    ours.send("stop")
    asked, serial = ours.recv()
    server.join(10)
    show(args, result, asked, serial)


def measure(path: Path, args: argparse.Namespace, port: int) -> dict[str, Any]:
    """Runs the daemon for the given minutes after its first round of polls; returns what it used."""
    command = [str(Path(sys.executable).with_name("riskwire")), "run", "-c", str(path)]
    with subprocess.Popen(command) as child:
        process = psutil.Process(child.pid)
        try:
            warm_up_until = time.monotonic() + 75
            while time.monotonic() < warm_up_until:
                time.sleep(1)
                if child.poll() is not None:
                    raise SystemExit(f"the daemon ended with {child.returncode}")
            began, cpu = time.monotonic(), _cpu(process)
            peak = 0
            memory: list[int] = []
            while time.monotonic() < began + args.minutes * 60:
                time.sleep(2)
                memory.append(_memory(process))
                peak = max(peak, memory[-1])
            ended = time.monotonic()
            return {
                "began": began,
                "ended": ended,
                "cpu": (_cpu(process) - cpu) / (ended - began),
                "memory_first": memory[0],
                "memory_last": memory[-1],
                "peak": peak,
                "metrics": scrape(port),
            }
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    return sum(sum(member.cpu_times()[:2]) for member in _family(process))


def _memory(process: psutil.Process) -> int:
    return sum(member.memory_info().rss for member in _family(process))


def show(args: argparse.Namespace, result: dict[str, Any], asked: list[list[float]], serial: int) -> None:
    """Prints the table."""
    minutes = int(args.minutes)
    missed = polls = 0
    gaps: list[float] = []
    for times in asked:
        inside = [t for t in times if result["began"] <= t <= result["ended"]]
        polls += len(inside)
        gaps += [later - earlier for earlier, later in itertools.pairwise(inside)]
        missed += max(0, minutes - len(inside) - 1)  # a feed's first poll falls anywhere within the first minute
    gaps.sort()
    metrics = result["metrics"]
    count = metrics.get("riskwire_score_seconds_count", 0) or 1
    where = f"{platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}"
    table = Table(title=f"{args.feeds} feeds, {args.minutes:g} minutes, {where}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    mib = 1024 * 1024
    middle, late, longest = gaps[len(gaps) // 2], gaps[int(len(gaps) * 0.99)], gaps[-1]
    memory = " / ".join(f"{result[name] / mib:.0f}" for name in ("memory_first", "memory_last", "peak"))
    for figure, value in (
        ("polls in the window", f"{polls:,} ({polls / args.feeds / args.minutes:.2f} a feed and minute)"),
        ("missed polls", f"{missed}"),
        ("seconds between polls of a feed, median / p99 / longest", f"{middle:.1f} / {late:.1f} / {longest:.1f}"),
        ("CPU, cores", f"{result['cpu']:.2f}"),
        ("memory first / last / peak, MiB", memory),
        ("articles served / scored", f"{serial:,} / {metrics.get('riskwire_scored_total', 0):,.0f}"),
        ("seconds to score a batch, mean", f"{metrics.get('riskwire_score_seconds_sum', 0) / count:.3f}"),
    ):  # fmt: skip
        table.add_row(figure, value)
    Console().print(table)


if __name__ == "__main__":
    main()
