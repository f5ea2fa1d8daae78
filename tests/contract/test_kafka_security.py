"""TLS and logins of the Kafka bus, against real handshakes: see tests/servers/kafka_gate.py."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import ssl
import subprocess
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from servers.kafka_gate import KafkaGate, bearer, plain, scram

from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_topics import apply_topics, delete_topics, topic_specs
from monitor.core.clock import SystemClock
from monitor.core.errors import ConfigError, RiskwireError, StorageError
from monitor.core.types import Record

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def server(kafka_server: str) -> str:
    if "," in kafka_server or kafka_server.rsplit(":", 1)[0] not in ("localhost", "127.0.0.1"):
        pytest.skip("a gate on loopback cannot stand in front of a remote cluster")
    return kafka_server


@pytest.fixture
async def config(server: str):
    """Topics made without the gate."""
    made = KafkaConfig(
        bootstrap=(server,),
        topic_prefix=f"security.{uuid.uuid4().hex[:12]}.",
        partitions=2,
        replication=1,
        min_insync=1,
        session_timeout=6,
        timeout=5,
    )
    await asyncio.to_thread(apply_topics, made)
    yield made
    await asyncio.to_thread(delete_topics, made, [spec.name for spec in topic_specs(made)])


async def passes_through(config: KafkaConfig) -> None:
    """Publishes, reads in a group, commits and asks for the lag."""
    bus = await KafkaBus.open(config, clock=SystemClock())
    try:
        await bus.publish("articles", [Record(key=f"k{n}", value=b"x", timestamp=NOW) for n in range(10)])
        async with bus.subscribe("articles", "g") as subscription:
            got: list[Any] = []
            while len(got) < 10:
                page = await subscription.fetch(10, 10.0)
                assert page
                got += page
            await subscription.commit(got)
        assert (await bus.lag("articles", "g")).count == 0
    finally:
        await bus.close()


async def refusal(config: KafkaConfig) -> RiskwireError:
    with pytest.raises(RiskwireError) as caught:
        await KafkaBus.open(config, clock=SystemClock())
    return caught.value


# TLS


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=test authority", "-keyout", str(self._key), "-out", str(self.ca)),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(self, name: str, *, alternative: str = "") -> tuple[Path, Path]:
        """A certificate and its key."""
        cert, key, request = (self._folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n" if alternative else "basicConstraints=CA:FALSE\n")
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-days", "2", "-extfile", str(extensions), "-out", str(cert)),
        )
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificates to test with")
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def other(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "other")


def serving(authority: Authority, *, alternative: str = "IP:127.0.0.1,DNS:localhost", mutual: bool = False) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("broker", alternative=alternative))
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=str(authority.ca))
    return context


async def test_an_encrypted_cluster_is_used(server, config, authority) -> None:
    async with KafkaGate(server, tls=serving(authority)) as gate:
        await passes_through(replace(config, bootstrap=(gate.address,), security="ssl", ca_file=authority.ca))


async def test_a_client_certificate_opens_the_door(server, config, authority) -> None:
    cert, key = authority.issue("riskwire")
    async with KafkaGate(server, tls=serving(authority, mutual=True)) as gate:
        secured = replace(config, bootstrap=(gate.address,), security="ssl", ca_file=authority.ca)
        await passes_through(replace(secured, cert_file=cert, key_file=key))


async def test_a_missing_client_certificate_is_named(server, config, authority) -> None:
    async with KafkaGate(server, tls=serving(authority, mutual=True)) as gate:
        secured = replace(config, bootstrap=(gate.address,), security="ssl", ca_file=authority.ca)
        error = await refusal(secured)
    assert "client certificate" in str(error)
    assert "kafka.cert_file" in error.hint


async def test_a_client_certificate_of_another_authority_is_named(server, config, authority, other) -> None:
    cert, key = other.issue("riskwire")
    async with KafkaGate(server, tls=serving(authority, mutual=True)) as gate:
        secured = replace(config, bootstrap=(gate.address,), security="ssl", ca_file=authority.ca)
        error = await refusal(replace(secured, cert_file=cert, key_file=key))
    assert "client certificate" in str(error)
    assert "kafka.cert_file" in error.hint


async def test_an_unknown_authority_is_named(server, config, authority, other) -> None:
    async with KafkaGate(server, tls=serving(authority)) as gate:
        error = await refusal(replace(config, bootstrap=(gate.address,), security="ssl", ca_file=other.ca))
    assert "not trusted" in error.message
    assert "kafka.ca_file" in error.hint


async def test_a_certificate_for_another_host_is_refused_unless_told(server, config, authority) -> None:
    async with KafkaGate(server, tls=serving(authority, alternative="DNS:elsewhere.example")) as gate:
        secured = replace(config, bootstrap=(gate.address,), security="ssl", ca_file=authority.ca)
        error = await refusal(secured)
        assert "another host name" in error.message
        await passes_through(replace(secured, check_hostname=False))


async def test_tls_to_a_plaintext_port_is_explained(server, config, authority) -> None:
    error = await refusal(replace(config, security="ssl", ca_file=authority.ca, timeout=3))
    assert "kafka.security" in error.hint


async def test_plaintext_to_a_tls_port_is_explained(server, config, authority) -> None:
    async with KafkaGate(server, tls=serving(authority)) as gate:
        error = await refusal(replace(config, bootstrap=(gate.address,), timeout=3))
    assert "kafka.security" in error.hint


def test_a_file_that_is_no_certificate_is_a_configuration_error(tmp_path: Path) -> None:
    from monitor.bus.kafka_config import client_kwargs

    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    for path in (wrong, tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match=r"kafka\.ca_file"):
            client_kwargs(KafkaConfig(security="ssl", ca_file=path))


# Logins

USERS = {"wire": "s3cret, with = and ü", "comma,equals=": "other"}


def logging_in(config: KafkaConfig, gate: KafkaGate, **fields: Any) -> KafkaConfig:
    return replace(config, bootstrap=(gate.address,), **{"security": "sasl_plaintext", **fields})


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_password_opens_the_door(server, config, mechanism: str, user: str) -> None:
    logins = {"PLAIN": plain(USERS), "SCRAM-SHA-256": scram("sha256", USERS), "SCRAM-SHA-512": scram("sha512", USERS)}
    async with KafkaGate(server, logins=logins) as gate:
        fields = {"sasl_mechanism": mechanism, "username": user, "password": USERS[user]}
        await passes_through(logging_in(config, gate, **fields))
        assert gate.entered >= 3
        assert not gate.refused


async def test_a_login_over_tls(server, config, authority) -> None:
    async with KafkaGate(server, tls=serving(authority), logins={"SCRAM-SHA-512": scram("sha512", USERS)}) as gate:
        fields = {"username": "wire", "password": USERS["wire"], "ca_file": authority.ca, "security": "sasl_ssl"}
        await passes_through(logging_in(config, gate, **fields))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_refused_at_once_and_not_shown(server, config, mechanism: str) -> None:
    logins = {"PLAIN": plain(USERS), "SCRAM-SHA-512": scram("sha512", USERS)}
    async with KafkaGate(server, logins=logins) as gate:
        fields = {"sasl_mechanism": mechanism, "username": "wire", "password": "wr0ng-passw0rd"}
        wrong = logging_in(config, gate, **fields)
        error = await refusal(wrong)
        assert gate.refused == 1  # trying on may lock the account
    assert isinstance(error, StorageError)
    assert "refused the login as 'wire'" in error.message
    assert "wr0ng" not in f"{error} {wrong!r}"


async def test_a_mechanism_that_is_not_offered_is_named(server, config) -> None:
    async with KafkaGate(server, logins={"PLAIN": plain(USERS)}) as gate:
        error = await refusal(logging_in(config, gate, username="wire", password="x"))
    assert "does not offer the login SCRAM-SHA-512" in error.message


class TokenServer:
    """An OAuth token endpoint that knows one client; ``lines`` are what it was asked."""

    def __init__(self, *, expires_in: int = 3600) -> None:
        self.tokens: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self._expires_in = expires_in

    async def __aenter__(self) -> TokenServer:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/token"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = (await reader.readexactly(int(headers["Content-Length"]))).decode()
        login = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
        self.requests.append((login, body))
        status, answer = "401 Unauthorized", {"error": "invalid_client"}
        if login == "riskwire:s%C3%BCss":
            token = uuid.uuid4().hex
            self.tokens.add(token)
            status, answer = "200 OK", {"access_token": token, "expires_in": str(self._expires_in)}
        text = json.dumps(answer)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def test_a_token_opens_the_door_and_is_used_again(server, config) -> None:
    async with (
        TokenServer() as tokens,
        KafkaGate(server, logins={"OAUTHBEARER": bearer(lambda token: token in tokens.tokens)}) as gate,
    ):
        fields = {
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": tokens.url,
            "oauth_client_id": "riskwire",
            "oauth_client_secret": "süss",
            "oauth_scope": "kafka",
        }
        await passes_through(logging_in(config, gate, **fields))
        assert gate.entered > len(tokens.requests)  # one token serves all connections of a client
        assert {body for _, body in tokens.requests} == {"grant_type=client_credentials&scope=kafka"}


async def test_a_refused_client_secret_is_told_of_and_not_shown(server, config) -> None:
    async with TokenServer() as tokens, KafkaGate(server, logins={"OAUTHBEARER": bearer(lambda _: True)}) as gate:
        fields = {
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": tokens.url,
            "oauth_client_id": "riskwire",
            "oauth_client_secret": "wr0ng",
        }
        error = await refusal(logging_in(config, gate, **fields))
        assert len(tokens.requests) == 1
    assert "gave no token for Kafka: it answered 401" in error.message
    assert "wr0ng" not in str(error)


async def test_a_token_that_the_brokers_refuse_is_told_of(server, config) -> None:
    async with TokenServer() as tokens, KafkaGate(server, logins={"OAUTHBEARER": bearer(lambda _: False)}) as gate:
        fields = {
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": tokens.url,
            "oauth_client_id": "riskwire",
            "oauth_client_secret": "süss",
        }
        error = await refusal(logging_in(config, gate, **fields))
    assert "refused the login as 'riskwire' (OAUTHBEARER)" in error.message
