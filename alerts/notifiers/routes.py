"""Which channel an incident goes to: by its series and severity, the first rule that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from monitor.core.errors import ConfigError
from monitor.core.types import Incident, Severity

RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """``match``: a shell pattern over ``scope:value``; an incident's joined series count too."""

    channel: str
    match: str = "*"
    severity: Severity = Severity.INFO

    def fits(self, incident: Incident) -> bool:
        """Whether the incident is at least that severe, and of a series that matches."""
        if RANK[incident.severity] < RANK[self.severity]:
            return False
        return any(fnmatchcase(str(key), self.match) for key in (incident.key, *incident.related))


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """``channel`` is where all goes that no route takes and that is at least ``bar`` severe."""

    channel: str
    routes: tuple[Route, ...] = ()
    bar: Severity = Severity.INFO

    def channel_of(self, incident: Incident) -> str:
        """The channel; "" when the incident is below the bar: it is for the digest."""
        for route in self.routes:
            if route.fits(incident):
                return route.channel
        return self.channel if RANK[incident.severity] >= RANK[self.bar] else ""


def severity_option(value: object, key: str, where: str) -> Severity:
    """A severity by its name. Raises ConfigError."""
    try:
        return Severity(str(value))
    except ValueError:
        names = ", ".join(Severity)
        raise ConfigError(f"{where}: '{key}' must be one of {names}, got {value!r}.") from None


def routing_of(options: Mapping[str, Any], channel: str, where: str) -> Routing:
    """From ``routes`` (tables with channel, match, severity) and ``min_severity``. Raises ConfigError."""
    tables = options.get("routes", ())
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        raise ConfigError(f"{where}: 'routes' must be a list of tables.")
    routes = []
    for number, table in enumerate(tables, start=1):
        here = f"{where}.routes[{number}]"
        if not isinstance(table, Mapping) or set(table) - {"channel", "match", "severity"}:
            raise ConfigError(f"{here}: takes 'channel', 'match' and 'severity'.")
        target, match = table.get("channel"), table.get("match", "*")
        if not isinstance(target, str) or not target.strip():
            raise ConfigError(f"{here}: 'channel' is missing.", hint="Set a channel id such as C0123456789.")
        if not isinstance(match, str) or not match:
            raise ConfigError(f"{here}: 'match' must be a pattern such as 'entity:*' or 'topic:energy'.")
        severity = severity_option(table.get("severity", "info"), "severity", here)
        routes.append(Route(channel=target.strip(), match=match, severity=severity))
    bar = severity_option(options.get("min_severity", "info"), "min_severity", where)
    return Routing(channel=channel, routes=tuple(routes), bar=bar)
