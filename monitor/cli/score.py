"""``riskwire score``: texts in, scores out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Annotated

import typer

from monitor.core.clock import SystemClock
from monitor.core.codec import article_from_row, loads, score_line
from monitor.core.errors import CodecError, UsageError
from monitor.core.types import Article, ScoredArticle

_CHUNK = 512


def score(
    file: Annotated[str, typer.Argument(help="JSONL file, or '-' for standard input.")] = "-",
    text: Annotated[bool, typer.Option("--text", help="Plain lines: each line is a title.")] = False,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Folder of a model artefact; overrides the configuration.")
    ] = None,
) -> None:
    """Score articles: one JSON line out for each line in, in order."""
    from monitor.app import build_scorer
    from monitor.config import load_settings

    settings = load_settings(config)
    if model is not None:
        settings = settings.model_copy(update={"model": settings.model.model_copy(update={"path": model})})
    clock = SystemClock()
    scorer = build_scorer(settings, clock)

    async def main() -> None:
        with ExitStack() as stack:
            articles = _read(_open(file, stack), file, clock.now(), plain=text)
            while chunk := list(islice(articles, _CHUNK)):
                scored = await scorer.score(chunk)
                for article, result in zip(chunk, scored, strict=True):
                    line = score_line(ScoredArticle(article=article, scored=result))
                    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
                sys.stdout.flush()
        await scorer.close()

    asyncio.run(main())


def _open(file: str, stack: ExitStack) -> IO[bytes]:
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(file).open("rb"))
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.") from error


def _read(lines: IO[bytes], file: str, now: datetime, *, plain: bool) -> Iterator[Article]:
    name = "standard input" if file == "-" else file
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        try:
            row = {"title": line, "source": "text"} if plain else loads(line)
            yield article_from_row(row, now=now)
        except CodecError as error:
            hint = "Use --text for plain lines." if number == 1 and not plain else ""
            raise UsageError(f"{name}, line {number}: {error}", hint=hint) from error
