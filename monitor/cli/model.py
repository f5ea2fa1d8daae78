"""``riskwire model``: look at models, check them, set one, go back, and let one score along."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.services.shadow import Comparison

model = typer.Typer(no_args_is_help=True, help="Look at models, check them, set one, go back to the former one.")
_Where = Annotated[
    str | None,
    typer.Argument(help="Folder, id or 'packaged'; the model that runs by default."),
]
_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _find(where: str | None, config: Path | None) -> Path:
    """A folder as given; without one, or for an id, what configuration and data folder say."""
    from monitor.app import model_path
    from monitor.config import load_settings
    from monitor.model.artefact import locate
    from monitor.model.registry import ModelRegistry

    if where is not None and (where in ("", "packaged") or Path(where).is_dir()):
        return locate(where)
    settings = load_settings(config)
    return locate(model_path(settings)) if where is None else ModelRegistry(settings.data_dir).path_of(where)


@model.command()
def show(
    where: _Where = None,
    as_json: _Json = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card.")] = False,
    config: _Config = None,
) -> None:
    """Show a model's id, tasks, labels and measured figures."""
    from monitor.model.artefact import Artefact

    artefact = Artefact.load(_find(where, config))
    if card:
        typer.echo(artefact.card())
        return
    metrics = artefact.metrics()
    facts = {
        "id": artefact.id,
        "path": str(artefact.path),
        "megabytes": round(artefact.size() / 1e6, 1),
        "languages": list(artefact.languages),
        "max_tokens": artefact.preprocessing.max_tokens,
        "torch_weights": artefact.safetensors is not None,
        "tasks": {
            name: {
                "temperature": task.calibration.temperature,
                "labels": {label: dict(task.names.get(label, {})) for label in task.labels},
                "test": {
                    source: {key: row[key] for key in ("n", "accuracy", "macro_f1", "ece")}
                    for source, row in metrics.get("test", {}).get(name, {}).items()
                },
            }
            for name, task in artefact.tasks.items()
        },
    }
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    _print(facts)


def _print(facts: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{facts['id']}  {facts['megabytes']} MB  {', '.join(facts['languages'])}", highlight=False)
    console.print(facts["path"], highlight=False, soft_wrap=True)
    for name, task in facts["tasks"].items():
        console.print(f"\n{name}: {len(task['labels'])} labels, temperature {task['temperature']:.3f}", highlight=False)
        table = Table("data", "n", "accuracy", "macro-F1", "ECE")
        for source, row in task["test"].items():
            table.add_row(source, str(row["n"]), *(f"{row[key]:.4f}" for key in ("accuracy", "macro_f1", "ece")))
        console.print(table)
        for label, names in task["labels"].items():
            console.print(f"  {label}  {' / '.join(text for text in names.values() if text)}", highlight=False)


@model.command()
def verify(where: _Where = None, config: _Config = None) -> None:
    """Check a model: every file there, every hash right, and a text scored."""
    from monitor.model.artefact import Artefact
    from monitor.model.engines import choose_engine

    artefact = Artefact.load(_find(where, config))
    engine = choose_engine(artefact, "onnx")
    try:
        engine.predict_tasks(["Shares fell after the company cut its forecast."])
    finally:
        engine.close()
    typer.echo(f"{artefact.id}: all files there, all hashes right, it runs.")


@model.command()
def ls(config: _Config = None, as_json: _Json = False) -> None:
    """List the models that can be set, which one runs, and what was set before."""
    from monitor.app import load_artefact, model_path
    from monitor.config import load_settings
    from monitor.core.codec import time_to_str
    from monitor.core.errors import ModelError
    from monitor.model.registry import ModelRegistry

    settings = load_settings(config)
    registry = ModelRegistry(settings.data_dir)
    try:
        running = load_artefact(model_path(settings)).id
    except ModelError as error:
        running = ""
        typer.echo(f"The model that should run cannot: {error}", err=True)
    shadow, history = registry.shadow(), registry.history()
    rows = [
        {
            "model": item.model,
            "path": str(item.path),
            "runs": item.model == running,
            "shadow": shadow is not None and item.model == shadow.model,
            "fault": item.fault,
        }
        for item in registry.installed()
    ]
    if running and not any(row["runs"] for row in rows):
        rows.append({
            "model": running, "path": str(settings.model.path), "runs": True, "shadow": False, "fault": "",
        })  # fmt: skip
    if as_json:
        past = [{"model": item.model, "at": time_to_str(item.at), "why": item.why} for item in history]
        typer.echo(json.dumps({"models": rows, "history": past}, ensure_ascii=False, indent=1))
        return
    table = Table("model", "", "path")
    for row in rows:
        marks = [word for word in ("runs", "shadow") if row[word]] + (["damaged"] if row["fault"] else [])
        table.add_row(str(row["model"]), ", ".join(marks), str(row["fault"] or row["path"]))
    Console().print(table)
    for item in history:
        typer.echo(f"{item.at:%Y-%m-%d %H:%M} set {item.model}" + (f": {item.why}" if item.why else ""))
    _warn_of_path(settings)


@model.command("set")
def set_model(
    which: Annotated[str, typer.Argument(help="Folder of an artefact, id of an installed one, or 'packaged'.")],
    config: _Config = None,
    why: Annotated[str, typer.Option("--why", help="A note for the history.")] = "",
) -> None:
    """Verify a model, copy it into the data folder, and let it run from the next start (or SIGHUP) on."""
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.model.artefact import Artefact
    from monitor.model.engines import choose_engine
    from monitor.model.engines.base import check_tasks
    from monitor.model.registry import ModelRegistry

    settings = load_settings(config)
    registry = ModelRegistry(settings.data_dir)
    artefact = Artefact.load(registry.path_of(which))
    check_tasks(artefact)
    engine = choose_engine(artefact, "onnx", threads=1)
    try:
        engine.predict_tasks(["Shares fell after the company cut its forecast."])
    finally:
        engine.close()
    setting = registry.set(which, now=SystemClock().now(), why=why)
    typer.echo(f"{setting.model} is set. {RESTART}")
    _warn_of_path(settings)


RESTART = "A running daemon takes it at its next start, or at once on SIGHUP (kill -HUP PID)."


@model.command()
def rollback(config: _Config = None) -> None:
    """Return to the model that was set before."""
    from monitor.config import load_settings
    from monitor.model.registry import ModelRegistry

    settings = load_settings(config)
    left, former = ModelRegistry(settings.data_dir).rollback()
    typer.echo(f"{former} is set again, in place of {left}. {RESTART}")
    _warn_of_path(settings)


@model.command()
def shadow(
    which: Annotated[str | None, typer.Argument(help="Folder or id of the model that is to score along.")] = None,
    days: Annotated[float, typer.Option("--for", min=0.01, max=365, help="Days it runs.")] = 7.0,
    share: Annotated[float, typer.Option("--share", help="Part of the articles it scores, above 0, at most 1.")] = 0.25,
    off: Annotated[bool, typer.Option("--off", help="End the shadow.")] = False,
    config: _Config = None,
) -> None:
    """Let a second model score a sample of the articles, without being believed; see 'model compare'."""
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.core.errors import UsageError
    from monitor.model.registry import ModelRegistry

    registry = ModelRegistry(load_settings(config).data_dir)
    if off:
        typer.echo(f"The shadow is off. {RESTART}" if registry.clear_shadow() else "There was no shadow.")
        return
    if which is None:
        raise UsageError("Which model is to score along?", hint="Name a folder or an id, or use --off.")
    now = SystemClock().now()
    found = registry.set_shadow(which, since=now, until=now + timedelta(days=days), share=share)
    typer.echo(f"{found.model} scores {share:.0%} of the articles along until {found.until:%Y-%m-%d %H:%M}. {RESTART}")


@model.command()
def compare(config: _Config = None, as_json: _Json = False) -> None:
    """Show what a shadow model said beside the one that is set: agreement, and the shift of p(negative)."""
    from monitor.app import open_storage
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.services.shadow import SHADOW_KIND, Comparison

    settings = load_settings(config)

    async def read() -> list[Comparison]:
        async with open_storage(settings, SystemClock(), guest=True) as storage:
            return [Comparison.from_dict(doc) for _, doc in await storage.state.list(SHADOW_KIND)]

    found = sorted(asyncio.run(read()), key=lambda item: item.updated)
    if as_json:
        rows = [
            item.to_dict()
            | {"figures": item.all.figures(), "by_topic": {name: s.figures() for name, s in item.topics.items()}}
            for item in found
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    if not found:
        typer.echo("No shadow has run yet. 'riskwire model shadow FOLDER' starts one.")
    for item in found:
        _print_comparison(item)


def _print_comparison(item: Comparison) -> None:
    console = Console()
    console.print(
        f"{item.shadow} beside {item.main}, {item.since[:16]} to {item.updated[:16]}: {item.all.n} articles, "
        f"{item.dropped} dropped, {item.failed} failed",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("topic (of the main model)", "n", "same topic", "same sentiment", "p(negative)", "shift", "95 %")
    for name, sums in [("all", item.all), *sorted(item.topics.items(), key=lambda pair: -pair[1].n)]:
        row = sums.figures()
        if row["n"]:
            low, high = row["interval"]
            table.add_row(
                name, str(row["n"]), f"{row['topic_agreement']:.3f}", f"{row['sentiment_agreement']:.3f}",
                f"{row['mean_negative']:.3f}", f"{row['shift_of_negative']:+.4f}", f"{low:+.4f} to {high:+.4f}",
            )  # fmt: skip
    console.print(table)
    for move, count in sorted(item.moves.items(), key=lambda pair: -pair[1]):
        console.print(f"  {move}: {count}", highlight=False)
    for row in item.to_dict()["examples"][:5]:
        console.print(f"  {row['main']:.2f} > {row['shadow']:.2f}  {row['title']}", markup=False, highlight=False)


def _warn_of_path(settings: Settings) -> None:
    if settings.model.path is not None:
        typer.echo(
            f"But the configuration's model.path, {settings.model.path}, goes before what is set: remove it there.",
            err=True,
        )
