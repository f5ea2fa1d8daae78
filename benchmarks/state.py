"""How many applies a state store takes: ``python benchmarks/state.py [postgresql://…]``; SQLite when there is no URL.

Each apply puts ten documents of 1 kB on one condition, durable on return. The password comes from PGPASSWORD. Works in
a schema of its own, ``riskwire_benchmark``, which it leaves empty.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from monitor.core.ports import StateStore
from monitor.core.types import Delete, Expect, Put
from monitor.db.directory import DataDirectory
from monitor.state.postgres import PostgresState
from monitor.state.sqlite import SqliteState

DOCUMENTS = 10
BALLAST = "x" * 1000


@asynccontextmanager
async def opened(url: str | None) -> AsyncIterator[StateStore]:
    if url:
        state: StateStore = await PostgresState.open(url, schema="riskwire_benchmark")
        yield state
        await state.close()
        return
    with tempfile.TemporaryDirectory() as folder, DataDirectory(folder) as directory:
        state = await SqliteState.open(directory)
        yield state
        await state.close()


async def write(state: StateStore, writer: int, count: int, taken: list[float]) -> None:
    kind = f"writer{writer}"
    for version in range(count):
        value = {"version": version, "ballast": BALLAST}
        before = None if version == 0 else {"version": version - 1, "ballast": BALLAST}
        began = time.perf_counter()
        await state.apply(
            [Put(kind=kind, key=str(number), value=value) for number in range(DOCUMENTS)],
            given=[Expect(kind=kind, key="0", value=before)],
        )
        taken.append(time.perf_counter() - began)


async def stalls(worst: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        worst[0] = max(worst[0], time.perf_counter() - began - 0.001)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--applies", type=int, default=400)
    options = parser.parse_args()
    async with opened(options.url) as state:
        for writers in (1, 4, 16):
            taken: list[float] = []
            worst = [0.0]
            watching = asyncio.create_task(stalls(worst))
            began = time.perf_counter()
            count = options.applies // writers
            await asyncio.gather(*(write(state, writer, count, taken) for writer in range(writers)))
            seconds = time.perf_counter() - began
            watching.cancel()
            taken.sort()
            median, slow = taken[len(taken) // 2] * 1e3, taken[int(len(taken) * 0.99)] * 1e3
            print(
                f"{writers:2} writers: {len(taken) / seconds:6.0f} applies/s, median {median:.1f} ms, "
                f"99 % {slow:.1f} ms, event loop late by {worst[0] * 1e3:.1f} ms at most"
            )
            for writer in range(writers):
                await state.apply([Delete(kind=f"writer{writer}", key=str(number)) for number in range(DOCUMENTS)])


if __name__ == "__main__":
    asyncio.run(main())
