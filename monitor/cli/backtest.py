"""``riskwire backtest``: the live detector over history, no alerts sent."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console

from monitor.cli.trials import Trials
from monitor.core.codec import dumps, loads, scored_from_dict, scored_to_dict
from monitor.core.errors import CodecError, UsageError
from monitor.core.types import Article, Scored, ScoredArticle, Scores

if TYPE_CHECKING:
    from monitor.core.ports import Scorer

_CHUNK = 512
_DIGITS = 4
Score = Callable[[list[Article]], list[Scored]]


def backtest(
    archive: Annotated[list[Path], typer.Argument(help="JSONL or CSV archives, .gz or not, each in order of time.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for incidents.jsonl, series.csv.gz and report.html.")],
    columns: Annotated[str, typer.Option(help="Column mapping for CSV: title=headline,published_at=when,…")] = "",
    scores: Annotated[
        Path | None, typer.Option(help="Keeps the scores (.jsonl.gz): made when missing, used when there.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another constant of the detector: incidents.open_q=0.01; repeatable."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="Run every value of a constant, incidents.open_q=0.01,0.02, and write a table; repeatable."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Real events (JSONL or CSV: at, until, scope, value, name) to judge a sweep by.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="Another configuration: a file, or name=value with spaces between; writes what differs."),
    ] = None,
) -> None:
    """Run the detector over archives in event time and write a report; no alerts are sent."""
    from alerts.backtest import run_backtest
    from alerts.tuning import assignment, tuned
    from connectors.archive import BadRow, ColumnMapping, read_archive
    from monitor.app import build_pipeline, build_scorer, build_watchlist
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock

    console = Console(stderr=True)
    settings = load_settings(config)
    pipeline = build_pipeline(settings, build_watchlist(settings), alerting=False)
    base = {name: ",".join(values) for name, values in map(assignment, set_ or ())}
    if labels is not None and not sweep:
        raise UsageError("--labels judges a sweep.", hint="Give --sweep incidents.open_q=0.01,0.02.")
    trials = Trials(tuned(pipeline.config, base), base, sweep or [], compare, labels, config)
    bad: list[str] = []

    def on_error(row: BadRow) -> None:
        bad.append(str(row))

    mapping = ColumnMapping.parse(columns) if columns else None
    articles = chain.from_iterable(read_archive(path, mapping=mapping, on_error=on_error) for path in archive)
    began = time.monotonic()
    with asyncio.Runner() as runner, console.status("loading the model") as status, contextlib.ExitStack() as stack:
        scorer: Scorer | None = None

        def score(batch: list[Article]) -> list[Scored]:
            nonlocal scorer
            if scorer is None:
                model = build_scorer(settings, SystemClock())
                stack.callback(lambda: runner.run(model.close()))
                scorer = model
            return list(runner.run(_score(scorer, batch)))

        def progress(count: int, at: datetime) -> None:
            rate = count / (time.monotonic() - began)
            status.update(f"{count:,} articles, at {at:%Y-%m-%d %H:%M}, {rate:,.0f}/s")

        if scores is None and trials.wanted:  # the model is asked once
            scores = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="riskwire-"))) / "scores.jsonl.gz"
        items = scored_articles(articles, score) if scores is None else with_cache(articles, score, scores)
        stack.enter_context(contextlib.closing(items))
        title = f"Backtest of {', '.join(path.name for path in archive)}"
        summary = run_backtest(
            items,
            out,
            config=trials.config,
            display_names=pipeline.book.names,
            title=title,
            progress=progress,
            rules=pipeline.rules.rules,
        )
        if scores is not None and trials.wanted and summary.articles:

            def again() -> Iterator[ScoredArticle]:
                return _cached(chain.from_iterable(read_archive(path, mapping=mapping) for path in archive), scores)

            for line in trials.run(again, summary, pipeline, out, title, status.update):
                typer.echo(line)
    seconds = time.monotonic() - began
    for incident in summary.incidents:
        typer.echo(
            f"{incident.opened_at:%Y-%m-%d %H:%M} {incident.severity.value:8} {incident.key!s:40} {incident.reason}"
        )
    for message in bad[:5]:
        console.print(f"skipped: {message}", markup=False, highlight=False)
    if not summary.articles:
        raise UsageError("The archives hold no articles.", hint=bad[0] if bad else "")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(
        f"{summary.articles:,} articles in {seconds:.1f} s ({summary.articles / seconds:,.0f}/s), {len(bad)} bad rows, "
        f"{len(summary.incidents)} incidents, peak memory {peak:,.0f} MiB; report in {out / 'report.html'}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


async def _score(scorer: Scorer, batch: list[Article]) -> Iterable[Scored]:
    return await scorer.score(batch)


def scored_articles(articles: Iterable[Article], score: Score) -> Generator[ScoredArticle, None, None]:
    """Scores in chunks; the scores are rounded as the cache keeps them, so that both ways give equal results."""
    rows = iter(articles)
    while chunk := list(islice(rows, _CHUNK)):
        for article, scored in zip(chunk, score(chunk), strict=True):
            yield ScoredArticle(article=article, scored=_rounded(scored))


def with_cache(articles: Iterable[Article], score: Score, path: Path) -> Generator[ScoredArticle, None, None]:
    """As :func:`scored_articles`, from the cache ``path`` when it is there, else writing it.

    The cache is complete or absent: it takes its name only when the last article is scored. Raises UsageError when it
    belongs to other archives.
    """
    if path.exists():
        yield from _cached(articles, path)
        return
    partial = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = False
    try:
        with _text(partial, "wt") as file:
            for item in scored_articles(articles, score):
                file.write(f"{dumps(scored_to_dict(item.scored))}\n")
                yield item
        partial.replace(path)
        done = True
    finally:
        if not done:
            partial.unlink(missing_ok=True)


def _cached(articles: Iterable[Article], path: Path) -> Iterator[ScoredArticle]:
    hint = f"Delete {path} or name another file with --scores."
    with _text(path, "rt") as file:
        number = 0
        for number, article in enumerate(articles, 1):
            line = file.readline()
            if not line:
                raise UsageError(f"{path} ends at article {number:,}: it belongs to another archive.", hint=hint)
            try:
                scored = scored_from_dict(loads(line))
            except CodecError as error:
                raise UsageError(f"{path}, line {number:,}: {error.message}", hint=hint) from error
            if scored.article_id != article.id:
                raise UsageError(f"{path}, line {number:,} is of another article than the archive's.", hint=hint)
            yield ScoredArticle(article=article, scored=scored)
        if file.readline():
            raise UsageError(f"{path} holds more than {number:,} articles: it belongs to another archive.", hint=hint)


def _text(path: Path, mode: str) -> TextIO:
    try:
        if path.name.removesuffix(".part").endswith(".gz"):
            file: TextIO = gzip.open(path, mode, encoding="utf-8")  # type: ignore[assignment]  # noqa: SIM115
        else:
            file = path.open(mode, encoding="utf-8")  # type: ignore[assignment]
    except OSError as error:
        raise UsageError(f"The scores file {path} cannot be opened: {error.strerror}.") from error
    return file


def _rounded(scored: Scored) -> Scored:
    def kept(table: dict[str, float]) -> dict[str, float]:
        return {name: value for name, p in table.items() if (value := round(p, _DIGITS)) > 0.0} or table

    scores = Scores(topics=kept(dict(scored.scores.topics)), sentiments=kept(dict(scored.scores.sentiments)))
    return Scored(
        article_id=scored.article_id,
        model=scored.model,
        scores=scores,
        entities=scored.entities,
        story_signature=scored.story_signature,
        scored_at=scored.scored_at,
    )
