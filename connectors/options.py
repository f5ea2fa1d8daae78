"""Reads a source's options strictly: a wrong type or an unknown key is a ConfigError that says what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from connectors.base import SourceSpec
from monitor.core.errors import ConfigError

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Options:
    """The options of one source. Call a reader per known key, then :meth:`finish`."""

    def __init__(self, spec: SourceSpec) -> None:
        self.source = spec.name
        self._options: Mapping[str, object] = spec.options
        self._known: list[str] = []

    def _take(self, key: str) -> object:
        self._known.append(key)
        return self._options.get(key)

    def wrong(self, key: str, expected: str, *, hint: str = "") -> ConfigError:
        """The error for a bad value of ``key``. The value is not shown: it may be a secret."""
        got = "it is missing"
        if key in self._options:
            got = f"got {type(self._options[key]).__name__}"
        else:
            misspelt = difflib.get_close_matches(key, [name for name in self._options if name not in self._known], n=1)
            hint = hint or (f"Did you mean '{key}' where '{misspelt[0]}' stands?" if misspelt else "")
        value = self._options.get(key)
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 40 and "token" not in key):
            got = f"got {value!r}" if "://" not in str(value) else "got another URL"
        return ConfigError(f"Source '{self.source}': option '{key}' must be {expected}, {got}.", hint=hint)

    def text(self, key: str, default: str | None = None) -> str:
        """A non-empty text; required when there is no default."""
        value = self._take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, "a non-empty text")
        return value.strip()

    def url(self, key: str) -> str:
        """A required http or https URL."""
        value = self._take(key)
        expected = 'an http or https URL such as "https://example.org/feed.xml"'
        if not isinstance(value, str):
            raise self.wrong(key, expected)
        try:
            parts = urlsplit(value.strip())
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise self.wrong(key, expected)
        return value.strip()

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def duration(self, key: str, default: float, *, low: float = 0.0, high: float = 7 * 86400.0) -> float:
        """Seconds: a number, or a text such as "30s", "5m", "1h", "1d"."""
        value = self._take(key)
        if value is None:
            return default
        seconds: float | None = None
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            seconds = float(match[1]) * _SECONDS[match[2]]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        if seconds is None or not low <= seconds <= high:
            raise self.wrong(key, f'a duration from {low:g} s to {high:g} s such as 90 or "5m"')
        return seconds

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        """One of a few words."""
        value = self._take(key)
        if value is None:
            return default
        if value not in allowed:
            raise self.wrong(key, f"one of {', '.join(allowed)}")
        return str(value)

    def texts(self, key: str) -> dict[str, str]:
        """A table of texts."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            raise self.wrong(key, "a table of texts")
        return {str(name): item for name, item in value.items()}

    def finish(self) -> None:
        """Refuses every option that no reader asked for."""
        for key in self._options:
            if key in self._known:
                continue
            close = difflib.get_close_matches(key, self._known, n=1)
            raise ConfigError(
                f"Source '{self.source}': there is no option '{key}'.",
                hint=f"Did you mean '{close[0]}'?" if close else f"Known options: {', '.join(sorted(self._known))}.",
            )
