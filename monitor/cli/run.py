"""``riskwire run``: the daemon."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.core.errors import RiskwireError, UsageError

if TYPE_CHECKING:
    from alerts.rules.engine import RuleSet
    from monitor.config import Settings
    from monitor.daemon import Daemon
    from monitor.obs.systemd import Progress


def run(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="ingest, score, detect or notify; repeatable. All when unset.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. SIGHUP restarts it in place, with the configuration, rules and model of
    then."""
    from monitor.app import build_rules
    from monitor.config import ROLES, load_settings
    from monitor.daemon import Daemon
    from monitor.obs.logging import configure_logging
    from monitor.obs.systemd import Progress, Supervisor

    unknown = sorted(set(role or ()) - set(ROLES))
    if unknown:
        raise UsageError(f"There is no role '{unknown[0]}'.", hint=f"Roles: {', '.join(ROLES)}.")
    settings = load_settings(config)
    if not settings.sources and (not role or "ingest" in role):
        raise UsageError("No sources are configured.", hint="'riskwire init' writes a configuration with about 20.")
    configure_logging(settings.observe.log_level, style=settings.observe.log_format)
    roles = tuple(name for name in ROLES if not role or name in role)
    first = build_rules(settings) if "detect" in roles else None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended, stop = asyncio.Event(), asyncio.Event()
        progress = Progress(Supervisor.of_environment())

        def end() -> None:
            progress.stopping()
            ended.set()
            stop.set()

        def again() -> None:
            if not ended.is_set():
                progress.reloading()
                stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        loop.add_signal_handler(signal.SIGHUP, again)
        watching = asyncio.create_task(progress.run())
        present, rules = settings, first
        try:
            while not ended.is_set():
                stop.clear()
                daemon = Daemon(present, roles=roles, rules=rules)
                await _run(daemon, stop, progress)
                if not ended.is_set():
                    present, rules = await asyncio.to_thread(_again, config, present, rules)
        finally:
            watching.cancel()

    asyncio.run(main())


async def _run(daemon: Daemon, stop: asyncio.Event, progress: Progress) -> None:
    """Runs one daemon to its end, and tells the supervisor when it has started."""
    progress.starting(daemon.health)

    async def announce() -> None:
        await daemon.started.wait()
        if not stop.is_set():
            progress.ready(f"{', '.join(daemon.roles)}; {len(daemon.settings.sources)} sources")

    announcing = asyncio.create_task(announce())
    try:
        await daemon.run(stop)
    finally:
        announcing.cancel()


def _again(config: Path | None, present: Settings, rules: RuleSet | None) -> tuple[Settings, RuleSet | None]:
    """Configuration and rules anew; the former ones when a new one is wrong or its model does not load. ``rules`` None:
    this process needs none."""
    import structlog

    from monitor.app import build_rules, load_artefact, model_path
    from monitor.config import load_settings

    log = structlog.get_logger("run")
    try:
        settings = load_settings(config)
        model = load_artefact(model_path(settings)).id
        anew = build_rules(settings) if rules is not None else None
    except RiskwireError as error:
        log.warning("not_reloaded", error=str(error))
        return present, rules
    log.info("reloaded", model=model, rules=len(anew or ()))
    return settings, anew
