"""What one tick costs in processor time: against the length of the history and the number of series."""

from __future__ import annotations

import random
import statistics
import time

from rich.console import Console
from rich.table import Table

from alerts.config import PipelineConfig
from alerts.series import OpenBucket
from alerts.states import SeriesStates
from monitor.core.codec import dumps
from monitor.core.types import Scope, SeriesKey

_HOUR = 12
_DAY = 288


def _tick(states: SeriesStates, keys: list[SeriesKey], index: int, rng: random.Random) -> None:
    states.hear(index, OpenBucket(index=index))
    for key in keys:
        stories = rng.choice((1, 1, 2, 3))
        state = states.advance(key, index, stories, stories * rng.choice((0.0, 0.0, 0.8)))
        states.detector.best(states.detector.assess(state, key))


def _measure(keys: int, days: int, ticks: int) -> tuple[float, float, float]:
    """Milliseconds of a tick with all series active, of one that begins an hour, and bytes of state per series."""
    rng = random.Random(1)
    states = SeriesStates(PipelineConfig())
    names = [SeriesKey(scope=Scope.ENTITY, value=f"e{n}") for n in range(keys)]
    begin = 5_000_000 // _DAY * _DAY
    states.origin = begin
    end = begin + days * _DAY
    index = begin
    while index < end - _DAY:  # history: a story now and then
        states.hear(index, OpenBucket(index=index))
        for name in rng.sample(names, max(1, keys // 50)) if keys > 10 else names:
            states.advance(name, index, 1, float(rng.random() < 0.2))
        index += rng.choice((6, 12, 18))
    inside, hourly = [], []
    for index in range(end, end + ticks):
        began = time.process_time()
        _tick(states, names, index, rng)
        (hourly if index % _HOUR == 0 else inside).append(time.process_time() - began)
    size = statistics.fmean(
        len(dumps(quick)) + len(dumps(slow or {})) for quick, slow in (states.to_docs(key) for key in names[:20])
    )
    return 1e3 * statistics.median(inside), 1e3 * statistics.median(hourly[1:] or hourly), size


def cost(console: Console, keys: list[int], days: list[int]) -> None:
    """Prints both tables."""
    table = Table(title="One tick with every series active, 3 days of history")
    for name in ("series", "ms a tick", "µs a series", "ms at the turn of an hour", "bytes of state a series"):
        table.add_column(name, justify="right")
    for count in keys:
        inside, hourly, size = _measure(count, 3, 25 if count > 1000 else 37)
        table.add_row(f"{count:,}", f"{inside:.1f}", f"{1e3 * inside / count:.0f}", f"{hourly:.1f}", f"{size:,.0f}")
    console.print(table)
    table = Table(title="One tick with 100 series active")
    for name in ("days of history", "ms a tick", "ms at the turn of an hour", "bytes of state a series"):
        table.add_column(name, justify="right")
    for count in days:
        inside, hourly, size = _measure(100, count, 37)
        table.add_row(f"{count:,}", f"{inside:.1f}", f"{hourly:.1f}", f"{size:,.0f}")
    console.print(table)
