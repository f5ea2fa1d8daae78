"""What notifiers without editing tell: an incident's beginning, a rise in severity, its state, its end; no more.

Also: text from the news as others may show it, without control characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from alerts.notifiers.routes import RANK
from alerts.notifiers.text import facts, headline, words_of
from monitor.core.types import Evidence, Incident, Severity

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
_TEXT_LIMIT = 4000


def told_of(incident: Incident) -> dict[str, str]:
    """What a receipt keeps of what people were told."""
    return {
        "severity": incident.severity.value,
        "state": incident.state.value,
        "stories": str(incident.stories),
    }


def is_news(told: Mapping[str, str], incident: Incident) -> bool:
    """Whether people who were told that should be told again."""
    before = told.get("severity", "")
    if before not in set(Severity):
        return True
    return RANK[incident.severity] > RANK[Severity(before)] or told.get("state") != incident.state.value


def plain(text: str, limit: int = 0) -> str:
    """The text without control characters, at most ``limit`` characters long (0: any)."""
    text = _CONTROL.sub(" ", text)
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def cleaned(value: Any) -> Any:
    """A JSON value whose texts are :func:`plain` and of bounded length: many receivers take a megabyte at most."""
    if isinstance(value, str):
        return plain(value, _TEXT_LIMIT)
    if isinstance(value, Mapping):
        return {str(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [cleaned(item) for item in value]
    return value


def story(item: Evidence) -> str:
    """A driving headline in one line: title, source, time, copies, words."""
    words = words_of(item)
    return plain(f"{item.title} ({facts(item)}{f'; words: {words}' if words else ''})", 600)


def summary(incident: Incident, limit: int = 200) -> str:
    """The headline of an incident in one line."""
    return plain(headline(incident), limit).replace("\n", " ")
