"""Small text helpers that several rooms share: cleaning, language, splitting into words. Standard library only."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_SPACE = re.compile(r"\s+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_LETTER = re.compile(r"[^\W\d_]")
_URL = re.compile(r"https?://\S+")
_LATIN_EN = frozenset({
    "the", "of", "to", "and", "in", "for", "on", "as", "with", "at", "by", "after", "from", "is", "are", "its",
    "over", "will", "says", "said", "be", "has", "have", "amid", "up", "down",
})  # fmt: skip
_LATIN_OTHER = frozenset({
    "der", "die", "und", "das", "ist", "nicht", "mit", "von", "le", "la", "les", "des", "est", "une", "dans", "pour",
    "el", "los", "las", "que", "con", "por", "del", "una", "il", "di", "che", "per", "não",
})  # fmt: skip


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


def guess_language(text: str) -> str:
    """``zh``, ``en``, ``ja``, ``ko`` by script, ``und`` when there is nothing to go by.

    Kana make it Japanese, Hangul Korean; Han make it Chinese when they are at least a fifth of the letters. Latin
    script counts as English unless common words of other European languages outnumber the English ones.
    """
    letters = len(_LETTER.findall(text))
    if not letters:
        return "und"
    if text.isascii():
        return _guess_latin(text)
    if len(_KANA.findall(text)) * 10 > letters:
        return "ja"
    if len(_HANGUL.findall(text)) * 5 > letters:
        return "ko"
    if len(_HAN.findall(text)) * 5 >= letters:
        return "zh"
    ascii_letters = sum(1 for char in text if char.isascii() and char.isalpha())
    if ascii_letters * 5 < letters * 4:
        return "und"
    return _guess_latin(text)


def _guess_latin(text: str) -> str:
    words = text.lower().split()
    english = sum(1 for word in words if word in _LATIN_EN)
    other = sum(1 for word in words if word in _LATIN_OTHER)
    return "und" if other > english else "en"
