"""``riskwire retrain``: train on new labels with replay of the old, judge, and promote only what is better."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from monitor.train.lifecycle.gates import Decision


def retrain(
    recipe: Annotated[Path, typer.Option("--recipe", help="The recipe that the present model was made with.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the recipe's data sets; the recipe's folder by default.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="The labels file; labels.jsonl in the data folder.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Train on from this folder or id; the model that runs by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the run goes; retrain/TIME in the data folder by default.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the mix.")] = 2,
    replay: Annotated[
        float, typer.Option("--replay", min=0.0, max=1.0, help="Part of the old training texts in each pass.")
    ] = 0.3,
    weight: Annotated[float, typer.Option("--weight", min=0.01, help="Factor of the loss of a new label.")] = 1.0,
    slower: Annotated[float, typer.Option("--slower", min=0.0, help="Factor of the recipe's learning rates.")] = 0.3,
    frozen: Annotated[
        list[str] | None,
        typer.Option("--frozen", help="TASK=FILE: a CSV (text,label) on which the model may not fall. Repeatable."),
    ] = None,
    bound: Annotated[float, typer.Option("--bound", min=0.0, help="Most that a frozen set may fall.")] = 0.005,
    slice_bound: Annotated[
        float, typer.Option("--slice-bound", min=0.0, help="Most that a language or class of it may fall.")
    ] = 0.02,
    shadow: Annotated[
        float, typer.Option("--shadow", min=0.0, help="Let it score along for so many days instead of setting it.")
    ] = 0.0,
    install: Annotated[bool, typer.Option(help="Set the candidate when every gate is passed.")] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
) -> None:
    """Train on new labels, compare with the present model text by text, and set the new one only when it is better.

    Exit code 1 when a gate keeps it out.
    """
    from monitor.cli.train import _pair, require_extra

    require_extra()
    from monitor.app import load_artefact, model_path
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.model.registry import ModelRegistry
    from monitor.train.config import load_config
    from monitor.train.lifecycle.gates import Bounds
    from monitor.train.lifecycle.labels import FILE, decide, read_labels
    from monitor.train.lifecycle.recipe import Plan
    from monitor.train.lifecycle.retrain import REPORT
    from monitor.train.lifecycle.retrain import retrain as run

    settings, clock = load_settings(config), SystemClock()
    registry = ModelRegistry(settings.data_dir)
    present = load_artefact(registry.path_of(model) if model is not None else model_path(settings))
    where = labels or settings.data_dir / FILE
    decided = decide(read_labels(where))
    if not decided:
        raise UsageError(f"There are no labels in {where}.", hint="'riskwire label export', then 'label import'.")
    folder = out or settings.data_dir / "retrain" / f"{clock.now():%Y%m%d-%H%M%S}"
    outcome = run(
        load_config(recipe),
        present,
        decided,
        data=data or recipe.parent,
        out=folder,
        plan=Plan(epochs=epochs, replay=replay, weight=weight, slower=slower),
        frozen=[_pair(text) for text in frozen or []],
        bounds=Bounds(whole=bound, piece=slice_bound),
        threads=threads,
        report=lambda line: typer.echo(line, err=True),
    )
    _print(outcome.decision)
    for note in outcome.report["notes"]:
        typer.echo(note, err=True)
    typer.echo(f"{outcome.candidate}; report: {folder / REPORT}")
    if not outcome.decision.promote:
        typer.echo("Not promoted.")
        raise typer.Exit(1)
    from monitor.cli.model import RESTART, _warn_of_path

    if shadow > 0:
        now = clock.now()
        found = registry.set_shadow(str(outcome.candidate), since=now, until=now + timedelta(days=shadow), share=0.25)
        typer.echo(f"{found.model} scores along for {shadow:g} days; then 'riskwire model compare'. {RESTART}")
    elif install:
        setting = registry.set(str(outcome.candidate), now=clock.now(), why=f"retrained: {outcome.decision.reasons[0]}")
        typer.echo(f"{setting.model} is set. {RESTART}")
        _warn_of_path(settings)
    else:
        typer.echo("Every gate is passed; not installed.")


def _print(decision: Decision) -> None:
    console = Console()
    table = Table("gate", "task", "set", "part", "n", "present", "candidate", "change", "p", "")
    styles = {"passed": "green", "failed": "red", "shown": "dim"}
    for gate in decision.gates:
        if gate.kind == "slice" and gate.state == "shown":
            continue
        table.add_row(
            gate.kind, gate.task, gate.name, gate.part, str(gate.n), f"{gate.present:.3f}", f"{gate.candidate:.3f}",
            f"{gate.difference:+.3f}", f"{gate.p:.3f}", f"[{styles[gate.state]}]{gate.state}[/]",
        )  # fmt: skip
    console.print(table)
    for reason in decision.reasons:
        console.print(f"- {reason}", markup=False, highlight=False, soft_wrap=True)
