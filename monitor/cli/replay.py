"""``riskwire replay``: an archive through the live pipeline."""

from __future__ import annotations

import asyncio
import itertools
import resource
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from monitor.core.errors import UsageError

if TYPE_CHECKING:
    from monitor.core.clock import Clock
    from monitor.daemon import Daemon
    from monitor.services.replay import ArchiveFeeder


def replay(
    archive: Annotated[Path, typer.Argument(help="JSONL or CSV archive, .gz or not, in order of time.")],
    speed: Annotated[str, typer.Option(help="How many times as fast as real time, or 'max'.")] = "max",
    columns: Annotated[str, typer.Option(help="Column mapping for CSV: title=headline,published_at=when,…")] = "",
    data: Annotated[Path, typer.Option(help="Data folder of the replay, apart from the daemon's.")] = Path(
        "riskwire-replay"
    ),
    notify: Annotated[bool, typer.Option("--notify", help="Send notifications; a replay is silent otherwise.")] = False,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; riskwire.toml when unset.")
    ] = None,
) -> None:
    """Push an archive through the live pipeline in event time."""
    from connectors.archive import BadRow, ColumnMapping, read_archive
    from monitor.app import model_path
    from monitor.config import load_settings
    from monitor.core.clock import FastClock, ManualClock
    from monitor.core.ports import Bus
    from monitor.daemon import Daemon
    from monitor.obs.logging import configure_logging
    from monitor.services.replay import ArchiveFeeder

    rate = _rate(speed)
    console = Console(stderr=True)
    settings = load_settings(config)
    observe = settings.observe.model_copy(update={"listen": ""})
    detect = settings.detect.model_copy(update={"tick": 1.0}) if rate is None else settings.detect
    # The set model is noted in the configured data folder, not in the one that the replay writes.
    model = settings.model.model_copy(update={"path": model_path(settings)})
    settings = settings.model_copy(update={"data_dir": data, "observe": observe, "detect": detect, "model": model})
    configure_logging("warning", style=settings.observe.log_format)
    bad_rows: list[str] = []

    def on_error(bad: BadRow) -> None:
        bad_rows.append(str(bad))

    mapping = ColumnMapping.parse(columns) if columns else None
    rows = iter(read_archive(archive, mapping=mapping, on_error=on_error))
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{archive} holds no articles.", hint=bad_rows[0] if bad_rows else "")
    rows = itertools.chain([first], rows)
    clock: Clock = ManualClock(first.published_at) if rate is None else FastClock(first.published_at, rate)

    async def main() -> tuple[int, int, list[str]]:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with console.status("starting") as status:

            def progress(count: int, at: datetime) -> None:
                status.update(f"{count:,} articles, at {at:%Y-%m-%d %H:%M}")

            def bus() -> Bus:
                assert daemon.storage is not None
                return daemon.storage.bus

            feeder = ArchiveFeeder(rows, clock=clock, bus=bus, progress=progress)
            daemon = Daemon(settings, clock=clock, sources=[feeder], alerting=notify)
            running = asyncio.create_task(daemon.run(stop))
            finishing = asyncio.create_task(_finish(daemon, feeder, clock))
            await asyncio.wait([running, finishing], return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            await running
            summary = finishing.result() if finishing.done() and not finishing.cancelled() else (0, [])
            finishing.cancel()
        return feeder.count, summary[0], summary[1]

    began = time.monotonic()
    count, opened, lines = asyncio.run(main())
    seconds = time.monotonic() - began
    for line in lines:
        typer.echo(line)
    for message in bad_rows[:5]:
        console.print(f"skipped: {message}", markup=False, highlight=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(
        f"{count:,} articles in {seconds:.1f} s ({count / seconds:,.0f}/s), {len(bad_rows)} bad rows, "
        f"{opened} incidents, peak memory {peak:,.0f} MiB; data in {data}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _rate(speed: str) -> float | None:
    if speed == "max":
        return None
    try:
        rate = float(speed)
    except ValueError:
        rate = 0.0
    if rate <= 0:
        raise UsageError(f"--speed must be a positive number or 'max', not '{speed}'.")
    return rate


async def _finish(daemon: Daemon, feeder: ArchiveFeeder, clock: Clock) -> tuple[int, list[str]]:
    """Waits until the archive is fed, scored and watched; returns how many incidents there are and their lines."""
    from monitor.core.clock import ManualClock
    from monitor.core.codec import incident_from_dict
    from monitor.services.detect import INCIDENT_KIND

    await daemon.started.wait()
    assert daemon.storage is not None
    await feeder.finished.wait()
    await daemon.drained()
    if isinstance(clock, ManualClock):
        clock.set(clock.now() + timedelta(hours=1))
    await daemon.detect.tick()
    incidents = [incident_from_dict(doc) for _, doc in await daemon.storage.state.list(INCIDENT_KIND, limit=100_000)]
    incidents.sort(key=lambda incident: incident.opened_at)
    return len(incidents), [
        f"{i.opened_at:%Y-%m-%d %H:%M} {i.severity.value:8} {i.key!s:40} {i.reason}" for i in incidents
    ]
