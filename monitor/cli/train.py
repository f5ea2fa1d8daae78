"""``riskwire train``: fine-tune, calibrate, export. Needs the ``train`` extra; without it, says so."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from monitor.core.errors import UsageError

NEEDED = ("torch", "transformers", "onnx", "onnxscript", "safetensors", "sklearn")


def require_extra() -> None:
    """Raises UsageError when the ``train`` extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"Training needs packages that are not installed: {', '.join(missing)}.",
            hint="pip install 'riskwire[train]'",
        )


def _pair(text: str) -> tuple[str, Path]:
    task, separator, path = text.partition("=")
    if not separator or not task or not path:
        raise UsageError(f"--evaluate-also {text!r} is not TASK=FILE.", hint="For example sentiment=news.csv.")
    return task, Path(path)


def train(
    config: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the data sets; the recipe's own folder by default.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Folder or hub name, in place of the recipe's encoder.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where checkpoint and artefact go.")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch's checkpoint.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option("--start-from", help="Checkpoint or artefact of an earlier run whose weights are trained on."),
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also fit TF-IDF with a linear SVM on the same split.")
    ] = False,
    safetensors: Annotated[
        bool, typer.Option(help="Keep the float weights in the artefact (the torch engine then needs no int8).")
    ] = True,
    evaluate_also: Annotated[
        list[str] | None,
        typer.Option("--evaluate-also", help="TASK=FILE: a CSV (text,label) whose figures go into the card."),
    ] = None,
    robustness: Annotated[
        bool, typer.Option(help="Run the robustness suite on the new model; it goes into the card.")
    ] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Name every conflict of the data, not only the first few.")
    ] = False,
) -> None:
    """Fine-tune a model on labelled texts and write an artefact that Riskwire can run."""
    require_extra()
    from monitor.train.config import load_config
    from monitor.train.run import train as run

    pairs = [_pair(text) for text in evaluate_also or []]
    recipe = load_config(config)
    with _telling() as (report, on_step):
        where = run(
            recipe,
            data=data or config.parent,
            encoder=encoder,
            out=out,
            resume=resume,
            start_from=start_from,
            baseline=baseline,
            safetensors=safetensors,
            evaluate_also=pairs,
            robustness=robustness,
            threads=threads,
            report=report,
            on_step=on_step,
            verbose=verbose,
        )
    typer.echo(str(where))


@contextmanager
def _telling() -> Iterator[tuple[Callable[[str], None], Callable[[int, int, float, float], None] | None]]:
    """How a run is told of on standard error: a bar on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield lambda line: typer.echo(line, err=True), None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("", total=None)

        def on_step(step: int, total: int, loss: float, rate: float) -> None:
            bar.update(shown, completed=step, total=total, description=f"loss {loss:.3f}, {rate:,.0f} tokens/s")

        yield lambda line: console.print(line, markup=False, highlight=False), on_step
