"""``riskwire dlq``: look at dead letters and retry them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from monitor.core.errors import UsageError
from monitor.core.types import Delivery

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_LIMIT = 10_000


@app.callback()
def root() -> None:
    """Look at dead letters and retry them."""


@app.command()
def ls(config: _Config = None, as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False) -> None:
    """List dead letters, oldest first."""
    letters, retried = asyncio.run(_letters(config))
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(_describe(letter, retried), ensure_ascii=False))
        return
    if not letters:
        typer.echo("No dead letters.")
        return
    table = Table("id", "when", "stage", "reason", "retried")
    for letter in letters:
        row = _describe(letter, retried)
        table.add_row(row["id"], row["when"], row["stage"], row["reason"], "yes" if row["retried"] else "")
    Console().print(table)


@app.command()
def show(letter_id: Annotated[str, typer.Argument(help="Id as 'dlq ls' prints it.")], config: _Config = None) -> None:
    """Print one dead letter whole."""
    letters, retried = asyncio.run(_letters(config))
    letter = _find(letters, letter_id)
    body = letter.record.value.decode("utf-8", "replace")
    typer.echo(json.dumps({**_describe(letter, retried), "value": body}, indent=2, ensure_ascii=False))


@app.command()
def retry(
    letter_id: Annotated[str | None, typer.Argument(help="Id as 'dlq ls' prints it; all when unset.")] = None,
    config: _Config = None,
) -> None:
    """Publish dead letters to their topic again (the daemon may be running)."""
    count = asyncio.run(_retry(config, letter_id))
    typer.echo(f"{count} record{'s' if count != 1 else ''} published again.")


async def _letters(config: Path | None) -> tuple[list[Delivery], frozenset[str]]:
    from monitor.app import open_storage
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.services.topics import DEAD_LETTERS

    async with open_storage(load_settings(config), SystemClock(), guest=True) as storage:
        deliveries = await storage.bus.browse(DEAD_LETTERS, limit=_LIMIT)
        retried = frozenset(key for key, _ in await storage.state.list("dlq_retried", limit=_LIMIT))
    # A crash between dead-lettering and commit repeats a letter; its origin makes it one again.
    return list({d.record.key: d for d in deliveries}.values()), retried


async def _retry(config: Path | None, letter_id: str | None) -> int:
    from monitor.app import open_storage
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.core.codec import time_to_str
    from monitor.core.types import Put, Record

    letters, retried = await _letters(config)
    chosen = [_find(letters, letter_id)] if letter_id else [d for d in letters if d.record.key not in retried]
    clock = SystemClock()
    async with open_storage(load_settings(config), clock, guest=True) as storage:
        for letter in chosen:
            headers = letter.record.headers
            topic = headers["origin"].split("/", 1)[0]
            record = Record(key=headers["origin_key"], value=letter.record.value, timestamp=clock.now())
            await storage.bus.publish(topic, [record])
            mark = Put(kind="dlq_retried", key=letter.record.key, value={"at": time_to_str(clock.now())})
            await storage.state.apply([mark])
    return len(chosen)


def _find(letters: Sequence[Delivery], letter_id: str) -> Delivery:
    found = [letter for letter in letters if letter.record.key.startswith(letter_id)]
    if len(found) != 1:
        what = "No dead letter has" if not found else f"{len(found)} dead letters have"
        raise UsageError(f"{what} an id that starts with '{letter_id}'.", hint="'riskwire dlq ls' lists them.")
    return found[0]


def _describe(letter: Delivery, retried: frozenset[str]) -> dict[str, Any]:
    headers = letter.record.headers
    return {
        "id": letter.record.key[:12],
        "when": letter.record.timestamp.isoformat(timespec="seconds"),
        "stage": headers.get("stage", ""),
        "origin": headers.get("origin", ""),
        "key": headers.get("origin_key", ""),
        "reason": headers.get("reason", ""),
        "retried": letter.record.key in retried,
    }
