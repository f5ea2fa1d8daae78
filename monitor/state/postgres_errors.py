"""PostgreSQL's errors become Riskwire's here, and nowhere else.

What the server says of a statement has a code (PostgreSQL's manual, appendix A). What goes wrong while connecting has
only a text from libpq; texts that are not known (a server that speaks another language) are passed on as they are.
"""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from monitor.core.errors import DatabaseCorruptError, DiskFullError, StorageError, UnavailableError
from monitor.state.postgres_address import Address

PASSING = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the transaction was undone, a second one may go well."""

_READ_ONLY_HINT = (
    "Connect to the primary: name all servers in state.url and add target_session_attrs=read-write; "
    "or end the server's read-only mode."
)

# A pattern of the text, what happened, next step. The first that fits is taken.
_CONNECT: tuple[tuple[str, str, str], ...] = (
    (
        r"password authentication failed|no password supplied|authentication failed for user",
        "{name} does not accept user {user!r} with this password.",
        "Correct the user in state.url and the password in state.password_file.",
    ),
    (
        r'database ".*" does not exist',
        "{name} has no database {database!r}.",
        "Create it (createdb --owner={user} --encoding=UTF8 --template=template0 {database}), or correct state.url.",
    ),
    (
        r'role ".*" does not exist',
        "{name} knows no user {user!r}.",
        "Create it (createuser --pwprompt {user}), or correct state.url.",
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "{name} lets user {user!r} not in from this machine or without encryption.",
        "Add a line to the server's pg_hba.conf and reload it, or add sslmode=require to state.url.",
    ),
    (
        r"too many connections|too many clients|remaining connection slots",
        "{name} has no connection left.",
        "Raise max_connections of the server, or end other programs' connections.",
    ),
    (
        r"starting up|shutting down|recovery mode|not yet accepting",
        "{name} is starting up or shutting down.",
        "Wait until it is up.",
    ),
    (
        r"read-only|hot standby|not in hot standby",
        "{name} takes no writes: it is a standby or read-only.",
        _READ_ONLY_HINT,
    ),
    (
        r"certificate|SSL|TLS",
        "{name}: the encrypted connection failed: {text}",
        "Check sslmode and sslrootcert in state.url, the server's certificate, and the name in it.",
    ),
    (
        r"Connection refused|No such file or directory",
        "{name} refused the connection: is it running?",
        "Start it, or correct host and port in state.url; the server must listen there (listen_addresses).",
    ),
    (
        r"failed to resolve host|could not translate host name|Name or service not known|name resolution|nodename",
        "{name}: there is no such host.",
        "Correct the host name in state.url, or the name service of this machine.",
    ),
    (
        r"timeout expired|timed out|Network is unreachable|No route to host",
        "{name} does not answer.",
        "Check host and port in state.url, the network, and firewalls between here and there.",
    ),
)

_MAY_PASS = frozenset(
    pattern
    for pattern, _, _ in _CONNECT
    if pattern.startswith(("too many", "starting up", "read-only", "Connection refused", "timeout expired"))
)
"""What may be over in a while without anybody changing the configuration."""


def connect_failure(error: psycopg.Error, address: Address) -> StorageError:
    """The error for a connection that could not be made. Do not chain ``error`` to it: it holds the password."""
    text = _without_secrets(str(error), address)
    for pattern, message, hint in _CONNECT:
        if re.search(pattern, text):
            kind = UnavailableError if pattern in _MAY_PASS else StorageError
            values = {
                "name": address.name,
                "user": address.user,
                "database": address.database,
                "text": _first_line(text),
            }
            return kind(message.format(**values), hint=hint.format(**values))
    return StorageError(
        f"{address.name} cannot be reached: {_first_line(text)}", hint="Check state.url and the server's log."
    )


def statement_failure(error: DBAPIError, address: Address, *, seconds: float, unknown: bool) -> StorageError:
    """The error for a statement or a commit that failed on an open connection."""
    name, code, text = address.name, _code(error), _without_secrets(_text(error), address)
    if unknown:
        return UnavailableError(
            f"The connection to {name} broke during a commit: it is not known whether the change was stored.",
            hint="The state is sound either way. Riskwire reads it again when the step is repeated.",
        )
    if error.connection_invalidated:
        return UnavailableError(
            f"The connection to {name} was lost; nothing was changed.", hint="Look whether the server is running."
        )
    if code == "53100":
        return DiskFullError(
            f"There is no room left on the disk of {name}.",
            hint="Free space on the server's disk; nothing was half written.",
        )
    if code in ("XX001", "XX002"):
        return DatabaseCorruptError(
            f"The database {address.database!r} of {name} is damaged: {text}.",
            hint="Stop Riskwire and restore the database from a backup.",
        )
    if code == "25006":
        return UnavailableError(f"{name} takes no writes: it is a standby or read-only.", hint=_READ_ONLY_HINT)
    if code in ("57014", "55P03"):
        return UnavailableError(
            f"{name} took longer than {seconds:g} seconds over a statement; nothing was changed.",
            hint="Look for a lock or a heavy load on the server (pg_stat_activity).",
        )
    if code == "42501":
        return StorageError(
            f"User {address.user!r} may not do this in database {address.database!r} of {name}: {text}.",
            hint=f"As the database's owner: CREATE SCHEMA riskwire AUTHORIZATION {address.user or 'riskwire'};",
        )
    if code in ("42P01", "3F000"):
        return StorageError(
            f"The state tables are gone from database {address.database!r} of {name}: {text}.",
            hint="Restore the database from a backup; a restart of Riskwire begins with empty tables.",
        )
    if code in PASSING:
        return StorageError(
            f"{name} undid the same change again and again, others got in its way; nothing was changed.",
            hint="Look for other programs that write to Riskwire's tables.",
        )
    return StorageError(f"{name} refused a statement: {text}.", hint="Look into the server's log.")


def passing(error: DBAPIError) -> bool:
    """Whether the same transaction may go well at a second try."""
    return error.connection_invalidated or _code(error) in PASSING


def _code(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _text(error: DBAPIError) -> str:
    diagnosis = getattr(error.orig, "diag", None)
    return _first_line(getattr(diagnosis, "message_primary", None) or str(error.orig)).rstrip(".")


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _without_secrets(text: str, address: Address) -> str:
    for secret in address.secrets:
        text = text.replace(secret, "***")
    return text
