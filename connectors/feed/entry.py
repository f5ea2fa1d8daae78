"""The form in which parsers hand entries to the feed source: plain JSON, already text, already bounded."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from connectors.feed.dates import FeedDate

TITLE_LIMIT = 2_000
BODY_LIMIT = 100_000
ENTRY_LIMIT = 5_000
"""Entries taken from one response; the rest is counted as ``entries_over_limit``."""
_URL_LIMIT = 4_000
_GUID_LIMIT = 4_000


def http_url(url: str, base: str = "") -> str:
    """``url`` made absolute when it is an http or https URL of sane length, else "" (``javascript:`` and the like)."""
    url = url.strip()
    if not url or len(url) > _URL_LIMIT:
        return ""
    try:
        absolute = urljoin(base, url)
        parts = urlsplit(absolute)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return ""
    return absolute if fine else ""


def entry(
    *,
    guid: str,
    url: str,
    title: str,
    body: str,
    date: FeedDate,
    lang: str,
    counts: dict[str, int],
    link_given: bool,
) -> dict[str, Any]:
    """One entry as JSON; a link that was given but cannot be used is counted."""
    if link_given and not url:
        counts["link_unusable"] = counts.get("link_unusable", 0) + 1
    return {
        "guid": guid.strip()[:_GUID_LIMIT],
        "url": url,
        "title": title,
        "body": "" if body == title else body,
        "date": date.raw,
        "at": date.at.timestamp() if date.at else None,
        "naive": date.naive,
        "lang": lang[:20],
    }
