"""The state database by its address. Imports SQLAlchemy and psycopg only when there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.clock import Clock
from monitor.core.errors import ConfigError
from monitor.db.check import Finding

if TYPE_CHECKING:
    from monitor.state.postgres import PostgresState

_EXTRA = frozenset({"sqlalchemy", "psycopg"})


async def open_postgres(
    url: str, *, password: str | None = None, timeout: float = 30.0, guest: bool = False
) -> PostgresState:
    """See :meth:`monitor.state.postgres.PostgresState.open`. Raises ConfigError when the extra is not installed."""
    try:
        from monitor.state.postgres import PostgresState
    except ImportError as error:
        raise _missing(error) from error
    return await PostgresState.open(url, password=password, timeout=timeout, guest=guest)


def describe(
    url: str, *, password: str | None = None, timeout: float = 10.0, clock: Clock | None = None
) -> list[Finding]:
    """Looks at a state database without changing it, for ``riskwire doctor``; blocks, so run it in a thread.
    Raises nothing."""
    try:
        from monitor.state.postgres_check import examine
    except ImportError as error:
        missing = _missing(error)
        return [Finding(part="state", status="fail", finding=missing.message, advice=missing.hint)]
    return examine(url, password=password, timeout=timeout, clock=clock)


def _missing(error: ImportError) -> ConfigError:
    if (error.name or "").split(".", 1)[0] not in {*_EXTRA, ""}:
        raise error
    return ConfigError(
        f"state.url needs libraries that are not there: {error}.", hint="pip install 'riskwire[postgres]'"
    )
