"""``riskwire config``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Look at the configuration."""


@app.command()
def show(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
) -> None:
    """Print the effective configuration as JSON: file, environment and defaults together, secrets hidden."""
    from monitor.config import load_settings, shown

    typer.echo(json.dumps(shown(load_settings(config)), indent=2, ensure_ascii=False))
