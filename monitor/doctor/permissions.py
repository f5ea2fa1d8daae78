"""Files with secrets: are they there, and are they for our eyes only."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, SecretStr

from monitor.config import Settings
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict, fail, ok, warn

_SECRET_WORDS = ("password", "secret", "token", "api_key", "key_file")


def permission_checks(settings: Settings, config: Path | None) -> list[Check]:
    """One check over every file of secrets that the configuration names, and over the configuration itself."""
    files = dict(secret_files(settings))
    if config is not None and _holds_secrets(settings):
        files["the configuration, which holds secrets itself"] = config
    if not files:
        return []

    async def look() -> Sequence[Verdict]:
        return await in_thread(lambda: [_judge(key, path) for key, path in files.items()])

    return [Check(part="secrets", look=look)]


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The configured files of secrets by their key: ``..._file`` keys that name a password, token or private key."""
    for name, section in settings:
        if isinstance(section, BaseModel):
            for key, value in section:
                if isinstance(value, Path) and _is_secret_file(key):
                    yield f"{name}.{key}", value
    tables = {f"source '{entry.name}'": entry.options for entry in settings.sources}
    tables |= {f"notifier '{entry.name or entry.kind}'": entry.options for entry in settings.notifiers}
    for where, options in tables.items():
        for key, value in options.items():
            if isinstance(value, str) and value and _is_secret_file(key):
                yield f"{where}: {key}", settings.base / value


def _is_secret_file(key: str) -> bool:
    return key.endswith("_file") and any(word in key for word in _SECRET_WORDS)


def _holds_secrets(settings: Settings) -> bool:
    for _, section in settings:
        if isinstance(section, BaseModel):
            for _, value in section:
                if isinstance(value, SecretStr) and value.get_secret_value():
                    return True
    options = [*(entry.options for entry in settings.sources), *(entry.options for entry in settings.notifiers)]
    return any(map(_has_secret, options))


def _has_secret(options: Mapping[str, object]) -> bool:
    for key, value in options.items():
        if isinstance(value, Mapping):  # headers of a feed
            if any(str(name).lower() in ("authorization", "cookie", "x-api-key") for name in value):
                return True
        elif value and any(word in key for word in _SECRET_WORDS) and not key.endswith(("_file", "_env", "_url")):
            return True
    return False


def _judge(key: str, path: Path) -> Verdict:
    try:
        mode = path.stat().st_mode
        readable = path.open("rb")
    except OSError as error:
        return fail(
            "secrets", f"{key}: {path} cannot be read: {error.strerror}.", "Name the right file, and make it ours."
        )
    readable.close()
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return warn("secrets", f"{key}: every user of this machine may read {path}.", f"'chmod 600 {path}'")
    return ok("secrets", f"{key}: {path} is not for everybody.")
