"""``riskwire rules``: check rules files, and see what they would have done."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from monitor.core.codec import dumps
from monitor.core.errors import UsageError
from monitor.core.types import Article, Scored

if TYPE_CHECKING:
    from monitor.core.ports import Scorer

app = typer.Typer(no_args_is_help=True, help="Check rules and try them on an archive.")

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]


@app.command("check")
def check_rules(
    file: Annotated[list[Path], typer.Argument(help="Rules files, checked together.")],
    config: _Config = None,
) -> None:
    """Say whether rules are right: syntax, topics, entities. Names file, line and column of what is wrong."""
    from monitor.app import load_rules
    from monitor.config import load_settings

    rules = load_rules(load_settings(config), file)
    if not len(rules):
        raise UsageError(f"{file[0]} holds no rules.", hint="Each rule is a table under [[rules]]; see docs/rules.md.")
    at_once = sum(rule.at_once for rule in rules.rules)
    typer.echo(f"{len(rules)} rules are right: {at_once} open incidents at once, {len(rules) - at_once} make series.")


@app.command("test")
def try_rules(
    file: Annotated[Path, typer.Argument(help="Rules file.")],
    archive: Annotated[list[Path], typer.Argument(help="JSONL or CSV archives, .gz or not, each in order of time.")],
    columns: Annotated[str, typer.Option(help="Column mapping for CSV: title=headline,published_at=when,…")] = "",
    scores: Annotated[
        Path | None, typer.Option(help="Keeps the scores (.jsonl.gz): made when missing, used when there.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Stories shown per rule.", min=0, max=1000)] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Writes every story that fired as JSONL.")] = None,
    config: _Config = None,
) -> None:
    """Run rules over archives in event time: which stories fire when, counts per rule and week, examples."""
    from alerts.rules.trial import report, run_trial
    from connectors.archive import BadRow, ColumnMapping, read_archive
    from monitor.app import build_pipeline, build_scorer, build_watchlist, load_rules
    from monitor.cli.backtest import scored_articles, with_cache
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock

    settings = load_settings(config)
    watchlist = build_watchlist(settings)
    rules = load_rules(settings, [file], watchlist)
    if not len(rules):
        raise UsageError(f"{file} holds no rules.", hint="Each rule is a table under [[rules]]; see docs/rules.md.")
    pipeline = build_pipeline(settings, watchlist, alerting=False, rules=rules)
    console = Console(stderr=True)
    bad: list[BadRow] = []
    mapping = ColumnMapping.parse(columns) if columns else None
    articles = chain.from_iterable(read_archive(path, mapping=mapping, on_error=bad.append) for path in archive)
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        stack.enter_context(console.status("running the rules"))
        scorer: Scorer | None = None

        def score(batch: list[Article]) -> list[Scored]:
            nonlocal scorer
            if scorer is None:
                model = build_scorer(settings, SystemClock())
                stack.callback(lambda: runner.run(model.close()))
                scorer = model

            async def ask(asked: Scorer) -> list[Scored]:
                return list(await asked.score(batch))

            return runner.run(ask(scorer))

        items = scored_articles(articles, score) if scores is None else with_cache(articles, score, scores)
        stack.enter_context(contextlib.closing(items))
        trial = run_trial(items, rules, config=pipeline.config, display_names=pipeline.book.names)
    for row in bad[:5]:
        console.print(f"skipped: {row}", markup=False, highlight=False)
    if trial.first is None or trial.last is None:
        raise UsageError("The archives hold no articles.", hint=str(bad[0]) if bad else "")
    typer.echo(
        f"{len(rules)} rules over {trial.articles:,} articles from {trial.first:%Y-%m-%d %H:%M} to "
        f"{trial.last:%Y-%m-%d %H:%M} UTC\n"
    )
    for line in report(trial, examples):
        typer.echo(line)
    if out is not None:
        fired = sorted((f for c in trial.counts.values() for f in c.fired), key=lambda f: (f.at, f.rule, f.article))
        try:
            out.write_text("".join(f"{dumps(item.to_doc())}\n" for item in fired), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"Cannot write {out}: {error.strerror}.") from error
