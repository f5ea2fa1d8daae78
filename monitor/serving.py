"""The part of the composition root that makes the API and dashboard of a daemon."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from monitor import app
from monitor.config import Settings
from monitor.core.clock import Clock
from monitor.core.errors import ConfigError, ConflictError, ModelError
from monitor.core.ports import Scorer, StateStore
from monitor.core.types import Expect, Put
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.secrets import secret
from monitor.storage import Storage
from monitor.web_section import TokenEntry, WebSection

if TYPE_CHECKING:
    from monitor.web.access import Token
    from monitor.web.context import Entity, Model, ModelFacts
    from monitor.web.server import WebServer

# FastAPI is imported where it is used: roles that serve nothing start without it.

LEAST_TOKEN = 16
_KEY = ("web", "session_key")


def address_of(keys: WebSection) -> tuple[str, int] | None:
    """Host and port to listen on; None when it is switched off. Raises ConfigError."""
    if keys.listen in ("", "off"):
        return None
    host, _, port = keys.listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"web.listen must be 'host:port', got '{keys.listen}'.", hint="E.g. '127.0.0.1:8080'.")
    return host.strip("[]"), int(port)


def read_tokens(settings: Settings) -> list[Token]:
    """The configured tokens. Raises ConfigError when one is wrong, or is needed and missing."""
    from monitor.web.access import Role, Token
    from monitor.web.guard import loopback

    address = address_of(settings.web)
    names = [entry.name for entry in settings.web.tokens]
    if len(set(names)) != len(names):
        raise ConfigError("web.tokens.name must be unique.")
    tokens = []
    for index, entry in enumerate(settings.web.tokens):
        key = f"web.tokens.{index}.token"
        role = Role(entry.role)
        if entry.token_sha256:
            if entry.token_file is not None or entry.token.get_secret_value():
                raise ConfigError(f"{key}: give exactly one of token, token_file and token_sha256.")
            tokens.append(Token(name=entry.name, role=role, sha256=bytes.fromhex(entry.token_sha256)))
        else:
            tokens.append(Token.of(entry.name, role, _text(entry, settings.base, key)))
    if address is not None and not tokens and not loopback(address[0]):
        raise ConfigError(
            f"web.listen is {settings.web.listen}, which others can reach, but there is no token.",
            hint="Add [[web.tokens]] (see docs/api.md), or listen on 127.0.0.1.",
        )
    return tokens


def _text(entry: TokenEntry, base: Path, key: str) -> str:
    text = secret(entry.token, base / entry.token_file if entry.token_file is not None else None, key)
    if len(text) < LEAST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(
            f"{key}: a token has at least {LEAST_TOKEN} printable ASCII characters.",
            hint="Make one with: openssl rand -hex 32",
        )
    return text


async def session_key(state: StateStore) -> bytes:
    """What signs the dashboard's sessions: made once, the same for every process on one state. Raises StorageError."""
    found = await state.get(*_KEY)
    if found is None:
        made = {"key": secrets.token_hex(32)}
        try:
            await state.apply(
                [Put(kind=_KEY[0], key=_KEY[1], value=made)], given=[Expect(kind=_KEY[0], key=_KEY[1], value=None)]
            )
            found = made
        except ConflictError:  # another process was quicker
            found = await state.get(*_KEY)
            assert found is not None
    return bytes.fromhex(str(found["key"]))


def model_facts(settings: Settings) -> ModelFacts:
    """What the model's folder says of it. Raises ModelError."""
    from monitor.web.context import ModelFacts

    path = app.model_path(settings)
    artefact = app.load_artefact(path)
    return ModelFacts(
        id=artefact.id,
        name=artefact.name,
        packaged=path is None,
        languages=artefact.languages,
        tasks={task: spec.labels for task, spec in artefact.tasks.items()},
        names={task: spec.names for task, spec in artefact.tasks.items()},
        metrics=_finite(artefact.metrics()),
        card=artefact.card(),
        size=artefact.size(),
    )


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0.0 else value


def entities(settings: Settings) -> list[Entity]:
    """The watchlist as the API shows it. Raises ConfigError."""
    from monitor.core.text import has_han
    from monitor.web.context import Entity

    return [
        Entity(
            id=entity.id, name=entity.name, name_zh=entity.name_zh, kind=entity.kind, country=entity.country,
            tickers=tuple(f"{ticker.exchange}:{ticker.symbol}" for ticker in entity.tickers),
            aliases=tuple(alias for alias in entity.aliases if not has_han(alias)),
            aliases_zh=tuple(alias for alias in entity.aliases if has_han(alias)),
        )
        for entity in app.build_watchlist(settings).entities
    ]  # fmt: skip


async def build_web(
    settings: Settings,
    clock: Clock,
    storage: Storage,
    *,
    metrics: Metrics,
    health: Health,
    scorer: Scorer | None,
    close: Callable[[Callable[[], Awaitable[None]]], object],
) -> WebServer | None:
    """The server of the API and dashboard, not started; None when it is switched off. ``scorer`` is the daemon's, if
    it has one; else the model is loaded when it is first needed, and ``close`` is told how to close it.

    Raises ConfigError or StorageError.
    """
    address = address_of(settings.web)
    if address is None:
        return None
    from monitor.web.access import Access
    from monitor.web.app import create_app
    from monitor.web.context import Once, WebContext, WebOptions
    from monitor.web.guard import loopback
    from monitor.web.server import WebServer

    keys = settings.web
    tokens = await asyncio.to_thread(read_tokens, settings)

    def load() -> Model:
        return cast("Model", app.build_scorer(settings, clock))

    loaded = Once(load)

    async def model() -> Model:
        if scorer is not None:
            if not hasattr(scorer, "explain_articles"):
                raise ModelError("This daemon's scorer explains nothing.")
            return cast("Model", scorer)
        first = not loaded.known
        found = await loaded()
        if first:
            close(found.close)  # type: ignore[attr-defined]
        return found

    host = address[0].lower()
    own = ("localhost", "127.0.0.1", "::1", host)
    context = WebContext(
        options=WebOptions(
            hosts=tuple(name.lower() for name in (*own, *keys.hosts)) if loopback(host) or keys.hosts else (),
            cors_origins=keys.cors_origins, max_body=keys.max_body, rate=keys.rate, burst=keys.burst,
            max_streams=keys.max_streams, push=keys.push, bucket_minutes=settings.detect.bucket_minutes,
        ),
        access=Access(tokens, await session_key(storage.state)),
        clock=clock, store=storage.store, state=storage.state, bus=storage.given_bus if keys.push else None,
        metrics=metrics, health=health, model=model, facts=Once(lambda: model_facts(settings)),
        watchlist=Once(lambda: entities(settings)),
        sources=tuple((source.name, source.kind) for source in settings.sources),
        version=_version(),
    )  # fmt: skip
    return WebServer(create_app(context), context, *address, trusted=keys.trusted_proxies)


def _version() -> str:
    try:
        return version("riskwire")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "0"
