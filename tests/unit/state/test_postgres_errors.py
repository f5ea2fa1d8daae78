"""What people are told when the database cannot be reached: what happened, the next step, and no secret."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable

import psycopg
import pytest
from servers.postgres import PASSWORD, Cluster, Place, escaped

from monitor.core.errors import StorageError
from monitor.state import postgres_errors
from monitor.state.opening import describe
from monitor.state.postgres import PostgresState
from monitor.state.postgres_address import Address

Make = Callable[[Cluster], tuple[str, str | None]]


def _nobody_listens(cluster: Cluster) -> tuple[str, str | None]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cluster.url(port=probe.getsockname()[1]), PASSWORD


CASES: dict[str, tuple[Make, str, str]] = {
    "refused": (_nobody_listens, "refused the connection: is it running", "listen_addresses"),
    "password": (lambda c: (c.url(), "wrong-" + PASSWORD), "does not accept user 'riskwire'", "password_file"),
    "in the address": (
        lambda c: (c.url().replace("riskwire@", f"riskwire:{escaped('wrong-' + PASSWORD)}@"), None),
        "does not accept user",
        "password_file",
    ),
    "no password": (lambda c: (c.url(), None), "does not accept user", "password_file"),
    "database": (lambda c: (c.url("nowhere"), PASSWORD), "has no database 'nowhere'", "createdb"),
    "host": (lambda c: (c.url(host="no-such-host.invalid"), PASSWORD), "there is no such host", "host name"),
    "untrusted": (
        lambda c: (c.url(host="localhost") + "?sslmode=verify-full&sslrootcert=/dev/null", PASSWORD),
        "encrypted connection failed",
        "sslrootcert",
    ),
    "wrong name": (
        lambda c: (c.url() + f"?sslmode=verify-full&sslrootcert={c.certificate}", PASSWORD),
        "encrypted connection failed",
        "the name in it",
    ),
    "standby wanted": (lambda c: (c.url() + "?target_session_attrs=standby", PASSWORD), "standby", ""),
}


@pytest.mark.parametrize("case", CASES)
async def test_each_failure_to_connect_says_what_to_do(
    case: str, postgres_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    make, message, hint = CASES[case]
    url, password = make(postgres_cluster)
    with pytest.raises(StorageError, match=message) as caught:
        await PostgresState.open(url, password=password, timeout=5)
    error = caught.value
    assert hint in error.hint
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    link: BaseException | None = error
    while link is not None:
        told += repr(link) + repr(vars(link)) + repr(getattr(link, "pgconn", ""))
        link = link.__cause__ or link.__context__
    for secret in (PASSWORD, escaped(PASSWORD)):
        assert secret not in told
    if case != "host":
        assert "PostgreSQL at " in error.message
    findings = describe(url, password=password, timeout=5)
    assert [finding.status for finding in findings] == ["fail"]
    assert findings[0].finding == error.message


async def test_a_trusted_certificate_is_accepted(postgres_cluster: Cluster, postgres_place: Place) -> None:
    url = postgres_cluster.url(host="localhost") + f"?sslmode=verify-full&sslrootcert={postgres_cluster.certificate}"
    state = await PostgresState.open(url, password=PASSWORD, schema=postgres_place.schema)
    encrypted = await state._run(
        lambda connection: connection.exec_driver_sql(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).scalar_one()
    )
    await state.close()
    assert encrypted is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FATAL:  sorry, too many clients already", "no connection left"),
        ("FATAL:  the database system is starting up", "starting up"),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption',
            "lets user 'u' not",
        ),
        ('FATAL:  role "u" does not exist', "knows no user 'u'"),
        ("connection timeout expired", "does not answer"),
        ("session is read-only", "takes no writes"),
        ("FATAL: le mot de passe sesame ne va pas", r"cannot be reached: FATAL: le mot de passe \*\*\*"),
    ],
)
def test_texts_of_libpq_that_a_test_server_does_not_say(text: str, message: str) -> None:
    address = Address.parse("postgresql://u@h/d", "sesame")
    error = postgres_errors.connect_failure(psycopg.OperationalError(text), address)
    with pytest.raises(StorageError, match=message):
        raise error
    assert error.hint


async def test_a_user_without_rights_is_told_which(postgres_cluster: Cluster, postgres_place: Place) -> None:
    with postgres_place.connect() as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = postgres_cluster.url().replace("riskwire@", "guest@")
    try:
        with pytest.raises(StorageError, match="'guest' may not") as caught:
            await PostgresState.open(url, password="guest", schema=postgres_place.schema)
        assert "CREATE SCHEMA" in caught.value.hint
        assert "fail" in [finding.status for finding in describe(url, password="guest")]
    finally:
        with postgres_place.connect() as connection:
            connection.execute("DROP ROLE guest")
