"""The ``push`` connector: articles arrive by HTTP POST.

``POST /v1/articles`` with ``Authorization: Bearer TOKEN`` takes one JSON object, an array of them, or JSON lines, in
the article format of the command line. All items of a request are taken or none. Answers: 202 with the ids once the
articles are durable; 400 naming the bad item; 401; 408; 413; 429 when too many requests wait; 503 when they could not
be made durable. 429 and 503 carry Retry-After; sending again is safe, ids are stable.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from connectors.base import ConnectorContext, SourceSpec
from connectors.feed.dates import FUTURE_TOLERANCE, OLDEST
from connectors.options import Options
from monitor.core.clock import Clock
from monitor.core.codec import article_from_row
from monitor.core.errors import CodecError, ConfigError, RecordError, RiskwireError, SourceError, StorageError
from monitor.core.ports import Accept
from monitor.core.types import Article

_LARGE = 64 * 1024
_MIN_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """Options of the ``push`` connector. Sizes are bytes, times are real seconds. ``port`` 0 takes a free port."""

    token: str
    host: str = "127.0.0.1"
    port: int = 8765
    max_body: int = 8 * 1024 * 1024
    max_items: int = 1_000
    max_in_flight: int = 8
    retry_after: float = 2.0
    body_timeout: float = 30.0
    accept_timeout: float = 30.0
    shutdown_timeout: float = 10.0

    def __repr__(self) -> str:
        return f"PushOptions(host={self.host!r}, port={self.port}, token=***)"

    @classmethod
    def read(cls, spec: SourceSpec, base: Path) -> PushOptions:
        """Reads and checks a source's options. Raises ConfigError."""
        options = Options(spec)
        token = _token(spec, options, base)
        result = cls(
            token=token,
            host=options.text("host", "127.0.0.1"),
            port=options.whole("port", 8765, low=0, high=65_535),
            max_body=options.whole("max_body", 8 * 1024 * 1024, low=1_024, high=256 * 1024 * 1024),
            max_items=options.whole("max_items", 1_000, low=1, high=100_000),
            max_in_flight=options.whole("max_in_flight", 8, low=1, high=1_000),
            retry_after=options.duration("retry_after", 2.0, low=1, high=3_600),
            body_timeout=options.duration("body_timeout", 30.0, low=0.1, high=600),
            accept_timeout=options.duration("accept_timeout", 30.0, low=0.1, high=600),
        )
        options.finish()
        try:
            if result.host != "localhost":
                ipaddress.ip_address(result.host)
        except ValueError:
            raise options.wrong("host", 'an address to listen on such as "127.0.0.1" or "0.0.0.0"') from None
        return result


def _token(spec: SourceSpec, options: Options, base: Path) -> str:
    direct = options.text("token", "")
    file = options.text("token_file", "")
    env = options.text("token_env", "")
    if sum(map(bool, (direct, file, env))) != 1:
        raise ConfigError(
            f"Source '{spec.name}': give exactly one of the options 'token', 'token_file' and 'token_env'.",
            hint="Best is token_file, readable by the daemon only.",
        )
    if file:
        try:
            direct = (base / Path(file).expanduser()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"Source '{spec.name}': option 'token_file': {file} cannot be read: {reason}.") from error
    elif env:
        direct = os.environ.get(env, "").strip()
        if not direct:
            raise ConfigError(f"Source '{spec.name}': option 'token_env': the variable {env} is not set.")
    if len(direct) < _MIN_TOKEN or not direct.isascii() or not direct.isprintable() or " " in direct:
        raise ConfigError(
            f"Source '{spec.name}': the token must have at least {_MIN_TOKEN} printable ASCII characters.",
            hint="Make one with: openssl rand -hex 32",
        )
    return direct


def build(spec: SourceSpec, context: ConnectorContext) -> PushListener:
    """The entry point ``push``. Raises ConfigError."""
    return PushListener(spec.name, PushOptions.read(spec, context.base), context.clock)


class _Refused(Exception):  # noqa: N818 - carries an answer, not a defect
    def __init__(self, status: int, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message, **more}


class PushListener:
    """A :class:`~monitor.core.ports.Listener` over HTTP. ``started`` is set, and ``url`` known, once it listens."""

    def __init__(self, name: str, options: PushOptions, clock: Clock) -> None:
        self.name = name
        self.started = asyncio.Event()
        self.url = ""
        self._options = options
        self._clock = clock
        self._in_flight = 0
        self._expected = f"Bearer {options.token}".encode()

    async def run(self, accept: Accept) -> None:
        """Serves until cancelled, then finishes the requests in flight. Raises SourceError (``listen``) when the
        address cannot be taken."""
        options = self._options

        async def articles(request: web.Request) -> web.Response:
            return await self._answer(request, accept)

        app = web.Application(client_max_size=options.max_body)
        app.router.add_post("/v1/articles", articles)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=options.shutdown_timeout, keepalive_timeout=30, handle_signals=False
        )
        await runner.setup()
        try:
            try:
                site = web.TCPSite(runner, options.host, options.port, backlog=128)
                await site.start()
            except OSError as error:
                raise SourceError(
                    f"Source '{self.name}': cannot listen on {options.host}:{options.port}: {error.strerror or error}.",
                    hint="Another program has the port; choose another 'port'.",
                    code="listen",
                ) from error
            host, port = runner.addresses[0][:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self.started.set()
            await asyncio.Event().wait()
        finally:
            self.started.clear()
            await runner.cleanup()

    async def _answer(self, request: web.Request, accept: Accept) -> web.Response:
        options = self._options
        later = {"Retry-After": str(int(options.retry_after + 0.999))}
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._expected):
            return web.json_response(
                {"error": "The bearer token is missing or wrong."}, status=401, headers={"WWW-Authenticate": "Bearer"}
            )
        if self._in_flight >= options.max_in_flight:
            return web.json_response(
                {"error": f"{self._in_flight} requests are being worked on; send again later."},
                status=429,
                headers=later,
            )
        self._in_flight += 1
        try:
            articles = await self._read(request)
            async with asyncio.timeout(options.accept_timeout):
                await accept(articles)
        except _Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        except TimeoutError:
            return web.json_response(
                {"error": f"The articles could not be stored within {options.accept_timeout:g} s; send them again."},
                status=503,
                headers=later,
            )
        except RiskwireError as error:
            # What failed is for the operator; the client only needs to know that it has to come back.
            kind = "storage" if isinstance(error, StorageError) else "service"
            return web.json_response(
                {"error": f"The articles could not be taken just now ({kind}); send them again."},
                status=503,
                headers=later,
            )
        finally:
            self._in_flight -= 1
        return web.json_response({"accepted": len(articles), "ids": [article.id for article in articles]}, status=202)

    async def _read(self, request: web.Request) -> list[Article]:
        options = self._options
        try:
            async with asyncio.timeout(options.body_timeout):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _Refused(413, f"The body has more than the {options.max_body} bytes allowed.") from None
        except TimeoutError:
            raise _Refused(408, f"The body did not arrive within {options.body_timeout:g} s.") from None
        except web.RequestPayloadError as error:
            raise _Refused(400, f"The body cannot be read: {str(error)[:120]}.") from error
        if len(body) > _LARGE:
            return await asyncio.to_thread(self._articles, body)
        return self._articles(body)

    def _articles(self, body: bytes) -> list[Article]:
        rows = _rows(body)
        if not rows:
            raise _Refused(400, "There is no article in the body.")
        if len(rows) > self._options.max_items:
            raise _Refused(413, f"{len(rows)} articles in one request; {self._options.max_items} are allowed.")
        now = self._clock.now()
        articles = []
        for index, row in enumerate(rows):
            try:
                article = article_from_row(_object(row), now=now, source=self.name)
                if not OLDEST <= article.published_at <= now + FUTURE_TOLERANCE:
                    given = str(_object(row).get("published_at"))[:40]
                    raise CodecError(f"'published_at' lies in the future or too far back: {given}.")
            except RecordError as error:
                raise _Refused(400, f"Item {index}: {error.message}", item=index) from error
            if article.published_at > now:
                article = replace(article, published_at=now)
            articles.append(article)
        return articles


def _object(row: object) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise CodecError(f"an article must be a JSON object, not {type(row).__name__}.")
    return row


def _rows(body: bytes) -> list[Any]:
    """One object, an array, or JSON lines. Raises _Refused."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Refused(400, f"The body is not UTF-8: byte {error.start} is {error.reason}.") from error
    try:
        data = json.loads(text)
    except RecursionError:
        raise _Refused(400, "The body is JSON nested too deeply.") from None
    except ValueError as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2:
            raise _Refused(400, f"The body is not JSON: {error}.") from error
    else:
        return data if isinstance(data, list) else [data]
    rows = []
    for index, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, f"Item {index}: this line is not JSON: {error}.", item=index) from error
    return rows
