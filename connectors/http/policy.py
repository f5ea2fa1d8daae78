"""How Riskwire behaves as an HTTP client."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from monitor.core.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPolicy:
    """Limits and manners of the fetcher. Times are real seconds, sizes are bytes.

    ``allow_networks`` and ``allow_hosts`` lift the address guard for named private networks or hosts (a feed on the
    intranet); everything private is refused otherwise. ``spacing`` is the least time between the starts of two
    requests to one host (loopback excepted). Raises ConfigError for values that make no sense.
    """

    user_agent: str = "Riskwire/0.1 (+https://github.com/riskwire/riskwire)"
    connect_timeout: float = 10.0
    read_timeout: float = 15.0
    total_timeout: float = 30.0
    queue_timeout: float = 60.0
    max_compressed: int = 16 * MIB
    max_bytes: int = 16 * MIB
    max_redirects: int = 5
    concurrency: int = 32
    per_host: int = 2
    spacing: float = 0.25
    allow_networks: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    proxy: str = ""

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "read_timeout", "total_timeout", "queue_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"http.{name} must be a positive number of seconds, got {getattr(self, name)}.")
        for name in ("max_compressed", "max_bytes", "concurrency", "per_host"):
            if getattr(self, name) < 1:
                raise ConfigError(f"http.{name} must be at least 1, got {getattr(self, name)}.")
        if self.max_redirects < 0 or self.spacing < 0:
            raise ConfigError("http.max_redirects and http.spacing must not be negative.")
        if not self.user_agent.isprintable() or not self.user_agent.strip():
            raise ConfigError("http.user_agent must be one line of printable text.")
        self.networks()

    def networks(self) -> tuple[Network, ...]:
        """``allow_networks`` parsed. Raises ConfigError."""
        try:
            return tuple(ipaddress.ip_network(text) for text in self.allow_networks)
        except ValueError as error:
            raise ConfigError(
                f"http.allow_networks must be networks such as 10.0.0.0/8 or fd00::/8: {error}."
            ) from error
