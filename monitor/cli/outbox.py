"""``riskwire outbox``: messages that wait, messages that were refused, and sending those again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from alerts.refused import Message

app = typer.Typer(no_args_is_help=True, help="Look at messages that wait or were refused, and send these again.")

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Notifier = Annotated[str, typer.Option("--notifier", help="Only those of this notifier.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON lines.")]


@app.callback()
def root() -> None:
    """Look at messages that wait or were refused, and send these again."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")  # to standard error: what a script reads is the answer alone


@app.command()
def ls(config: _Config = None, notifier: _Notifier = "", as_json: _Json = False) -> None:
    """List messages that wait to be sent, and those that a receiver refused for good."""
    found = asyncio.run(_list(config, notifier))
    if as_json:
        for one in found:
            typer.echo(json.dumps(_doc(one), ensure_ascii=False))
        return
    if not found:
        typer.echo("Nothing waits, nothing was refused.")
        return
    table = Table(
        Column("incident", no_wrap=True), "notifier", "what", "when", "attempts", Column("why", overflow="fold")
    )
    for one in found:
        what = "refused" if one.refused else "waits"
        cells = (one.incident[:12], one.notifier, what, one.at, str(one.attempts or ""), one.reason)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


@app.command()
def retry(
    incident: Annotated[
        str | None, typer.Argument(help="Incident's id or its beginning; all refused when unset.")
    ] = None,
    config: _Config = None,
    notifier: _Notifier = "",
) -> None:
    """Send refused messages again, each with its incident as it is now. The daemon does it with its next pass."""
    count, gone = asyncio.run(_retry(config, incident or "", notifier))
    if incident and not count:
        raise UsageError(
            f"No message about '{incident}' was refused.", hint="'riskwire outbox ls' lists those that were."
        )
    typer.echo(f"{count} message{'' if count == 1 else 's'} put into the outbox again.")
    if gone:
        typer.echo(f"{gone} left out: their notifier is not configured any more.", err=True)


def _doc(one: Message) -> dict[str, Any]:
    return {
        "incident": one.incident,
        "notifier": one.notifier,
        "refused": one.refused,
        "at": one.at,
        "attempts": one.attempts,
        "reason": one.reason,
    }


async def _list(config: Path | None, notifier: str) -> list[Message]:
    from alerts.refused import messages
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.storage import open_storage

    async with open_storage(load_settings(config), SystemClock(), guest=True, bus=False, store=False) as storage:
        return [one for one in await messages(storage.state) if not notifier or one.notifier == notifier]


async def _retry(config: Path | None, incident: str, notifier: str) -> tuple[int, int]:
    from alerts.refused import resend
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.storage import open_storage

    settings = load_settings(config)
    names = {entry.name or entry.kind for entry in settings.notifiers}
    async with open_storage(settings, SystemClock(), guest=True, bus=False, store=False) as storage:
        return await resend(storage.state, names, incident=incident, notifier=notifier)
