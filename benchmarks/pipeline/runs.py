"""The three experiments: throughput, memory over many articles, back-pressure."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from backends import Backend
from fleet import Fleet, Member, fleet
from rich.console import Console
from rich.table import Table

MB = 1e6


@dataclass(slots=True)
class Result:
    """What one run of the whole pipeline took."""

    workers: int
    articles: int
    seconds: float
    publish_seconds: float
    cpu: dict[str, float]
    """Processor seconds by process: feed, score, read, and the servers that were started for the run."""
    waits: dict[str, float]
    """Real seconds waited in each call of a port, over all processes of its kind."""
    again: int
    held: int
    scored: int


async def _start(fleet_: Fleet, workers: int, articles: int, **options: object) -> tuple[Member, list[Member], Member]:
    """Feed, workers and reader: processes of their own over servers, one process when embedded."""
    shared = {"articles": articles} | options
    if fleet_.backend.kind == "embedded":
        one = await fleet_.start("one", ("ingest", "score", "read"), **shared)
        return one, [one], one
    read = await fleet_.start("read", ("read",), **shared)
    score = [await fleet_.start(f"score{number + 1}", ("score",), **shared) for number in range(workers)]
    await fleet_.until(lambda: all("scored" in member.said for member in score), progress=lambda: 0)
    feed = await fleet_.start("feed", ("ingest",), **shared)
    return feed, score, read


async def run_throughput(backend: Backend, workers: int, articles: int, score_rate: float | None) -> Result:
    """Every article from publish to read back from the store."""
    async with fleet(backend) as processes:
        before = processes.server_cpu()
        feed, score, read = await _start(processes, workers, articles, score_rate=score_rate)
        await processes.until(lambda: bool(feed.said.get("began")), progress=lambda: 0)
        idle = {member.name: dict(member.said["seconds"]) for member in processes.members}
        await processes.until(
            lambda: read.said.get("read", 0) >= articles,
            progress=lambda: (read.said.get("read", 0), [member.said.get("scored") for member in score]),
        )
        servers = {name: seconds - before[name] for name, seconds in processes.server_cpu().items()}
        await processes.stop()
    cpu: dict[str, float] = {}
    waits: dict[str, float] = {}
    for member in processes.members:
        kind = member.name.rstrip("0123456789")
        cpu[kind] = cpu.get(kind, 0.0) + member.said["cpu"] - member.said.get("own_cpu", 0.0)
        for call, seconds in member.said["seconds"].items():
            waits[call] = waits.get(call, 0.0) + seconds - idle[member.name].get(call, 0.0)
    return Result(
        workers=workers,
        articles=articles,
        seconds=read.said["last"] - feed.said["began"],
        publish_seconds=feed.said["fed"] - feed.said["began"],
        cpu=cpu | servers,
        waits=waits,
        again=read.said["again"],
        held=max(member.said["held"] for member in processes.members),
        scored=sum(member.said["scored"] for member in score),
    )


def show_throughput(console: Console, backend: Backend, results: list[Result]) -> None:
    """Articles a second, and where the processor's time went."""
    table = Table(title=f"End to end: publish → score (constant) → store → read. {backend.servers}")
    kinds = list(results[-1].cpu)
    table.add_column("workers", justify="right")
    table.add_column("articles/s", justify="right")
    table.add_column("published/s", justify="right")
    for kind in kinds:
        table.add_column(f"CPU µs\n{kind}", justify="right")
    table.add_column("cores in use", justify="right")
    table.add_column("read\nagain", justify="right")
    table.add_column("scored\nagain", justify="right")
    for result in results:
        table.add_row(
            str(result.workers),
            f"{result.articles / result.seconds:,.0f}",
            f"{result.articles / result.publish_seconds:,.0f}",
            *(f"{result.cpu.get(kind, 0.0) / result.articles * 1e6:,.0f}" for kind in kinds),
            f"{sum(result.cpu.values()) / result.seconds:.2f}",
            str(result.again),
            str(result.scored - result.articles),
        )
    console.print(table)
    waits = Table(title="Share of a process's time spent waiting in each call (the rest is its own work)")
    waits.add_column("score workers", justify="right")
    calls = [call for call in ("publish", "fetch", "put", "commit", "tail") if call in results[-1].waits]
    for call in calls:
        waits.add_column(call, justify="right")
    for result in results:
        whole = {call: result.seconds * (result.workers if call in ("fetch", "put", "commit") else 1) for call in calls}
        whole["publish"] = result.publish_seconds
        waits.add_row(str(result.workers), *(f"{result.waits[call] / whole[call]:.0%}" for call in calls))
    console.print(waits)


_MARKS = (0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 1.00)


async def run_million(console: Console, backend: Backend, workers: int, articles: int) -> None:
    """Many articles; the memory of every process at parts of the way."""
    marks = list(_MARKS)
    rows: list[tuple[str, float, float, dict[str, tuple[int, int]], int]] = []
    async with fleet(backend) as processes:
        feed, score, read = await _start(processes, workers, articles)
        most: dict[str, int] = {}

        def sample() -> None:
            done = read.said.get("read", 0)
            if marks and done >= marks[0] * articles:
                memory = {member.name: member.memory() for member in processes.members}
                for name, (rss, _) in memory.items():
                    most[name] = max(most.get(name, 0), rss)
                held = sum(member.said.get("held", 0) for member in processes.members)
                rows.append((f"{marks.pop(0):.0%}", done, time.monotonic() - feed.said["began"], memory, held))
                console.print(f"  {rows[-1][0]} after {rows[-1][2]:.0f} s", highlight=False)

        await processes.until(
            lambda: not marks, each=sample,
            progress=lambda: (read.said.get("read", 0), [member.said.get("scored") for member in score]),
        )  # fmt: skip
        await processes.stop()
    names = list(rows[0][3])
    table = Table(title=f"RSS / PSS in MB over {articles:,} articles, {len(score)} workers. {backend.servers}")
    for title in ("read", "articles", "seconds", *names, "records held"):
        table.add_column(title, justify="right")
    for part, done, seconds, memory, held in rows:
        cells = [f"{memory[name][0] / MB:.1f} / {memory[name][1] / MB:.1f}" for name in names]
        table.add_row(part, f"{done:,}", f"{seconds:.0f}", *cells, str(held))
    console.print(table)
    quarter = next(row for row in rows if row[0] == "25%")
    grown = {name: rows[-1][3][name][0] - quarter[3][name][0] for name in names}
    passed = rows[-1][1] - quarter[1]
    for name in names:
        console.print(
            f"{name}: {grown[name] / MB:+.1f} MB RSS from 25 % to 100 %, {grown[name] / passed:+.1f} bytes an article",
            highlight=False,
        )
    console.print(
        f"{articles / (read.said['last'] - feed.said['began']):,.0f} articles/s; read {read.said['read']:,} different "
        f"articles, {read.said['again']} again.",
        highlight=False,
    )


async def run_backpressure(
    console: Console, backend: Backend, score_rate: float, factor: float, minutes: float
) -> None:
    """A source at ``factor`` times what scoring takes; then the brake comes off the scorer and the lag goes down."""
    table = Table(title=f"Source at {factor:g}× of what scoring takes ({score_rate:g}/s). {backend.servers}")
    articles = int(score_rate * factor * minutes * 60) + 1000
    async with fleet(backend) as processes:
        feed, score, read = await _start(
            processes, 1, articles, score_rate=score_rate, feed_rate=score_rate * factor, feed_seconds=minutes * 60
        )
        await processes.until(lambda: bool(feed.said.get("began")), progress=lambda: 0)
        members = processes.members
        for title in ("minute", "phase", "published", "scored", "lag in the bus", "read",
                      *(f"{m.name}: RSS MB / held" for m in members)):  # fmt: skip
            table.add_column(title, justify="right")
        began, marks = feed.said["began"], [0.0]

        def sample(phase: str, *, now: bool = False) -> None:
            passed = (time.monotonic() - began) / 60
            if not now and passed < marks[-1] + 1:
                return
            marks.append(passed if not now else marks[-1])
            cells = [f"{m.memory()[0] / MB:.1f} / {m.said['held']}" for m in members]
            table.add_row(
                f"{passed:.1f}", phase, f"{feed.said['published']:,}", f"{sum(m.said['scored'] for m in score):,}",
                f"{read.said['lag']:,}", f"{read.said['read']:,}", *cells,
            )  # fmt: skip
            console.print(f"  minute {passed:.1f}: {phase}, lag {read.said['lag']:,}", highlight=False)

        await processes.until(
            lambda: bool(feed.said.get("fed")), each=lambda: sample("load"),
            progress=lambda: feed.said.get("published", 0),
        )  # fmt: skip
        sample("load ends", now=True)
        at_end, loaded, lag = time.monotonic(), feed.said["published"], read.said["lag"]
        scored = sum(m.said["scored"] for m in score)
        for member in score:
            member.process.send_signal(signal.SIGUSR1)
        await processes.until(
            lambda: read.said["read"] >= loaded and read.said["lag"] == 0, each=lambda: sample("drain"),
            progress=lambda: read.said["read"],
        )  # fmt: skip
        sample("drained", now=True)
        seconds = time.monotonic() - at_end
        await processes.stop()
    console.print(table)
    source = minutes * 60
    console.print(
        f"While the source ran: published {loaded / source:,.0f}/s, scored {scored / source:,.0f}/s; lag at its end "
        f"{lag:,}. Then, with the brake off the scorer, everything was read after {seconds:.0f} s "
        f"({lag / seconds:,.0f}/s); {read.said['again']} given again.",
        highlight=False,
    )
