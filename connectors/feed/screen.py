"""What is refused before a parser sees it: entity declarations, and pages that are no feeds at all.

A DOCTYPE as such is legal (RSS 0.91 has one) and harmless, since nothing external is ever loaded. An entity
declaration is the one tool of both the billion-laughs and the external-entity attacks, and no feed needs it.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin
from xml.parsers import expat

from monitor.core.errors import MalformedError

_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)
_ROOT = re.compile(rb"<[\w:]")
_PROLOG_LIMIT = 256 * 1024
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_ALTERNATE = re.compile(
    rb"<link\b[^<>]{0,1000}?application/(?:rss|atom|feed)\+(?:xml|json)[^<>]{0,1000}>", re.IGNORECASE
)
_HREF = re.compile(rb"href\s*=\s*[\"']?([^\"'\s<>]{1,500})", re.IGNORECASE)


class _Root(Exception):  # noqa: N818 - a signal, not an error
    pass


class _Declaration(Exception):  # noqa: N818 - a signal, not an error
    pass


def refuse_entities(utf8: bytes) -> None:
    """Raises MalformedError (``entity_declaration``) when the document, as UTF-8, declares an entity.

    The strict parser is asked by the same expat up to the root element. The lenient parser reads declarations from all
    that stands before the first start tag, so that part is searched as well.
    """
    if b"<!" not in utf8:
        return
    parser = expat.ParserCreate(encoding="utf-8")

    def declared(*_: object) -> None:
        raise _Declaration

    def root(*_: object) -> None:
        raise _Root

    parser.EntityDeclHandler = declared
    parser.StartElementHandler = root
    try:
        for at in range(0, len(utf8), 65_536):
            parser.Parse(utf8[at : at + 65_536], False)
    except _Declaration:
        raise _refusal() from None
    except (_Root, expat.ExpatError):
        pass
    start = _ROOT.search(utf8)
    head = utf8[: start.start() if start else _PROLOG_LIMIT]
    if _ENTITY.search(head):
        raise _refusal()


def _refusal() -> MalformedError:
    return MalformedError(
        "the feed declares XML entities, which can be made to unfold without end or to read files; it was not parsed.",
        code="entity_declaration",
        hint="Ask the publisher to leave the ENTITY declarations out.",
    )


def is_html(body: bytes) -> bool:
    """True when the beginning looks like an HTML page."""
    return _HTML.search(body[:4_096]) is not None


def advertised_feed(body: bytes, base: str) -> str:
    """The feed that an HTML page points to, or ""."""
    match = _ALTERNATE.search(body[:INPUT_HEAD])
    href = _HREF.search(match[0]) if match else None
    if href is None:
        return ""
    target = href[1].decode("utf-8", "replace").replace("&amp;", "&")
    try:
        return str(urljoin(base, target))
    except ValueError:
        return ""


INPUT_HEAD = 128 * 1024
