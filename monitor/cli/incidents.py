"""``riskwire incidents``: look at incidents and act on them, while the daemon runs or not."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from monitor.core.errors import RiskwireError, UsageError

if TYPE_CHECKING:
    from alerts.audit import Verdict
    from alerts.commands import Verb
    from monitor.core.ports import StateStore
    from monitor.core.types import Incident
    from monitor.storage import Storage

app = typer.Typer(no_args_is_help=True)

_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON.")]
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id as 'incidents ls' prints it; its beginning is enough.")]
_By = Annotated[str, typer.Option("--by", help="Who does it; the user's name when unset.")]
_Wait = Annotated[float, typer.Option("--wait", min=0, help="Wait so many seconds until the daemon has done it.")]
_KIND = "incident"
_SPAN = re.compile(r"(\d+)\s*([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@app.callback()
def root() -> None:
    """Look at incidents and act on them."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")  # to standard error: what a script reads is the answer alone


@app.command()
def ls(
    config: _Config = None,
    state: Annotated[
        str, typer.Option("--state", help="open (all that are not resolved), all, or one state by its name.")
    ] = "open",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    as_json: _Json = False,
) -> None:
    """List incidents, the newest first."""
    from monitor.core.codec import incident_to_dict

    found = asyncio.run(_list(config, state))[:limit]
    if as_json:
        for incident in found:
            typer.echo(json.dumps(incident_to_dict(incident), ensure_ascii=False))
        return
    if not found:
        typer.echo("No incidents." if state == "all" else f"No incidents that are {state}.")
        return
    columns = [Column(name, no_wrap=True) for name in ("id", "opened (UTC)", "severity", "state")]
    table = Table(*columns, "title", "seen / expected")
    for incident in found:
        table.add_row(
            incident.id[:12],
            f"{incident.opened_at:%Y-%m-%d %H:%M}",
            incident.severity.value,
            incident.state.value,
            Text(incident.title or str(incident.key)),
            f"{incident.stories}" if incident.kind == "rule" else f"{incident.observed:.1f} / {incident.expected:.1f}",
        )
    Console().print(table)


@app.command()
def show(incident_id: _Id, config: _Config = None, as_json: _Json = False) -> None:
    """Print one incident whole: reason, driving headlines, what people did."""
    from alerts.notifiers.console import render
    from monitor.core.codec import incident_to_dict

    incident = asyncio.run(_one(config, incident_id))
    if as_json:
        typer.echo(json.dumps(incident_to_dict(incident), ensure_ascii=False, indent=2))
        return
    typer.echo(render(incident))
    for entry in incident.history:
        note = f": {entry.note}" if entry.note else ""
        typer.echo(f"  {entry.at:%Y-%m-%d %H:%M} UTC, {entry.by}: {entry.what}{note}")


@app.command()
def ack(
    incident_id: _Id,
    config: _Config = None,
    by: _By = "",
    note: Annotated[str, typer.Option("--note", help="Kept in the history.")] = "",
    wait: _Wait = 0.0,
) -> None:
    """Acknowledge: only a rise in severity or its end is told from now on."""
    from alerts.commands import Verb

    _give(config, incident_id, Verb.ACKNOWLEDGE, by=by, reason=note, wait=wait)


@app.command()
def snooze(
    incident_id: _Id,
    config: _Config = None,
    span: Annotated[str, typer.Option("--for", help="How long: 30m, 8h, 2d; at most 30d.")] = "1h",
    until: Annotated[str, typer.Option("--until", help="'monday' (08:00), or a time as 2026-03-02T09:00Z.")] = "",
    zone: Annotated[str, typer.Option("--zone", help="The time zone of 'monday'.")] = "UTC",
    by: _By = "",
    wait: _Wait = 0.0,
) -> None:
    """Snooze: nothing but its end is told until then. Every snooze ends by itself."""
    from alerts.commands import LONGEST_SNOOZE, Verb
    from monitor.core.clock import SystemClock

    now = SystemClock().now()
    end = _until(until, zone, now) if until else now + _span(span)
    if not now < end <= now + LONGEST_SNOOZE:
        raise UsageError(f"A snooze ends after now and within {LONGEST_SNOOZE.days} days, not at {end:%Y-%m-%d %H:%M}.")
    _give(config, incident_id, Verb.SNOOZE, by=by, until=end, wait=wait)


@app.command()
def resolve(
    incident_id: _Id,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history and shown.")],
    config: _Config = None,
    by: _By = "",
    wait: _Wait = 0.0,
) -> None:
    """Resolve by hand. Its series cool down; what it counted opens no other incident."""
    from alerts.commands import Verb

    if not reason.strip():
        raise UsageError("A resolve by hand needs a reason.", hint="Say it with --reason.")
    _give(config, incident_id, Verb.RESOLVE, by=by, reason=reason.strip(), wait=wait)


@app.command()
def audit(
    incident_id: _Id,
    config: _Config = None,
    as_json: _Json = False,
    inputs: Annotated[bool, typer.Option("--inputs", help="With --json: all inputs and results as well.")] = False,
) -> None:
    """Rebuild every change of an incident from what was stored with it, and compare byte for byte.

    Exit code 0: everything is the same; 1: something differs, or is gone.
    """
    incident, verdicts, notes = asyncio.run(_audit(config, incident_id))
    same = bool(verdicts) and all(verdict.same for verdict in verdicts) and not notes
    if as_json:
        changes = [_verdict_doc(verdict, inputs=inputs) for verdict in verdicts]
        doc = {"incident": incident.id, "same": same, "changes": changes, "notes": notes}
        typer.echo(json.dumps(doc, ensure_ascii=False))
    else:
        for verdict in verdicts:
            said = {True: "the same, byte for byte", False: "DIFFERS", None: "cannot be rebuilt"}[verdict.same]
            typer.echo(f"revision {verdict.revision}, {verdict.at}, {verdict.what}: {said}; sha256 {verdict.sha256}")
            for line in verdict.notes:
                typer.echo(f"  {line}")
        for line in notes:
            typer.echo(line)
        if same:
            last = verdicts[-1].record
            typer.echo(
                f"{len(verdicts)} changes rebuilt. Model {incident.model or '-'}, configuration {last['config']}, "
                f"Riskwire {last['package']}."
            )
    if not same:
        raise typer.Exit(1)


# -- what they do ----------------------------------------------------------------------------------------------------


def _open(config: Path | None, *, store: bool = False) -> AbstractAsyncContextManager[Storage]:
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.storage import open_storage

    return open_storage(load_settings(config), SystemClock(), guest=True, bus=False, store=store)


async def _all(state: StateStore, prefix: str = "") -> list[Incident]:
    from monitor.core.codec import incident_from_dict

    found: list[Incident] = []
    after = prefix[:-1] if prefix else ""
    while rows := await state.list(_KIND, after=after, limit=500):
        after = rows[-1][0]
        found += [incident_from_dict(doc) for key, doc in rows if key.startswith(prefix)]
        if prefix and not after.startswith(prefix) and after > prefix:
            break
    return found


async def _list(config: Path | None, state: str) -> list[Incident]:
    from monitor.core.types import IncidentState

    if state not in ("open", "all", *IncidentState):
        raise UsageError(f"--state must be open, all, or one of {', '.join(IncidentState)}, not '{state}'.")
    async with _open(config) as storage:
        found = await _all(storage.state)
    if state == "open":
        found = [incident for incident in found if incident.state is not IncidentState.RESOLVED]
    elif state != "all":
        found = [incident for incident in found if incident.state == state]
    return sorted(found, key=lambda incident: (incident.opened_at, incident.id), reverse=True)


async def _find(state: StateStore, incident_id: str) -> Incident:
    found = await _all(state, incident_id) if incident_id.strip() else []
    if len(found) != 1:
        what = "No incident has" if not found else f"{len(found)} incidents have"
        raise UsageError(
            f"{what} an id that starts with '{incident_id}'.", hint="'riskwire incidents ls --state all' lists them."
        )
    return found[0]


async def _one(config: Path | None, incident_id: str) -> Incident:
    async with _open(config) as storage:
        return await _find(storage.state, incident_id)


def _give(
    config: Path | None,
    incident_id: str,
    verb: Verb,
    *,
    by: str,
    reason: str = "",
    until: datetime | None = None,
    wait: float,
) -> None:
    incident, done = asyncio.run(_command(config, incident_id, verb, by or _user(), reason, until, wait))
    what = f"{verb.value} {incident.id[:12]} ({incident.title or incident.key})"
    if done is None:
        typer.echo(f"Given to the detector: {what}. It is done with its next tick.")
    elif done:
        typer.echo(f"Done: {what}.")
    else:
        raise RiskwireError(
            f"Not done within {wait:g} s: {what}. It stays given and is done when the detector works.",
            hint="Does 'riskwire run' with the role detect work? 'riskwire doctor' says.",
        )


async def _command(
    config: Path | None, incident_id: str, verb: Verb, by: str, reason: str, until: datetime | None, wait: float
) -> tuple[Incident, bool | None]:
    from alerts.commands import COMMAND, Command
    from monitor.core.clock import SystemClock
    from monitor.core.types import IncidentState

    clock = SystemClock()
    async with _open(config) as storage:
        incident = await _find(storage.state, incident_id)
        if incident.state is IncidentState.RESOLVED:
            raise UsageError(f"The incident {incident.id[:12]} is resolved already.")
        command = Command(incident=incident.id, verb=verb, by=by, at=clock.now(), until=until, reason=reason)
        put = command.to_put()
        await storage.state.apply([put])
        if not wait:
            return incident, None
        deadline = clock.now() + timedelta(seconds=wait)
        while clock.now() < deadline:
            if await storage.state.get(COMMAND, put.key) is None:
                return incident, True
            await asyncio.sleep(0.2)
        return incident, False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a process without an entry in the user database
        return "somebody"


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"--for must be like 30m, 8h or 2d, not '{text}'.")
    return int(match[1]) * _UNITS[match[2]]


def _until(text: str, zone: str, now: datetime) -> datetime:
    from zoneinfo import ZoneInfoNotFoundError

    from alerts.commands import until_monday
    from monitor.core.codec import time_from_str
    from monitor.core.errors import CodecError

    if text.strip().lower() == "monday":
        try:
            return until_monday(now, zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise UsageError(f"There is no time zone '{zone}'.", hint="E.g. Europe/London.") from error
    try:
        return time_from_str(text, field="--until")
    except CodecError as error:
        raise UsageError(f"--until must be 'monday' or a time like 2026-03-02T09:00Z, not '{text}'.") from error


async def _audit(config: Path | None, incident_id: str) -> tuple[Incident, Sequence[Verdict], list[str]]:
    from alerts.audit import audit as rebuild
    from alerts.audit import canonical

    notes: list[str] = []
    async with _open(config, store=True) as storage:
        incident = await _find(storage.state, incident_id)
        verdicts = await rebuild(storage.state, incident.id)
        if not verdicts:
            notes.append("Nothing was recorded of this incident: it was opened by a version that kept no records.")
        elif (last := verdicts[-1].incident) is not None and canonical(last) != canonical(incident):
            notes.append("The last change that was recorded is not what is stored: the stored incident was changed.")
        scores = {name: p for verdict in verdicts for name, p in verdict.scores.items()}
        gone = differ = other = 0
        for name, negative in scores.items():
            item = await storage.store.article(name)
            if item is None:
                gone += 1
            elif incident.model and item.scored.model != incident.model:
                other += 1
            elif abs(item.scored.scores.negative - negative) > 1e-12:
                differ += 1
        if differ:
            notes.append(f"{differ} of {len(scores)} articles have another p(negative) in the store than was counted.")
    if gone:
        typer.echo(
            f"{gone} of {len(scores)} articles are gone from the store (retention.articles_days); their scores are "
            "taken from the record.",
            err=True,
        )
    if other:
        typer.echo(f"{other} of {len(scores)} articles were scored again by another model since.", err=True)
    return incident, verdicts, notes


def _verdict_doc(verdict: Verdict, *, inputs: bool) -> Mapping[str, Any]:
    from monitor.core.codec import incident_to_dict

    doc: dict[str, Any] = {
        "revision": verdict.revision,
        "at": verdict.at,
        "what": verdict.what,
        "sha256": verdict.sha256,
        "same": verdict.same,
        "notes": list(verdict.notes),
    }
    if inputs:
        doc["inputs"] = dict(verdict.record)
        doc["rebuilt"] = incident_to_dict(verdict.incident) if verdict.incident else None
    return doc
