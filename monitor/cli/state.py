"""``riskwire state``: move the state between the data folder and a state database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from monitor.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]


@app.callback()
def root() -> None:
    """Move the state: cursors, baselines, incidents, outbox."""


@app.command()
def copy(
    config: _Config = None,
    back: Annotated[bool, typer.Option("--back", help="From the database into the data folder instead.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="What the target holds already may be overwritten and deleted.")
    ] = False,
) -> None:
    """Copy the state from the data folder into the database of state.url. Stop every Riskwire that uses them first."""
    copied = asyncio.run(_copy(config, back=back, replace=replace))
    for kind, count in sorted(copied.items()):
        typer.echo(f"{count:8,}  {kind}")
    total = sum(copied.values())
    typer.echo(f"The target now holds {total:,} document{'' if total == 1 else 's'}, all that the source holds.")


async def _copy(config: Path | None, *, back: bool, replace: bool) -> Mapping[str, int]:
    from pydantic import SecretStr

    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.db.directory import DataDirectory
    from monitor.db.schema import STATE
    from monitor.secrets import secret
    from monitor.state.copying import copy_state
    from monitor.state.opening import open_postgres
    from monitor.state.sqlite import SqliteState

    settings = load_settings(config)
    url = settings.state.url.get_secret_value()
    if not url:
        raise UsageError(
            "The configuration names no state database.",
            hint="Set state.url = 'postgresql://user@host/database' (and state.password_file) first.",
        )
    if not back and not (settings.data_dir / STATE.file).exists():
        raise UsageError(
            f"There is no {STATE.file} in {settings.data_dir}: nothing to copy.",
            hint="Name the folder that holds it in data_dir. A Riskwire that never ran needs no copy.",
        )
    password = secret(SecretStr(""), settings.state.password_file, "state.password") or None
    async with AsyncExitStack() as stack:
        # As its owner: a daemon that runs on the folder is refused, or refuses.
        directory = stack.enter_context(DataDirectory.open(settings.data_dir, clock=SystemClock()))
        here = await SqliteState.open(directory)
        stack.push_async_callback(here.close)
        there = await open_postgres(url, password=password, guest=back)
        stack.push_async_callback(there.close)
        return await copy_state(*((there, here) if back else (here, there)), replace=replace)
