"""What a database file must look like: its schema version, the steps to get there, and a first look at its health."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.core.errors import SchemaVersionError, StorageError
from monitor.db.errors import damaged

Migration = Callable[[sqlite3.Connection], None]
"""One step from a schema version to the next; runs inside a transaction and must not commit."""

QUICK_CHECK_BYTES = 64 * 1024 * 1024
"""Files up to this size are checked page by page when they are opened (about 0.2 s); larger ones by ``check``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A kind of database file and the schema version that this program writes."""

    file: str
    name: str
    """What people call it, e.g. ``article store``."""
    application_id: int
    """Written into the file's header, so that one file is not taken for another."""
    version: int
    """The number of its migrations. Migrations are never edited, only added."""


LOG = Schema(file="log.db", name="bus log", application_id=0x52574C47, version=1)  # "RWLG"
STORE = Schema(file="store.db", name="article store", application_id=0x52575352, version=2)  # "RWSR"
STATE = Schema(file="state.db", name="state store", application_id=0x52575354, version=1)  # "RWST"
SCHEMAS = (LOG, STORE, STATE)
"""Everything that lies in a data folder."""


def statements(*texts: str) -> Migration:
    """A migration of plain SQL statements."""

    def migrate(connection: sqlite3.Connection) -> None:
        for text in texts:
            connection.execute(text)

    return migrate


def number(connection: sqlite3.Connection, sql: str) -> int:
    """The one whole number that a statement gives."""
    return int(connection.execute(sql).fetchone()[0])


def version_of(connection: sqlite3.Connection, schema: Schema, path: Path) -> int:
    """The file's schema version (0 for an empty file).

    Raises SchemaVersionError when it is newer than this program, StorageError when the file is something else.
    """
    version = number(connection, "PRAGMA user_version")
    application = number(connection, "PRAGMA application_id")
    empty = number(connection, "SELECT COUNT(*) FROM sqlite_master") == 0
    if application != schema.application_id and not (empty and version == 0 and application == 0):
        raise StorageError(
            f"{path} is a database, but not Riskwire's {schema.name}.",
            hint="Name another data folder in the configuration; this file is left as it is.",
        )
    if version > schema.version:
        raise SchemaVersionError(
            f"{path} has schema version {version}; this Riskwire knows versions up to {schema.version}.",
            hint="Run the newer Riskwire that wrote it, or give this one a data folder of its own.",
        )
    return version


def prepare(
    connection: sqlite3.Connection, schema: Schema, migrations: Sequence[Migration], path: Path, *, guest: bool
) -> None:
    """Checks the file and brings it to the present version; a guest only checks.

    Raises DatabaseCorruptError, SchemaVersionError, or StorageError.
    """
    version = version_of(connection, schema, path)
    if guest:
        if version < schema.version:
            raise StorageError(
                f"{path} has schema version {version}, this Riskwire needs {schema.version}.",
                hint="Start `riskwire run` of this version once; it brings the file up to date.",
            )
        return
    look(connection, path, deep=path.stat().st_size <= QUICK_CHECK_BYTES)
    for step in range(version, schema.version):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations[step](connection)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {step + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def look(connection: sqlite3.Connection, path: Path, *, deep: bool) -> None:
    """Raises DatabaseCorruptError when the file is visibly damaged. ``deep`` reads every page, otherwise the first
    row of every table is read."""
    if deep:
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise damaged(path, verdict)
        return
    tables = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
    ]
    for table in tables:
        quoted = table.replace('"', '""')
        connection.execute(f'SELECT * FROM "{quoted}" LIMIT 1').fetchone()
