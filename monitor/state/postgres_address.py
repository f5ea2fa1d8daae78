"""Where the PostgreSQL server is and how to log in: a libpq address, with the secret kept out of sight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import psycopg
from psycopg import conninfo

from monitor.core.errors import ConfigError

_SCHEMES = ("postgresql://", "postgres://")
_FORM = "Write it as 'postgresql://user@host:5432/database?sslmode=verify-full&sslrootcert=/path/ca.pem'."
_DEFAULT_PORT = "5432"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address as libpq takes it, several hosts and TLS options included. Its repr holds no secret."""

    name: str
    """For messages: ``PostgreSQL at db1:5432``."""
    user: str
    database: str
    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str, password: str | None = None) -> Self:
        """Reads ``postgresql://user@host:port/database?option=value``; a ``password`` given here goes before one in
        the address. Raises ConfigError, which shows nothing of the address: it may hold a password."""
        if not url.startswith(_SCHEMES):
            raise ConfigError("state.url is no PostgreSQL address.", hint=_FORM)
        parameters: dict[str, str] = {}
        try:
            parameters = {key: str(value) for key, value in conninfo.conninfo_to_dict(url).items() if value is not None}
        except psycopg.Error as error:
            reason = "has an unknown option" if "query parameter" in str(error) else "cannot be read"
            problem = f"state.url {reason}."
        else:
            problem = _problem(parameters)
        if problem:  # raised out here, so that libpq's own message, which quotes the address, is not chained to it
            raise ConfigError(
                problem, hint=f"{_FORM} Put the password into state.password_file; in an address, '@:/%' need escapes."
            )
        if password:
            parameters["password"] = password
        hosts = parameters.get("host", parameters.get("hostaddr", "")).split(",")
        ports = parameters.get("port", _DEFAULT_PORT).split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        places = [f"{host or 'localhost'}:{port or _DEFAULT_PORT}" for host, port in zip(hosts, ports, strict=False)]
        return cls(
            name=f"PostgreSQL at {', '.join(places)}",
            user=parameters.get("user", ""),
            database=parameters.get("dbname", parameters.get("user", "")),
            parameters=parameters,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(value for key in ("password", "sslpassword") if (value := self.parameters.get(key)))

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, where nobody listens on the line."""
        hosts = self.parameters.get("host", self.parameters.get("hostaddr", "")).split(",")
        return all(host in ("", "localhost", "127.0.0.1", "::1") or host.startswith(("/", "@")) for host in hosts)


def _problem(parameters: Mapping[str, str]) -> str:
    if any("@" in host[1:] for host in parameters.get("host", "").split(",")):
        return "state.url has a host name with an '@' in it: probably the end of a password."
    if not all(port.isascii() and (port.isdigit() or not port) for port in parameters.get("port", "").split(",")):
        return "state.url has a port that is no number."
    return ""
