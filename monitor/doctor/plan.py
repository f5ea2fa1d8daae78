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
from monitor.doctor.verdict import Check, Verdict, failed, warn
from monitor.doctor.web import web_checks
from monitor.storage import elastic_config, kafka_config, state_address


def checks_of(settings: Settings, clock: Clock, *, config: Path | None, offline: bool) -> list[Check]:
    """Every check but those of the sources. ``offline`` leaves out what belongs to others (sources, Slack)."""
    unused = {
        LOG.file: settings.bus.kind != "sqlite",
        STORE.file: settings.store.kind != "sqlite",
        STATE.file: bool(settings.state.url.get_secret_value()),
    }
    return [
        *_backend_checks(settings, clock),
        *data_checks(settings.data_dir, unused=frozenset(file for file, elsewhere in unused.items() if elsewhere)),
        *permission_checks(settings, config),
        *model_checks(settings, clock),
        *watchlist_checks(settings),
        *notifier_checks(settings, clock, offline=offline),
        *daemon_checks(settings.observe.listen),
        *web_checks(settings),
    ]


def _backend_checks(settings: Settings, clock: Clock) -> list[Check]:
    """What is asked over the network instead of the data folder. Libraries are imported where they are needed."""
    checks: list[Check] = []

    def kafka() -> list[Check]:
        config = kafka_config(settings)
        from monitor.doctor.kafka import kafka_checks

        return kafka_checks(config, clock)

    def elastic() -> list[Check]:
        config = elastic_config(settings)
        from monitor.doctor.elastic import elastic_checks

        return elastic_checks(config, clock)

    def state() -> list[Check]:
        from monitor.doctor.state import state_checks

        return state_checks(*state_address(settings), clock)

    for part, used, build in (
        ("kafka", settings.bus.kind == "kafka", kafka),
        ("elastic", settings.store.kind == "elastic", elastic),
        ("state", bool(settings.state.url.get_secret_value()), state),
    ):
        if used:
            try:
                checks += build()
            except RiskwireError as error:  # a secret's file, a contradiction, a library that is not there
                checks.append(_told(failed(part, error)))
    return checks


def _told(verdict: Verdict) -> Check:
    """A check whose result is known already."""

    async def look() -> list[Verdict]:
        return [verdict]

    return Check(part=verdict.part, look=look)


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
