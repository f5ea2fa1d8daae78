"""Secrets come from the configuration, the environment, or a file of their own (systemd credentials, mounted ones)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from monitor.core.errors import ConfigError


def secret(value: SecretStr | None, file: Path | None, key: str) -> str:
    """The secret of ``key``: the file's content without the line break at its end, else ``value``.

    Raises ConfigError when both are set, or the file cannot be read or is empty.
    """
    if file is None:
        return value.get_secret_value() if value is not None else ""
    if value is not None and value.get_secret_value():
        raise ConfigError(f"{key} and {key}_file are both set.", hint="Keep one of them, the file if you can.")
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{key}_file: {file} cannot be read: {reason}.") from error
    if not text:
        raise ConfigError(f"{key}_file: {file} is empty.")
    return text


_CREDENTIALS = "$CREDENTIALS_DIRECTORY/"


def with_credentials(value: Any) -> Any:
    """A configuration whose texts that begin with ``$CREDENTIALS_DIRECTORY/`` name files in the directory that systemd
    gave this process, see systemd.exec(5). Nothing else is expanded. Raises ConfigError when there is none."""
    if isinstance(value, Mapping):
        return {key: with_credentials(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_credentials(item) for item in value]
    if not isinstance(value, str) or not value.startswith(_CREDENTIALS):
        return value
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise ConfigError(
            f"The configuration names {value}, but CREDENTIALS_DIRECTORY is not set.",
            hint="Services have it from LoadCredential=. For a command by hand see docs/install-systemd.md.",
        )
    return f"{folder}/{value.removeprefix(_CREDENTIALS)}"
