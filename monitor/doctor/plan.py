"""Which checks a configuration asks for, and the whole examination."""

from __future__ import annotations

import asyncio
from pathlib import Path

from monitor.config import Settings
from monitor.core.clock import Clock
from monitor.core.errors import RiskwireError
from monitor.db.schema import LOG, STATE, STORE
from monitor.doctor.daemon import daemon_checks
from monitor.doctor.data import data_checks
from monitor.doctor.examination import Examination, examine
from monitor.doctor.notifiers import notifier_checks
from monitor.doctor.parts import model_checks, watchlist_checks
from monitor.doctor.permissions import permission_checks
from monitor.doctor.sources import source_checks
from monitor.doctor.verdict import Check, failed, warn


def checks_of(settings: Settings, clock: Clock, *, config: Path | None, offline: bool) -> list[Check]:
    """Every check but those of the sources. ``offline`` leaves out what belongs to others (sources, Slack)."""
    unused = {
        LOG.file: settings.bus.kind != "sqlite",
        STORE.file: settings.store.kind != "sqlite",
        STATE.file: bool(settings.state.url.get_secret_value()),
    }
    return [
        *data_checks(settings.data_dir, unused=frozenset(file for file, elsewhere in unused.items() if elsewhere)),
        *permission_checks(settings, config),
        *model_checks(settings, clock),
        *watchlist_checks(settings),
        *notifier_checks(settings, clock, offline=offline),
        *daemon_checks(settings.observe.listen),
    ]


async def diagnose(settings: Settings, clock: Clock, *, config: Path | None = None, offline: bool) -> Examination:
    """Examines the installation that ``settings`` describe, all parts side by side. Raises nothing of the parts.

    ``config`` is the file that the settings came from, so that its permissions can be seen to.
    """
    parts = examine(checks_of(settings, clock, config=config, offline=offline))
    if offline:
        return await parts
    own, foreign = await asyncio.gather(parts, _sources(settings, clock))
    return Examination(verdicts=[*own.verdicts, *foreign.verdicts], hung=(*own.hung, *foreign.hung))


async def _sources(settings: Settings, clock: Clock) -> Examination:
    if not settings.sources:
        return Examination(verdicts=[warn("sources", "None.", "'riskwire init' writes about 20.")])
    try:
        async with source_checks(settings, clock) as asked:
            found = await examine(asked.checks, at_once=settings.ingest.max_concurrent)
            return Examination(verdicts=[*found.verdicts, *asked.clock()], hung=found.hung)
    except RiskwireError as error:
        return Examination(verdicts=[failed("sources", error)])
