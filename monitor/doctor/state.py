"""The state database, when there is one: asked by :mod:`monitor.state.opening`, told in the doctor's words."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.clock import Clock
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict
from monitor.state.opening import describe

_PATIENCE_SECONDS = 8.0
"""Below the check's own limit, so that the reason is heard and not only that it took too long."""


def state_checks(url: str, password: str | None, clock: Clock) -> list[Check]:
    """Login, encryption, schema version, rights, durability, room and clock of the server at ``url``."""

    async def look() -> Sequence[Verdict]:
        findings = await in_thread(lambda: describe(url, password=password, timeout=_PATIENCE_SECONDS, clock=clock))
        return [
            Verdict(part=item.part, status=item.status, finding=item.finding, advice=item.advice) for item in findings
        ]

    remedy = "PostgreSQL takes the connection but does not answer: see its log, its load and pg_stat_activity."
    return [Check(part="state", look=look, remedy=remedy)]
