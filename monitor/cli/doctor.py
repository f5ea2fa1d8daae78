"""``riskwire doctor``: checks every configured part and says what to do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from monitor.doctor.examination import Examination
    from monitor.doctor.verdict import Verdict

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither the sources nor Slack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check every configured part and say what to do. Exit code 1 when something has to be mended."""
    from monitor.config import DEFAULT_FILE, load_settings
    from monitor.core.clock import SystemClock
    from monitor.doctor.plan import diagnose
    from monitor.doctor.verdict import ok
    from monitor.obs.logging import configure_logging

    configure_logging("error")
    used = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    settings = load_settings(config)
    valid = ok("configuration", f"{used or 'The default configuration'} is valid.")

    async def main() -> None:
        found = await diagnose(settings, SystemClock(), config=used, offline=offline)
        verdicts = [valid, *found.verdicts]
        _print_json(verdicts) if as_json else _print_table(verdicts)
        code = 1 if any(verdict.status == "fail" for verdict in verdicts) else 0
        _end(found, code)
        if code:
            raise typer.Exit(code)

    asyncio.run(main())


def _end(found: Examination, code: int) -> None:
    """Ends the process at once when a check hangs: asyncio would wait for its threads, perhaps for ever."""
    if found.hung:
        sys.stdout.flush()
        os._exit(code)


def _print_json(verdicts: Sequence[Verdict]) -> None:
    rows = [
        {"part": one.part, "status": one.status, "finding": one.finding, "next_step": one.advice} for one in verdicts
    ]
    counts = {status: sum(one.status == status for one in verdicts) for status in _STYLES}
    typer.echo(json.dumps({**counts, "checks": rows}, indent=2, ensure_ascii=False))


def _print_table(verdicts: Sequence[Verdict]) -> None:
    table = Table("part", "", "finding", "next step", show_lines=False)
    for verdict in verdicts:
        table.add_row(
            # Texts, not strings: what others named must not be taken for markup.
            Text(verdict.part),
            Text(verdict.status, style=_STYLES[verdict.status]),
            Text(verdict.finding),
            Text(verdict.advice),
        )
    Console().print(table)
