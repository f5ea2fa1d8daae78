"""Fixture: a PostgreSQL server over TCP, started once for the whole run of pytest.

Taken from RISKWIRE_TEST_POSTGRES (a URL with user, password and database; the user may create schemas) when set, else
a private cluster made with ``initdb`` from ``/usr/lib/postgresql/*/bin`` (Debian: ``apt-get install postgresql``) or
the ``PATH``, on a free loopback port, with fsync on. PostgreSQL refuses to run as root: then it runs as another user.
Each test takes a schema of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest

PASSWORD = "s3cret/of@tests"
"""With characters that an address must escape."""
USER = "riskwire"
DATABASE = "riskwire"
_START_SECONDS = 60.0
_numbers = count()


class NoServerError(Exception):
    """There is no PostgreSQL on this machine."""


@dataclass(frozen=True)
class Place:
    """Where a test keeps its state: an address and a schema of its own."""

    url: str
    password: str | None
    schema: str

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """A plain connection beside Riskwire's."""
        extra = {} if self.password is None else {"password": self.password}
        return psycopg.connect(self.url, autocommit=autocommit, **extra)


class Cluster:
    """A private cluster: may be killed and started again."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._account = _account()
        self.folder = Path(tempfile.mkdtemp(prefix="riskwire-postgres-"))
        self.port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None
        if self._account:
            shutil.chown(self.folder, self._account)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self._run(
            "initdb", "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8",
            "--no-instructions", *_locale(self._bin), "-D", str(self.folder / "data"),
        )  # fmt: skip
        self._make_certificate()
        self.start()
        self.command(f"CREATE DATABASE {DATABASE}", "postgres")

    @property
    def certificate(self) -> Path:
        """What a client must trust to trust this server, called localhost."""
        return self.folder / "server.crt"

    def url(self, database: str = DATABASE, *, host: str = "127.0.0.1", port: int | None = None) -> str:
        """An address without the password."""
        return f"postgresql://{USER}@{host}:{port or self.port}/{database}"

    def start(self) -> None:
        """Starts the server and waits until it lets people in."""
        assert self._server is None
        with (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-h", "localhost",
                    "-k", "", "-c", "ssl=on", "-c", f"ssl_cert_file={self.certificate}",
                    "-c", f"ssl_key_file={self.folder / 'server.key'}", "-c", "shared_buffers=32MB",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._as_account(),
            )  # fmt: skip
        self._await()

    def _await(self) -> None:
        assert self._server is not None
        ask = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "5"]
        pause = subprocess.TimeoutExpired
        for _ in range(int(_START_SECONDS / 0.1)):
            if subprocess.run(ask, check=False).returncode == 0:
                return
            with contextlib.suppress(pause):  # the pause between two looks, and the look whether it still lives
                self._server.wait(0.1)
                break
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'server.log').read_text()[-4000:]}")

    def command(self, sql: str, database: str = DATABASE) -> None:
        """Runs one statement as the superuser."""
        with psycopg.connect(self.url(database), password=PASSWORD, autocommit=True) as connection:
            connection.execute(sql)

    def kill(self) -> None:
        """SIGKILL to the server and all its helpers at once: as a power cut, as far as the server is concerned."""
        assert self._server is not None
        server = psutil.Process(self._server.pid)
        server.suspend()  # so that it cannot start another helper meanwhile
        for process in [*server.children(recursive=True), server]:
            process.kill()
        self._server.wait()
        self._server = None

    def stop(self) -> None:
        """Ends the server; it may be started again."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # "fast": undoes what runs, closes properly
            try:
                self._server.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
            self._server = None

    def discard(self) -> None:
        """Ends the server and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_certificate(self) -> None:
        key = self.folder / "server.key"
        subprocess.run(
            [
                "openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.certificate,
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        key.chmod(0o600)
        if self._account:
            shutil.chown(key, self._account)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], check=False, capture_output=True, text=True, **self._as_account()
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def _as_account(self) -> dict[str, Any]:
        plain = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        if not self._account:
            return {"env": plain}
        entry = pwd.getpwnam(self._account)
        return {"env": plain, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": self.folder}


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    raise NoServerError(
        "no PostgreSQL here: set RISKWIRE_TEST_POSTGRES, or install one (Debian: apt-get install postgresql)"
    )


def _account() -> str:
    """The user to run the server as; empty: the present one."""
    if os.geteuid() != 0:
        return ""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _locale(binaries: Path) -> list[str]:
    """A language that sorts otherwise than by code point, where this PostgreSQL can: keys must not follow it."""
    version = subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    icu = int(version.split()[2].split(".")[0]) >= 15
    return ["--locale=C.UTF-8", *(["--locale-provider=icu", "--icu-locale=und"] if icu else [])]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_shared: list[Cluster] = []


def cluster(config: pytest.Config) -> Cluster:
    """The private cluster of this run of pytest; made at the first call, removed at the end. Skips when this machine
    has none, or when RISKWIRE_TEST_POSTGRES names a server, which nobody may kill."""
    if os.environ.get("RISKWIRE_TEST_POSTGRES"):
        pytest.skip("needs a server that may be killed; RISKWIRE_TEST_POSTGRES names another")
    if not _shared:
        try:
            made = Cluster()
        except NoServerError as error:
            pytest.skip(str(error))
        _shared.append(made)
        config.add_cleanup(made.discard)
    return _shared[0]


@contextlib.contextmanager
def place(config: pytest.Config) -> Iterator[Place]:
    """A schema of one's own in the test server's database; dropped at the end."""
    given = os.environ.get("RISKWIRE_TEST_POSTGRES")
    schema = f"riskwire_test_{secrets.token_hex(4)}_{next(_numbers)}"
    mine = Place(given, None, schema) if given else Place(cluster(config).url(), PASSWORD, schema)
    yield mine
    with mine.connect() as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def postgres_cluster(request: pytest.FixtureRequest) -> Cluster:
    """The private cluster."""
    return cluster(request.config)


@pytest.fixture
def postgres_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place for one test."""
    with place(request.config) as mine:
        yield mine


def escaped(password: str) -> str:
    """A password as an address takes it."""
    return quote(password, safe="")
