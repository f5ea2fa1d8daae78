"""Addresses: understood as libpq does, and never shown with a secret."""

from __future__ import annotations

import traceback

import pytest
from servers.postgres import escaped

from monitor.core.errors import ConfigError
from monitor.state.postgres import PostgresServer
from monitor.state.postgres_address import Address

SECRET = "p@ss:w/rd%"


def test_an_address_names_server_database_and_user() -> None:
    address = Address.parse("postgresql://desk@db.bank.example:6543/risk?sslmode=verify-full&sslrootcert=/etc/ca.pem")
    assert (address.name, address.user, address.database) == ("PostgreSQL at db.bank.example:6543", "desk", "risk")
    assert address.parameters["sslmode"] == "verify-full"
    assert address.parameters["sslrootcert"] == "/etc/ca.pem"
    assert not address.local


@pytest.mark.parametrize(
    ("url", "name", "local"),
    [
        ("postgres://u@localhost/d", "PostgreSQL at localhost:5432", True),
        ("postgresql://u@a,b:7/d?target_session_attrs=read-write", "PostgreSQL at a:5432, b:7", False),
        ("postgresql://u@[::1]:6/d", "PostgreSQL at ::1:6", True),
        ("postgresql://u@%2Frun%2Fpostgresql/d", "PostgreSQL at /run/postgresql:5432", True),
    ],
)
def test_hosts_and_ports(url: str, name: str, local: bool) -> None:
    address = Address.parse(url)
    assert (address.name, address.local) == (name, local)


def test_a_password_of_its_own_goes_before_the_one_in_the_address() -> None:
    url = f"postgresql://u:{escaped('old')}@h/d"
    assert Address.parse(url).parameters["password"] == "old"
    assert Address.parse(url, SECRET).parameters["password"] == SECRET


def test_nothing_shows_the_password() -> None:
    address = Address.parse(f"postgresql://u:{escaped(SECRET)}@h/d")
    server = PostgresServer(address, timeout=5)
    for shown in (repr(address), str(address), repr(server), repr(server.engine), str(server.engine.url)):
        assert SECRET not in shown
        assert escaped(SECRET) not in shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h/d",
        "postgresql://u:p%ZZsecretpart@h/d",
        "postgresql://u:first@secretpart@h/d",
        "postgresql://u:x@h:secretpart/d",
        "postgresql://u:x@h/d?secretpart=1",
        "mysql://u:secretpart@h/d",
        "secretpart",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"state\.url") as caught:
        Address.parse(url)
    told = "".join(traceback.format_exception(caught.value))
    assert "secretpart" not in told.replace(repr(url), "")
    assert caught.value.__context__ is None
    assert caught.value.hint
