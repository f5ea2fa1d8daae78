"""The connection to the cluster: the official client behind a small request function.

Requests carry ``compatible-with=8`` (REST API compatibility): servers of 8.x take it as their own version and servers
of 9.x translate it, so one program works before, during and after a cluster's upgrade. A 9.x client left alone sends
``compatible-with=9``, which no 8.x server accepts; an 8.x client sends 8. Because the headers are set here, client
versions 8 and 9 behave the same.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlsplit

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError

from monitor.core.errors import ConfigError, StorageError
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_errors import RefusedError, from_answer, from_transport

SUPPORTED = ((8, 15), (10, 0))
"""From the first, up to but not including the second server version."""
_ACCEPT = {"accept": "application/vnd.elasticsearch+json; compatible-with=8"}
_JSON = _ACCEPT | {"content-type": "application/vnd.elasticsearch+json; compatible-with=8"}
_LINES = _ACCEPT | {"content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8"}

Answer = Mapping[str, Any]


def path(*parts: str) -> str:
    """A request path; every part is quoted, so that an article id with a slash stays one part."""
    return "/" + "/".join(quote(part, safe=",*-_.") for part in parts)


class ElasticClient:
    """Sends requests and maps what goes wrong. After :meth:`close` every request raises StorageError."""

    def __init__(self, config: ElasticConfig) -> None:
        """Connects to nothing yet. Raises ConfigError when the authority's file cannot be used."""
        self.config = config
        self.version: tuple[int, ...] = ()
        self._closed = False
        options: dict[str, Any] = {}
        if login := _login(config):
            options["headers"] = {"authorization": login}
        if any(url.startswith("https") for url in config.urls):
            if config.fingerprint:
                options["ssl_assert_fingerprint"] = config.fingerprint.replace(":", "").strip()
            else:
                options["ssl_context"] = _trust(config)
        self._client = AsyncElasticsearch(
            [_with_port(url) for url in config.urls],
            request_timeout=config.timeout,
            # Another node; with one node once more, because an idle connection may have been closed meanwhile.
            max_retries=max(1, len(config.urls) - 1),
            retry_on_status=(),
            retry_on_timeout=False,
            **options,
        )
        # What became of a bulk is judged item by item before any of it is sent again.
        self._bulk = self._client.options(max_retries=len(config.urls) - 1)

    @classmethod
    async def connect(cls, config: ElasticConfig) -> Self:
        """Connects and checks product and version. Raises StorageError, ConfigError."""
        client = cls(config)
        try:
            await client.check_server()
        except BaseException:
            await client.close()
            raise
        return client

    async def check_server(self) -> None:
        """Raises StorageError unless an Elasticsearch of the supported range answers."""
        answer = await self.request("GET", "/")
        version = answer.get("version")
        number = str(version.get("number", "")) if isinstance(version, Mapping) else ""
        flavor = str(version.get("build_flavor", "")) if isinstance(version, Mapping) else ""
        match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", number)
        if match is None:
            raise StorageError(
                f"What answers at {self.config.address} is not Elasticsearch.", hint="Check elastic.urls."
            )
        self.version = tuple(int(part or 0) for part in match.groups())
        lowest, end = SUPPORTED
        if flavor == "serverless" or not lowest <= self.version < end:
            what = "Elasticsearch Serverless" if flavor == "serverless" else f"Elasticsearch {number}"
            raise StorageError(
                f"{what} at {self.config.address} is not supported.",
                hint=f"Supported are {'.'.join(map(str, lowest))} and later, below {end[0]}.0.",
            )

    async def request(
        self, method: str, target: str, body: object = None, *, params: Mapping[str, object] | None = None
    ) -> Answer:
        """The body of the answer. Raises UnavailableError, RefusedError or another StorageError."""
        return await self._send(method, target, body, params, _JSON if body is not None else _ACCEPT)

    async def lines(self, target: str, body: Sequence[bytes], *, params: Mapping[str, object] | None = None) -> Answer:
        """Sends newline-delimited JSON (bulk)."""
        return await self._send("POST", target, body, params, _LINES, client=self._bulk)

    async def find(self, method: str, target: str, body: object = None, **params: object) -> Answer | None:
        """As :meth:`request`; None when the cluster answers 404."""
        try:
            return await self.request(method, target, body, params=params)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def _send(
        self,
        method: str,
        target: str,
        body: object,
        params: Mapping[str, object] | None,
        headers: Mapping[str, str],
        *,
        client: AsyncElasticsearch | None = None,
    ) -> Answer:
        if self._closed:
            raise StorageError("The article store is closed.")
        try:
            answer = await (client or self._client).perform_request(
                method, target, params=params or None, headers=headers, body=body
            )
        except ApiError as error:
            if isinstance(error, UnsupportedProductError):
                raise from_transport(error, self.config.address) from None
            raise from_answer(error, self.config.address) from None
        except UnsupportedProductError as error:
            raise from_transport(error, self.config.address) from None
        except TransportError as error:
            raise from_transport(error, self.config.address) from None
        found = answer.body
        if not isinstance(found, Mapping):
            return {"items": found} if isinstance(found, list) else {}
        return found

    async def close(self) -> None:
        """Closes all connections; may be called again."""
        if not self._closed:
            self._closed = True
            await self._client.close()


def _with_port(url: str) -> str:
    """The client asks for an explicit port; 9200 is Elasticsearch's, for https behind a proxy it is 443."""
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{443 if parts.scheme == 'https' else 9200}{parts.path}"


def _login(config: ElasticConfig) -> str:
    """The Authorization header; empty without a login. Basic logins go as UTF-8 (RFC 7617), which the client cannot."""
    if config.api_key:
        return f"ApiKey {config.api_key}"
    if config.username:
        return f"Basic {base64.b64encode(f'{config.username}:{config.password}'.encode()).decode()}"
    return ""


def _trust(config: ElasticConfig) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"elastic.ca_file '{config.ca_file}' cannot be used: {error}.", hint="It must be a readable PEM file."
        ) from None
