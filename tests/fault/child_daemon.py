"""A daemon in a process of its own that can be told where to die: ``child_daemon.py JSON``.

The configuration is one JSON object: data, feeds (url by name), slack, now, end, rate, die ([point, count]
or null).
Prints READY and the monotonic time when it works, and DONE when everything up to ``end`` has been polled, scored,
watched and told.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from doubles import FixedScorer

import monitor.app as app
from alerts.pipeline import DetectPipeline, PipelineConfig
from alerts.series import SeriesConfig
from monitor.config import Settings
from monitor.core.clock import FastClock
from monitor.core.types import Article, EntityMention, Receipt, Scored
from monitor.daemon import Daemon


class Death:
    """Kills this process, as SIGKILL does it, when a point is passed for the n-th time."""

    def __init__(self, point: str, count: int) -> None:
        self._point, self._left = point, count

    def at(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """Wraps a port: dies before or after the named calls; everything else passes through."""

    def __init__(self, inner: Any, death: Death, name: str, calls: Sequence[str]) -> None:
        self._inner, self._death, self._name, self._calls = inner, death, name, calls

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._inner, attribute)
        if attribute not in self._calls:
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            point = f"{self._name}.{attribute}"
            self._death.at(f"before {point}")
            result = await value(*args, **kwargs)
            self._death.at(f"after {point}")
            return result

        return call


class DyingBus(Dying):
    """A bus whose subscriptions die too."""

    @asynccontextmanager
    async def subscribe(self, topic: str, group: str) -> AsyncIterator[Any]:
        async with self._inner.subscribe(topic, group) as subscription:
            yield Dying(subscription, self._death, "subscription", ("fetch", "commit"))


class WordScorer(FixedScorer):
    """Negative when the title says so; finds one entity by its name."""

    async def score(self, articles: Sequence[Article]) -> Sequence[Scored]:
        from dataclasses import replace

        scored = await super().score(articles)
        return [
            replace(s, entities=(EntityMention(id="hsbc", name="HSBC", start=0, end=4),)) if "HSBC" in a.title else s
            for a, s in zip(articles, scored, strict=True)
        ]


class DyingNotifier:
    """A notifier that dies around its send."""

    def __init__(self, inner: Any, death: Death) -> None:
        self._inner, self._death, self.name = inner, death, inner.name

    async def send(self, incident: Any, previous: Receipt | None) -> Receipt:
        self._death.at("before notifier.send")
        receipt: Receipt = await self._inner.send(incident, previous)
        self._death.at("after notifier.send")
        return receipt


def die_in_calls(death: Death) -> None:
    """Lets the process die right after Slack took a call, when the client knows and nobody else does."""
    from slack_sdk.web.async_client import AsyncWebClient

    call = AsyncWebClient.api_call

    async def api_call(self: Any, api_method: str, **kwargs: Any) -> Any:
        answer = await call(self, api_method, **kwargs)
        death.at(f"after slack {api_method}")
        return answer

    AsyncWebClient.api_call = api_call


async def main(plan: dict[str, Any]) -> None:
    """Runs the daemon until everything is done or until told to die."""
    death = Death(*(plan["die"] or ("never", 1)))
    die_in_calls(death)
    now, end = datetime.fromisoformat(plan["now"]), datetime.fromisoformat(plan["end"])
    clock = FastClock(now, plan["rate"], horizon=now)  # time begins when the daemon works
    interval = 0.15 * plan["rate"]
    settings = Settings.model_validate(
        {
            "data_dir": plan["data"],
            "ingest": {
                "per_host_concurrent": 8, "per_host_spacing": 0, "spread": interval / 2,
                "allow_networks": ["127.0.0.0/8"], "backoff_base": interval, "backoff_cap": interval,
            },
            "detect": {"tick": 0.1 * plan["rate"]},
            "notify": {"interval": 0.2 * plan["rate"]},
            "observe": {"listen": ""},
            "sources": [
                {"name": name, "url": url, "interval": interval, "min_interval": interval / 2, "max_interval": interval}
                for name, url in plan["feeds"].items()
            ],
            "notifiers": [{"kind": "slack", "channel": "C1", "token": "xoxb-test", "base_url": plan["slack"]}],
        }
    )  # fmt: skip
    inner = app.open_storage

    @asynccontextmanager
    async def dying_storage(its_settings: Settings, its_clock: Any, **kwargs: Any) -> AsyncIterator[app.Storage]:
        async with inner(its_settings, its_clock, **kwargs) as storage:
            yield app.Storage(
                given_bus=DyingBus(storage.bus, death, "bus", ("publish",)),  # type: ignore[arg-type]
                given_store=Dying(storage.store, death, "store", ("put",)),  # type: ignore[arg-type]
                state=Dying(storage.state, death, "state", ("apply",)),  # type: ignore[arg-type]
            )

    app.open_storage = dying_storage
    notifiers = {name: DyingNotifier(n, death) for name, n in app.build_notifiers(settings, clock).items()}
    daemon = Daemon(
        settings,
        clock=clock,
        scorer=WordScorer(lambda title: 0.95 if "collapse" in title else 0.1),
        notifiers=notifiers,  # type: ignore[arg-type]
        # A simulated hour is a blink: what a busy machine polls late is news all the same.
        pipeline=DetectPipeline(PipelineConfig(series=SeriesConfig(backfill_after=timedelta(hours=48)))),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))

    async def finish() -> None:
        await daemon.started.wait()
        clock.extend(end)
        print(f"READY {time.monotonic()}", flush=True)
        while clock.now() < end or not daemon.polled_since(end):
            await asyncio.sleep(0.05)
        await daemon.drained()
        assert daemon.storage is not None
        while await daemon.storage.state.list("outbox"):
            clock.extend(clock.now() + timedelta(seconds=10))  # retries wait for their time
            await asyncio.sleep(0.05)
        stop.set()

    finishing = asyncio.create_task(finish())
    await asyncio.wait([running, finishing], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await running
    await finishing
    print("DONE", flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
