"""What notifiers read of their table in the configuration: secrets, numbers, addresses."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monitor.core.clock import Clock, SystemClock
from monitor.core.errors import ConfigError

COMMON = frozenset({"name", "type", "enabled"})
"""Keys that every table may have."""


class Secret:
    """A token that does not show itself in logs, errors or ``repr``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The token itself: only for the client that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


def secret_keys(key: str) -> tuple[str, str, str]:
    """The three keys under which a secret may be given."""
    return key, f"{key}_file", f"{key}_env"


def secret_of(options: Mapping[str, Any], key: str, where: str, *, what: str, hint: str = "") -> Secret:
    """A secret: ``key`` (text or a pydantic SecretStr), the content of the file that ``key_file`` names, or the
    environment variable that ``key_env`` names. Raises ConfigError, also when none is given."""
    keys = secret_keys(key)
    given = [name for name in keys if options.get(name)]
    if len(given) > 1:
        raise ConfigError(f"{where}: both '{given[0]}' and '{given[1]}' are set.", hint="Keep one of them.")
    value: Any = options.get(key)
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if given == [keys[1]]:
        try:
            value = Path(str(options[keys[1]])).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{where}: '{keys[1]}': it cannot be read: {reason}.") from None
    elif given == [keys[2]]:
        variable = str(options[keys[2]])
        value = os.environ.get(variable, "")
        if not value.strip():
            raise ConfigError(
                f"{where}: '{keys[2]}': the variable {variable} is not set.", hint=f"Export the {what} in it."
            )
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: '{key}' is missing.", hint=hint or f"Set the {what}, best by {key}_file.")
    return Secret(value.strip())


def refuse_unknown(options: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raises ConfigError naming a key that the notifier does not have."""
    unknown = sorted(set(options) - COMMON - set(known))
    if unknown:
        raise ConfigError(
            f"{where}: unknown option {unknown[0]!r}.", hint=f"It takes {', '.join(repr(k) for k in sorted(known))}."
        )


def text_of(options: Mapping[str, Any], key: str, where: str, *, default: str | None = None, hint: str = "") -> str:
    """A text that is not empty (unless ``default`` is). Raises ConfigError."""
    value = options.get(key, default)
    if not isinstance(value, str) or (not value.strip() and default is None):
        raise ConfigError(
            f"{where}: '{key}' is missing." if value is None else f"{where}: '{key}' must be text.", hint=hint
        )
    return value.strip()


def seconds_of(options: Mapping[str, Any], key: str, where: str, *, default: float, least: float, most: float) -> float:
    """A number of seconds. Raises ConfigError."""
    value = options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{where}: '{key}' must be {least:g} to {most:g} seconds, got {value!r}.")
    return float(value)


def flag_of(options: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    """True or false. Raises ConfigError."""
    value = options.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: '{key}' must be true or false, got {value!r}.")
    return value


def address_of(value: object, key: str, where: str) -> str:
    """An http(s) address. Raises ConfigError; the address itself may hold a secret and is not shown."""
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{where}: '{key}' must be an http(s) address.")
    return str(value)


def clock_of(context: object) -> Clock:
    """The clock that the host gives, else the real one."""
    return context if hasattr(context, "now") and hasattr(context, "rate") else SystemClock()  # type: ignore[return-value]
