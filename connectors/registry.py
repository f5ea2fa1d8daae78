"""Finds connectors by entry point and makes sources with them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from connectors.base import Connector, ConnectorContext, SourceSpec
from monitor.core.errors import ConfigError
from monitor.core.ports import Listener, Source

GROUP = "riskwire.connectors"


class _Lazy:
    """Imports a connector at its first use, so that a broken plugin nobody uses stops nobody."""

    def __init__(self, entry: EntryPoint) -> None:
        self._entry = entry

    def __call__(self, spec: SourceSpec, context: ConnectorContext) -> Source | Listener:
        try:
            connector: Connector = self._entry.load()
        except Exception as error:  # foreign code may raise anything at import; the reason is passed on
            owner = self._entry.dist.name if self._entry.dist else "an unknown package"
            raise ConfigError(
                f"Source '{spec.name}': connector '{spec.kind}' of {owner} cannot be loaded: {error!r}.",
                hint="Reinstall or update that package.",
            ) from error
        return connector(spec, context)


def load_connectors() -> Mapping[str, Connector]:
    """Every installed connector by name. Raises ConfigError when two packages claim one name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigError(
                f"Two connectors are called '{entry.name}': {other.value} and {entry.value}.",
                hint="Uninstall one of the two packages.",
            )
    return {name: _Lazy(entry) for name, entry in sorted(found.items())}


def make_source(
    spec: SourceSpec, context: ConnectorContext, connectors: Mapping[str, Connector] | None = None
) -> Source | Listener:
    """Makes the source that ``spec`` describes. Raises ConfigError."""
    known = load_connectors() if connectors is None else connectors
    connector = known.get(spec.kind)
    if connector is None:
        close = difflib.get_close_matches(spec.kind, known, n=1)
        raise ConfigError(
            f"Source '{spec.name}': there is no connector '{spec.kind}'.",
            hint=f"Did you mean '{close[0]}'?" if close else f"Installed connectors: {', '.join(known)}.",
        )
    return connector(spec, context)
