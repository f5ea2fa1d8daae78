"""Shows incidents on the terminal (or any text stream) in plain text."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, TextIO

from alerts.notifiers.text import facts, headline, words_of
from monitor.core.errors import ConfigError, PermanentNotifyError
from monitor.core.types import Incident, Receipt, Severity

_COLOUR = {Severity.INFO: "36", Severity.WARNING: "33", Severity.CRITICAL: "31;1"}
# News is foreign text: escape sequences in a headline must not reach the terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


def render(incident: Incident, *, width: int = 100, colour: bool = False) -> str:
    """The incident as lines of text, without a final newline."""
    head = _safe(headline(incident))
    if colour:
        head = f"\x1b[{_COLOUR[incident.severity]}m{head}\x1b[0m"
    lines = [head]
    lines += textwrap.wrap(_safe(incident.reason), width - 2, initial_indent="  ", subsequent_indent="  ")
    if incident.related:
        lines.append(_safe(f"  also: {', '.join(str(key) for key in incident.related)}"))
    if incident.entities:
        lines.append(_safe(f"  entities: {', '.join(incident.entities)}"))
    for item in incident.evidence:
        lines.append(_safe(f"  - {item.title}"))
        lines.append(_safe(f"    {facts(item)}"))
        if words := words_of(item):
            lines.append(_safe(f"    because of: {words}"))
        if item.url:
            lines.append(_safe(f"    {item.url}"))
    lines.append(_safe(f"  incident {incident.id}, revision {incident.revision}, {incident.state.value}"))
    return "\n".join(lines)


def _safe(text: str) -> str:
    return _CONTROL.sub(" ", text)


class ConsoleNotifier:
    """Implements :class:`monitor.core.ports.Notifier` on a text stream."""

    def __init__(self, *, name: str = "console", stream: TextIO | None = None, width: int = 100) -> None:
        self.name = name
        self._stream = stream
        self._width = width

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Writes the incident; an update is written anew. Raises PermanentNotifyError when the stream is closed."""
        stream = self._stream or sys.stdout
        try:
            text = render(incident, width=self._width, colour=stream.isatty())
            await asyncio.to_thread(_write, stream, text)
        except (OSError, ValueError) as error:
            raise PermanentNotifyError(
                f"The console cannot be written to: {error}.", hint="Run with an open standard output."
            ) from error
        return Receipt(notifier=self.name, data={"revision": str(incident.revision)})


def _write(stream: TextIO, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n\n")
    stream.flush()


def build(options: Mapping[str, Any], context: Any = None) -> ConsoleNotifier:
    """Entry point ``riskwire.notifiers``. Options: ``name``, ``width`` (40 to 400 columns). Raises ConfigError."""
    width = options.get("width", 100)
    if isinstance(width, bool) or not isinstance(width, int) or not 40 <= width <= 400:
        raise ConfigError(f"notifiers.console: 'width' must be a whole number from 40 to 400, got {width!r}.")
    unknown = set(options) - {"name", "type", "width", "enabled"}
    if unknown:
        raise ConfigError(
            f"notifiers.console: unknown option {sorted(unknown)[0]!r}.", hint="It takes 'name' and 'width'."
        )
    return ConsoleNotifier(name=str(options.get("name", "console")), width=width)
