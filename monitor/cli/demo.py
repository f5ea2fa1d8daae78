"""``riskwire demo``: the whole pipeline on a packaged scenario, offline."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from monitor.core.types import Evidence, Incident, SearchQuery, Severity

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.core.clock import FastClock
    from monitor.daemon import Daemon
    from monitor.demo.scenario import Scenario

POLL_INTERVAL = 3600.0
"""Seconds of the scenario between polls of a feed."""

_STRIDE = timedelta(minutes=90)
"""How far time may run ahead of the last look at how the daemon follows."""

_COLOURS = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    articles: int
    stories: int
    sentiments: dict[str, int]
    languages: dict[str, int]
    incidents: Sequence[Incident]
    seconds: float


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave feeds and databases open until Ctrl-C.")] = False,
    seconds: Annotated[float, typer.Option(help="Real seconds that the scenario's weeks are played in.", min=5)] = 70.0,
) -> None:
    """Play a packaged scenario over loopback feeds through the whole daemon; needs no server and no internet."""
    from monitor.obs.logging import configure_logging

    configure_logging("error")
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="riskwire-demo-")))
        asyncio.run(_play(console, folder / "data", seconds, keep=keep))


async def _play(console: Console, data_dir: Path, seconds: float, *, keep: bool) -> None:
    from monitor.core.clock import FastClock
    from monitor.daemon import Daemon
    from monitor.demo.scenario import Scenario
    from monitor.demo.server import FeedServer

    scenario = Scenario.load()
    span = scenario.end - scenario.start
    console.print(
        f"[bold]Riskwire demo[/bold]: {len(scenario.feeds)} feeds, {span.days} days of invented news in about "
        f"{seconds:.0f} seconds, on this machine alone."
    )
    clock = FastClock(scenario.start, span.total_seconds() / seconds, horizon=scenario.start)
    server = FeedServer(scenario, clock)
    base_url = await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    began = time.monotonic()
    daemon = Daemon(_settings(scenario, base_url, data_dir, clock.rate), clock=clock, notifiers={})
    running = asyncio.create_task(daemon.run(stop))
    watching = asyncio.create_task(_watch(console, scenario, daemon, clock))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, watching, stopping], return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not stop.is_set():
            outcome = await _outcome(daemon, watching.result(), time.monotonic() - began)
            _show(console, scenario, outcome)
            if keep:
                console.print(f"\nFeeds: {base_url}   Databases: {data_dir}   Ctrl-C ends and removes them.")
                await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        watching.cancel()
        stopping.cancel()
        try:
            await running
        finally:
            await server.close()


def _settings(scenario: Scenario, base_url: str, data_dir: Path, rate: float) -> Settings:
    from monitor.config import DetectSection, EntitiesSection, IngestSection, ObserveSection, Settings, SourceEntry

    interval = POLL_INTERVAL
    return Settings(
        data_dir=data_dir,
        ingest=IngestSection(
            user_agent="Riskwire/0.1 (demo)",
            per_host_concurrent=16,
            per_host_spacing=0,
            spread=interval,
            timeout=30,
            allow_networks=("127.0.0.0/8",),
        ),
        # The banks and firms that come to harm are invented.
        entities=EntitiesSection(watchlists=(scenario.watchlist,)),
        # A tick costs a few milliseconds whatever it finds: ten a second are enough at any rate.
        # With hourly polls, buckets stay open until every article published in them can have come.
        detect=DetectSection(tick=max(300.0, 0.1 * rate), grace=3 * POLL_INTERVAL),
        observe=ObserveSection(listen=""),
        sources=tuple(
            SourceEntry.model_validate(
                {
                    "name": feed.name,
                    "kind": "feed",
                    "url": f"{base_url}{feed.path}",
                    "interval": interval,
                    "min_interval": interval / 4,
                    "max_interval": 2 * interval,
                }
            )
            for feed in scenario.feeds
        ),
        notifiers=(),
    )


async def _watch(console: Console, scenario: Scenario, daemon: Daemon, clock: FastClock) -> list[Incident]:
    """Shows progress and every incident as it opens, until the scenario is over and everything is processed.

    Time goes on only as far as this machine can follow, so that a slow one sees the same scenario.
    """
    from monitor.core.codec import incident_from_dict
    from monitor.services.detect import INCIDENT_KIND

    await daemon.started.wait()
    assert daemon.storage is not None
    state = daemon.storage.state
    seen: set[str] = set()
    # A little more than the scenario, so that the last buckets close.
    end = scenario.end + timedelta(seconds=5 * POLL_INTERVAL)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=(scenario.end - scenario.start).total_seconds())
        incidents: list[Incident] = []
        while True:
            now = clock.now()
            if not await daemon.is_behind(overdue=timedelta(seconds=POLL_INTERVAL), pending=200):
                clock.extend(min(end, now + _STRIDE))
            total = (await daemon.storage.store.search(SearchQuery(limit=1))).total
            incidents = [incident_from_dict(doc) for _, doc in await state.list(INCIDENT_KIND)]
            for incident in sorted(incidents, key=lambda item: item.opened_at):
                if incident.id not in seen:
                    seen.add(incident.id)
                    progress.console.print(_headline(incident))
            progress.update(
                task,
                completed=(now - scenario.start).total_seconds(),
                description=f"{now:%a %d %b %H:%M}  {total:,} articles  {len(incidents)} incidents",
            )
            if now >= end and daemon.polled_since(scenario.end):
                break
            await asyncio.sleep(0.05)
    await daemon.drained()
    return [incident_from_dict(doc) for _, doc in await state.list(INCIDENT_KIND)]


async def _outcome(daemon: Daemon, incidents: Sequence[Incident], seconds: float) -> _Outcome:
    from alerts.stories import StoryIndex

    assert daemon.storage is not None
    store = daemon.storage.store
    index = StoryIndex()
    stories: set[str] = set()
    sentiments: dict[str, int] = {}
    languages: dict[str, int] = {}
    position, articles = "", 0
    while (page := await store.tail(position, 1000)).items:
        for item in page.items:
            articles += 1
            stories.add(index.assign(item.article, item.article.published_at, item.scored.story_signature)[0])
            sentiments[item.scored.scores.sentiment] = sentiments.get(item.scored.scores.sentiment, 0) + 1
            languages[item.article.lang] = languages.get(item.article.lang, 0) + 1
        position = page.position
    return _Outcome(
        articles=articles,
        stories=len(stories),
        sentiments=sentiments,
        languages=languages,
        incidents=sorted(incidents, key=lambda item: item.opened_at),
        seconds=seconds,
    )


def _headline(incident: Incident) -> Text:
    return Text.assemble(
        (f"{incident.opened_at:%a %d %b %H:%M} ", "dim"),
        (f"{incident.severity.value.upper():8} ", _COLOURS[incident.severity]),
        (incident.title or str(incident.key), "bold"),
        f"  {incident.reason}",
    )


def _show(console: Console, scenario: Scenario, outcome: _Outcome) -> None:
    for incident in outcome.incidents:
        console.print(_panel(incident))
    table = Table(title="What happened", show_header=False)
    table.add_column(style="bold")
    table.add_column()

    def tally(counts: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))

    table.add_row("articles", f"{outcome.articles:,} ({tally(outcome.languages)})")
    table.add_row("stories", f"{outcome.stories:,} (copies and edited reprints counted once)")
    table.add_row("scores", tally(outcome.sentiments))
    surges = [incident for incident in outcome.incidents if incident.kind == "surge"]
    table.add_row("incidents", f"{len(surges)} surges, {len(outcome.incidents) - len(surges)} silent sources")
    table.add_row("time", f"{outcome.seconds:.0f} s for {(scenario.end - scenario.start).days} days")
    console.print(table)


def _panel(incident: Incident) -> Panel:
    until = f" – {incident.resolved_at:%a %d %b %H:%M}" if incident.resolved_at else " – still open"
    lines: list[Text | Table] = [Text(incident.reason)]
    if incident.evidence:
        table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
        for name in ("when", "source", "copies", "p(neg)", "headline (words that weighed most)"):
            table.add_column(name)
        for item in incident.evidence:
            table.add_row(
                f"{item.published_at:%H:%M}", item.source, str(item.heat), f"{item.negative:.2f}", _highlighted(item)
            )
        lines.append(table)
    title = Text.assemble(
        (incident.severity.value.upper(), _COLOURS[incident.severity]),
        f"  {incident.title or incident.key}  {incident.opened_at:%a %d %b %H:%M}{until}",
    )
    return Panel(Group(*lines), title=title, title_align="left", border_style=_COLOURS[incident.severity])


def _highlighted(item: Evidence) -> Text:
    """The headline with the (at most three) words underlined that moved it most towards negative."""
    text = Text(item.title)
    heaviest = sorted((word for word in item.words if word.weight > 0), key=lambda word: -word.weight)[:3]
    for word in heaviest:
        text.stylize("bold red underline", word.start, word.end)
    if heaviest:
        text.append("  " + ", ".join(f"{word.word} +{word.weight:.2f}" for word in heaviest), style="dim")
    return text
