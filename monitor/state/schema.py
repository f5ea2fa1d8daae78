"""The tables of the state store as SQLAlchemy metadata, and the steps that bring a database to them.

The definition serves every database that SQLAlchemy speaks. The embedded store writes the same table with plain
``sqlite3`` (it must start without SQLAlchemy); a test holds the two against each other.

Migrations are never edited, only added, and their number is the schema version: that of ``state.db`` as well.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, delete, insert, inspect, select
from sqlalchemy.schema import CreateTable

from monitor.core.errors import SchemaVersionError, StorageError
from monitor.db.schema import STATE

metadata = MetaData()

# Keys are listed by code point, whatever language the database was created for. SQLite does so by itself.
_name = Text().with_variant(Text(collation="C"), "postgresql")

documents = Table(
    "documents",
    metadata,
    Column("kind", _name, primary_key=True),
    Column("key", _name, primary_key=True),
    # Text, not jsonb: jsonb refuses NUL and lone surrogates, and the text is compared and given back as it was.
    Column("value", Text, nullable=False),
)

versions = Table(
    "schema_version",
    metadata,
    Column("component", Text, primary_key=True),
    Column("version", Integer, nullable=False),
)
"""Where a server's database says what it is. A SQLite file says it in its header."""

COMPONENT = "state"
Migration = Callable[[Connection], None]


def _create_documents(connection: Connection) -> None:
    connection.execute(CreateTable(documents))


MIGRATIONS: tuple[Migration, ...] = (_create_documents,)
VERSION = STATE.version


def version_of(connection: Connection, name: str, schema: str | None) -> int:
    """The schema version of the database called ``name`` in messages; 0 when there is nothing yet.

    Raises SchemaVersionError when it is newer than this program, StorageError when the tables are someone else's.
    """
    tables = set(inspect(connection).get_table_names(schema=schema))
    if versions.name not in tables:
        if documents.name in tables:
            raise StorageError(
                f"The {name} has a table {documents.name!r} that Riskwire did not make.",
                hint="Give Riskwire a database of its own; this one is left as it is.",
            )
        return 0
    version = connection.execute(select(versions.c.version).where(versions.c.component == COMPONENT)).scalar()
    if version is None:
        raise StorageError(
            f"The {name} has a table {versions.name!r} that Riskwire did not make.",
            hint="Give Riskwire a database of its own; this one is left as it is.",
        )
    if version > VERSION:
        raise SchemaVersionError(
            f"The {name} has schema version {version}; this Riskwire knows versions up to {VERSION}.",
            hint="Run the newer Riskwire that wrote it, or give this one a database of its own.",
        )
    return int(version)


def migrate(connection: Connection, version: int) -> None:
    """Takes the steps from ``version`` to the present one, in the caller's transaction."""
    if version == 0:
        connection.execute(CreateTable(versions))
    for step in MIGRATIONS[version:]:
        step(connection)
    connection.execute(delete(versions).where(versions.c.component == COMPONENT))
    connection.execute(insert(versions).values(component=COMPONENT, version=VERSION))
