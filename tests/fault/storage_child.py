"""What the kill test kills: a process that publishes, consumes, puts and applies until it is killed.

Run as a program it is a nursery: it imports everything once and then forks a child per line of standard input
(``folder run seed``), so that a kill costs milliseconds, not a start of Python. It has no threads, so forking is safe.
Children report on standard output in lines written with one ``write`` each: never torn, never held in a buffer.

    start PID            the child lives                     dead           it does not
    P batch size         a publish was acknowledged
    F p:o …              the first offsets that this run's consumer saw
    I p:o … / C p:o …    a commit is about to be asked for / was acknowledged (last offsets by partition)
    s id:v … / S id:v …  a put is about to be asked for / was acknowledged
    A n                  the state n was applied
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from monitor.bus.sqlite import SqliteBus
from monitor.core.clock import ManualClock
from monitor.core.types import (
    Article,
    Delete,
    Delivery,
    EntityMention,
    Put,
    Record,
    Scored,
    ScoredArticle,
    Scores,
)
from monitor.db.directory import DataDirectory
from monitor.state.sqlite import SqliteState
from monitor.store.sqlite import SqliteStore

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
STATE_KEYS = 12


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def title(name: str, version: int) -> str:
    return f"t{name.replace('.', 'x')}v{version} 银行"


def article(name: str, version: int) -> ScoredArticle:
    return ScoredArticle(
        article=Article(
            id=name,
            source="wire",
            title=title(name, version),
            body="行" * (version % 3),
            published_at=NOW + timedelta(minutes=version),
            fetched_at=NOW,
        ),
        scored=Scored(
            article_id=name,
            model="m",
            scores=Scores(topics={"a": 0.25, "b": 0.75}, sentiments={"negative": 1.0}),
            entities=(EntityMention(id=f"e{version % 4}", name="E", start=0, end=1),),
            scored_at=NOW,
        ),
    )


async def publish(bus: SqliteBus, run: int, lane: int, rng: random.Random) -> None:
    batch = 0
    while True:
        batch += 1
        size = rng.randint(1, 9)
        name = f"{run}.{lane}.{batch}"
        values = [f"{name}.{index}.{size}" for index in range(size)]
        await bus.publish("t", [Record(key=value, value=value.encode(), timestamp=NOW) for value in values])
        say(f"P {name} {size}")


def _last(deliveries: Sequence[Delivery]) -> str:
    last: dict[int, int] = {}
    for delivery in deliveries:
        last[delivery.partition] = max(delivery.offset, last.get(delivery.partition, -1))
    return " ".join(f"{partition}:{offset}" for partition, offset in last.items())


async def consume(bus: SqliteBus, rng: random.Random) -> None:
    seen: set[int] = set()
    async with bus.subscribe("t", "g") as subscription:
        while True:
            got = await subscription.fetch(rng.randint(1, 20), 0.05)
            first = [d for d in got if d.partition not in seen and not seen.add(d.partition)]  # type: ignore[func-returns-value]
            if first:
                say("F " + " ".join(f"{d.partition}:{d.offset}" for d in first))
            if got:
                say(f"I {_last(got)}")
                await subscription.commit(got)
                say(f"C {_last(got)}")


async def put(store: SqliteStore, run: int, lane: int, rng: random.Random) -> None:
    versions: dict[str, int] = {}
    while True:
        names = []
        for _ in range(rng.randint(1, 6)):
            again = versions and rng.random() < 0.4
            names.append(rng.choice(sorted(versions)) if again else f"{run}.{lane}.{len(versions) + len(names)}")
        for name in set(names):
            versions[name] = versions.get(name, 0) + 1
        line = " ".join(f"{name}:{versions[name]}" for name in sorted(set(names)))
        say(f"s {line}")
        await store.put([article(name, versions[name]) for name in sorted(set(names))])
        say(f"S {line}")


async def apply(state: SqliteState) -> None:
    now = await state.get("k", "key00")
    number = int(now["n"]) if now else 0  # type: ignore[call-overload]
    while True:
        number += 1
        puts = [Put(kind="k", key=f"key{index:02d}", value={"n": number}) for index in range(STATE_KEYS)]
        last = Delete(kind="one", key=str(number - 1))
        await state.apply([*puts, last, Put(kind="one", key=str(number), value={})])
        say(f"A {number}")


async def live(folder: str, run: int, seed: int) -> None:
    rng = random.Random(seed)
    with DataDirectory(folder) as directory:
        bus = await SqliteBus.open(directory, partitions=4, clock=ManualClock(NOW))
        store = await SqliteStore.open(directory, clock=ManualClock(NOW))
        state = await SqliteState.open(directory)
        await asyncio.gather(
            *(publish(bus, run, lane, random.Random(rng.random())) for lane in range(2)),
            consume(bus, random.Random(rng.random())),
            *(put(store, run, lane, random.Random(rng.random())) for lane in range(2)),
            apply(state),
        )


def main() -> None:
    for line in sys.stdin:
        folder, run, seed = line.split()
        child = os.fork()
        if child == 0:
            say(f"start {os.getpid()}")
            with contextlib.suppress(BrokenPipeError):  # the test itself was stopped
                asyncio.run(live(folder, int(run), int(seed)))
            os._exit(1)
        os.waitpid(child, 0)
        say("dead")


if __name__ == "__main__":
    main()
