"""``riskwire dlq``: look at dead letters and retry them, on any bus."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from monitor.core.errors import RecordError, UsageError
from monitor.core.types import Delivery, Put, Record

if TYPE_CHECKING:
    from monitor.core.clock import Clock
    from monitor.core.ports import Bus, StateStore

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Reason = Annotated[str, typer.Option("--reason", help="Only those whose reason holds this text.")]
_Stage = Annotated[str, typer.Option("--stage", help="Only those of this stage, e.g. score.")]
_LIMIT = 10_000
_BATCH = 100
_RETRIED = "dlq_retried"
"""Kind of the state documents that name the letters which were published again."""


@app.callback()
def root() -> None:
    """Look at dead letters and retry them."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")  # to standard error: what a script reads is the answer alone


@app.command()
def ls(
    config: _Config = None,
    reason: _Reason = "",
    stage: _Stage = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """List dead letters, oldest first (of more than 10,000 the newest)."""
    letters = asyncio.run(_letters(config, _Filter(reason=reason, stage=stage)))
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(_describe(letter), ensure_ascii=False))
        return
    if not letters:
        typer.echo("No dead letters.")
        return
    whole = Column("id", no_wrap=True, min_width=12)  # it is copied into 'show' and 'retry'
    table = Table(whole, "when", "stage", "origin", "attempt", Column("reason", overflow="fold"), "retried")
    for letter in letters:
        row = {name: Text(str(value)) for name, value in _describe(letter).items()}
        retried = "yes" if letter.retried else ""
        table.add_row(row["id"], row["when"], row["stage"], row["origin"], row["attempt"], row["reason"], retried)
    Console().print(table)


@app.command()
def show(letter_id: Annotated[str, typer.Argument(help="Id as 'dlq ls' prints it.")], config: _Config = None) -> None:
    """Print one dead letter whole, as JSON."""
    letter = _find(asyncio.run(_letters(config, _Filter())), letter_id)
    record = letter.delivery.record
    whole = {**_describe(letter), "headers": dict(record.headers), "value": record.value.decode("utf-8", "replace")}
    typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))


@app.command()
def retry(
    letter_id: Annotated[str | None, typer.Argument(help="Id as 'dlq ls' prints it; all when unset.")] = None,
    config: _Config = None,
    reason: _Reason = "",
    stage: _Stage = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Publish dead letters to their topic again (the daemon may be running). Without an id: all that were not yet."""
    done, foreign = asyncio.run(_retry(config, letter_id, _Filter(reason=reason, stage=stage)))
    ids = [letter.id for letter in done]
    left_out = [letter.id for letter in foreign]
    if as_json:
        typer.echo(json.dumps({"published": len(ids), "ids": ids, "left_out": left_out}))
        return
    typer.echo(f"{len(ids)} record{'s' if len(ids) != 1 else ''} published again.")
    if left_out:
        typer.echo(f"Left out, since they do not say where they came from: {', '.join(left_out)}.", err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    delivery: Delivery
    retried: bool

    @property
    def id(self) -> str:
        return self.delivery.record.key[:12]

    @property
    def ours(self) -> bool:
        """Whether it says where it came from, as what Riskwire writes does."""
        from monitor.services.dead_letters import ORIGIN, ORIGIN_KEY

        headers = self.delivery.record.headers
        return bool(headers.get(ORIGIN)) and ORIGIN_KEY in headers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    reason: str = ""
    stage: str = ""

    def takes(self, record: Record) -> bool:
        from monitor.services.dead_letters import REASON, STAGE

        return self.reason.casefold() in record.headers.get(REASON, "").casefold() and (
            not self.stage or record.headers.get(STAGE, "") == self.stage
        )


async def _letters(config: Path | None, chosen: _Filter) -> list[_Letter]:
    from monitor.app import open_storage
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock

    async with open_storage(load_settings(config), SystemClock(), guest=True, store=False) as storage:
        return await _read(storage.bus, storage.state, chosen)


async def _read(bus: Bus, state: StateStore, chosen: _Filter) -> list[_Letter]:
    from monitor.services.topics import DEAD_LETTERS

    newest_first = await bus.browse(DEAD_LETTERS, limit=_LIMIT, newest=True)
    retried = await _retried(state)
    # A crash between dead-lettering and commit repeats a letter; its origin makes it one again.
    unique = {delivery.record.key: delivery for delivery in reversed(newest_first)}
    return [
        _Letter(delivery=delivery, retried=key in retried)
        for key, delivery in unique.items()
        if chosen.takes(delivery.record)
    ]


async def _retried(state: StateStore) -> frozenset[str]:
    keys: list[str] = []
    while page := await state.list(_RETRIED, after=keys[-1] if keys else ""):
        keys += [key for key, _ in page]
    return frozenset(keys)


async def _retry(
    config: Path | None, letter_id: str | None, chosen: _Filter
) -> tuple[Sequence[_Letter], Sequence[_Letter]]:
    """The letters that were published, and those that cannot be because others wrote them."""
    from monitor.app import open_storage
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock

    clock = SystemClock()
    async with open_storage(load_settings(config), clock, guest=True, store=False) as storage:
        letters = await _read(storage.bus, storage.state, chosen)
        wanted = [_find(letters, letter_id)] if letter_id else [letter for letter in letters if not letter.retried]
        ours = [letter for letter in wanted if letter_id or letter.ours]
        for start in range(0, len(ours), _BATCH):
            await _publish(storage.bus, storage.state, clock, ours[start : start + _BATCH])
    return ours, [letter for letter in wanted if not (letter_id or letter.ours)]


async def _publish(bus: Bus, state: StateStore, clock: Clock, letters: Sequence[_Letter]) -> None:
    """Publishes, then notes it: a crash in between publishes again, which the article's id makes harmless."""
    from monitor.core.codec import time_to_str
    from monitor.services.dead_letters import revived

    by_topic: dict[str, list[Record]] = defaultdict(list)
    for letter in letters:
        try:
            topic, record = revived(letter.delivery.record, clock.now())
        except RecordError as error:
            hint = f"It was not written by Riskwire: see 'riskwire dlq show {letter.id}'."
            raise UsageError(error.message, hint=hint) from error
        by_topic[topic].append(record)
    for topic, records in by_topic.items():
        await bus.publish(topic, records)
    at = time_to_str(clock.now())
    await state.apply([Put(kind=_RETRIED, key=letter.delivery.record.key, value={"at": at}) for letter in letters])


def _find(letters: Sequence[_Letter], letter_id: str) -> _Letter:
    found = [letter for letter in letters if letter.delivery.record.key.startswith(letter_id)]
    if len(found) != 1:
        what = "No dead letter has" if not found else f"{len(found)} dead letters have"
        raise UsageError(f"{what} an id that starts with '{letter_id}'.", hint="'riskwire dlq ls' lists them.")
    return found[0]


def _describe(letter: _Letter) -> dict[str, Any]:
    from monitor.services.dead_letters import ORIGIN, ORIGIN_KEY, REASON, STAGE, attempts_of

    record = letter.delivery.record
    return {
        "id": letter.id,
        "when": record.timestamp.isoformat(timespec="seconds"),
        "stage": record.headers.get(STAGE, ""),
        "origin": record.headers.get(ORIGIN, ""),
        "key": record.headers.get(ORIGIN_KEY, ""),
        "attempt": attempts_of(record.headers),
        "reason": record.headers.get(REASON, ""),
        "retried": letter.retried,
    }
