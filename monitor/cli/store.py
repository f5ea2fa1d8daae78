"""``riskwire store``: the index template and lifecycle policy in Elasticsearch."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from monitor.store.elastic_config import ElasticConfig

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.callback()
def root() -> None:
    """Set up and look at the article store in Elasticsearch."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")  # to standard error: what a script reads is the answer alone


@app.command()
def apply(config: _Config = None, as_json: _Json = False) -> None:
    """Install the index template and lifecycle policy, and bring existing indices up to them."""
    from monitor.store.elastic_template import apply as apply_template

    report = asyncio.run(apply_template(_elastic(config)))
    if as_json:
        told = {
            "changes": list(report.changes),
            "warnings": list(report.warnings),
            "chinese": report.chinese,
            "lifecycle": report.lifecycle,
        }
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for change in report.changes:
        typer.echo(f"Done: {change}.")
    if not report.changes:
        typer.echo("Everything is as configured.")
    for warning in report.warnings:
        typer.echo(warning, err=True)
    typer.echo(f"Chinese is analysed with {report.chinese}.")
    if not report.lifecycle:
        typer.echo("The cluster offers no lifecycle policies: Riskwire removes old articles itself.")


@app.command()
def check(config: _Config = None, as_json: _Json = False) -> None:
    """Compare the cluster with what Riskwire needs. Exit code 1 when something has to be mended."""
    from monitor.core.clock import SystemClock
    from monitor.store.elastic_check import check as look

    found = asyncio.run(look(_elastic(config), clock=SystemClock()))
    if as_json:
        rows = [
            {"part": one.part, "status": one.status, "finding": one.message, "next_step": one.hint} for one in found
        ]
        typer.echo(json.dumps({"checks": rows}, indent=2, ensure_ascii=False))
    else:
        table = Table("part", "", "finding", "next step")
        for one in found:
            table.add_row(one.part, Text(one.status, style=_STYLES[one.status]), Text(one.message), Text(one.hint))
        Console().print(table)
    if any(one.status == "fail" for one in found):
        raise typer.Exit(1)


def _elastic(config: Path | None) -> ElasticConfig:
    from monitor.config import load_settings

    settings = load_settings(config)
    if settings.store.kind != "elastic":
        raise UsageError(
            "The article store is not Elasticsearch: there is nothing to set up.",
            hint="Set store.kind = 'elastic' and elastic.urls; the SQLite store sets itself up.",
        )
    from monitor.storage import elastic_config

    return elastic_config(settings)
