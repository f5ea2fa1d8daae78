"""Fetches one URL: guarded, bounded, polite. Foreign errors become SourceErrors here and nowhere else.

Codes: ``timeout dns connect tls disconnected http_protocol bad_url bad_encoding busy redirects blocked_address
too_large gone http_404 (and other 4xx) http_5xx``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from connectors.http.decode import ACCEPT_ENCODING, decoder_for
from connectors.http.guard import AddressGuard, GuardedResolver
from connectors.http.headers import retry_after
from connectors.http.limits import HostLimits
from connectors.http.policy import HttpPolicy
from connectors.http.urls import origin, redact_url
from monitor.core.clock import Clock
from monitor.core.errors import BlockedAddressError, FetchError, SourceError, TooLargeError

_OK = frozenset({200, 203, 226})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PERMANENT = frozenset({301, 308})
_FEED_ACCEPT = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/rdf+xml;q=0.9, "
    "application/xml;q=0.8, text/xml;q=0.8, application/json;q=0.7, */*;q=0.1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back. ``headers`` have lower-case names; ``permanent_url`` is set when the server has moved the
    resource for good; ``body`` is decoded from its content coding."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    permanent_url: str = ""

    @property
    def not_modified(self) -> bool:
        """True when the server says that nothing has changed."""
        return self.status in (204, 304)


class Fetcher:
    """The one HTTP client of a process. Create and close it in the running event loop."""

    def __init__(self, policy: HttpPolicy, clock: Clock, *, resolver: AbstractResolver | None = None) -> None:
        self.policy = policy
        self._clock = clock
        self._guard = AddressGuard(policy)
        self._resolver = resolver
        self._limits: HostLimits | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> tuple[aiohttp.ClientSession, HostLimits]:
        if self._session is None or self._limits is None:
            policy = self.policy
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._resolver or aiohttp.ThreadedResolver(), self._guard),
                use_dns_cache=False,  # every connect is checked on what the name resolves to now
                limit=policy.concurrency + 4,
                socket_factory=self._guard.socket,
                keepalive_timeout=90,  # outlives a poll a minute
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=policy.connect_timeout, sock_read=policy.read_timeout
                ),
                headers={"User-Agent": policy.user_agent, "Accept-Encoding": ACCEPT_ENCODING},
                max_line_size=16_384,
                max_field_size=16_384,
            )
            self._limits = HostLimits(policy)
        return self._session, self._limits

    def crawl_delay(self, url: str, seconds: float) -> None:
        """Spaces the requests to the host of ``url`` further apart."""
        _, host, port = origin(url)
        self._open()[1].crawl_delay(host, port, seconds)

    async def get(
        self,
        url: str,
        *,
        etag: str = "",
        last_modified: str = "",
        headers: Mapping[str, str] | None = None,
        accept: str = _FEED_ACCEPT,
        max_bytes: int | None = None,
    ) -> Response:
        """Gets ``url``, conditionally when a validator is given.

        ``headers`` are sent to the origin of ``url`` only, never after a redirect to another. Raises FetchError,
        BlockedAddressError or TooLargeError; their messages name the URL without its secrets.
        """
        shown = redact_url(url)
        sent = {"Accept": accept, **(headers or {})}
        if etag:
            sent["If-None-Match"] = etag
        if last_modified:
            sent["If-Modified-Since"] = last_modified
        try:
            async with asyncio.timeout(self.policy.total_timeout + self.policy.queue_timeout):
                return await self._follow(url, sent, max_bytes or self.policy.max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._mapped(error, shown) from error
        except SourceError as error:
            if shown in error.message:
                raise
            raise type(error)(
                f"{shown}: {error.message}", hint=error.hint, code=error.code, retry_after=error.retry_after
            ) from error

    async def _follow(self, url: str, headers: dict[str, str], max_bytes: int) -> Response:
        session, limits = self._open()
        try:
            first = origin(url)
        except ValueError as error:
            raise FetchError(f"this URL cannot be fetched: {error}.", code="bad_url") from error
        permanent = True
        permanent_url = ""
        for _ in range(self.policy.max_redirects + 1):
            try:
                scheme, host, port = here = origin(url)
            except ValueError as error:
                raise FetchError(f"it redirects to what is no http URL: {error}.", code="redirects") from error
            self._guard.check_literal(host)
            if here != first:
                headers = {name: headers[name] for name in ("Accept", "If-None-Match", "If-Modified-Since")
                           if name in headers}  # fmt: skip
            async with limits.turn(host, port), asyncio.timeout(self.policy.total_timeout):
                result = await self._once(session, url, headers, max_bytes)
            if isinstance(result, Response):
                if permanent_url:
                    return Response(
                        status=result.status,
                        url=result.url,
                        headers=result.headers,
                        body=result.body,
                        permanent_url=permanent_url,
                    )
                return result
            status, target = result
            target = urljoin(url, target)
            # A step from https down to http may be an attacker's and is not remembered.
            permanent = permanent and status in _PERMANENT and not (scheme == "https" and target.startswith("http:"))
            if permanent:
                permanent_url = target
            url = target
        raise FetchError(f"it redirects more than {self.policy.max_redirects} times.", code="redirects")

    async def _once(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], max_bytes: int
    ) -> Response | tuple[int, str]:
        async with session.get(
            URL(url), headers=headers, allow_redirects=False, proxy=self.policy.proxy or None
        ) as answer:
            found: dict[str, str] = {}
            for name, value in answer.headers.items():
                found.setdefault(name.lower(), value)
            if answer.status in _REDIRECTS and found.get("location"):
                answer.close()
                return answer.status, found["location"].strip()
            if answer.status in (204, 304):
                return Response(status=answer.status, url=url, headers=found)
            if answer.status not in _OK:
                answer.close()
                raise self._status_error(answer.status, found)
            body = await self._read(answer, found, max_bytes)
            return Response(status=answer.status, url=url, headers=found, body=body)

    async def _read(self, answer: aiohttp.ClientResponse, headers: Mapping[str, str], max_bytes: int) -> bytes:
        cap = min(self.policy.max_compressed, max_bytes)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:18]) > cap:
            answer.close()
            raise TooLargeError(f"the response has {length[:18]} bytes, more than the {cap} allowed.")
        decoder = decoder_for(headers.get("content-encoding", ""))
        body = bytearray()
        received = 0
        try:
            async for chunk in answer.content.iter_any():
                received += len(chunk)
                if received > cap:
                    raise TooLargeError(f"the response has more than the {cap} bytes allowed.")
                for piece in decoder.feed(chunk):
                    body += piece
                    if len(body) > max_bytes:
                        raise TooLargeError(
                            f"the response unpacks to more than the {max_bytes} bytes allowed ({received} received)."
                        )
                    # A bomb makes many pieces of one chunk; others get their turn in between.
                    if len(piece) >= 65_536:
                        await asyncio.sleep(0)
            decoder.finish()
        except SourceError:
            answer.close()
            raise
        return bytes(body)

    def _status_error(self, status: int, headers: Mapping[str, str]) -> FetchError:
        wait = retry_after(headers, self._clock.now())
        if status == 410:
            return FetchError("the feed is gone (410).", code="gone", hint="Remove this source or give its new URL.")
        if status >= 500:
            return FetchError(f"the server answered {status}.", code="http_5xx", retry_after=wait)
        hints = {
            401: "It wants credentials: put them into the source's 'headers'.",
            403: "It refuses us; ask its owner, or set another http.user_agent with a contact.",
            404: "Check the URL.",
            429: "Poll it less often.",
        }
        return FetchError(
            f"the server answered {status}.", code=f"http_{status}", retry_after=wait, hint=hints.get(status, "")
        )

    def _mapped(self, error: Exception, shown: str) -> SourceError:
        cause: BaseException | None = error
        while cause is not None:  # the guard's refusal travels inside the client's own errors
            if isinstance(cause, BlockedAddressError):
                return BlockedAddressError(f"{shown}: {cause.message}", hint=cause.hint)
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, TimeoutError):
            return FetchError(
                f"{shown}: no complete answer in time (limits: connect {self.policy.connect_timeout:g} s, "
                f"silence {self.policy.read_timeout:g} s, total {self.policy.total_timeout:g} s).",
                code="timeout",
            )
        if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
            return FetchError(
                f"{shown}: the TLS connection failed: {_reason(error)}.",
                code="tls",
                hint="Its certificate is not valid for us; if your network inspects TLS, set SSL_CERT_FILE.",
            )
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return FetchError(f"{shown}: the host name does not resolve.", code="dns", hint="Check the URL and DNS.")
        if isinstance(error, aiohttp.ClientConnectorError):
            return FetchError(f"{shown}: cannot connect: {_reason(error)}.", code="connect")
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | ConnectionError):
            return FetchError(f"{shown}: the server broke off the answer.", code="disconnected")
        if isinstance(error, aiohttp.InvalidURL | ValueError) and not isinstance(error, aiohttp.ClientResponseError):
            return FetchError(f"{shown}: this URL cannot be fetched.", code="bad_url")
        if isinstance(error, aiohttp.ClientResponseError):
            return FetchError(f"{shown}: the server does not speak HTTP properly.", code="http_protocol")
        return FetchError(f"{shown}: the connection failed: {_reason(error)}.", code="connect")

    async def close(self) -> None:
        """Closes all connections; the fetcher can be used no more."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    text = getattr(inner, "strerror", None) or type(inner).__name__
    return str(text)[:120]
