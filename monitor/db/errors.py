"""SQLite's errors become Riskwire's here, and nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.core.errors import (
    DatabaseCorruptError,
    DatabaseLockedError,
    DiskFullError,
    StorageError,
)

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_REFUSED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH})


def damaged(path: Path, detail: str) -> DatabaseCorruptError:
    """The error for a damaged file."""
    return DatabaseCorruptError(
        f"The database {path} is damaged: {detail}.",
        hint=(
            f"Stop Riskwire, move {path.name} with its -wal and -shm files aside, and restore a backup "
            f"(or try `sqlite3 {path.name} .recover`). Without a backup Riskwire starts with an empty file."
        ),
    )


def storage_error(error: sqlite3.Error, path: Path) -> StorageError:
    """The Riskwire error for what SQLite said of the file ``path``."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF  # the low byte is the kind, the rest a detail
    if primary in _LOCKED:
        return DatabaseLockedError(
            f"The database {path} is locked by another process.",
            hint="Wait for the other command to finish, or stop it; then try again.",
        )
    if primary in _CORRUPT:
        return damaged(path, str(error))
    if primary == sqlite3.SQLITE_FULL:
        return DiskFullError(
            f"There is no room left to write {path}.",
            hint=f"Free space on the disk of {path.parent}, or shorten the retention; nothing was half written.",
        )
    if primary in _REFUSED:
        return StorageError(
            f"The database {path} cannot be opened for writing: {error}.",
            hint=f"Check that the user who runs Riskwire owns {path.parent} and may write there.",
        )
    if primary == sqlite3.SQLITE_INTERRUPT:
        return StorageError(
            f"A query on {path.name} took too long and was stopped.",
            hint="Ask for a shorter time range or fewer words.",
        )
    if primary == sqlite3.SQLITE_IOERR:
        return StorageError(
            f"Reading or writing {path} failed: {error}.",
            hint="Look into the system log for disk errors; the folder must be on a local disk.",
        )
    return StorageError(f"The database {path} refused a statement: {error}.")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turns every ``sqlite3.Error`` raised inside into a StorageError that names ``path``."""
    try:
        yield
    except sqlite3.Error as error:
        raise storage_error(error, path) from error
