"""``riskwire model``: look at a model artefact and check it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

model = typer.Typer(no_args_is_help=True, help="Look at a model and check it.")
_Where = Annotated[str | None, typer.Argument(help="Folder of an artefact; the packaged model by default.")]


@model.command()
def show(
    where: _Where = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card.")] = False,
) -> None:
    """Show a model's id, tasks, labels and measured figures."""
    from monitor.model.artefact import Artefact, locate

    artefact = Artefact.load(locate(where))
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
def verify(where: _Where = None) -> None:
    """Check a model: every file there, every hash right, and a text scored."""
    from monitor.model.artefact import Artefact, locate
    from monitor.model.engines import choose_engine

    artefact = Artefact.load(locate(where))
    engine = choose_engine(artefact, "onnx")
    try:
        engine.predict_tasks(["Shares fell after the company cut its forecast."])
    finally:
        engine.close()
    typer.echo(f"{artefact.id}: all files there, all hashes right, it runs.")
