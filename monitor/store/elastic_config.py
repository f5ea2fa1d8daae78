"""Settings of the Elasticsearch store, and the names it uses in the cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from monitor.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticConfig:
    """How to reach the cluster and how articles lie in it. Times in seconds. Secrets are kept out of ``repr``.

    Raises ConfigError for addresses with credentials in them and for contradicting logins.
    """

    urls: tuple[str, ...] = ("http://localhost:9200",)
    prefix: str = "riskwire"
    api_key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    fingerprint: str = ""
    shards: int = 1
    replicas: int = 1
    refresh_seconds: float = 1.0
    timeout: float = 30.0
    bulk_items: int = 500
    bulk_bytes: int = 5_000_000
    retention_days: int = 0
    """When the cluster's lifecycle policy may delete a month's index; 0: never, retention is ``expire`` alone."""
    settle_seconds: float = 0.0
    """How old an arrival must be before the tail gives it; 0: two seconds more than a refresh takes."""
    window_seconds: float = 600.0
    """How late an article may become visible after its arrival stamp and still be found by the tail."""
    max_skew_seconds: float = 60.0
    """How far this machine's clock may be from the cluster's; 0: not checked."""

    def __post_init__(self) -> None:
        if not self.urls:
            raise ConfigError("elastic.urls is empty.", hint="Name at least one node: 'https://host:9200'.")
        for url in self.urls:
            try:
                parts = urlsplit(url)
                valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                valid = False
            if not valid:
                raise ConfigError("elastic.urls holds something that is no address.", hint="E.g. 'https://host:9200'.")
            if parts.username is not None or parts.password is not None:
                raise ConfigError(
                    f"elastic.urls holds a login for {parts.hostname}.",
                    hint="Use elastic.api_key_file, or elastic.username with elastic.password_file.",
                )
        if self.api_key and self.username:
            raise ConfigError("elastic has both an API key and a username.", hint="Keep one of them.")
        if not (self.api_key.isascii() and self.api_key.isprintable()) or " " in self.api_key:
            raise ConfigError("elastic.api_key is no API key.", hint="It is the 'encoded' value of the created key.")
        if ":" in self.username:
            raise ConfigError("elastic.username holds a colon, which no basic login can.")
        if self.fingerprint and not re.fullmatch(r"[0-9a-fA-F]{64}", self.fingerprint.replace(":", "").strip()):
            raise ConfigError("elastic.fingerprint is no SHA-256 fingerprint.", hint="64 hexadecimal digits.")
        if self.fingerprint and self.ca_file is not None:
            raise ConfigError("elastic has both fingerprint and ca_file.", hint="Keep one of them.")

    @property
    def alias(self) -> str:
        """What is read: all months together. Template and lifecycle policy have the same name."""
        return f"{self.prefix}-articles"

    @property
    def pattern(self) -> str:
        """Matches every month's index."""
        return f"{self.alias}-*"

    @property
    def settle(self) -> float:
        """Seconds before the tail gives what has arrived."""
        return self.settle_seconds or self.refresh_seconds + 2.0

    def index(self, moment: datetime) -> str:
        """The index of the month of ``moment`` (UTC)."""
        return f"{self.alias}-{moment.year:04}.{moment.month:02}"

    @property
    def address(self) -> str:
        """The nodes, for messages."""
        return ", ".join(self.urls)
