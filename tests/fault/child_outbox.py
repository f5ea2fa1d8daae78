"""An outbox in a process of its own that can be told where to die: ``child_outbox.py JSON``.

The configuration is one JSON object: data, slack, step (what happens to the incident: open, worse, over, digest, or
nothing), die ([point, count] or null). What happens is put into the outbox as the detector does it, then passes are
made until nothing waits.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import doubles
from child_daemon import Death, Dying, die_in_calls

from alerts.digest import DIGEST, Digests
from alerts.notifiers import slack
from alerts.outbox import OUTBOX, RECEIPT, Outbox, outbox_rows, receipt_key
from monitor.app import open_storage
from monitor.config import Settings
from monitor.core.clock import ManualClock
from monitor.core.codec import incident_to_dict, time_to_str
from monitor.core.types import Incident, IncidentState, Put, Severity, TrendPoint

HOUR = timedelta(hours=1)
TREND = tuple(
    TrendPoint(start=doubles.START + n * HOUR, observed=float(n % 3), expected=1.0, low=0.0, high=2.5)
    for n in range(24)
)
OPEN = doubles.incident("i1", stories=4, trend=TREND)
WORSE = replace(OPEN, revision=2, severity=Severity.CRITICAL, stories=9)
OVER = replace(WORSE, revision=3, state=IncidentState.RESOLVED, resolved_at=doubles.START + HOUR)
STEPS: dict[str, Incident] = {"open": OPEN, "worse": WORSE, "over": OVER}


async def main(plan: dict[str, Any]) -> None:
    """One process's life."""
    death = Death(*(plan["die"] or ("never", 1)))
    die_in_calls(death)
    clock = ManualClock(doubles.START + 30 * HOUR)
    options = {"token": "xoxb-1111-secret-2222", "channel": "C0RISK", "base_url": plan["slack"], "digest": "daily"}
    notifiers = {"slack": slack.build({**options, "min_severity": "warning"}, clock)}
    async with open_storage(Settings(data_dir=plan["data"]), clock, bus=False, store=False) as storage:
        state: Any = storage.state
        if plan["step"] in STEPS:
            item = STEPS[plan["step"]]
            change = Put(kind="incident", key=item.id, value=incident_to_dict(item))
            await state.apply([change, *outbox_rows(item, ["slack"])])
        elif plan["step"] == "digest":
            low = doubles.incident("low", severity=Severity.INFO, updated_at=clock.now() - 10 * HOUR)
            receipt = {"notifier": "slack", "data": {}}
            since = {"until": time_to_str(clock.now() - 24 * HOUR)}
            await state.apply(
                [
                    Put(kind="incident", key=low.id, value=incident_to_dict(low)),
                    Put(kind=RECEIPT, key=receipt_key(low.id, "slack"), value=receipt),
                    Put(kind=DIGEST, key="slack", value=since),
                ]
            )
        dying: Any = Dying(state, death, "state", ("apply",))
        outbox, digests = Outbox(dying, notifiers, clock), Digests(dying, notifiers, clock)
        for _ in range(5):
            await outbox.run_once()
            await digests.run_once()
            if not await state.list(OUTBOX):
                break
            clock.advance(400)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
