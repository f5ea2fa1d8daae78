"""What ``riskwire doctor`` looks at in a state database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from monitor.core.clock import Clock, SystemClock
from monitor.core.errors import RiskwireError
from monitor.db.check import Finding
from monitor.state.postgres import CONNECTIONS, PostgresServer
from monitor.state.postgres_address import Address
from monitor.state.schema import VERSION, documents, version_of

PART = "state"
SKEW_SECONDS, WRONG_SECONDS = 2.0, 30.0
"""A server's clock further away than the first is worth a word, although Riskwire does not rely on it; beyond the
second one of the clocks is plainly wrong. The same bounds as everywhere in the doctor."""


def examine(
    url: str, *, password: str | None = None, timeout: float = 10.0, clock: Clock | None = None
) -> list[Finding]:
    """The login, encryption, tables, rights, durability, room for connections and clock of the server.

    Changes nothing and raises nothing; what cannot be looked at is a finding.
    """
    findings: list[Finding] = []
    try:
        address = Address.parse(url, password)
        server = PostgresServer(address, timeout=timeout, connections=1)
    except RiskwireError as error:
        return [_failed("address", error)]
    try:
        with server.engine.connect() as connection, _limited(connection, server):
            server.enter(connection, given=(), changed=())
            server.check(connection)
            findings.append(_login(connection, server))
            for look in (_encryption, _tables, _writing, _durability, _room):
                findings.extend(look(connection, server))
            findings.append(_skew(connection, clock or SystemClock()))
    except RiskwireError as error:
        findings.append(_failed("server", error))
    except DBAPIError as error:
        findings.append(_failed("server", server.failure(error, unknown=False)))
    finally:
        server.engine.dispose()
    return findings


@contextmanager
def _limited(connection: Connection, server: PostgresServer) -> Iterator[None]:
    """Cuts the connection when the server does not answer in time, whatever the network makes believe."""
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    timer = threading.Timer(server.deadline, server.cut, [driver_connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _finding(name: str, status: str, finding: str, advice: str = "") -> Finding:
    assert status in ("ok", "warn", "fail")
    return Finding(part=f"{PART}: {name}", status=status, finding=finding, advice=advice)  # type: ignore[arg-type]


def _failed(name: str, error: RiskwireError) -> Finding:
    return _finding(name, "fail", error.message, error.hint)


def _login(connection: Connection, server: PostgresServer) -> Finding:
    version, user = connection.execute(text("SELECT current_setting('server_version'), current_user")).one()
    return _finding("server", "ok", f"{server.address.name} has version {version}; {user!r} may log in.")


def _encryption(connection: Connection, server: PostgresServer) -> Iterator[Finding]:
    # The library knows of its own line; pg_stat_ssl would show a pooler's line to the server instead.
    tls = connection.connection.driver_connection.pgconn.ssl_in_use  # type: ignore[union-attr]
    verified = server.address.parameters.get("sslmode") in ("verify-ca", "verify-full")
    if server.address.local or (tls and verified):
        yield _finding("encryption", "ok", "The line is encrypted." if tls else "The server is on this machine.")
    elif tls:
        yield _finding(
            "encryption",
            "warn",
            "The line is encrypted, but the server's certificate is not checked.",
            "Add sslmode=verify-full and sslrootcert=FILE to state.url.",
        )
    else:
        yield _finding(
            "encryption",
            "warn",
            "The line is not encrypted: passwords and state can be read on the way.",
            "Switch the server's ssl on and add sslmode=verify-full and sslrootcert=FILE to state.url.",
        )


def _tables(connection: Connection, server: PostgresServer) -> Iterator[Finding]:
    try:
        version = version_of(connection, server.name, server.schema)
    except RiskwireError as error:
        yield _failed("tables", error)
        return
    user = server.address.user or "USER"
    if version == 0:
        exists = connection.dialect.has_schema(connection, server.schema)
        sql = (
            "SELECT has_schema_privilege(:schema, 'CREATE')"
            if exists
            else "SELECT has_database_privilege(current_database(), 'CREATE')"
        )
        if connection.execute(text(sql), {"schema": server.schema} if exists else {}).scalar():
            yield _finding("tables", "ok", "Not there yet; `riskwire run` creates them.")
        else:
            yield _finding(
                "tables",
                "fail",
                f"The tables are not there, and {server.address.user!r} may not create them.",
                f"As the database's owner: CREATE SCHEMA {server.schema} AUTHORIZATION {user};",
            )
        return
    name = f'"{server.schema}".{documents.name}'
    rights = ["SELECT", "INSERT", "UPDATE", "DELETE"]
    missing = [
        right
        for right in rights
        if not connection.execute(
            text("SELECT has_table_privilege(:name, :right)"), {"name": name, "right": right}
        ).scalar()
    ]
    if missing:
        yield _finding(
            "tables",
            "fail",
            f"User {server.address.user!r} may not {', '.join(missing)} in {name}.",
            f"GRANT USAGE ON SCHEMA {server.schema} TO {user}; "
            f"GRANT {', '.join(rights)} ON ALL TABLES IN SCHEMA {server.schema} TO {user};",
        )
        return
    count, size = connection.execute(text(f"SELECT count(*), pg_total_relation_size('{name}') FROM {name}")).one()
    older = f" (this Riskwire will bring it to {VERSION})" if version < VERSION else ""
    yield _finding("tables", "ok", f"Schema version {version}{older}, {count:,} documents, {size / 1e6:.1f} MB.")


def _writing(connection: Connection, server: PostgresServer) -> Iterator[Finding]:
    standby, read_only = connection.execute(
        text("SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'")
    ).one()
    if standby or read_only:
        yield _finding(
            "writing",
            "fail",
            f"{server.address.name} takes no writes: it is {'a standby' if standby else 'read-only'}.",
            "Name all servers in state.url and add target_session_attrs=read-write; or end the read-only mode.",
        )


def _durability(connection: Connection, server: PostgresServer) -> Iterator[Finding]:
    off = [
        name
        for name in ("fsync", "full_page_writes")
        if connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar() == "off"
    ]
    if off:
        yield _finding(
            "durability",
            "fail",
            f"The server runs with {' and '.join(f'{name} = off' for name in off)}: a power cut loses the state.",
            "Switch it on in postgresql.conf and reload.",
        )
    else:
        yield _finding("durability", "ok", "Commits are on the disk before they count.")


def _room(connection: Connection, server: PostgresServer) -> Iterator[Finding]:
    most, used, own = connection.execute(
        text(
            "SELECT current_setting('max_connections')::integer - "
            "current_setting('superuser_reserved_connections')::integer, "
            "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
            "(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user)"
        )
    ).one()
    free = most - used
    enough = free >= CONNECTIONS and (own is None or own < 0 or own >= CONNECTIONS)
    yield _finding(
        "connections",
        "ok" if enough else "warn",
        f"{free} of {most} are free; a process takes {CONNECTIONS} at most"
        + (f"; {server.address.user!r} may have {own}." if own is not None and own >= 0 else "."),
        "" if enough else "Raise max_connections, or the user's CONNECTION LIMIT.",
    )


def _skew(connection: Connection, clock: Clock) -> Finding:
    before = clock.now()
    there: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    after = clock.now()
    ahead = (there.astimezone(UTC) - (before + (after - before) / 2)).total_seconds()
    if abs(ahead) <= SKEW_SECONDS:
        return _finding("clock", "ok", f"The server's clock differs by {abs(ahead):.1f} s.")
    return _finding(
        "clock",
        "fail" if abs(ahead) > WRONG_SECONDS else "warn",
        f"The server's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's.",
        "Riskwire does not rely on it, but one of the two clocks is wrong: use NTP on both.",
    )
