"""``riskwire grafana``: the dashboard for Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.core.errors import UsageError

app = typer.Typer(help="Build the dashboard for Grafana.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Build the dashboard for Grafana."""


@app.command()
def build(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; standard output when unset.")] = None,
) -> None:
    """Write the dashboard as Grafana imports it (10.0 and later)."""
    from monitor.obs.grafana import render

    if out is None:
        typer.echo(render(), nl=False)
        return
    try:
        out.write_text(render(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error
