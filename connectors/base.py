"""What a connector is: a function from a source's configuration to a Source (polled) or a Listener (pushed to)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from connectors.http import Fetcher, HttpPolicy
from connectors.workers import WorkerPool
from monitor.core.clock import Clock
from monitor.core.ports import Listener, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One configured source: its unique name, the connector's entry point name and the connector's own options."""

    name: str
    kind: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorContext:
    """What every connector may use. Shared by all sources of a process, so that politeness is per host, not per source.

    ``base`` is the folder that relative paths in options start from.
    """

    clock: Clock
    fetcher: Fetcher
    workers: WorkerPool
    base: Path = field(default_factory=Path)

    async def close(self) -> None:
        """Closes the fetcher and the workers. Sources made with this context must no longer be polled."""
        await self.fetcher.close()
        await self.workers.close()


Connector = Callable[[SourceSpec, ConnectorContext], Source | Listener]
"""Makes a source. Raises ConfigError, naming source, key and expected value, when an option is wrong; does no I/O."""


@asynccontextmanager
async def open_context(
    clock: Clock, policy: HttpPolicy | None = None, *, base: Path | None = None
) -> AsyncIterator[ConnectorContext]:
    """A context with its own fetcher and workers, closed at the end."""
    context = ConnectorContext(
        clock=clock, fetcher=Fetcher(policy or HttpPolicy(), clock), workers=WorkerPool(), base=base or Path()
    )
    try:
        yield context
    finally:
        await context.close()
