"""Finds notifiers by entry point, so that other packages can add theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from monitor.core.errors import ConfigError
from monitor.core.ports import Notifier

GROUP = "riskwire.notifiers"

NotifierFactory = Callable[[Mapping[str, Any], Any], Notifier]
"""``build(options, context)``: options are the notifier's table of the configuration, context is the host's."""


def available() -> tuple[str, ...]:
    """Names of the installed notifier types."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_notifier(kind: str) -> NotifierFactory:
    """The factory of one type. Raises ConfigError when it is not installed or cannot be imported."""
    found = [point for point in entry_points(group=GROUP) if point.name == kind]
    if not found:
        raise ConfigError(
            f"There is no notifier type '{kind}'.", hint=f"Installed are: {', '.join(available()) or 'none'}."
        )
    try:
        factory = found[0].load()
    except ImportError as error:
        raise ConfigError(
            f"The notifier type '{kind}' cannot be loaded: {error}.", hint="Install the package or extra it needs."
        ) from error
    if not callable(factory):
        raise ConfigError(f"The notifier type '{kind}' ({found[0].value}) is not a factory.")
    result: NotifierFactory = factory
    return result


def load_notifiers(tables: Mapping[str, Mapping[str, Any]], context: Any = None) -> dict[str, Notifier]:
    """Builds every notifier of the configuration: name → table; ``type`` in the table defaults to the name.

    A table with ``enabled = false`` is left out. Raises ConfigError.
    """
    notifiers: dict[str, Notifier] = {}
    for name, options in tables.items():
        if options.get("enabled", True) is False:
            continue
        kind = options.get("type", name)
        if not isinstance(kind, str):
            raise ConfigError(f"notifiers.{name}: 'type' must be text, got {kind!r}.")
        notifiers[name] = load_notifier(kind)({**options, "name": name}, context)
    return notifiers
