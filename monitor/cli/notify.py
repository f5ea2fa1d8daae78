"""``riskwire notify``: send a message of trial, clearly marked, to see that a notifier reaches its people."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.core.types import Incident

app = typer.Typer(no_args_is_help=True, help="Try the notifiers.")


@app.callback()
def root() -> None:
    """Try the notifiers."""
    from monitor.obs.logging import configure_logging

    configure_logging("warning")


@app.command("test")
def try_notifier(
    name: Annotated[str, typer.Argument(help="The notifier's name (its kind, when it has none).")],
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
) -> None:
    """Send a message that says it is a test, and its end. Nothing is stored; the daemon need not run."""
    asyncio.run(_send(config, name))
    typer.echo(f"Sent to '{name}': a test, and that it is over.")


async def _send(config: Path | None, name: str) -> None:
    from dataclasses import replace

    from monitor.app import build_notifiers
    from monitor.config import load_settings
    from monitor.core.clock import SystemClock
    from monitor.core.types import IncidentState

    settings, clock = load_settings(config), SystemClock()
    entries = [entry for entry in settings.notifiers if (entry.name or entry.kind) == name]
    if not entries:
        known = ", ".join(sorted(entry.name or entry.kind for entry in settings.notifiers)) or "none"
        raise UsageError(f"There is no notifier '{name}'.", hint=f"Configured are: {known}.")
    notifiers = build_notifiers(settings.model_copy(update={"notifiers": tuple(entries)}), clock)
    if name not in notifiers:
        raise UsageError(f"The notifier '{name}' is switched off (enabled = false).")
    now = clock.now()
    opened = _test_incident(now)
    receipt = await notifiers[name].send(opened, None)
    over = replace(opened, state=IncidentState.RESOLVED, resolved_at=now, revision=2)
    await notifiers[name].send(over, receipt)


def _test_incident(now: datetime) -> Incident:
    from uuid import uuid4

    from monitor.core.types import Incident, IncidentState, Scope, SeriesKey, Severity

    return Incident(
        id=f"test-{uuid4().hex}",
        key=SeriesKey(scope=Scope.RULE, value="test"),
        kind="rule",
        # The highest, so that no bar holds it back; what it is, its first words say.
        severity=Severity.CRITICAL,
        state=IncidentState.OPEN,
        observed=0.0,
        expected=0.0,
        low=0.0,
        high=0.0,
        p_value=1.0,
        q_value=1.0,
        opened_at=now,
        updated_at=now,
        title="TEST, no incident",
        reason="This is a test of Riskwire's notifications. Somebody ran 'riskwire notify test'; nothing has happened.",
    )
