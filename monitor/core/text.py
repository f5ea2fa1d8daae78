"""Small text helpers that several rooms share: cleaning, language. Standard library only."""

from __future__ import annotations

import re
import unicodedata

from monitor.core.language import guess_language as guess_language

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_SPACE = re.compile(r"\s+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_URL = re.compile(r"https?://\S+")


def clean(text: str, *, limit: int | None = None) -> str:
    """One line of valid text: NFC, control characters and lone surrogates removed, white space folded, cut to
    ``limit`` characters."""
    if limit is not None:
        text = text[: limit * 4]
    text = _CONTROL.sub("", text)
    text = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return text if limit is None else text[:limit].rstrip()


def normalised(text: str) -> str:
    """The form under which two texts are the same: NFKC, lower case, no URLs, white space folded."""
    return _SPACE.sub(" ", _URL.sub(" ", unicodedata.normalize("NFKC", text)).lower()).strip()


def has_han(text: str) -> bool:
    """True when the text contains a Chinese character."""
    return _HAN.search(text) is not None
