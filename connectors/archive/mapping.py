"""Which column of an archive is which field of an article."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitor.core.errors import UsageError

FIELDS = ("id", "guid", "source", "title", "body", "url", "published_at", "lang", "topics", "sentiments", "model")

_ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "article_id"),
    "guid": ("guid", "uuid"),
    "source": ("source", "channel", "publisher", "feed", "site", "provider", "outlet"),
    "title": ("title", "headline", "headlines", "news_title", "text"),
    "body": ("body", "description", "summary", "content", "article", "abstract", "news"),
    "url": ("url", "link", "href"),
    "published_at": (
        "published_at", "published", "timestamp_utc", "timestamp", "datetime", "datetime_utc", "date_time", "pubdate",
        "pub_date", "publish_date", "published_date", "publication_date", "date", "date_utc", "time", "created_at",
    ),
    "lang": ("lang", "language"),
    "topics": ("topics",),
    "sentiments": ("sentiments",),
    "model": ("model",),
}  # fmt: skip

_PAIR = re.compile(r"\s*(?P<field>\w+)\s*=\s*(?:'(?P<one>[^']*)'|\"(?P<two>[^\"]*)\"|(?P<column>[^,'\"]+?))\s*(?:,|$)")


def _key(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """``columns`` maps an article field to a column, ``constants`` a field to a fixed value."""

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> ColumnMapping:
        """Reads ``title=headline,published_at=timestamp_utc,source='Reuters'``: a quoted value is a constant, any
        other one a column. Raises UsageError."""
        columns: dict[str, str] = {}
        constants: dict[str, str] = {}
        at = 0
        while at < len(text):
            match = _PAIR.match(text, at)
            if match is None:
                raise UsageError(
                    f"The column mapping cannot be read from {text[at : at + 40]!r} on.",
                    hint="Write field=column or field='constant', separated by commas.",
                )
            at = match.end()
            name = match["field"]
            if name not in FIELDS:
                close = difflib.get_close_matches(name, FIELDS, n=1)
                raise UsageError(
                    f"The column mapping names an unknown field '{name}'.",
                    hint=f"Did you mean '{close[0]}'?" if close else f"Fields: {', '.join(FIELDS)}.",
                )
            if name in columns or name in constants:
                raise UsageError(f"The column mapping names the field '{name}' twice.")
            if match["column"] is not None:
                columns[name] = match["column"]
            else:
                constants[name] = match["one"] if match["one"] is not None else match["two"]
        return cls(columns=columns, constants=constants)

    @classmethod
    def detect(cls, header: Iterable[str]) -> ColumnMapping:
        """Recognises common column names; case, blanks and dashes do not matter."""
        present: dict[str, str] = {}
        for name in header:
            present.setdefault(_key(name), name)
        columns: dict[str, str] = {}
        for field_name, aliases in _ALIASES.items():
            for alias in aliases:
                if alias in present and present[alias] not in columns.values():
                    columns[field_name] = present[alias]
                    break
        return cls(columns=columns)

    def over(self, detected: ColumnMapping) -> ColumnMapping:
        """This mapping, completed by ``detected`` for fields and columns it does not speak of."""
        columns = {
            name: column
            for name, column in detected.columns.items()
            if name not in self.columns and name not in self.constants and column not in self.columns.values()
        }
        return ColumnMapping(columns={**columns, **self.columns}, constants=self.constants)

    def check(self, header: Iterable[str], *, where: str) -> None:
        """Raises UsageError when a column does not exist, or when there is neither text nor time to be had."""
        names = list(header)
        for name, column in self.columns.items():
            if column not in names:
                close = difflib.get_close_matches(column, names, n=1)
                raise UsageError(
                    f"{where} has no column '{column}' (wanted for '{name}').",
                    hint=f"Did you mean '{close[0]}'?" if close else f"Its columns: {', '.join(names)[:300]}.",
                )
        given = set(self.columns) | set(self.constants)
        for needed, why in ((("title", "body"), "the text"), (("published_at",), "the time")):
            if not given.intersection(needed):
                raise UsageError(
                    f"{where}: none of its columns is recognised as {why}: {', '.join(names)[:300]}.",
                    hint="Name it with a mapping such as title=headline,published_at=timestamp_utc.",
                )
