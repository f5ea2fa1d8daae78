"""``riskwire kibana``: dashboards for Kibana over articles and incidents in Elasticsearch."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]


@app.callback()
def root() -> None:
    """Make and import dashboards for Kibana."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")


@app.command()
def build(
    config: _Config = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write articles.ndjson and incidents.ndjson to.")] = Path(
        "kibana"
    ),
) -> None:
    """Write the saved objects to files, for an import by hand or by other tools."""
    from monitor.config import load_settings
    from monitor.kibana.build import write

    for file in write(out, load_settings(config).elastic.prefix):
        typer.echo(str(file))


@app.command("import")
def import_(
    config: _Config = None,
    url: Annotated[str, typer.Option("--url", help="Kibana's address, instead of kibana.url.")] = "",
    space: Annotated[str | None, typer.Option("--space", help="Space to import into, instead of kibana.space.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for a Kibana that is starting.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Import the saved objects, overwriting those of an earlier import. Exit code 1 when Kibana refused one."""
    from monitor.config import load_settings
    from monitor.kibana.build import build as objects_of
    from monitor.kibana.config import kibana_config
    from monitor.kibana.importing import import_objects

    settings = load_settings(config)
    keys = kibana_config(settings, url=url, space=space)
    objects = [one for file in objects_of(settings.elastic.prefix).values() for one in file]
    report = asyncio.run(import_objects(keys, objects, wait=wait))
    if as_json:
        refused = [{"type": one.kind, "id": one.id, "reason": one.reason} for one in report.refused]
        typer.echo(json.dumps({"imported": report.imported, "refused": refused}, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"Imported {report.imported} of {len(objects)} objects into {keys.base}.")
        for one in report.refused:
            typer.echo(f"Refused {one.kind} {one.id}: {one.reason}.", err=True)
    if report.refused:
        raise typer.Exit(1)
