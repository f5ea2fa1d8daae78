"""One role of the pipeline in a process of its own, on Kafka and Elasticsearch: ``child_role.py PLAN.json``.

The plan: roles, settings, clock (file), fed (file that takes the titles which the detector was given), die ([point,
count] or null), twice (publish everything twice, shuffled), instance. Prints ``STATUS {…}`` whenever it changes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from child_daemon import Death, Dying, DyingBus, DyingNotifier, WordScorer
from steps import GRACE, ClockFile, StepClock, WrongClock

import monitor.app as app
from alerts.pipeline import DetectPipeline, PipelineConfig
from alerts.series import SeriesConfig
from monitor.config import Settings
from monitor.core.types import Change, Record, TailPage
from monitor.daemon import Daemon
from monitor.store.elastic import ElasticStore

BACKFILL = timedelta(hours=48)


class Twice:
    """Publishes everything twice, in a wrong order, with old records mixed in."""

    def __init__(self, inner: Any) -> None:
        self._inner, self._dice, self._old = inner, Random(5), list[Record]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Twice the records, and some of those before."""
        if topic != "articles":
            await self._inner.publish(topic, records)
            return
        again = self._dice.sample(self._old, min(len(self._old), 3))
        mixed = [*records, *records, *again]
        self._dice.shuffle(mixed)
        await self._inner.publish(topic, mixed)
        self._old += [record for record in records if b"poison" not in record.value]


class Telling:
    """A store that writes down what it gave to the detector."""

    def __init__(self, inner: Any, path: Path) -> None:
        self._inner, self._file = inner, path.open("a")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def tail(self, after: str, limit: int) -> TailPage:
        """The page, written down."""
        page: TailPage = await self._inner.tail(after, limit)
        if page.items:
            self._file.write("".join(f"{item.article.title}\n" for item in page.items))
            self._file.flush()
        return page


def _with(opener: Any, change: Callable[[dict[str, Any], Any], tuple[dict[str, Any], Any]]) -> Any:
    """A class method ``open`` whose keywords and first argument are changed on the way."""
    inner = opener.__func__

    async def changed(cls: Any, first: Any, **kwargs: Any) -> Any:
        kwargs, first = change(kwargs, first)
        return await inner(cls, first, **kwargs)

    return classmethod(changed)


def arrange_backends(plan: dict[str, Any]) -> None:
    """What the configuration has no keys for: a tail that waits less and so has to find more of what comes late, and a
    schema of this test's own."""
    ElasticStore.open = _with(  # type: ignore[method-assign]
        ElasticStore.open, lambda kwargs, config: (kwargs, dataclasses.replace(config, settle_seconds=plan["settle"]))
    )
    if plan["schema"]:
        from monitor.state.postgres import PostgresState

        PostgresState.open = _with(  # type: ignore[method-assign]
            PostgresState.open, lambda kwargs, url: ({**kwargs, "schema": plan["schema"]}, url)
        )


class DyingState(Dying):
    """A state store that also names the changes that matter: of an incident with its outbox row, of a receipt."""

    async def apply(self, changes: Sequence[Change], **kwargs: Any) -> None:
        """As the inner one; dies before or after."""
        kinds = {change.kind for change in changes}
        names = ["state.apply"]
        if "outbox" in kinds and "incident" in kinds:
            names.append("state.apply of an incident")
        elif "receipt" in kinds:
            names.append("state.apply of a receipt")
        elif "outbox" in kinds:
            names.append("state.apply of an attempt")
        for name in names:
            self._death.at(f"before {name}")
        await self._inner.apply(changes, **kwargs)
        for name in names:
            self._death.at(f"after {name}")


def wrap_storage(plan: dict[str, Any], death: Death, clock: WrongClock) -> None:
    """Every storage that the daemon opens can kill, repeats, and tells what it gives."""
    inner = app.open_storage

    @asynccontextmanager
    async def storage_of_a_test(settings: Settings, _clock: Any, **kwargs: Any) -> AsyncIterator[app.Storage]:
        # Steps are the news' time; what a storage stamps on its own account is the machine's.
        async with inner(settings, clock, **kwargs) as storage:
            bus: Any = storage.given_bus and DyingBus(storage.bus, death, "bus", ("publish", "lag"))
            store: Any = storage.given_store and Dying(storage.store, death, "store", ("put", "tail"))
            yield dataclasses.replace(
                storage,
                given_bus=Twice(bus) if bus and plan["twice"] else bus,
                given_store=store and Telling(store, Path(plan["fed"])),
                state=DyingState(storage.state, death, "state", ()),  # type: ignore[arg-type]
            )

    app.open_storage = storage_of_a_test


async def tell(daemon: Daemon, clock: StepClock) -> None:
    """Says how far this process is, whenever that has changed."""
    told = ""
    await daemon.started.wait()
    while True:
        status: dict[str, Any] = {}
        if "ingest" in daemon.roles:
            step = clock.step()
            status["polled"] = step.isoformat() if daemon.polled_since(step) else None
        if "detect" in daemon.roles:
            watermark = daemon.detect.watermark if daemon._parts.detect is not None else None
            status["watermark"] = watermark.isoformat() if watermark else None
        line = json.dumps(status)
        if line != told:
            print(f"STATUS {line}", flush=True)
            told = line
        await asyncio.sleep(0.02)


async def main(plan: dict[str, Any]) -> None:
    """Runs until SIGTERM."""
    death = Death(*(plan["die"] or ("never", 1)))
    file = ClockFile(Path(plan["clock"]))
    clock = StepClock(file)
    settings = Settings.model_validate(plan["settings"])
    arrange_backends(plan)
    wrap_storage(plan, death, WrongClock(file))
    # Every term of leadership has a pipeline of its own.
    app.build_pipeline = lambda *_args, **_kwargs: DetectPipeline(  # type: ignore[assignment]
        # Stories must be remembered for longer than their buckets stay open.
        PipelineConfig(series=SeriesConfig(backfill_after=BACKFILL), grace=GRACE, story_window=3 * GRACE)
    )
    notifiers = {name: DyingNotifier(n, death) for name, n in app.build_notifiers(settings, clock).items()}
    daemon = Daemon(
        settings,
        clock=clock,
        roles=plan["roles"],
        scorer=WordScorer(lambda title: 0.95 if "collapse" in title else 0.1),
        notifiers=notifiers,  # type: ignore[arg-type]
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    telling = asyncio.create_task(tell(daemon, clock))
    try:
        await daemon.run(stop)
    finally:
        telling.cancel()
    if telling.done() and not telling.cancelled():
        telling.result()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
