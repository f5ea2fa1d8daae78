"""HTML to text: tags dropped, entities resolved, scripts and styles skipped. Bounded in input and output.

Our own scanner, because the standard library's parser takes time quadratic in the length of hostile markup (an
unclosed ``<a href='`` repeated), and because wire headlines need one thing that no HTML parser does: ``<AAPL.O>`` is an
instrument, not a tag. Every step here moves forward and looks at each character a bounded number of times.
"""

from __future__ import annotations

import html
import re

from monitor.core.text import clean

INPUT_LIMIT = 1_000_000
_TAG_LIMIT = 8_192
_SKIPPED = frozenset({"script", "style", "template"})
_INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "mark", "nobr", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var", "wbr",
})  # fmt: skip
_ELEMENTS = frozenset({
    "address", "area", "article", "aside", "audio", "base", "blink", "body", "br", "button", "canvas", "caption",
    "center", "col", "dd", "details", "dialog", "dir", "div", "dl", "dt", "embed", "fieldset", "figure", "footer",
    "form", "frame", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "img", "input",
    "label", "legend", "li", "link", "main", "map", "marquee", "menu", "meta", "meter", "nav", "ol", "optgroup",
    "option", "output", "p", "param", "picture", "pre", "progress", "search", "section", "select", "slot", "source",
    "summary", "svg", "table", "tbody", "td", "textarea", "tfoot", "th", "thead", "title", "tr", "track", "ul", "video",
})  # fmt: skip
_TAG = re.compile(r"</?([a-zA-Z][^\s<>/\"']*+)[^<>\"']*+(?:\"[^\"]*+\"[^<>\"']*+|'[^']*+'[^<>\"']*+)*+>")
_NAME = re.compile(r"</?([a-zA-Z][^\s<>/\"']*+)")
_INSTRUMENT = re.compile(r"<[A-Z0-9]{1,8}(?:\.[A-Z]{1,3})?>")
_CLOSING = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in _SKIPPED}
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>|<!--|&#?\w{1,31};")
_HUGE_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}+;?")


def looks_like_html(text: str) -> bool:
    """True when ``text`` holds a tag, a comment or a character reference."""
    return _MARKUP.search(text[:INPUT_LIMIT]) is not None


def html_to_text(markup: str, *, limit: int) -> str:
    """The readable text of ``markup`` as one line of at most ``limit`` characters."""
    markup = markup[: min(INPUT_LIMIT, max(limit * 8, 20_000))]
    text = "".join(_Scanner(markup).pieces()) if "<" in markup else markup
    # Digits without end would be made into a number by html.unescape; Python refuses those, with an exception.
    return clean(html.unescape(_HUGE_REFERENCE.sub("\ufffd", text)), limit=limit)


class _Scanner:
    """Cuts the text out of markup. A search that has failed once is not made again: it would fail from there on too."""

    def __init__(self, markup: str) -> None:
        self._markup = markup
        self._at = 0
        self._failed: set[str] = set()

    def _find(self, mark: str, start: int) -> int:
        if mark in self._failed:
            return -1
        found = self._markup.find(mark, start)
        if found < 0:
            self._failed.add(mark)
        return found

    def pieces(self) -> list[str]:
        """The texts between the tags; still with character references."""
        markup = self._markup
        out: list[str] = []
        while True:
            start = self._find("<", self._at)
            if start < 0:
                out.append(markup[self._at :])
                return out
            out.append(markup[self._at : start])
            following = markup[start + 1 : start + 2]
            if following == "!":
                out.append(self._declaration(start))
            elif following == "?":
                out.append(self._until(">", start, start + 2))
            elif following.isascii() and (following.isalpha() or following == "/"):
                out.append(self._tag(start))
            else:
                out.append("<")
                self._at = start + 1

    def _until(self, mark: str, start: int, search_from: int) -> str:
        """Leaves out all up to ``mark``; where there is none, what began it was text."""
        end = self._find(mark, search_from)
        if end < 0:
            self._at = start + 2
            return self._markup[start : start + 2]
        self._at = end + len(mark)
        return " "

    def _declaration(self, start: int) -> str:
        if self._markup.startswith("<!--", start):
            end = self._find("-->", start + 4)
            self._at = start + 4 if end < 0 else end + 3
            return " " if end < 0 else ""
        if self._markup.startswith("<![CDATA[", start):  # escaped once too often; what it holds is read on
            self._at = start + 9
            return ""
        return self._until(">", start, start + 2)

    def _tag(self, start: int) -> str:
        match = _TAG.match(self._markup, start, start + _TAG_LIMIT)
        if match is None:
            match = _NAME.match(self._markup, start, start + _TAG_LIMIT)
            end = self._find(">", start)
            if match is None or end < 0:
                self._at = start + 1
                return "<"
            self._at = end + 1
        else:
            self._at = match.end()
        name = match[1].lower()
        closing = self._markup[start + 1] == "/"
        if name in _SKIPPED and not closing:
            end_tag = _CLOSING[name].search(self._markup, self._at)
            self._at = end_tag.start() if end_tag else len(self._markup)
            return ""
        if name in _INLINE:
            return ""
        if name not in _ELEMENTS and _INSTRUMENT.fullmatch(match[0]):
            return f"&lt;{match[0][1:-1]}&gt;"
        return " "
