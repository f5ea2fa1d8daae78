"""URLs in messages, without what must not be seen."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_SECRET_NAME = re.compile(r"key|token|secret|passw|pwd|auth|sig|session|credential|code|hash|jwt", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_\-+/=.%]{20,}")


def redact_url(url: str) -> str:
    """``url`` without user, password and fragment; values of parameters that look secret become ``***``."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an unreadable URL)"
    if ":" in host:
        host = f"[{host}]"
    query = [
        (name, "***" if _SECRET_NAME.search(name) or _SECRET_VALUE.fullmatch(value) else value[:60])
        for name, value in parse_qsl(parts.query[:2000], keep_blank_values=True)
    ]
    return urlunsplit((parts.scheme, host + port, parts.path[:200], urlencode(query, safe="*:/"), ""))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an http(s) URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https URL")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
