"""Bytes to entries. Runs in a worker process (:mod:`connectors.workers`): feedparser is thorough, but some of its
expressions can be made to run for hours.

feedparser gets bytes and the response headers, never a URL or a file name, so that it does no I/O. Its HTML sanitiser
and its rewriting of links inside HTML are off: only text is kept.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin
from xml.sax import SAXException

import feedparser
from feedparser.encodings import convert_to_utf8
from feedparser.exceptions import CharacterEncodingOverride, CharacterEncodingUnknown, NonXMLContentType
from feedparser.mixin import _FeedParserMixin

from connectors.feed.dates import FeedDate, parse_date
from connectors.feed.entry import BODY_LIMIT, ENTRY_LIMIT, TITLE_LIMIT, entry, http_url
from connectors.feed.html import html_to_text, looks_like_html
from connectors.feed.jsonfeed import BOMS, looks_like_json, parse_json_feed
from connectors.feed.screen import advertised_feed, is_html, refuse_entities
from monitor.core.errors import MalformedError
from monitor.core.text import clean

# Ids stay as they are written. Made absolute, "4711" would depend on the address of the feed, and every article would
# be new on the day the feed moves.
_FeedParserMixin.can_be_relative_uri = _FeedParserMixin.can_be_relative_uri - {"id"}

_DECLARED = re.compile(rb"\s*(?:\xef\xbb\xbf)?<\?xml[^>]{0,200}encoding", re.IGNORECASE)
# XML 1.0, appendix F.1: detection without external encoding information.
_UNMARKED = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_CDF = re.compile(rb"<channel\b", re.IGNORECASE)
_SKIP = re.compile(rb"<skip(hours|days)\b[^<>]{0,200}>(.{0,4000}?)</skip\1>", re.IGNORECASE | re.DOTALL)
_SKIP_ITEM = re.compile(rb"<(?:hour|day)\b[^<>]{0,200}>\s{0,20}(\w{1,12})\s{0,20}<", re.IGNORECASE)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PERIODS = {"hourly": 3600.0, "daily": 86400.0, "weekly": 604800.0, "monthly": 2592000.0, "yearly": 31536000.0}


def parse_for_worker(payload: bytes, args: dict[str, Any]) -> dict[str, Any]:
    """The worker's entry: ``args`` are ``url`` and the response ``headers``."""
    return parse_feed(payload, url=args["url"], headers=args["headers"])


def parse_feed(body: bytes, *, url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Reads any supported feed format.

    The result is JSON: ``version encoding bozo title link lang ttl skip_hours skip_days counts entries``. Raises
    MalformedError with code ``empty``, ``malformed``, ``entity_declaration`` or ``not_a_feed``.
    """
    if not body.strip(b"\x00 \t\r\n"):
        raise MalformedError("the response is empty.", code="empty")
    content_type = headers.get("content-type", "")
    base = urljoin(url, headers.get("content-location", "")) if headers.get("content-location") else url
    if looks_like_json(body, content_type):
        return parse_json_feed(body, base=base)
    body, content_type = _with_charset(body, content_type)
    known = {"content-type": content_type, "content-location": base}
    if headers.get("content-language"):
        known["content-language"] = headers["content-language"]
    utf8 = convert_to_utf8(known, body, {})
    refuse_entities(utf8)
    parsed = feedparser.parse(body, response_headers=known, sanitize_html=False, resolve_relative_uris=False)
    oddity = parsed.get("bozo_exception") if parsed.get("bozo") else None
    reason = str(oddity) if isinstance(oddity, SAXException) else ""
    named = dict.get(parsed.feed, "title") or dict.get(parsed.feed, "link")
    if not parsed.entries and not parsed.get("version") and not (not reason and _is_cdf(utf8)):
        raise _no_feed(body, utf8, url, reason)
    if not parsed.entries and reason and not named:
        raise MalformedError(f"the feed is damaged and has no readable entry: {reason[:160]}.")
    return _result(parsed, utf8, base=base, reason=reason, oddity=oddity)


def _with_charset(body: bytes, content_type: str) -> tuple[bytes, str]:
    """States the charset where neither server nor document does, but the bytes leave no doubt: UTF-16 or UTF-32, by
    their mark or by the first "<", or valid UTF-8. feedparser would take Latin-1 for some types."""
    kind = content_type.split(";")[0].strip() or "application/xml"
    for mark, encoding in BOMS:
        if encoding != "utf-8" and body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace").encode("utf-8"), f"{kind}; charset=utf-8"
    for start, encoding in _UNMARKED:
        if body.startswith(start):
            return body.decode(encoding, "replace").encode("utf-8"), f"{kind}; charset=utf-8"
    if "charset" in content_type.lower() or _DECLARED.match(body[:300]):
        return body, content_type or kind
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return body, content_type or kind
    return body, f"{kind}; charset=utf-8"


def _is_cdf(utf8: bytes) -> bool:
    """True when the root element is CDF's ``CHANNEL``; feedparser knows the format by its items only."""
    root = re.search(rb"<[\w:]", utf8)
    return root is not None and _CDF.match(utf8, root.start()) is not None


def _no_feed(body: bytes, utf8: bytes, url: str, reason: str) -> MalformedError:
    if is_html(body):
        other = advertised_feed(body, url)
        return MalformedError(
            "this is a web page, not a feed.",
            code="not_a_feed",
            hint=f"The page names this feed: {other[:300]}" if other else "Look for the feed's own URL on that page.",
        )
    if not re.search(rb"<[\w:]", utf8):
        return MalformedError("this is neither XML nor JSON.", code="not_a_feed")
    if reason:
        return MalformedError(f"this is no readable feed: {reason[:160]}.", code="malformed")
    return MalformedError("this is XML, but of no known feed format.", code="not_a_feed")


def _result(parsed: Any, utf8: bytes, *, base: str, reason: str, oddity: object) -> dict[str, Any]:
    feed = parsed.feed
    counts: dict[str, int] = {}
    entries = [_entry(item, base=base, counts=counts) for item in parsed.entries[:ENTRY_LIMIT]]
    if len(parsed.entries) > ENTRY_LIMIT:
        counts["entries_over_limit"] = len(parsed.entries) - ENTRY_LIMIT
    if reason:
        counts["feed_not_well_formed"] = 1
    elif isinstance(oddity, CharacterEncodingOverride | CharacterEncodingUnknown):
        counts["encoding_mismatch"] = 1
    elif isinstance(oddity, NonXMLContentType):
        counts["content_type_mismatch"] = 1
    hours, days = _skips(utf8)
    return {
        "version": str(parsed.get("version") or ("cdf" if _is_cdf(utf8) else "")),
        "encoding": str(parsed.get("encoding") or ""),
        "bozo": reason[:200],
        "title": _plain(feed, "title", limit=300),
        "link": http_url(_text(feed, "link"), base),
        "lang": _text(feed, "language"),
        "ttl": _ttl(feed),
        "skip_hours": hours,
        "skip_days": days,
        "counts": counts,
        "entries": entries,
    }


def _text(item: Any, key: str) -> str:
    # dict.get: feedparser's own lookup falls back from 'updated' to 'published' and warns while doing so.
    value = dict.get(item, key)
    return value if isinstance(value, str) else ""


def _plain(item: Any, key: str, *, limit: int) -> str:
    """A text construct as plain text; by its declared type, or by its looks when it declares text."""
    value = _text(item, key)
    detail = dict.get(item, f"{key}_detail") or {}
    if "html" in (_text(detail, "type") or "") or looks_like_html(value):
        return html_to_text(value, limit=limit)
    return clean(value, limit=limit)


def _body(item: Any) -> str:
    best = ""
    contents = dict.get(item, "content")
    for content in contents if isinstance(contents, list) else []:
        value, kind = _text(content, "value"), _text(content, "type")
        if kind and not kind.startswith("text/") and "html" not in kind and "xml" not in kind:
            continue  # an image or a sound, inlined
        text = html_to_text(value, limit=BODY_LIMIT) if "html" in kind or looks_like_html(value) else clean(
            value, limit=BODY_LIMIT
        )  # fmt: skip
        best = max(best, text, key=len)
    return best or _plain(item, "summary", limit=BODY_LIMIT)


def _link(item: Any, base: str) -> tuple[str, bool]:
    """The page an entry stands for, and whether the entry gave any link."""
    link = _text(item, "link")
    if link == _text(item, "id") and ":" not in link:
        link = ""  # an id that feedparser offers as a link, but "4711" is none
    given = [link]
    links = dict.get(item, "links")
    if isinstance(links, list):
        given += [_text(link, "href") for link in links if _text(link, "rel") in ("alternate", "")]
    for candidate in given:
        if url := http_url(candidate, base):
            return url, True
    return "", any(given)


def _date(item: Any) -> FeedDate:
    """The first date that can be read, of publication, change and creation; else the first that stands there."""
    unreadable = FeedDate()
    for key in ("published", "updated", "created"):
        if raw := _text(item, key):
            found = parse_date(raw, dict.get(item, f"{key}_parsed"))
            if found.at is not None:
                return found
            unreadable = unreadable if unreadable.raw else found
    return unreadable


def _entry(item: Any, *, base: str, counts: dict[str, int]) -> dict[str, Any]:
    url, given = _link(item, base)
    detail = dict.get(item, "title_detail") or {}
    return entry(
        guid=_text(item, "id"),
        url=url,
        title=_plain(item, "title", limit=TITLE_LIMIT),
        body=_body(item),
        date=_date(item),
        lang=_text(item, "language") or _text(detail, "language"),
        counts=counts,
        link_given=given,
    )


def _ttl(feed: Any) -> float:
    """Seconds between polls that the feed itself asks for: ``ttl`` (minutes) or the syndication module; 0 for none."""
    asked = 0.0
    ttl = _text(feed, "ttl").strip()
    if ttl.isascii() and ttl.isdigit():
        asked = float(ttl[:7]) * 60
    period = _PERIODS.get(_text(feed, "sy_updateperiod").strip().lower(), 0.0)
    if period:
        frequency = _text(feed, "sy_updatefrequency").strip()
        times = int(frequency[:4]) if frequency.isascii() and frequency.isdigit() else 1
        asked = max(asked, period / max(1, times))
    return asked


def _skips(utf8: bytes) -> tuple[list[int], list[int]]:
    """``skipHours`` (0-23, GMT) and ``skipDays`` (0 is Monday); feedparser keeps neither."""
    hours: set[int] = set()
    days: set[int] = set()
    for match in _SKIP.finditer(utf8[: 64 * 1024]):
        for item in _SKIP_ITEM.findall(match[2]):
            word = item.decode("ascii", "replace").lower()
            if match[1].lower() == b"hours" and word.isdigit() and int(word) <= 24:
                hours.add(int(word) % 24)  # some count from 1 to 24
            elif match[1].lower() == b"days" and word in _DAYS:
                days.add(_DAYS.index(word))
    return sorted(hours), sorted(days)
