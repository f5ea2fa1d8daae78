"""JSON Feed 1.0 and 1.1 (https://www.jsonfeed.org/version/1.1/)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin

from connectors.feed.dates import parse_date
from connectors.feed.entry import BODY_LIMIT, ENTRY_LIMIT, TITLE_LIMIT, entry, http_url
from connectors.feed.html import html_to_text
from monitor.core.errors import MalformedError
from monitor.core.text import clean

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


def looks_like_json(body: bytes, content_type: str) -> bool:
    """True when the body must be JSON, by its first character or its declared type."""
    start = body[:64].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")
    return start.startswith(b"{") or ("json" in content_type.lower() and not start.startswith(b"<"))


def parse_json_feed(body: bytes, *, base: str) -> dict[str, Any]:
    """Reads a JSON Feed. Raises MalformedError (``malformed`` or ``not_a_feed``)."""
    encoding = "utf-8"
    for mark, name in BOMS:
        if body.startswith(mark):
            body, encoding = body[len(mark) :], name
            break
    try:
        data = json.loads(body.decode(encoding, "replace").strip().strip("\x00"))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"this is not valid JSON: {str(error)[:120]}.") from error
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list):
        raise MalformedError("this is JSON, but no JSON Feed: it has no list of 'items'.", code="not_a_feed")
    counts: dict[str, int] = {}
    entries = []
    home = _text(data.get("home_page_url"))
    for item in items[:ENTRY_LIMIT]:
        if isinstance(item, dict):
            entries.append(_item(item, base=base, counts=counts))
        else:
            counts["entry_malformed"] = counts.get("entry_malformed", 0) + 1
    if len(items) > ENTRY_LIMIT:
        counts["entries_over_limit"] = len(items) - ENTRY_LIMIT
    return {
        "version": "json11" if "1.1" in _text(data.get("version")) else "json1",
        "encoding": encoding,
        "bozo": "",
        "title": clean(_text(data.get("title")), limit=300),
        "link": http_url(home, base),
        "lang": _text(data.get("language")),
        "ttl": 0.0,
        "skip_hours": [],
        "skip_days": [],
        "counts": counts,
        "entries": entries,
    }


def _item(item: dict[str, Any], *, base: str, counts: dict[str, int]) -> dict[str, Any]:
    body = html_to_text(_text(item.get("content_html")), limit=BODY_LIMIT)
    body = body or clean(_text(item.get("content_text")), limit=BODY_LIMIT)
    body = body or clean(_text(item.get("summary")), limit=BODY_LIMIT)
    link = _text(item.get("url")) or _text(item.get("external_url"))
    raw = _text(item.get("date_published")) or _text(item.get("date_modified"))
    return entry(
        guid=_identity(item.get("id")),
        url=http_url(urljoin(base, link), base) if link else "",
        title=clean(_text(item.get("title")), limit=TITLE_LIMIT),
        body=body,
        date=parse_date(raw),
        lang=_text(item.get("language")),
        counts=counts,
        link_given=bool(link),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _identity(value: object) -> str:
    # The standard wants text; numbers are common and to be coerced, it says.
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
