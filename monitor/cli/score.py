"""``riskwire score``: texts in, scores out."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from monitor.cli.reading import read_articles
from monitor.core.clock import SystemClock
from monitor.core.codec import score_line
from monitor.core.errors import UsageError
from monitor.core.types import Article, Scored, ScoredArticle

if TYPE_CHECKING:
    from monitor.cli.explanation_page import Shown
    from monitor.model.explain import Explanation
    from monitor.model.scorer import ModelScorer

_CHUNK = 512
_EXPLAINED_CHUNK = 64
_SHOWN = 2_000
"""Articles on the page; more would be too much for a browser, and for people."""


def score(
    file: Annotated[str, typer.Argument(help="JSONL file, or '-' for standard input.")] = "-",
    text: Annotated[bool, typer.Option("--text", help="Plain lines: each line is a title.")] = False,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Folder of a model artefact; overrides the configuration.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the words that weighed on topic and sentiment.")
    ] = False,
    words: Annotated[
        int | None, typer.Option("--words", min=1, help="With --explain: only the strongest so many; all when unset.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with the words highlighted (first 2,000 articles).")
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Of the input, e.g. gb18030; UTF-8 or what its byte order mark says."),
    ] = None,
) -> None:
    """Score articles: one JSON line out for each line in, in order."""
    from monitor.app import build_scorer
    from monitor.config import load_settings

    settings = load_settings(config)
    if model is not None:
        settings = settings.model_copy(update={"model": settings.model.model_copy(update={"path": model})})
    if html is not None and not html.absolute().parent.is_dir():
        raise UsageError(f"Cannot write {html}: there is no folder {html.absolute().parent}.")
    clock = SystemClock()
    scorer = build_scorer(settings, clock)
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8 whatever the terminal is; a lone surrogate is escaped
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")

    async def main() -> None:
        shown: list[Shown] = []
        size = _EXPLAINED_CHUNK if explain or html else _CHUNK
        try:
            with ExitStack() as stack:
                name = "standard input" if file == "-" else file
                articles = read_articles(_open(file, stack), name, clock.now(), plain=text, encoding=encoding or "")
                while chunk := list(islice(articles, size)):
                    scored = await scorer.score(chunk)
                    whys = await _explained(scorer, chunk, scored) if explain or html else [None] * len(chunk)
                    for article, result, why in zip(chunk, scored, whys, strict=True):
                        line = score_line(ScoredArticle(article=article, scored=result))
                        if explain and why:
                            line["explanation"] = {task: item.to_dict(words) for task, item in why.items()}
                        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
                        if html is not None and len(shown) < _SHOWN:
                            shown.append(_shown(article, result, why or {}))
                    sys.stdout.flush()
        finally:
            await scorer.close()
            if html is not None and shown:
                _write_page(html, shown, scorer)

    asyncio.run(main())


async def _explained(
    scorer: ModelScorer, articles: Sequence[Article], scored: Sequence[Scored]
) -> list[dict[str, Explanation] | None]:
    """For the most probable topic and sentiment of each, also where the verdict is uncertain; None for articles that
    came with scores of somebody else."""
    asked = [index for index, article in enumerate(articles) if article.scores is None]
    found = await scorer.explain_articles(
        [articles[index] for index in asked],
        [{"topic": scored[i].scores.topic, "sentiment": scored[i].scores.sentiment} for i in asked],
    )
    whys: list[dict[str, Explanation] | None] = [None] * len(articles)
    for index, why in zip(asked, found, strict=True):
        whys[index] = dict(why)
    return whys


def _shown(article: Article, scored: Scored, why: dict[str, Explanation]) -> Shown:
    from monitor.cli.explanation_page import Shown

    return Shown(article=article, scored=scored, explanations=why)


def _write_page(file: Path, shown: Sequence[Shown], scorer: ModelScorer) -> None:
    from monitor.cli.explanation_page import explanation_page

    try:
        file.write_text(explanation_page(shown, model=scorer.model, display=scorer.display), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write {file}: {error.strerror}.") from error


def _open(file: str, stack: ExitStack) -> IO[bytes]:
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(file).open("rb"))
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.") from error
