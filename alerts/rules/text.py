"""The one form of text in which rules look for words, with the way back to the article's own characters.

As for entities (:mod:`monitor.core.folding`): case, width, accents, typographic signs and runs of white space do not
matter. Besides, a traditional Chinese character is the same as its simplified one, and a hyphen in a word the same as a
space (``cyber-attack`` is ``cyber attack``). Title and body stay apart: no phrase reaches from one into the other.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import cache, cached_property
from importlib import resources

from monitor.core.folding import Folded, fold
from monitor.core.types import Article

LIMIT = 50_000
"""Characters of an article that words are looked for in: title and the beginning of the body."""

Span = tuple[int, int]
"""Start and end."""

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_HYPHENS = re.compile(r"(?<=\w)-(?=\w)")
_HAN = re.compile(r"[\u3400-\u9fff]")
"""Where the traditional characters are."""


@cache
def _simplified() -> dict[int, str]:
    text = resources.files("alerts.rules").joinpath("simplified.txt").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return {ord(old): new for above, below in pairs for old, new in zip(above, below, strict=True)}


def simplify(text: str) -> str:
    """Traditional characters as simplified ones, one by one; the length stays."""
    if text.isascii() or _HAN.search(text) is None:
        return text
    return text.translate(_simplified())


def normal(text: str) -> str:
    """A word or phrase in the form in which it is looked for; '' when nothing is left of it."""
    return _spaced(simplify(fold(text).text)).strip()


def _spaced(text: str) -> str:
    return _HYPHENS.sub(" ", text) if "-" in text else text


def glued(char: str) -> bool:
    """True for a character that makes one word with a letter beside it: a letter or digit of a script that separates
    words. Chinese, Japanese and Korean do not, so there a word is found anywhere."""
    if not char.isalnum():
        return char == "_"
    return not ("\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7af"
                or "\uf900" <= char <= "\ufaff" or char >= "\U00020000")  # fmt: skip


class _Glued(dict[str, bool]):
    """:func:`glued` by character, filled as characters come; a new one is worked out once."""

    def __missing__(self, char: str) -> bool:
        found = self[char] = glued(char)
        return found


GLUED = _Glued()


class RuleText:
    """An article's text in its normal form. Places are offsets into ``words`` (and ``plain``, of equal length)."""

    def __init__(self, article: Article) -> None:
        self.article = article
        title, body = article.title[:LIMIT], article.body[: max(0, LIMIT - len(article.title))]
        self._title = fold(title)
        self._body = fold(body) if body else Folded("")
        text = f"{self._title.text}\n{self._body.text}" if body else self._title.text
        self.plain = simplify(text)
        """Normal form with its hyphens: what expressions see."""
        self.words = _spaced(self.plain)
        """Normal form: what words and phrases are looked for in."""
        self.title_end = len(self._title.text)
        self._body_start = len(article.title) + 1
        self.even = self._title.origin is None and self._body.origin is None
        """Every character stands for one of the article's."""

    @cached_property
    def _tokens(self) -> list[int]:
        return [match.start() for match in _TOKEN.finditer(self.words)]

    def numbers(self, span: Span) -> Span:
        """Which words a span covers, counted from the beginning; a Chinese character counts as a word."""
        first = bisect_right(self._tokens, span[0]) - 1
        return first, max(first, bisect_left(self._tokens, span[1]) - 1)

    def original(self, span: Span) -> Span | None:
        """The span in ``Article.text``; None when it would cut through one of its characters."""
        start, end = span
        if end <= self.title_end:
            return self._title.span(start, end)
        shift = self.title_end + 1
        if start < shift:  # over the border, which only an expression can do
            return (start, start) if self._title.origin is None else (self._title.origin[start], self._body_start)
        found = self._body.span(start - shift, end - shift)
        return None if found is None else (found[0] + self._body_start, found[1] + self._body_start)

    def place(self, span: Span) -> Span:
        """The inverse: where characters of ``Article.text`` are in the normal form."""
        start, end = span
        if start < self._body_start:
            return _inside(self._title, start, min(end, self._body_start - 1))
        first, last = _inside(self._body, start - self._body_start, end - self._body_start)
        shift = self.title_end + 1
        return first + shift, last + shift


def _inside(folded: Folded, start: int, end: int) -> Span:
    if folded.origin is None:
        size = len(folded.text)
        return min(start, size), min(end, size)
    return bisect_left(folded.origin, start), bisect_left(folded.origin, end)


def united(spans: Iterable[Span]) -> list[Span]:
    """Spans in order of place, each once."""
    return sorted(set(spans))
