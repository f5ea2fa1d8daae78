"""``riskwire run``: the daemon."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from monitor.core.errors import UsageError


def run(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="ingest, score, detect or notify; repeatable. All when unset.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from monitor.config import ROLES, load_settings
    from monitor.daemon import Daemon
    from monitor.obs.logging import configure_logging

    unknown = sorted(set(role or ()) - set(ROLES))
    if unknown:
        raise UsageError(f"There is no role '{unknown[0]}'.", hint=f"Roles: {', '.join(ROLES)}.")
    settings = load_settings(config)
    if not settings.sources and (not role or "ingest" in role):
        raise UsageError("No sources are configured.", hint="'riskwire init' writes a configuration with about 20.")
    configure_logging(settings.observe.log_level, style=settings.observe.log_format)
    roles = tuple(name for name in ROLES if not role or name in role)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await Daemon(settings, roles=roles).run(stop)

    asyncio.run(main())
