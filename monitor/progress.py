"""Whether the whole chain makes progress, from the sources to people: what the heartbeat URL vouches for."""

from __future__ import annotations

from datetime import timedelta

from monitor.core.clock import Clock
from monitor.obs.health import Health
from monitor.parts import Parts


def stalls(parts: Parts, health: Health, clock: Clock, *, limit: timedelta) -> list[str]:
    """What stands still, in words; empty while all does its work.

    Beyond the heartbeats of the parts: the detector's watermark follows the clock (it is held back by what is not
    scored and stored), not every source fails, none waits for its poll, and messages in the outbox get through.
    ``limit`` is how far each may be behind. A process that stands by for another vouches for nothing.
    """
    found = [] if health.ready else ["not ready"]
    found += [f"{part}: no heartbeat" for part in health.stale()]
    standby = [role for role, leader in parts.leaders.items() if not leader.leading.is_set()]
    found += [f"{role}: standing by for another process" for role in standby]
    seconds = limit.total_seconds()
    if parts.ingest is not None:
        if parts.ingest.failing():
            found.append("ingest: every source fails")
        if parts.ingest.overdue() > limit:
            found.append(f"ingest: polls are more than {seconds:g} seconds late")
    if parts.detect is not None and "detect" not in standby:
        watermark = parts.detect.watermark
        if watermark is None:
            found.append("detect: no tick yet")
        elif clock.now() - watermark > limit:
            found.append(f"detect: articles wait for more than {seconds:g} seconds to be scored and stored")
    if parts.notify is not None and parts.notify.stuck() > seconds:
        found.append(f"notify: nothing was sent for more than {seconds:g} seconds, though messages wait")
    return found
