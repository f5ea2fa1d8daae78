"""``riskwire init``: writes a commented configuration."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from monitor.core.errors import UsageError


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("riskwire.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration with about 20 public finance feeds."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", hint="Use --force to overwrite it, or name another file.")
    text = resources.files("monitor").joinpath("default.toml").read_text(encoding="utf-8")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"Wrote {path}. Next: put a contact into ingest.user_agent, then 'riskwire run -c {path}'.")
