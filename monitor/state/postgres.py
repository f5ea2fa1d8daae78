"""The state store on PostgreSQL (13 or newer), for roles that run without a volume of their own.

Isolation: READ COMMITTED, and every :meth:`~PostgresState.apply` first takes transaction-scoped advisory locks on the
places that it changes (exclusive) or only expects something of (shared). Whoever got them sees all that earlier
holders committed, and the place of a document that does not exist yet is locked like any other. Locks are taken in
one order, so applies do not deadlock. SERIALIZABLE would do too, but it aborts transactions that only touched the same
index page; row locks alone cannot guard what is absent. Whoever writes to the table in another way is not guarded.

Everything is set per transaction, nothing per connection, so a pooler such as PgBouncer may sit in between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Self
from zlib import crc32

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from monitor.core.errors import StorageError
from monitor.state import postgres_errors
from monitor.state.documents import Place
from monitor.state.postgres_address import Address
from monitor.state.schema import VERSION, migrate, version_of
from monitor.state.sql import SqlState

CONNECTIONS = 4
SCHEMA = "riskwire"
"""The tables live in a schema of this name, not in ``public``, where other programs put theirs."""
OLDEST_SERVER = 130_000
_CONNECT_SECONDS = 10.0
_GRACE_SECONDS = 5.0
"""After the server's own time limit should have ended a statement, before the connection is cut."""

STRIPES = 128
"""Places share this many locks, so that no transaction fills the server's lock table (6,400 locks by default).
All processes must agree on the number."""
_MIGRATION_STRIPE = -1

_SETTINGS = text(
    # A server or role may be set to acknowledge commits before they are on the disk. That is not what apply promises.
    "SELECT set_config('statement_timeout', :limit, true), "
    "set_config('idle_in_transaction_session_timeout', :limit, true), "
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
    "ELSE current_setting('synchronous_commit') END, true)"
)
_LOCKS = text(
    "SELECT CASE WHEN alone THEN pg_advisory_xact_lock(:space, stripe)::text "
    "ELSE pg_advisory_xact_lock_shared(:space, stripe)::text END "
    "FROM unnest(CAST(:stripes AS integer[]), CAST(:alone AS boolean[])) AS wanted (stripe, alone)"
)


class PostgresServer:
    """One PostgreSQL database behind SQLAlchemy; see :class:`monitor.state.sql.Server`."""

    def __init__(
        self, address: Address, *, timeout: float, schema: str = SCHEMA, connections: int = CONNECTIONS
    ) -> None:
        """Connects when it is first used. ``timeout``: seconds for one statement."""
        self.address = address
        self.schema = schema
        self.name = f"state database {address.database!r} of {address.name}"
        self.connections = connections
        self._timeout = timeout
        connect_seconds = max(2.0, min(timeout, _CONNECT_SECONDS))
        self.deadline = timeout + connect_seconds + _GRACE_SECONDS
        self._limit = f"{max(1, round(timeout * 1000))}ms"
        self._space = _signed(f"riskwire state {schema}")
        engine = create_engine(
            "postgresql+psycopg://",
            creator=_connector(address, timeout, connect_seconds),
            isolation_level="READ COMMITTED",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self.deadline,
            hide_parameters=True,
        )
        self.engine: Engine = engine.execution_options(schema_translate_map={None: schema})

    def __repr__(self) -> str:
        return f"<PostgresServer: {self.name}>"

    def enter(self, connection: Connection, *, given: Sequence[Place], changed: Sequence[Place]) -> None:
        """Sets the time limits of the transaction and takes its locks."""
        connection.execute(_SETTINGS, {"limit": self._limit})
        alone = {_stripe(at) for at in changed}
        stripes = sorted(alone | {_stripe(at) for at in given})
        if stripes:
            self._lock(connection, stripes, [stripe in alone for stripe in stripes])

    def _lock(self, connection: Connection, stripes: Sequence[int], alone: Sequence[bool]) -> None:
        connection.execute(_LOCKS, {"space": self._space, "stripes": list(stripes), "alone": list(alone)}).all()

    def failure(self, error: DBAPIError, *, unknown: bool) -> StorageError:
        """The error for people."""
        return postgres_errors.statement_failure(error, self.address, seconds=self._timeout, unknown=unknown)

    def passing(self, error: DBAPIError) -> bool:
        """Whether a second try may go well."""
        return postgres_errors.passing(error)

    def cut(self, driver_connection: psycopg.Connection[Any]) -> None:
        """Shuts the connection's socket, which wakes the thread that waits for it."""
        try:
            with socket.socket(fileno=os.dup(driver_connection.pgconn.socket)) as line:
                line.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            return  # it is closed already, which is what was wanted

    def prepare(self, connection: Connection, *, guest: bool) -> None:
        """Checks the server and brings the tables to the present version; a guest only checks.

        Raises SchemaVersionError or StorageError.
        """
        self.check(connection)
        version = version_of(connection, self.name, self.schema)
        if version == VERSION:
            return
        if guest:
            raise StorageError(
                f"The {self.name} has schema version {version}, this Riskwire needs {VERSION}.",
                hint="Start `riskwire run` of this version once; it brings the tables up to date.",
            )
        self._lock(connection, [_MIGRATION_STRIPE], [True])  # several replicas may start at once
        if not connection.dialect.has_schema(connection, self.schema):
            connection.execute(CreateSchema(self.schema))
        migrate(connection, version_of(connection, self.name, self.schema))

    def check(self, connection: Connection) -> None:
        """Raises StorageError when the server is too old or the database cannot hold every text."""
        number, encoding = connection.execute(
            text("SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')")
        ).one()
        if number < OLDEST_SERVER:
            raise StorageError(
                f"{self.address.name} is version {number // 10_000}; it must be {OLDEST_SERVER // 10_000} or newer.",
                hint="Use a newer PostgreSQL server.",
            )
        if encoding != "UTF8":
            raise StorageError(
                f"The {self.name} has the encoding {encoding}, which cannot hold every text.",
                hint="Create it anew: createdb --encoding=UTF8 --template=template0 NAME",
            )


class PostgresState(SqlState):
    """A :class:`~monitor.core.ports.StateStore` in a PostgreSQL database. Any number of processes may share it."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        password: str | None = None,
        timeout: float = 30.0,
        guest: bool = False,
        schema: str = SCHEMA,
        connections: int = CONNECTIONS,
    ) -> Self:
        """Connects, checks the server, and creates or updates the tables (a guest does neither).

        ``url`` is a libpq address, ``postgresql://user@host/database?sslmode=verify-full&sslrootcert=…``; several hosts
        and ``target_session_attrs`` are allowed. A ``password`` goes before one in the address. ``timeout``: seconds
        for one statement; a call ends within that, the time to connect (10 s at most) and 5 s. Raises ConfigError,
        SchemaVersionError or StorageError.
        """
        server = PostgresServer(Address.parse(url, password), timeout=timeout, schema=schema, connections=connections)
        state = cls(server)
        try:
            await state._run(lambda connection: server.prepare(connection, guest=guest), writes=True)
        except BaseException:
            await state.close()
            raise
        return state


def _connector(address: Address, timeout: float, connect_seconds: float) -> Callable[[], psycopg.Connection[Any]]:
    """What makes a connection, or raises StorageError."""
    defaults: dict[str, Any] = {
        "application_name": "riskwire",
        "connect_timeout": round(connect_seconds),
        # A server that vanished without a word is noticed within the time limit, also while we wait for its answer.
        "keepalives_idle": max(1, round(timeout / 2)),
        "keepalives_interval": max(1, round(timeout / 6)),
        "keepalives_count": 3,
        "tcp_user_timeout": round(timeout * 1000),
    }

    def connect() -> psycopg.Connection[Any]:
        try:
            # Prepared statements belong to a connection, which a pooler may change between transactions.
            return psycopg.connect(
                **{**defaults, **address.parameters, "client_encoding": "UTF8"}, prepare_threshold=None
            )
        except psycopg.Error as error:
            failure = postgres_errors.connect_failure(error, address)
        raise failure  # out here, so that libpq's error, which holds the password, is not chained to it

    return connect


def _stripe(at: Place) -> int:
    return crc32("\0".join(at).encode()) % STRIPES


def _signed(name: str) -> int:
    """A 32-bit number for a name, as advisory locks take it."""
    number = crc32(name.encode())
    return number - (1 << 32) if number >= 1 << 31 else number
