"""``riskwire doctor``: checks every configured part and says what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import RiskwireError

if TYPE_CHECKING:
    from monitor.config import Settings

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the doctor says of one part: ``status`` is ok, warn or fail; ``advice`` is the next step."""

    part: str
    status: str
    finding: str
    advice: str = ""


def doctor(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the sources.")] = False,
) -> None:
    """Check every configured part and say what to do. Exit code 1 when something has to be mended."""
    from monitor.config import DEFAULT_FILE, load_settings
    from monitor.obs.logging import configure_logging

    configure_logging("error")
    settings = load_settings(config)
    used = str(config or (DEFAULT_FILE if DEFAULT_FILE.exists() else "The default configuration"))
    verdicts = [Verdict(part="configuration", status="ok", finding=f"{used} is valid.")]
    verdicts += asyncio.run(examine(settings, offline=offline))
    table = Table("part", "", "finding", "next step", show_lines=False)
    for verdict in verdicts:
        table.add_row(
            verdict.part,
            f"[{_STYLES[verdict.status]}]{verdict.status}[/]",
            verdict.finding.replace("[", "\\["),
            verdict.advice.replace("[", "\\["),
        )
    Console().print(table)
    if any(verdict.status == "fail" for verdict in verdicts):
        raise typer.Exit(1)


async def examine(settings: Settings, *, offline: bool) -> list[Verdict]:
    """Looks at data folder, model, watchlist, notifiers and (unless ``offline``) every source."""
    verdicts: list[Verdict] = []
    for part, look in (
        ("data", _look_at_data),
        ("model", _look_at_model),
        ("watchlist", _look_at_watchlist),
        ("notifiers", _look_at_notifiers),
        *(() if offline else (("sources", _look_at_sources),)),
    ):
        verdicts += await _guarded(part, look, settings)
    return verdicts


async def _guarded(
    part: str, look: Callable[[Settings], Awaitable[list[Verdict]]], settings: Settings
) -> list[Verdict]:
    try:
        return await look(settings)
    except RiskwireError as error:
        return [Verdict(part=part, status="fail", finding=error.message, advice=error.hint)]


async def _look_at_data(settings: Settings) -> list[Verdict]:
    from monitor.db.check import check

    findings = await asyncio.to_thread(check, settings.data_dir)
    return [
        Verdict(part=f"data: {item.part}", status=item.status, finding=item.finding, advice=item.advice)
        for item in findings
    ]


async def _look_at_model(settings: Settings) -> list[Verdict]:
    from monitor.app import build_scorer
    from monitor.core.clock import SystemClock
    from monitor.core.codec import article_from_row

    clock = SystemClock()
    scorer = await asyncio.to_thread(build_scorer, settings, clock)
    try:
        rows = [{"title": f"Bank {number} warns of losses after fraud probe", "id": number} for number in range(64)]
        articles = [article_from_row(row, now=clock.now()) for row in rows]
        await scorer.score(articles[:1])
        began = time.monotonic()
        await scorer.score(articles[1:])
        rate = (len(articles) - 1) / (time.monotonic() - began)
    finally:
        await scorer.close()
    return [Verdict(part="model", status="ok", finding=f"{scorer.model} scores {rate:,.0f} headlines a second here.")]


async def _look_at_watchlist(settings: Settings) -> list[Verdict]:
    from monitor.app import build_watchlist

    count = len(build_watchlist(settings).entities)
    if not count:
        return [
            Verdict(
                part="watchlist",
                status="warn",
                finding="No entities are watched.",
                advice="Set entities.packaged = true or name your own watchlists.",
            )
        ]
    return [Verdict(part="watchlist", status="ok", finding=f"{count} entities are watched.")]


async def _look_at_notifiers(settings: Settings) -> list[Verdict]:
    from monitor.app import build_notifiers
    from monitor.core.clock import SystemClock

    names = list(build_notifiers(settings, SystemClock()))
    if not names:
        return [
            Verdict(
                part="notifiers",
                status="warn",
                finding="None: incidents are recorded, but nobody is told.",
                advice="Add [[notifiers]] with kind = 'console' or 'slack'.",
            )
        ]
    return [Verdict(part="notifiers", status="ok", finding=", ".join(names))]


async def _look_at_sources(settings: Settings) -> list[Verdict]:
    from monitor.app import build_sources, connector_context
    from monitor.core.clock import SystemClock
    from monitor.core.ports import Source

    if not settings.sources:
        return [Verdict(part="sources", status="warn", finding="None.", advice="'riskwire init' writes about 20.")]
    clock = SystemClock()
    slots = asyncio.Semaphore(settings.ingest.max_concurrent)

    async def ask(source: Source) -> Verdict:
        async with slots:
            try:
                page = await source.poll(None)
            except RiskwireError as error:
                return Verdict(part=f"source: {source.name}", status="fail", finding=error.message, advice=error.hint)
        if not page.articles:
            return Verdict(
                part=f"source: {source.name}",
                status="warn",
                finding="Answers, but holds no entries.",
                advice="Open its URL in a browser: is it still the right one?",
            )
        newest = max(article.published_at for article in page.articles)
        return Verdict(
            part=f"source: {source.name}",
            status="ok",
            finding=f"{len(page.articles)} entries, newest {newest:%Y-%m-%d %H:%M} UTC.",
        )

    async with connector_context(settings, clock) as context:
        polled = [source for source in build_sources(settings, context) if isinstance(source, Source)]
        return list(await asyncio.gather(*(ask(source) for source in polled)))
