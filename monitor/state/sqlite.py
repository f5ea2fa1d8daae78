"""The embedded state store: one table of JSON documents."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Self

from monitor.core.types import JSON, Change, Expect
from monitor.db.database import Database
from monitor.db.directory import DataDirectory
from monitor.db.schema import STATE, statements
from monitor.state.documents import conditions_of, document, effect_of, page_size, place, require

# The same table as in monitor.state.schema, which needs SQLAlchemy; a test holds the two against each other.
MIGRATIONS = (
    statements(
        "CREATE TABLE documents (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key))",
    ),
)


class SqliteState:
    """A :class:`~monitor.core.ports.StateStore` in ``state.db``."""

    def __init__(self, database: Database) -> None:
        """Use :meth:`open`."""
        self.database = database

    @classmethod
    async def open(cls, directory: DataDirectory) -> Self:
        """Opens or creates ``state.db``. Raises StorageError (see :meth:`Database.open`)."""
        return cls(await Database.open(directory, STATE, MIGRATIONS))

    async def get(self, kind: str, key: str) -> Mapping[str, JSON] | None:
        """One document, or None."""
        at = place(kind, key)

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM documents WHERE kind = ? AND key = ?", at).fetchone()
            return None if row is None else str(row[0])

        text = await self.database.read(work)
        return None if text is None else document(text)

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        """Documents of a kind in the order of their keys (by code point), those with a key greater than ``after``;
        at most 10,000 at a time."""
        at = place(kind, after)
        count = page_size(limit)

        def work(connection: sqlite3.Connection) -> Sequence[tuple[str, Mapping[str, JSON]]]:
            rows = connection.execute(
                "SELECT key, value FROM documents WHERE kind = ? AND key > ? ORDER BY key LIMIT ?", (*at, count)
            )
            return [(key, document(value)) for key, value in rows]

        return await self.database.read(work)

    async def kinds(self) -> Sequence[str]:
        """The kinds of which there are documents, in order."""

        def work(connection: sqlite3.Connection) -> Sequence[str]:
            return [str(row[0]) for row in connection.execute("SELECT DISTINCT kind FROM documents ORDER BY kind")]

        return await self.database.read(work)

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        """All changes or none, in their order, durable on return. Raises CodecError when a value is no JSON,
        ConflictError when something of ``given`` is not so; then nothing is changed."""
        conditions = conditions_of(given)
        effect = effect_of(changes)

        def work(connection: sqlite3.Connection) -> None:
            for at, wanted in conditions:
                row = connection.execute("SELECT value FROM documents WHERE kind = ? AND key = ?", at).fetchone()
                require(at, wanted, None if row is None else row[0])
            for at, value in effect.items():
                if value is None:
                    connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", at)
                else:
                    connection.execute(
                        "INSERT INTO documents (kind, key, value) VALUES (?, ?, ?) "
                        "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                        (*at, value),
                    )

        await self.database.write(work)

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""
        await self.database.close()
