"""Article lines from a file or standard input, whatever its bytes: what is wrong is said with line and next step."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from datetime import datetime
from typing import IO

from monitor.core.codec import article_from_row, loads
from monitor.core.errors import CodecError, UsageError
from monitor.core.text import has_han
from monitor.core.types import Article

LONGEST_LINE = 16_000_000
"""Bytes of one line; a longer one is no article, and would fill the memory."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_JSON_HINT = 'Write one JSON object a line, {"title": "…"}; --text takes plain lines.'


def read_articles(stream: IO[bytes], name: str, now: datetime, *, plain: bool, encoding: str = "") -> Iterator[Article]:
    """The articles of a stream, a line each; in JSON lines, blank lines are passed over.

    The encoding is ``encoding``, or what a byte order mark at the start says, or UTF-8. Raises UsageError that names
    the line: bytes that are no text in that encoding, text that is no article.
    """
    for number, line in _lines(stream, name, encoding):
        if not plain and not line.strip():
            continue
        row: object = None
        try:
            row = {"title": line, "source": "text"} if plain else loads(line)
            article = article_from_row(row, now=now)  # refuses what is no object
        except CodecError as error:
            hint = error.hint or _hint(line, row, number=number, plain=plain)
            raise UsageError(f"{name}, line {number}: {error.message}", hint=hint) from error
        yield article


def _lines(stream: IO[bytes], name: str, encoding: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends."""
    try:
        chosen = codecs.lookup(encoding or "utf-8").name
    except LookupError as error:
        raise UsageError(f"There is no encoding '{encoding}'.", hint="Try utf-8, gb18030 or utf-16.") from error
    first = _raw_line(stream, name, 1)
    if not encoding or chosen in ("utf-16", "utf-32"):
        for mark, marked in _MARKS:
            if first.startswith(mark):
                chosen = marked
                first = first[len(mark) :]
                break
    wide = {"utf-16": 2, "utf-16-le": 2, "utf-16-be": 2, "utf-32": 4, "utf-32-le": 4, "utf-32-be": 4}.get(chosen, 1)
    if wide > 1:
        yield from _wide_lines(stream, name, first, chosen)
        return
    raw, number = first, 1
    while raw:
        if number == 1 and not encoding and b"\x00" in raw[:200]:
            raise UsageError(
                f"{name}, line 1: the bytes look like UTF-16 without a byte order mark.",
                hint="Say so: --encoding utf-16-le (or utf-16-be).",
            )
        try:
            line = raw.decode(chosen)
        except UnicodeDecodeError as error:
            where, byte = error.start + 1, raw[error.start]
            raise UsageError(
                f"{name}, line {number}: byte {where} (0x{byte:02x}) is no {chosen.upper()} text.",
                hint=_encoding_hint(raw, chosen),
            ) from error
        yield number, line.rstrip("\r\n")
        number += 1
        raw = _raw_line(stream, name, number)


def _raw_line(stream: IO[bytes], name: str, number: int) -> bytes:
    raw = stream.readline(LONGEST_LINE + 1)
    if len(raw) > LONGEST_LINE:
        raise _too_long(name, number)
    return raw


def _too_long(name: str, number: int) -> UsageError:
    return UsageError(
        f"{name}, line {number}: longer than {LONGEST_LINE // 1_000_000} MB.",
        hint="Is this a text file with line ends?",
    )


def _wide_lines(stream: IO[bytes], name: str, first: bytes, encoding: str) -> Iterator[tuple[int, str]]:
    """Lines of an encoding in which a line end is more than one byte."""
    decoder = codecs.getincrementaldecoder(encoding)()
    number, text, raw = 1, "", first
    while True:
        try:
            text += decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name}, line {number}: this is no {encoding.upper()} text: {error.reason}.", hint="Is the file whole?"
            ) from error
        *whole, text = text.split("\n")
        for line in whole:
            yield number, line.rstrip("\r")
            number += 1
        if len(text) > LONGEST_LINE:
            raise _too_long(name, number)
        if not raw:
            break
        raw = stream.read(65_536)
    if text:
        yield number, text.rstrip("\r")


def _encoding_hint(raw: bytes, tried: str) -> str:
    if tried != "utf-8":
        return "Is this the right --encoding?"
    try:
        chinese = raw.decode("gb18030")
    except UnicodeDecodeError:
        chinese = ""
    if sum(map(has_han, chinese)) * 3 >= sum(1 for char in chinese if not char.isascii()) > 0:
        return f"In GB18030 (GBK) it reads '{chinese.strip()[:24]}': if that is right, use --encoding gb18030."
    return "Convert the file to UTF-8, or say what it is, e.g. --encoding cp1252."


def _hint(line: str, row: object, *, number: int, plain: bool) -> str:
    """The next step after a line that is no article."""
    if plain:
        return "Remove the line, or write something on it."
    if isinstance(row, dict):
        return (
            f"Its fields are: {', '.join(map(str, list(row)[:12])) or 'none'}. 'title' or 'body' holds what is scored."
        )
    if isinstance(row, list):
        return "Write its items one a line: jq -c '.[]' FILE"
    if number == 1 and _like_csv(line):
        return f"This looks like a CSV file. {_JSON_HINT}"
    if number == 1 and line.lstrip().startswith("["):
        return "This looks like one JSON array. Write its items one a line: jq -c '.[]' FILE"
    if number == 1 and line.strip() == "{":
        return "This looks like JSON over several lines. Write it on one: jq -c . FILE"
    return _JSON_HINT


def _like_csv(line: str) -> bool:
    for separator in (",", ";", "\t"):
        try:
            cells = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:  # a lone carriage return
            continue
        if len(cells) > 1 and all(len(cell) < 40 and cell.strip(' "').replace("_", "").isalnum() for cell in cells):
            return True
    return False
