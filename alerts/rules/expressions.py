"""Regular expressions that cannot hang: RE2 (linear in the text, no backtracking), with a bound on their size.

RE2 was chosen over the module ``regex`` with its timeout: a timeout only ends what has already cost a second per
article, and differs from run to run. Size, text and number of matches are bounded here, so that the time is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from alerts.rules.text import RuleText, Span, simplify
from monitor.core.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

LENGTH = 500
"""Characters of an expression at most."""
PROGRAM = 1_000
"""Instructions of its program at most, as RE2 counts them."""
READ = 20_000
"""Characters of a text that expressions read."""
MATCHES = 20
"""Matches that are looked at, the first ones: finding each may read the rest of the text."""
_MEMORY = 1 << 20


def _engine() -> ModuleType:
    try:
        import re2
    except ImportError as error:
        raise ConfigError(
            "Rules with expressions (/…/) need the package google-re2, which is not installed.",
            hint="pip install google-re2",
        ) from error
    engine: ModuleType = re2
    return engine


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:
    """The expression, compiled. Raises ValueError that says what is wrong with it, ConfigError without RE2."""
    engine = _engine()
    if len(pattern) > LENGTH:
        raise ValueError(f"it is longer than {LENGTH} characters")
    options = engine.Options()
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        expression = engine.compile(simplify(pattern), options)
    except engine.error as error:
        why = error.args[0] if error.args else "it cannot be read"
        raise ValueError(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)) from error
    if max(expression.programsize, expression.reverseprogramsize) > PROGRAM:
        raise ValueError(f"it is too large: more than {PROGRAM} instructions; make its repetitions {{…}} smaller")
    if expression.search(b"") is not None:
        raise ValueError("it matches the empty text, and so every story")
    return expression


class Reader:
    """Searches one text with expressions; the text is encoded once."""

    def __init__(self, text: RuleText) -> None:
        plain = text.plain[:READ]
        self._ascii = plain.isascii()
        self._whole = plain.encode("utf-8", "replace")
        self._title = plain[: text.title_end].encode("utf-8", "replace")

    def spans(self, pattern: str, *, title: bool) -> Iterator[Span]:
        """Where the expression matches, at most ``MATCHES`` times."""
        data = self._title if title else self._whole
        for match in islice(compiled(pattern).finditer(data), MATCHES):
            start, end = match.span()
            if start < end:
                yield (start, end) if self._ascii else (_count(data[:start]), _count(data[:end]))


def _count(data: bytes) -> int:
    return len(data.decode("utf-8"))
