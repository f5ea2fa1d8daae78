"""A process that leads or stands by over PostgreSQL: ``python leader_child.py URL PASSWORD SCHEMA NAME SECONDS``.

It counts while it leads, each count a fenced write, and prints what it does, one line each."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from monitor.core.clock import SystemClock
from monitor.core.types import Put
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.leadership import Leadership
from monitor.services.leases import FencedState, Lease
from monitor.services.steady import SteadyClock, nap
from monitor.state.postgres import PostgresState


async def main(url: str, password: str, schema: str, name: str, seconds: float) -> None:
    state = await PostgresState.open(url, password=password or None, schema=schema)
    lease = Lease(state, name="detect", instance=name, lease_seconds=seconds)
    fenced = FencedState(state, lease)

    async def lead(ended: asyncio.Event) -> None:
        saved = await fenced.get("work", "log")
        count = int(str(saved["n"])) if saved is not None else 0
        print("leads", lease.token, time.monotonic(), flush=True)
        while not ended.is_set():
            count += 1
            await fenced.apply([Put(kind="work", key="log", value={"n": count, "by": name, "token": lease.token})])
            print("wrote", count, time.monotonic(), flush=True)
            await nap(SteadyClock(), 0.02, ended)

    chair = Leadership(lease=lease, lead=lead, metrics=Metrics(), health=Health(SystemClock()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, chair.stop)
    print("ready", flush=True)
    try:
        await chair.run()
    finally:
        await state.close()
    print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])))
