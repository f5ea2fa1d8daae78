"""Keeps secrets out of logs: the last line of defence, since nothing should log one in the first place."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

STARS = "***"
_DEPTH = 6

_SECRET_KEY = re.compile(
    r"token(?!s\b|s_|_budget|_file|_env)|secret(?!_file|_env)|passw(or)?d(?!_file|_env)|passphrase|authorization|cookie"
    r"|api[_-]?key(?!_file|_env)|private[_-]?key(?!_file)|routing[_-]?key(?!_file|_env)|credential|webhook_url|heartbeat_url\b",
    re.IGNORECASE,
)
"""Keys under which no value is shown. What says where a secret is (…_file, …_env), or counts tokens, is none."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@'\"]{1,1000}@", re.IGNORECASE), rf"\1{STARS}@"),
    (re.compile(r"\b(Bearer|Basic|ApiKey|GenieKey)\s+[\w.~+/=:-]{4,}", re.IGNORECASE), rf"\1 {STARS}"),
    (re.compile(r"\b(?:xox[a-z]|xapp|xoxe)[.-][\w.-]{4,}"), STARS),  # Slack's tokens
    (re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[^\s'\"<>]+"), rf"\1{STARS}"),
    (re.compile(r"(\.webhook\.office\.com/)[^\s'\"<>]+"), rf"\1{STARS}"),
    (re.compile(r"(hc-ping\.com/)[^\s'\"<>]+"), rf"\1{STARS}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), STARS),  # JSON web tokens
    (
        re.compile(
            r"(\b[\w-]{0,40}(?:token|secret|passwo?r?d|api[_-]?key|apikey|signature|sig|access[_-]?key)['\"]?\s{0,3}[=:]\s{0,3})"
            r"(?:\"[^\"\n]{1,1000}\"|'[^'\n]{1,1000}'|[^\s&,;'\"<>)\]}]{1,1000})",
            re.IGNORECASE,
        ),
        rf"\1{STARS}",
    ),
)
"""What looks like a secret within a text. Every repetition is bounded, so that a long text takes linear time."""


def redact_text(text: str) -> str:
    """The text with what looks like a secret starred."""
    for pattern, stars in _PATTERNS:
        text = pattern.sub(stars, text)
    return text


def redact(value: Any, key: str = "", depth: int = 0) -> Any:
    """The value with secrets starred, at any depth down to six; what lies deeper is starred as a whole. Exceptions and
    other objects are shown as their text."""
    if key and _SECRET_KEY.search(key):
        return STARS if value not in (None, "", 0, False) else value
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes | bytearray):
        return redact_text(bytes(value).decode("utf-8", "replace"))
    if depth >= _DEPTH:
        return STARS
    if isinstance(value, Mapping):
        return {redact_text(str(name)): redact(item, str(name), depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, "", depth + 1) for item in value]
    return redact_text(str(value))


def redact_event(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor for structlog; what the library itself keeps in an event (``_…``) stays as it is."""
    for key in list(event):
        if not key.startswith("_") and key != "exc_info":
            event[key] = redact(event[key], key)
    return event
