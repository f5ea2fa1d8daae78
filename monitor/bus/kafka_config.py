"""What the Kafka bus must be told, and how it is said to kafka-python."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from monitor.core.errors import ConfigError

Security = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Compression = Literal["none", "gzip", "lz4", "snappy", "zstd"]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest record: an article's envelope is below 1 MB (title and body are cut at 102,000 characters)."""

_LEGAL = re.compile(r"[a-zA-Z0-9._-]*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Secret(str):
    """Text that does not show itself: kafka-python logs its whole configuration at DEBUG level."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """A Kafka cluster and how Riskwire uses it. Times are seconds.

    ``log_days`` is how long the brokers keep articles, read or not; ``partitions``, ``replication``, ``min_insync``,
    ``log_days``, ``dead_letter_days`` and ``max_message_bytes`` are what ``riskwire topics apply`` gives the topics.
    Raises ConfigError when the values cannot work together.
    """

    bootstrap: tuple[str, ...] = ("localhost:9092",)
    topic_prefix: str = "riskwire."
    client_id: str = "riskwire"
    security: Security = "plaintext"
    sasl_mechanism: Mechanism = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    oauth_token_url: str = ""
    oauth_client_id: str = ""
    oauth_client_secret: str = field(default="", repr=False)
    oauth_scope: str = ""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    compression: Compression = "gzip"
    partitions: int = 8
    replication: int = 3
    min_insync: int = 2
    log_days: int = 30
    dead_letter_days: int = 90
    max_message_bytes: int = MAX_MESSAGE_BYTES
    timeout: float = 30.0
    delivery_timeout: float = 120.0
    session_timeout: float = 30.0
    settle_timeout: float = 3.0
    """How long a new member waits for the others to hand over its share before it begins with what it has."""
    buffer_records: int = 2000

    def __post_init__(self) -> None:
        if not self.bootstrap:
            raise ConfigError("kafka.bootstrap names no broker.", hint="Give at least one 'host:port'.")
        for address in self.bootstrap:
            if not re.fullmatch(r"[^\s:/@]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", address):
                raise ConfigError(f"kafka.bootstrap holds '{address}'.", hint="Each must be 'host:port'.")
        if not _LEGAL.fullmatch(self.topic_prefix):
            raise ConfigError(
                f"kafka.topic_prefix is '{self.topic_prefix}'.",
                hint="Kafka allows letters, digits, '.', '_' and '-' only.",
            )
        if self.min_insync > self.replication:
            raise ConfigError(
                f"kafka.min_insync ({self.min_insync}) is more than kafka.replication ({self.replication}).",
                hint="No record could ever be published; lower one or raise the other.",
            )
        if not 0.5 < self.timeout <= 500:
            raise ConfigError(f"kafka.timeout is {self.timeout}.", hint="It must lie between 1 and 500 seconds.")
        if bool(self.cert_file) != bool(self.key_file):
            raise ConfigError("Mutual TLS needs kafka.cert_file and kafka.key_file, both.")
        if self.sasl:
            self._check_login()

    def _check_login(self) -> None:
        if self.sasl_mechanism == "OAUTHBEARER":
            url = urlsplit(self.oauth_token_url)
            if not (self.oauth_token_url and self.oauth_client_id and self.oauth_client_secret):
                raise ConfigError(
                    "kafka.sasl_mechanism = 'OAUTHBEARER' needs oauth_token_url, oauth_client_id and "
                    "oauth_client_secret (or oauth_client_secret_file)."
                )
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
                raise ConfigError(
                    "kafka.oauth_token_url must begin with https://.", hint="The client secret is sent to it."
                )
        elif not (self.username and self.password):
            raise ConfigError(
                f"kafka.sasl_mechanism = '{self.sasl_mechanism}' needs username and password (or password_file)."
            )

    @property
    def sasl(self) -> bool:
        """Whether there is a login."""
        return self.security.startswith("sasl_")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security.endswith("ssl")

    @property
    def heartbeat(self) -> float:
        """Seconds between heartbeats, which are also how a member learns that the group is shared anew."""
        return min(3.0, self.session_timeout / 20)

    @property
    def brokers(self) -> str:
        """The brokers for a message to people."""
        return ", ".join(self.bootstrap)

    def name(self, topic_or_group: str) -> str:
        """The name in the cluster of one of our topics or groups."""
        return self.topic_prefix + topic_or_group


def ssl_context(config: KafkaConfig) -> ssl.SSLContext:
    """TLS 1.2 or newer, certificates always verified. Raises ConfigError when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.check_hostname
    what, path = "kafka.ca_file", config.ca_file
    try:
        if config.ca_file:
            context.load_verify_locations(cafile=str(config.ca_file))
        else:
            context.load_default_certs()
        if config.cert_file and config.key_file:
            what, path = "kafka.cert_file or kafka.key_file", config.cert_file
            context.load_cert_chain(str(config.cert_file), str(config.key_file), password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        message = f"{what} ({path}) cannot be used: {reason}."
        raise ConfigError(message, hint="It must be a readable PEM file.") from None
    return context


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal, at which a service would hang."""
    raise ValueError("the key is encrypted; give one without a pass phrase")


def client_kwargs(config: KafkaConfig) -> dict[str, Any]:
    """The arguments that consumer, producer and admin client have in common. Raises ConfigError."""
    kwargs: dict[str, Any] = {
        "bootstrap_servers": list(config.bootstrap),
        "client_id": config.client_id,
        "request_timeout_ms": int(config.timeout * 1000),
        "bootstrap_timeout_ms": int(min(config.timeout, 10.0) * 1000),
        "reconnect_backoff_max_ms": 3000,  # the default of 30 s would add half a minute to every outage
        "security_protocol": config.security.upper(),
    }
    if config.tls:
        kwargs["ssl_context"] = ssl_context(config)
    if config.sasl:
        kwargs |= _login(config)
    return kwargs


def _login(config: KafkaConfig) -> Mapping[str, Any]:
    if config.sasl_mechanism == "OAUTHBEARER":
        from monitor.bus.kafka_oauth import ClientCredentials

        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": ClientCredentials(config)}
    name = config.username
    if config.sasl_mechanism.startswith("SCRAM"):
        name = name.replace("=", "=3D").replace(",", "=2C")  # RFC 5802, 5.1: kafka-python sends it as it is
    return {
        "sasl_mechanism": config.sasl_mechanism,
        "sasl_plain_username": name,
        "sasl_plain_password": Secret(config.password),
    }
