"""``riskwire evaluate``: how good a model is on labelled texts, and on the robustness suite. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import TrainError, UsageError

if TYPE_CHECKING:
    from monitor.model.engines.base import TokenEngine
    from monitor.train.evaluate import Evaluation

SUITES = ("robustness",)
_PREDICTION_FILES = (".csv", ".jsonl")


def evaluate(
    data: Annotated[
        Path | None, typer.Argument(help="CSV (or JSONL) with the columns text and label; not needed with --suite.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task to evaluate: topic or sentiment.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Folder of an artefact; the packaged model by default.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the figures here as JSON, or as HTML when it ends in .html.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the HTML report here.")] = None,
    compare: Annotated[
        str | None,
        typer.Option("--compare", help="Another model's folder, 'packaged', or a CSV of predictions, to compare with."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Write every text's verdict here, a CSV for --compare.")
    ] = None,
    group_by: Annotated[
        str, typer.Option("--group-by", help="Columns to slice by, comma-separated; lang and length are worked out.")
    ] = "source,lang,length",
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="Column whose equal cells are resampled together; equal texts by default."),
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=100, max=100_000, help="Resamples of the bootstrap.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 17,
    suite: Annotated[str | None, typer.Option("--suite", help="Run a suite of cases: robustness.")] = None,
    floors: Annotated[
        Path | None, typer.Option("--floors", help="Fail when a pass rate of the suite is below those in this file.")
    ] = None,
    write_floors: Annotated[
        Path | None, typer.Option("--write-floors", help="Write the suite's pass rates, less a margin, as floors.")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, onnx or torch.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
) -> None:
    """Evaluate a model on labelled texts (intervals, calibration, slices, comparison) or on the robustness suite."""
    _check(data, task, suite, floors, write_floors)
    from monitor.model.artefact import Artefact, locate
    from monitor.model.engines import choose_engine

    found: Evaluation | None = None
    cases: dict[str, Any] | None = None
    complaint = ""
    runner = choose_engine(Artefact.load(locate(model)), engine, threads=threads)
    try:
        if data is not None and task is not None:
            found = _evaluate(
                runner,
                compare,
                engine,
                threads,
                task=task,
                path=data,
                group_by=[name.strip() for name in group_by.split(",") if name.strip()],
                cluster=cluster,
                resamples=resamples,
                seed=seed,
            )
        if suite is not None:
            cases, complaint = _run_suite(runner, floors, write_floors)
    finally:
        runner.close()
    figures = found.figures if found is not None else None
    if found is not None and predictions is not None:
        from monitor.train.evaluation.compare import write_predictions

        write_predictions(predictions, found.data, found.probabilities)
    for target in (report, html):
        if target is not None:
            as_page = target is html or target.suffix.lower() in (".html", ".htm")
            _write(target, _page(figures, cases) if as_page else _json(figures, cases))
    if figures is not None:
        show(figures)
    if cases is not None:
        show_suite(cases)
    if complaint:
        raise TrainError(complaint, hint="See the failures in the report, or write new floors with --write-floors.")


def _check(
    data: Path | None, task: str | None, suite: str | None, floors: Path | None, write_floors: Path | None
) -> None:
    if suite is not None and suite not in SUITES:
        raise UsageError(f"There is no suite '{suite}'.", hint=f"Use one of: {', '.join(SUITES)}.")
    if data is None and task is not None:
        raise UsageError(f"There are no texts for task '{task}'.", hint="Give a CSV with the columns text and label.")
    if data is None and suite is None:
        raise UsageError("There is nothing to evaluate on.", hint="Give a CSV and --task, or --suite robustness.")
    if data is not None and task is None:
        raise UsageError("Which task do the labels belong to?", hint="Give --task topic or --task sentiment.")
    if suite is None and (floors is not None or write_floors is not None):
        raise UsageError("Floors belong to a suite.", hint="Add --suite robustness.")


def _evaluate(runner: TokenEngine, compare: str | None, engine: str, threads: int | None, **options: Any) -> Evaluation:
    from monitor.model.artefact import Artefact, locate
    from monitor.model.engines import choose_engine
    from monitor.train.evaluate import evaluate

    if compare is None:
        return evaluate(runner, **options)
    if Path(compare).suffix.lower() in _PREDICTION_FILES:
        return evaluate(runner, other=Path(compare), **options)
    other = choose_engine(Artefact.load(locate(compare)), engine, threads=threads)
    try:
        return evaluate(runner, other=other, **options)
    finally:
        other.close()


def _run_suite(runner: TokenEngine, floors: Path | None, write_floors: Path | None) -> tuple[dict[str, Any], str]:
    """The suite's JSON, and what is below its floor in words."""
    from monitor.train.robustness.floors import below, floors_of, read_floors
    from monitor.train.robustness.floors import write_floors as write
    from monitor.train.robustness.suite import run_suite

    known = read_floors(floors) if floors is not None else None
    result = run_suite(runner)
    data: dict[str, Any] = result.to_dict()
    complaint = ""
    if known is not None:
        short = below(result, known)
        data["floors"] = {name: dict(langs) for name, langs in known.floors.items()}
        data["below_floor"] = [str(item) for item in short]
        complaint = f"Below the floors of {known.model}: {'; '.join(map(str, short))}." if short else ""
    if write_floors is not None:
        write(write_floors, floors_of(result))
    return data, complaint


def _json(figures: dict[str, Any] | None, cases: dict[str, Any] | None) -> str:
    data = dict(figures or {})
    if cases is not None:
        data = data or {"model": cases["model"]}
        data["robustness"] = cases
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _page(figures: dict[str, Any] | None, cases: dict[str, Any] | None) -> str:
    from monitor.train.evaluation.page import render

    return render(figures, cases)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).", hint="Choose another --report.") from error


def show(figures: dict[str, Any]) -> None:
    """Prints the figures as tables."""
    console = Console()
    edges = {name: f"{low:.4f} to {high:.4f}" for name, (low, high) in figures["intervals"].items()}
    console.print(
        f"{figures['model']}, {figures['task']}: n {figures['n']}, accuracy {figures['accuracy']:.4f}, "
        f"macro-F1 {figures['macro_f1']:.4f}, weighted F1 {figures['weighted_f1']:.4f}, ECE {figures['ece']:.4f}",
        highlight=False,
    )
    console.print(
        f"95 % intervals: accuracy {edges['accuracy']}, macro-F1 {edges['macro_f1']}, ECE {edges['ece']}; "
        f"AURC {figures['abstention']['aurc']:.4f}",
        highlight=False,
    )
    for note in figures["notes"]:
        console.print(f"Note: {note}", highlight=False, markup=False)
    if "decided" in figures:
        decided = figures["decided"]
        console.print(
            f"The file uses only {', '.join(decided['labels'])}: {decided['part']:.1%} got one of them, "
            f"{decided['accuracy']:.4f} of those right; {figures['among_labels']['accuracy']:.4f} when only those may "
            "be chosen.",
            highlight=False,
        )
    if "comparison" in figures:
        row = figures["comparison"]
        low, high = row["interval"]
        console.print(
            f"Against {row['with']}: {row['difference']:+.4f} ({low:+.4f} to {high:+.4f}); "
            f"only this right {row['only_this_right']}, only the other {row['only_other_right']}; McNemar mid-p "
            f"{row['p_mid']:.4g}, exact {row['p_exact']:.4g}",
            highlight=False,
            markup=False,
        )
    table = Table("label", "precision", "recall", "F1", "n")
    for label, row in figures["per_class"].items():
        table.add_row(label, *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")), str(row["support"]))
    console.print(table)
    for name, found in figures["slices"].items():
        parts = Table(name, "n", "accuracy", "95 %", "macro-F1")
        for row in found["parts"]:
            low, high = row["interval"]
            cells = (f"{row['accuracy']:.4f}", f"{low:.3f} to {high:.3f}", f"{row['macro_f1']:.4f}")
            parts.add_row(row["value"], str(row["n"]), *cells)
        console.print(parts)


def show_suite(cases: dict[str, Any]) -> None:
    """Prints the pass rates of the suite."""
    console = Console()
    console.print(
        f"{cases['model']}, robustness: {cases['passed']} of {cases['n']} cases pass ({cases['pass_rate']:.1%})",
        highlight=False,
    )
    langs = sorted({lang for row in cases["capabilities"].values() for lang in row if lang not in ("all", "target")})
    table = Table("capability", "passed", *langs, "target")
    for name, row in cases["capabilities"].items():
        shown = [f"{row[lang]['pass_rate']:.1%} of {row[lang]['n']}" if lang in row else "–" for lang in langs]
        table.add_row(name, f"{row['all']['pass_rate']:.1%}", *shown, f"{row['target']:.0%}")
    console.print(table)
