"""``riskwire run``: the daemon."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.core.errors import RiskwireError, UsageError

if TYPE_CHECKING:
    from monitor.config import Settings


def run(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="ingest, score, detect or notify; repeatable. All when unset.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. SIGHUP restarts it in place, with the configuration and model of then."""
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
        loop = asyncio.get_running_loop()
        ended, stop = asyncio.Event(), asyncio.Event()

        def end() -> None:
            ended.set()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        loop.add_signal_handler(signal.SIGHUP, lambda: stop.set())
        present = settings
        while not ended.is_set():
            stop.clear()
            await Daemon(present, roles=roles).run(stop)
            if not ended.is_set():
                present = _again(config, present)

    asyncio.run(main())


def _again(config: Path | None, present: Settings) -> Settings:
    """The configuration anew; the former one when the new one is wrong or its model does not load."""
    import structlog

    from monitor.app import load_artefact, model_path
    from monitor.config import load_settings

    log = structlog.get_logger("run")
    try:
        settings = load_settings(config)
        model = load_artefact(model_path(settings)).id
    except RiskwireError as error:
        log.warning("not_reloaded", error=str(error))
        return present
    log.info("reloaded", model=model)
    return settings
