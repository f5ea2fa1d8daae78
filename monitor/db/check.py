"""Looks at a data folder without changing it: for ``riskwire doctor``. A running daemon is not disturbed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitor.core.errors import StorageError
from monitor.db.directory import LOCK_FILE, DataDirectory, owner_of
from monitor.db.errors import damaged, mapped
from monitor.db.lock import lock_is_held
from monitor.db.schema import SCHEMAS, Schema, version_of

Status = Literal["ok", "warn", "fail"]

LOW_SPACE_BYTES = 1_000_000_000
NO_SPACE_BYTES = 50_000_000
_BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``advice`` is the next step when it is not ok."""

    part: str
    status: Status
    finding: str
    advice: str = ""


def check(directory: DataDirectory | str | Path) -> list[Finding]:
    """The folder, the disk and each database: owner, space, rights, schema version, size, and every page's integrity.

    Reads the files whole, about a second for every few hundred megabytes; run it in a thread. Raises nothing.
    """
    path = directory.path if isinstance(directory, DataDirectory) else Path(directory).expanduser().absolute()
    if not path.is_dir():
        return [
            Finding(
                part="folder",
                status="warn",
                finding=f"There is no data folder {path} yet.",
                advice="`riskwire run` creates it; or name another folder in the configuration.",
            )
        ]
    return [*_folder(path), *(_file(path / schema.file, schema) for schema in SCHEMAS)]


def _folder(path: Path) -> Iterator[Finding]:
    held = lock_is_held(path / LOCK_FILE)
    yield Finding(
        part="folder",
        status="ok",
        finding=f"{path} is in use by {owner_of(path) or 'a process unknown'}." if held else f"{path} is free.",
    )
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding(
            part="rights",
            status="fail",
            finding=f"This user may not write into {path}.",
            advice="Run Riskwire as the user who owns the folder, or change the owner.",
        )
    elif path.stat().st_mode & 0o077:
        yield Finding(
            part="rights",
            status="warn",
            finding=f"Other users of this machine may look into {path}.",
            advice=f"`chmod 700 {path}` keeps them out.",
        )
    free = shutil.disk_usage(path).free
    status: Status = "fail" if free < NO_SPACE_BYTES else "warn" if free < LOW_SPACE_BYTES else "ok"
    yield Finding(
        part="disk",
        status=status,
        finding=f"{free / 1e9:.1f} GB are free.",
        advice="" if status == "ok" else "Free some space, or shorten the retention.",
    )


def _file(path: Path, schema: Schema) -> Finding:
    if not path.exists():
        return Finding(part=schema.file, status="ok", finding="Not there yet; `riskwire run` creates it.")
    try:
        return Finding(part=schema.file, status="ok", finding=_integrity(path, schema))
    except StorageError as error:
        return Finding(part=schema.file, status="fail", finding=error.message, advice=error.hint)


def _integrity(path: Path, schema: Schema) -> str:
    if not os.access(path, os.R_OK | os.W_OK):
        raise StorageError(
            f"This user may not read and write {path}.", hint="Run Riskwire as the user who owns the file."
        )
    with mapped(path):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only = ON")
            version = version_of(connection, schema, path)
            verdict = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
        finally:
            connection.close()
    if verdict != ["ok"]:
        raise damaged(path, "; ".join(verdict))
    size = sum(part.stat().st_size for part in (path, Path(f"{path}-wal")) if part.exists())
    older = f" (this Riskwire will bring it to {schema.version})" if version < schema.version else ""
    return f"Sound; schema version {version}{older}, {size / 1e6:.1f} MB."
