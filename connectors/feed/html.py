"""HTML to text: tags dropped, entities resolved, scripts and styles skipped. Bounded in input and output."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

from monitor.core.text import clean

INPUT_LIMIT = 1_000_000
_SKIPPED = frozenset({"script", "style", "template"})
_INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "mark", "nobr", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var", "wbr",
})  # fmt: skip
_TICKER_TAG = re.compile(r"<[A-Z0-9]{1,8}(?:\.[A-Z]{1,3})?>")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>|<!--|&#?\w{1,31};")


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._skipping: str = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipping:
            return
        if tag in _SKIPPED:
            self._skipping = tag
            return
        raw = self.get_starttag_text() or ""
        # Wire headlines name instruments as <AAPL.O>; that is text, not a tag.
        if not attrs and tag not in _INLINE and _TICKER_TAG.fullmatch(raw) and not _is_element(tag):
            self.parts.append(raw)
        elif tag not in _INLINE:
            self.parts.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._skipping and tag not in _INLINE:
            self.parts.append(" ")

    def unknown_decl(self, data: str) -> None:
        # A CDATA section that was escaped once too often.
        if not self._skipping and data.startswith("CDATA["):
            self.parts.append(data[6:])

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            if tag == self._skipping:
                self._skipping = ""
        elif tag not in _INLINE:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.parts.append(data)


_ELEMENTS = frozenset({
    "address", "area", "article", "aside", "audio", "base", "blink", "body", "br", "button", "canvas", "caption",
    "center", "col", "dd", "details", "dialog", "dir", "div", "dl", "dt", "embed", "fieldset", "figure", "footer",
    "form", "frame", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "img", "input",
    "label", "legend", "li", "link", "main", "map", "marquee", "menu", "meta", "meter", "nav", "ol", "optgroup",
    "option", "output", "p", "param", "picture", "pre", "progress", "search", "section", "select", "slot", "source",
    "summary", "svg", "table", "tbody", "td", "textarea", "tfoot", "th", "thead", "title", "tr", "track", "ul", "video",
})  # fmt: skip


def _is_element(tag: str) -> bool:
    return tag in _ELEMENTS or tag in _INLINE


def looks_like_html(text: str) -> bool:
    """True when ``text`` holds a tag, a comment or a character reference."""
    return _MARKUP.search(text[:INPUT_LIMIT]) is not None


def html_to_text(markup: str, *, limit: int) -> str:
    """The readable text of ``markup`` as one line of at most ``limit`` characters."""
    if "<" not in markup:
        return clean(html.unescape(markup[: limit * 8]), limit=limit)
    parser = _TextParser()
    # Lone surrogates and NULs confuse nobody here: clean() takes them out of the result.
    parser.feed(markup[: min(INPUT_LIMIT, max(limit * 8, 20_000))])
    parser.close()
    # The parser leaves the marks of comments that never end.
    return clean("".join(parser.parts).replace("<!--", " ").replace("-->", " "), limit=limit)
