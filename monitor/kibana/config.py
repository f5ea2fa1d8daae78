"""Where Kibana is and how to log in, from the [kibana] section."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from monitor.config import Settings
from monitor.core.errors import ConfigError
from monitor.secrets import secret


@dataclass(frozen=True, slots=True, kw_only=True)
class KibanaConfig:
    """Address and login. Secrets are kept out of ``repr``. ``timeout``: seconds for one request.

    Raises ConfigError for an address that is none or holds a login, and for contradicting logins.
    """

    url: str = "http://localhost:5601"
    space: str = ""
    api_key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            valid = valid and not parts.query and not parts.fragment
        except ValueError:
            valid = False
        if not valid:
            raise ConfigError("kibana.url is no address.", hint="E.g. 'https://kibana.bank.example:5601'.")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"kibana.url holds a login for {parts.hostname}.",
                hint="Use kibana.api_key_file, or kibana.username with kibana.password_file.",
            )
        if self.api_key and self.username:
            raise ConfigError("kibana has both an API key and a username.", hint="Keep one of them.")
        if not (self.api_key.isascii() and self.api_key.isprintable()) or " " in self.api_key:
            raise ConfigError("kibana.api_key is no API key.", hint="It is the 'encoded' value of the created key.")
        if ":" in self.username:
            raise ConfigError("kibana.username holds a colon, which no basic login can.")

    @property
    def base(self) -> str:
        """The address with the space, without a slash at its end."""
        space = f"/s/{quote(self.space, safe='')}" if self.space else ""
        return self.url.rstrip("/") + space


def kibana_config(settings: Settings, *, url: str = "", space: str | None = None) -> KibanaConfig:
    """The [kibana] section with its secrets; ``url`` and ``space`` overrule it. Raises ConfigError."""
    keys = settings.kibana
    return KibanaConfig(
        url=url or keys.url,
        space=keys.space if space is None else space,
        api_key=secret(keys.api_key, keys.api_key_file, "kibana.api_key"),
        username=keys.username,
        password=secret(keys.password, keys.password_file, "kibana.password"),
        ca_file=keys.ca_file,
        timeout=keys.timeout,
    )
