"""What full-text search sees of a text, and how a person's words become a query over it.

FTS5's trigram tokenizer cannot find the two-character words that Chinese mostly consists of, and matches English inside
words ("bank" in "embankment"). So English goes through ``porter unicode61`` word by word, and a run of Chinese (or
kana) is written as its overlapping pairs, 中国银行 as ``中国 国银 银行 行``. A phrase of pairs then is an exact
substring, however short; the lone last character lets one-character queries match as a prefix anywhere.
``benchmarks/storage.py --tokenizers`` measures both.

These functions are part of the store's schema: the index is told old tokens to delete them, so changing what they give
needs a migration that rebuilds it.
"""

from __future__ import annotations

import re
import unicodedata

_PAIRED = re.compile("[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_LONE = re.compile("[\ud800-\udfff]")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0: 0x20}
"""Full-width Latin letters and digits count as plain ones; NUL, where FTS5 would stop reading, is a space."""

QUERY_TERMS = 32
QUERY_CHARACTERS = 1_000
"""What of a query counts; more than anybody types, and few enough to be answered quickly."""


def _pairs(run: str) -> list[str]:
    return [run[index : index + 2] for index in range(len(run) - 1)]


def indexed(text: str) -> str:
    """The text as it goes into the full-text index."""
    return _PAIRED.sub(lambda match: f" {' '.join((*_pairs(match[0]), match[0][-1]))} ", text.translate(_WIDE))


def terms(text: str) -> list[str]:
    """The words a person looks for: a run of Chinese is one, what stands around it another; what holds neither letter
    nor digit is none. At most 32 words of the first 1,000 characters."""
    plain = _LONE.sub(" ", unicodedata.normalize("NFC", text[:QUERY_CHARACTERS]).translate(_WIDE))
    found: list[str] = []
    for word in plain.split():
        found.extend(_PAIRED.findall(word))
        found.extend(piece for piece in _PAIRED.split(word) if any(map(str.isalnum, piece)))
    return found[:QUERY_TERMS]


def match_expression(text: str) -> str:
    """An FTS5 expression that requires every word of ``text``; empty when there is nothing to look for.

    Whatever the text holds is data: quotes, operators and stars have no meaning.
    """
    return " AND ".join(map(_quoted, terms(text)))


def _quoted(term: str) -> str:
    if _PAIRED.fullmatch(term):
        return f'"{term}" *' if len(term) == 1 else f'"{" ".join(_pairs(term))}"'
    return '"{}"'.format(term.replace('"', '""'))
