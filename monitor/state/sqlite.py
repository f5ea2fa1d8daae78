"""The embedded state store: one table of JSON documents."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Self

from monitor.core.errors import ConflictError, StorageError
from monitor.core.types import JSON, Change, Expect, Put
from monitor.db.database import Database
from monitor.db.directory import DataDirectory
from monitor.db.schema import STATE, statements
from monitor.db.values import from_json, to_json

MIGRATIONS = (
    statements(
        "CREATE TABLE documents (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key))",
    ),
)
LIST_LIMIT = 10_000


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
        place = _place(kind, key)

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM documents WHERE kind = ? AND key = ?", place).fetchone()
            return None if row is None else str(row[0])

        text = await self.database.read(work)
        return None if text is None else from_json(text)

    async def list(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, Mapping[str, JSON]]]:
        """Documents of a kind in the order of their keys (by code point), those with a key greater than ``after``;
        at most 10,000 at a time."""
        place = _place(kind, after)
        count = max(0, min(limit, LIST_LIMIT))

        def work(connection: sqlite3.Connection) -> Sequence[tuple[str, Mapping[str, JSON]]]:
            rows = connection.execute(
                "SELECT key, value FROM documents WHERE kind = ? AND key > ? ORDER BY key LIMIT ?", (*place, count)
            )
            return [(key, from_json(value)) for key, value in rows]

        return await self.database.read(work)

    async def apply(self, changes: Sequence[Change], *, given: Sequence[Expect] = ()) -> None:
        """All changes or none, in their order, durable on return. Raises CodecError when a value is no JSON,
        ConflictError when something of ``given`` is not so; then nothing is changed."""
        conditions = [
            (*_place(expect.kind, expect.key), None if expect.value is None else to_json(dict(expect.value)))
            for expect in given
        ]
        steps: Sequence[tuple[str, tuple[str, ...]]] = [
            (
                "INSERT INTO documents (kind, key, value) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                (*_place(change.kind, change.key), to_json(dict(change.value))),
            )
            if isinstance(change, Put)
            else ("DELETE FROM documents WHERE kind = ? AND key = ?", _place(change.kind, change.key))
            for change in changes
        ]

        def work(connection: sqlite3.Connection) -> None:
            for kind, key, wanted in conditions:
                row = connection.execute(
                    "SELECT value FROM documents WHERE kind = ? AND key = ?", (kind, key)
                ).fetchone()
                if (None if row is None else from_json(row[0])) != (None if wanted is None else from_json(wanted)):
                    raise ConflictError(
                        f"The state document {kind}/{key} is not what was expected; nothing was changed."
                    )
            for sql, values in steps:
                connection.execute(sql, values)

        await self.database.write(work)

    async def close(self) -> None:
        """Releases everything; further calls raise StorageError."""
        await self.database.close()


def _place(kind: str, key: str) -> tuple[str, str]:
    try:
        kind.encode()
        key.encode()
    except UnicodeEncodeError as error:
        raise StorageError(
            f"A state document cannot be named {key!r}: it holds half a character.",
            hint="Clean the text (monitor.core.text.clean) before it becomes a key.",
        ) from error
    return kind, key
