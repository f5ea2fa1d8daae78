"""What a feed source remembers between polls. It travels as the cursor, so it is JSON and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.feed.entry import ENTRY_LIMIT
from monitor.core.ids import digest
from monitor.core.types import Cursor

KEPT = 500
"""Entries remembered beyond those of the last response: an entry that drops out and returns is not new."""
_VERSION = 1


@dataclass(slots=True, kw_only=True)
class FeedMemory:
    """``seen`` maps article id to (content hash, first seen as Unix seconds), oldest first."""

    of: str
    etag: str = ""
    last_modified: str = ""
    url: str = ""
    body: str = ""
    ttl: float = 0.0
    skip_hours: list[int] = field(default_factory=list)
    skip_days: list[int] = field(default_factory=list)
    seen: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, cursor: Cursor | None, url: str) -> FeedMemory:
        """Reads a cursor. What belongs to another URL than the configured one is dropped, except the articles seen;
        a cursor of another form is as none."""
        of = digest(url, size=8)
        data: Mapping[str, object] = cursor.data if cursor else {}
        if data.get("v") != _VERSION:
            return cls(of=of)
        memory = cls(of=of, seen=_seen(data.get("seen")))
        if data.get("of") == of:
            memory.etag = _text(data.get("etag"))
            memory.last_modified = _text(data.get("modified"))
            memory.url = _text(data.get("url"))
            memory.body = _text(data.get("body"))
            ttl = data.get("ttl")
            memory.ttl = float(ttl) if isinstance(ttl, int | float) else 0.0
            memory.skip_hours = _numbers(data.get("skip_hours"))
            memory.skip_days = _numbers(data.get("skip_days"))
        return memory

    def cursor(self) -> Cursor:
        """The cursor; empty fields are left out."""
        data: dict[str, object] = {"v": _VERSION, "of": self.of}
        fields = {
            "etag": self.etag,
            "modified": self.last_modified,
            "url": self.url,
            "body": self.body,
            "ttl": self.ttl,
            "skip_hours": self.skip_hours,
            "skip_days": self.skip_days,
        }
        data.update({name: value for name, value in fields.items() if value})
        # A list, since JSON objects do not keep their order everywhere.
        data["seen"] = [[key, content, at] for key, (content, at) in self.seen.items()]
        return Cursor(data=data)

    def first_seen(self, article_id: str) -> datetime | None:
        """When the article was first seen here, or None."""
        known = self.seen.get(article_id)
        return datetime.fromtimestamp(known[1], UTC) if known else None

    def note(self, article_id: str, content: str, now: datetime) -> str:
        """Remembers an entry; says ``new``, ``changed`` or ``same``."""
        known = self.seen.pop(article_id, None)
        self.seen[article_id] = (content, known[1] if known else int(now.timestamp()))
        if known is None:
            return "new"
        return "same" if known[0] == content else "changed"

    def trim(self, current: int) -> None:
        """Forgets the oldest entries beyond those of the current response and ``KEPT`` more."""
        excess = len(self.seen) - min(current, ENTRY_LIMIT) - KEPT
        for key in list(self.seen)[: max(0, excess)]:
            del self.seen[key]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _numbers(value: object) -> list[int]:
    return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []


def _seen(value: object) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for item in value if isinstance(value, list | tuple) else ():
        match item:
            case [str(key), str(content), int(at)]:
                found[key] = (content, at)
    return found
