"""Imports saved objects into a running Kibana: ``POST /api/saved_objects/_import?overwrite=true``.

The same objects imported again overwrite themselves. The answer says object by object what happened
(https://www.elastic.co/docs/api/doc/kibana/operation/operation-post-saved-objects-import).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from monitor.core.errors import ConfigError, StorageError, UnavailableError
from monitor.kibana.config import KibanaConfig
from monitor.kibana.objects import Object, lines

ANSWER_BYTES = 4_000_000
"""Longest answer that is read."""
PAUSE = 2.0
"""Seconds between attempts while Kibana starts."""
_LOGIN = "Check kibana.api_key_file, or kibana.username and kibana.password_file."


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One object that Kibana did not take."""

    kind: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of the objects."""

    imported: int
    refused: tuple[Refused, ...]


async def import_objects(config: KibanaConfig, objects: Sequence[Object], *, wait: float = 0.0) -> ImportReport:
    """Imports the objects in one request, overwriting those of the same ids.

    ``wait``: for so many seconds it is tried again while Kibana cannot be reached or says that it is starting. Raises
    UnavailableError, StorageError with the next step, ConfigError when the authority's file cannot be used.
    """
    trust = _trust(config)
    ends = time.monotonic() + wait
    timeout = aiohttp.ClientTimeout(total=config.timeout, connect=min(10.0, config.timeout))
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers(config), trust_env=False) as session:
        while True:
            try:
                return await _import(session, config, lines(objects), trust)
            except UnavailableError as error:
                pause = max(PAUSE, error.retry_after)
                if time.monotonic() + pause > ends:
                    raise
            await asyncio.sleep(pause)


async def _import(
    session: aiohttp.ClientSession, config: KibanaConfig, content: str, trust: ssl.SSLContext | bool
) -> ImportReport:
    form = aiohttp.FormData()
    form.add_field("file", content.encode(), filename="riskwire.ndjson", content_type="application/ndjson")
    target = f"{config.base}/api/saved_objects/_import"
    try:
        async with session.post(
            target, params={"overwrite": "true"}, data=form, ssl=trust, allow_redirects=False
        ) as answer:
            raw = await answer.content.read(ANSWER_BYTES)
            while not answer.content.at_eof() and len(raw) < ANSWER_BYTES:
                raw += await answer.content.read(ANSWER_BYTES - len(raw))
            return _report(config, answer.status, answer.headers.get("retry-after", ""), raw)
    except TimeoutError:
        raise UnavailableError(
            f"Kibana at {config.url} did not answer in {config.timeout:g} s.", hint="Check it, or raise kibana.timeout."
        ) from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise StorageError(
            f"No trusted connection to Kibana at {config.url}: {_plain(error)}.", hint="Check kibana.ca_file."
        ) from None
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(
            f"Kibana at {config.url} cannot be reached: {_plain(error)}.", hint="Is it running? Check kibana.url."
        ) from None


def _report(config: KibanaConfig, status: int, retry_after: str, raw: bytes) -> ImportReport:
    try:
        found: Any = json.loads(raw)
    except ValueError:
        found = None
    answer: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    said = f": {str(answer.get('message'))[:300]}" if answer.get("message") else ""
    where = f"Kibana at {config.url}"
    if status == 200 and isinstance(answer.get("success"), bool):
        return _read(answer)
    if status in (429, 502, 503, 504):
        seconds = float(retry_after) if retry_after.isdecimal() else 0.0
        raise UnavailableError(
            f"{where} cannot do it now (HTTP {status}{said}).",
            hint="It may still be starting; try again, or give --wait.",
            retry_after=min(seconds, 60.0),
        )
    hint = "Check kibana.url; with server.basePath the path belongs to it."
    if status == 401:
        said, hint = "", _LOGIN
        raise StorageError(f"{where} does not accept the login.", hint=hint)
    if status == 403:
        hint = "Saved objects need the Kibana privilege 'Saved Objects Management: all' in the space."
        raise StorageError(f"{where} does not permit it{said}.", hint=hint)
    if status == 404:
        what = f"or has no space '{config.space}'" if config.space else "or is something else"
        raise StorageError(f"{where} knows no import of saved objects, {what}{said}.", hint=hint)
    if status == 413:
        raise StorageError(f"{where} finds the file too large.", hint="Raise savedObjects.maxImportPayloadBytes.")
    if status == 200 or 300 <= status < 400:
        raise StorageError(f"What answers at {config.url} is not Kibana's API (HTTP {status}).", hint=hint)
    raise StorageError(f"{where} refused the import (HTTP {status}{said}).", hint="See docs/kibana.md for versions.")


def _read(answer: Mapping[str, Any]) -> ImportReport:
    errors = answer.get("errors") or ()
    refused = tuple(_refused(one) for one in errors if isinstance(one, Mapping))
    if not answer["success"] and not refused:
        refused = (Refused(kind="", id="", reason="Kibana says that the import failed, and not why"),)
    count = answer.get("successCount")
    return ImportReport(imported=count if isinstance(count, int) else 0, refused=refused)


def _refused(one: Mapping[str, Any]) -> Refused:
    error = one.get("error")
    found: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    kind = str(found.get("type", "unknown"))
    reason = kind.replace("_", " ")
    if kind == "missing_references":
        wanted = [f"{it.get('type')} {it.get('id')}" for it in found.get("references", ()) if isinstance(it, Mapping)]
        reason = f"it refers to what is not there: {', '.join(wanted)}"
    elif kind == "unsupported_type":
        reason = "this Kibana does not know the type"
    elif found.get("message"):
        reason = f"{str(found['message'])[:300]} (HTTP {found.get('statusCode', '?')})"
    return Refused(kind=str(one.get("type", "")), id=str(one.get("id", "")), reason=reason)


def _headers(config: KibanaConfig) -> dict[str, str]:
    headers = {"kbn-xsrf": "riskwire", "accept": "application/json"}
    if config.api_key:
        headers["authorization"] = f"ApiKey {config.api_key}"
    elif config.username:
        login = base64.b64encode(f"{config.username}:{config.password}".encode()).decode()
        headers["authorization"] = f"Basic {login}"
    return headers


def _trust(config: KibanaConfig) -> ssl.SSLContext | bool:
    if not config.url.startswith("https"):
        return True
    try:
        return ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"kibana.ca_file '{config.ca_file}' cannot be used: {error}.", hint="It must be a readable PEM file."
        ) from None


def _plain(error: Exception) -> str:
    """The error in one line. It names hosts and causes; headers are not in it."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
