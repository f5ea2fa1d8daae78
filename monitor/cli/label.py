"""``riskwire label``: uncertain and disputed articles out to annotators, their labels back in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.model.artefact import Artefact
    from monitor.train.lifecycle.pool import Candidate, Quota

app = typer.Typer(no_args_is_help=True, help="Export articles to label, import labels, count them.")

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Labels = Annotated[Path | None, typer.Option("--labels", help="The labels file; labels.jsonl in the data folder.")]
_Form = Annotated[str, typer.Option("--format", help="csv, argilla or labelstudio.")]
_PAGE = 2000
RESCORED_AT_MOST = 20_000


@app.command("export")
def export_articles(
    out: Annotated[Path, typer.Argument(help="A CSV file, or a folder for the other formats.")],
    form: _Form = "csv",
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 30d, 8w.")] = "30d",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most articles.")] = 200,
    per_topic: Annotated[int, typer.Option("--per-topic", min=0, help="Most of one predicted topic; 0: any.")] = 0,
    per_language: Annotated[int, typer.Option("--per-language", min=0, help="Most of one language; 0: any.")] = 0,
    below: Annotated[
        float, typer.Option("--below", min=0.0, max=1.0, help="A top probability under this is uncertain.")
    ] = 0.6,
    random: Annotated[
        float, typer.Option("--random", min=0.0, max=1.0, help="Part drawn at random, to measure the model by.")
    ] = 0.1,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score again what another model or the sender scored; export differences.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Another one draws other random articles.")] = 0,
    labels: _Labels = None,
    config: _Config = None,
) -> None:
    """Write out articles that are worth labelling: uncertain, disputed, and a random few."""
    from monitor.app import load_artefact, model_path
    from monitor.cli.drift import _span
    from monitor.config import load_settings
    from monitor.train.lifecycle.formats import write
    from monitor.train.lifecycle.pool import Quota

    _check(form)
    settings = load_settings(config)
    artefact = load_artefact(model_path(settings))
    quota = Quota(limit=limit, per_topic=per_topic, per_language=per_language, random=random, below=below)
    chosen, looked = asyncio.run(
        _choose(settings, artefact, _span("--since", since), quota, _file(settings, labels), rescore=rescore, seed=seed)
    )
    if not chosen:
        raise UsageError(
            f"None of {looked} articles is worth labelling.", hint="Raise --below, --random or --since, or --rescore."
        )
    for path in write(form, out, chosen, artefact):
        typer.echo(str(path))
    counts: dict[str, int] = {}
    for candidate in chosen:
        counts[candidate.reason] = counts.get(candidate.reason, 0) + 1
    shown = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    typer.echo(f"{len(chosen)} of {looked} articles: {shown}.", err=True)


@app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="What the annotators filled in, or the tool exported.")],
    form: _Form = "csv",
    annotator: Annotated[str, typer.Option("--annotator", help="Who labelled rows that do not say.")] = "",
    conflicts: Annotated[
        str, typer.Option("--conflicts", help="Annotators differ: 'refuse' the file, or 'keep' (the majority counts).")
    ] = "refuse",
    out: _Labels = None,
    config: _Config = None,
) -> None:
    """Check labels, and add those that are new to the labels file. Nothing is added when a row is wrong."""
    from monitor.app import load_artefact, model_path
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.core.codec import time_to_str
    from monitor.train.lifecycle.formats import read
    from monitor.train.lifecycle.labels import append

    _check(form)
    if conflicts not in ("refuse", "keep"):
        raise UsageError(f"--conflicts must be refuse or keep, not '{conflicts}'.")
    settings = load_settings(config)
    artefact = load_artefact(model_path(settings))
    found = read(form, file, artefact=artefact, annotator=annotator, now=time_to_str(SystemClock().now()))
    where = _file(settings, out)
    done = append(where, found, refuse_conflicts=conflicts == "refuse")
    for line in done.conflicts[:10]:
        typer.echo(f"differ: {line}", err=True)
    typer.echo(
        f"{where}: {done.added} labels added ({done.revised} of them revise an earlier one), {done.known} there "
        f"already, {done.empty} rows empty, {len(done.conflicts)} conflicts kept."
    )


@app.command()
def stats(
    labels: _Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: _Config = None,
) -> None:
    """Count labels by task, label, language, annotator and reason; agreement, and how often the model was right."""
    from monitor.config import load_settings
    from monitor.train.lifecycle.labels import read_labels
    from monitor.train.lifecycle.labels import stats as count

    where = _file(load_settings(config), labels)
    data = count(read_labels(where))
    if as_json:
        typer.echo(json.dumps(data, ensure_ascii=False, indent=1))
    else:
        _print(where, data)


def _check(form: str) -> None:
    from monitor.train.lifecycle.formats import FORMATS

    if form not in FORMATS:
        raise UsageError(f"There is no format '{form}'.", hint=f"Use one of: {', '.join(FORMATS)}.")


def _file(settings: Settings, given: Path | None) -> Path:
    from monitor.train.lifecycle.labels import FILE

    return given or settings.data_dir / FILE


async def _choose(
    settings: Settings, artefact: Artefact, since: Any, quota: Quota, labels: Path, *, rescore: bool, seed: int
) -> tuple[list[Candidate], int]:
    from monitor.app import build_stories, open_storage
    from monitor.core.clock import SystemClock
    from monitor.train.lifecycle.labels import read_labels
    from monitor.train.lifecycle.pool import Candidate, choose

    clock = SystemClock()
    first = clock.now() - since
    known = frozenset(label.group for label in read_labels(labels))
    found: list[Candidate] = []
    readers: dict[str, int] = {}
    async with open_storage(settings, clock, guest=True) as storage:
        after = ""
        while rows := await storage.state.list("feedback", after=after, limit=_PAGE):
            after = rows[-1][0]
            for _, row in rows:
                readers[str(row["article"])] = readers.get(str(row["article"]), 0) + 1
        position = ""
        while (page := await storage.store.tail(position, _PAGE)).items:
            position = page.position
            for item in page.items:
                text = artefact.preprocessing.article(item.article.title, item.article.body)
                if text and item.article.published_at >= first:
                    found.append(Candidate(item=item, text=text, scores=item.scored.scores, model=item.scored.model))
    if rescore:
        found = await asyncio.to_thread(_rescore, artefact, found)
    chosen = choose(found, quota=quota, story_of=build_stories(), labelled=known, seed=seed, readers=readers)
    return chosen, len(found)


def _rescore(artefact: Artefact, found: Sequence[Candidate]) -> list[Candidate]:
    """The newest of those that the present model has not scored, with its scores."""
    from dataclasses import replace

    from monitor.model.engines import choose_engine
    from monitor.model.engines.base import to_scores

    places = [place for place, item in enumerate(found) if item.model != artefact.id][-RESCORED_AT_MOST:]
    engine = choose_engine(artefact, "onnx")
    try:
        table = engine.predict_tasks([found[place].text for place in places])
    finally:
        engine.close()
    done = list(found)
    for number, place in enumerate(places):
        scores = to_scores(artefact, {task: rows[number] for task, rows in table.items()})
        done[place] = replace(found[place], scores=scores, model=artefact.id)
    return done


def _print(where: Path, data: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{where}: {data['labels']} labels of {data['texts']} texts, {data['held_out']} held out, "
        f"{data['disputed']} disputed",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    for name in ("languages", "annotators", "reasons"):
        parts = ", ".join(f"{key} {count}" for key, count in data[name].items()) or "none"
        console.print(f"{name}: {parts}", markup=False, highlight=False, soft_wrap=True)
    for task, row in data["tasks"].items():
        table = Table(task, "texts")
        for label, count in row["by_label"].items():
            table.add_row(label, str(count))
        console.print(table)
        for kind, found in row["model_was_right"].items():
            console.print(f"  the model was right ({kind}): {found['right']} of {found['n']}", highlight=False)
        for pair in row["agreement"]:
            console.print(
                f"  {' and '.join(pair['annotators'])}: {pair['agreement']:.1%} of {pair['n']} texts alike, "
                f"kappa {pair['kappa']:.2f}",
                markup=False, highlight=False,
            )  # fmt: skip
