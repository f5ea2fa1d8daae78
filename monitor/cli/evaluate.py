"""``riskwire evaluate``: how good a model is on labelled texts. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import UsageError


def evaluate(
    data: Annotated[Path, typer.Argument(help="CSV (or JSONL) with the columns text and label.")],
    task: Annotated[str, typer.Option("--task", help="The task to evaluate: topic or sentiment.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Folder of an artefact; the packaged model by default.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write the figures here as JSON.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, onnx or torch.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
) -> None:
    """Evaluate a model on labelled texts: accuracy, F1, calibration error, per class."""
    from monitor.model.artefact import Artefact, locate
    from monitor.model.engines import choose_engine
    from monitor.train.evaluate import evaluate_file

    artefact = Artefact.load(locate(model))
    runner = choose_engine(artefact, engine, threads=threads)
    try:
        figures = evaluate_file(runner, task=task, path=data)
    finally:
        runner.close()
    if report is not None:
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
        except OSError as error:
            raise UsageError(
                f"{report}: cannot be written ({error.strerror}).", hint="Choose another --report."
            ) from error
    show(figures)


def show(figures: dict[str, Any]) -> None:
    """Prints the figures as tables."""
    console = Console()
    console.print(
        f"{figures['model']}, {figures['task']}: n {figures['n']}, accuracy {figures['accuracy']:.4f}, "
        f"macro-F1 {figures['macro_f1']:.4f}, weighted F1 {figures['weighted_f1']:.4f}, ECE {figures['ece']:.4f}",
        highlight=False,
    )
    if "decided" in figures:
        decided = figures["decided"]
        console.print(
            f"The file uses only {', '.join(decided['labels'])}: {decided['part']:.1%} got one of them, "
            f"{decided['accuracy']:.4f} of those right; {figures['among_labels']['accuracy']:.4f} when only those may "
            "be chosen.",
            highlight=False,
        )
    table = Table("label", "precision", "recall", "F1", "n")
    for label, row in figures["per_class"].items():
        table.add_row(label, *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")), str(row["support"]))
    console.print(table)
