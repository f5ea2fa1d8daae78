"""What can go wrong between the store and its cluster, mapped once, with the next step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import elastic_transport
from elasticsearch import ApiError, UnsupportedProductError

from monitor.core.clock import SystemClock
from monitor.core.errors import StorageError, UnavailableError

_LOGIN = "Check elastic.api_key_file, or elastic.username and elastic.password_file."
RETRY_AFTER_CAP = 60.0
"""Longer waits than this are cut, so that a wrong header cannot stop a worker."""


class RefusedError(StorageError):
    """The cluster refused a request as it is; ``status`` is HTTP's, ``kind`` Elasticsearch's name of the error."""

    def __init__(self, message: str, *, hint: str = "", status: int, kind: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind


def reason_of(error: object) -> tuple[str, str]:
    """Type and reason of an ``error`` member of an Elasticsearch answer, its innermost cause included."""
    if not isinstance(error, Mapping):
        return "", str(error)[:500] if error else ""
    kind, reason = str(error.get("type", "")), str(error.get("reason", ""))
    cause: Any = error.get("caused_by")
    for _ in range(5):
        if not isinstance(cause, Mapping):
            break
        if inner := str(cause.get("reason", "")):
            reason = f"{reason}: {inner}"
        cause = cause.get("caused_by")
    return kind, reason[:500]


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date), at most a minute; 0 without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (moment - SystemClock().now()).total_seconds() if moment.tzinfo else 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_CAP) if math.isfinite(seconds) else 0.0


def from_transport(error: Exception, address: str) -> StorageError:
    """Maps what the transport raises: no answer came, or none that could be read."""
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return UnavailableError(
            f"Elasticsearch at {address} did not answer in time.",
            hint="Check its load, or raise elastic.timeout.",
        )
    if isinstance(error, elastic_transport.TlsError):
        return StorageError(
            f"No trusted connection to Elasticsearch at {address}: {_plain(error)}.",
            hint="Check elastic.ca_file or elastic.fingerprint, and the certificate's host name.",
        )
    if "FingerprintMismatch" in str(error):  # the transport takes this one for a lost connection
        return StorageError(
            f"The certificate of Elasticsearch at {address} has another fingerprint.",
            hint="Check elastic.fingerprint, or use elastic.ca_file.",
        )
    if isinstance(error, elastic_transport.ConnectionError):
        text = _plain(error)
        what = "refused the connection" if "refused" in text.lower() or "connect" in text.lower() else "is unreachable"
        return UnavailableError(
            f"Elasticsearch at {address} {what}: {text}.", hint="Is it running? Check elastic.urls and the network."
        )
    if isinstance(error, UnsupportedProductError):
        return StorageError(
            f"What answers at {address} is not Elasticsearch.", hint="Check elastic.urls; OpenSearch is not supported."
        )
    return UnavailableError(f"Elasticsearch at {address} gave no usable answer: {_plain(error)}.")


def from_answer(error: ApiError, address: str) -> StorageError:
    """Maps an answer whose HTTP status says that it went wrong."""
    status = int(error.meta.status)
    body = error.body if isinstance(error.body, Mapping) else {}
    kind, reason = reason_of(body.get("error"))
    said = f": {reason}" if reason else ""
    if status == 401:
        return RefusedError(
            f"Elasticsearch at {address} does not accept the login.", hint=_LOGIN, status=status, kind=kind
        )
    if status == 403 and kind != "cluster_block_exception":
        return RefusedError(
            f"Elasticsearch at {address} does not permit this{said}.",
            hint="Grant the privileges that docs/elastic.md lists.",
            status=status,
            kind=kind,
        )
    if status == 429 or status >= 500 or kind == "cluster_block_exception":
        return UnavailableError(
            f"Elasticsearch at {address} cannot do it now (HTTP {status}{said}).",
            hint="It is tried again; check the cluster's health, load and disk.",
            retry_after=retry_after(error.meta.headers),
        )
    hint = ""
    if kind == "media_type_header_exception":
        hint = "This server is outside the supported range; see docs/elastic.md."
    return RefusedError(
        f"Elasticsearch at {address} refused a request (HTTP {status}{said}).", hint=hint, status=status, kind=kind
    )


def _plain(error: Exception) -> str:
    """The error's own text in one line. It names hosts and causes, never headers, so no secret is in it."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(str(message).split())[:300].rstrip(".")
