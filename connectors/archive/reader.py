"""Reads an archive as a stream: bounded memory, file order, every bad row named by file and line."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from connectors.archive.mapping import FIELDS, ColumnMapping
from connectors.feed.dates import OLDEST, parse_date
from monitor.core.codec import article_from_row, time_from_str, time_to_str
from monitor.core.errors import CodecError, MalformedError, RecordError, UsageError
from monitor.core.ids import article_id
from monitor.core.types import Article

LINE_LIMIT = 16 * 1024 * 1024
NEWEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Later dates are taken for defects (9999-12-31 as "unknown")."""
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that could not be read: where it is and what is wrong with it."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason}"


OnError = Callable[[BadRow], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place between two rows: uncompressed byte offset, and the number of the last line read."""

    offset: int = 0
    line: int = 0


class _LongLine(Exception):  # noqa: N818 - a signal between two functions here
    pass


class _Lines:
    """Decoded lines of a binary file that knows where it stands. Iterating ends at the end of the file."""

    def __init__(self, file: BinaryIO, position: Position) -> None:
        self._file = file
        self.offset = position.offset
        self.line = position.line
        if position.offset:
            file.seek(position.offset)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(LINE_LIMIT)
        if not raw:
            raise StopIteration
        self.line += 1
        first = self.offset == 0
        self.offset += len(raw)
        if len(raw) == LINE_LIMIT and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = self._file.readline(LINE_LIMIT)
                self.offset += len(raw)
            raise _LongLine
        return raw.decode("utf-8-sig" if first else "utf-8", "replace")

    @property
    def position(self) -> Position:
        return Position(offset=self.offset, line=self.line)


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO, None, None]:
    """Opens ``path``, unpacking gzip. Raises UsageError when it cannot be read, MalformedError when it is damaged."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if packed:
                with gzip.open(plain) as unpacked:
                    yield cast("BinaryIO", unpacked)
            else:
                yield plain
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise MalformedError(
            f"{path} is damaged: {error}.", hint="Copy the archive again; what was read before this is good."
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path and its permissions."
        ) from error


def _kind(path: Path, file: BinaryIO) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    start = file.read(4_096).lstrip(b"\xef\xbb\xbf \t\r\n")
    file.seek(0)
    return "jsonl" if start.startswith(b"{") else "csv"


def read_archive(
    path: Path | str,
    *,
    mapping: ColumnMapping | None = None,
    source: str = "",
    on_error: OnError | None = None,
) -> Iterator[Article]:
    """The articles of a JSONL, CSV or TSV file (``.gz`` or not), in the order of the file.

    Columns are recognised by name; ``mapping`` overrides that. ``source`` stands in where a row names none (the file's
    name by default). ``fetched_at`` equals ``published_at``: in a replay, an article is there when it is published.
    A row that already has ``topics`` and ``sentiments`` is taken as scored. A bad row is given to ``on_error``, or
    raised as CodecError when there is none. Raises UsageError (no such file, no such column) and MalformedError.
    """
    for article, _ in read_from(path, Position(), mapping=mapping, source=source, on_error=on_error):
        if article is not None:
            yield article


def read_from(
    path: Path | str,
    start: Position,
    *,
    mapping: ColumnMapping | None = None,
    source: str = "",
    on_error: OnError | None = None,
) -> Generator[tuple[Article | None, Position], None, None]:
    """As :func:`read_archive`, from a position on; each row, also a bad one (None), with the position after it."""
    path = Path(path)
    source = source or path.name.split(".")[0] or "archive"
    with _opened(path) as file:
        kind = _kind(path, file)
        if kind == "jsonl":
            rows = _json_rows(path, file, start, mapping)
        else:
            rows = _csv_rows(path, file, start, mapping, "\t" if kind == "tsv" else ",")
        for row, line, position in rows:
            reason = row if isinstance(row, str) else ""
            article = None
            if isinstance(row, dict):
                try:
                    article = _article(row, source)
                except RecordError as error:
                    reason = error.message
            if reason:
                bad = BadRow(path=path, line=line, reason=reason)
                if on_error is None:
                    raise CodecError(f"{bad}", hint="Mend or remove this row.")
                on_error(bad)
            yield article, position


Row = tuple[dict[str, object] | str, int, Position]
"""A row's fields, or what is wrong with it; its first line; the position after it."""


def _json_rows(path: Path, file: BinaryIO, start: Position, mapping: ColumnMapping | None) -> Iterator[Row]:
    lines = _Lines(file, start)
    detected: ColumnMapping | None = None
    while True:
        try:
            text = next(lines)
        except StopIteration:
            return
        except _LongLine:
            yield f"the line has more than {LINE_LIMIT} bytes.", lines.line, lines.position
            continue
        if not text.strip():
            continue
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield f"this is not JSON: {error}.", lines.line, lines.position
            continue
        if not isinstance(data, dict):
            yield f"this is not a JSON object but {type(data).__name__}.", lines.line, lines.position
            continue
        if detected is None or not all(column in data for column in detected.columns.values()):
            detected = ColumnMapping.detect(data) if mapping is None else mapping.over(ColumnMapping.detect(data))
        yield _renamed(data, detected), lines.line, lines.position


def _csv_rows(
    path: Path, file: BinaryIO, start: Position, mapping: ColumnMapping | None, delimiter: str
) -> Iterator[Row]:
    csv.field_size_limit(LINE_LIMIT)  # a title of 1 MB is odd but no reason to stop
    lines = _Lines(file, Position())
    try:
        header = next(csv.reader(lines, delimiter=delimiter), None)
    except (csv.Error, _LongLine) as error:
        raise MalformedError(f"{path}: its first line is no CSV header: {error}.") from error
    if header is None:
        return
    chosen = ColumnMapping.detect(header) if mapping is None else mapping.over(ColumnMapping.detect(header))
    chosen.check(header, where=str(path))
    if start.offset > lines.offset:
        lines = _Lines(file, start)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        first = lines.line + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _LongLine:
            yield f"the line has more than {LINE_LIMIT} bytes.", first, lines.position
            reader = csv.reader(lines, delimiter=delimiter)
            continue
        except csv.Error as error:
            yield f"this is not CSV: {error}.", first, lines.position
            reader = csv.reader(lines, delimiter=delimiter)
            continue
        if not cells:
            continue
        if len(cells) != len(header):
            yield f"{len(cells)} cells where the header has {len(header)}.", first, lines.position
            continue
        data: dict[str, object] = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        row = _renamed(data, chosen)
        for name in ("topics", "sentiments"):
            if isinstance(row.get(name), str):
                try:
                    row[name] = json.loads(str(row[name]))
                except (ValueError, RecursionError):
                    row[name] = None
        yield row, first, lines.position


def _renamed(data: Mapping[str, object], mapping: ColumnMapping) -> dict[str, object]:
    row = {name: data[column] for name, column in mapping.columns.items() if column in data}
    row.update(mapping.constants)
    return {name: row[name] for name in FIELDS if name in row}


def archive_time(value: object) -> datetime:
    """Reads a row's time: ISO 8601, Unix seconds or milliseconds, or a spelling that feeds use. Raises CodecError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _unix(float(value))
    if not isinstance(value, str):
        raise CodecError("'published_at' is missing.")
    try:
        moment = time_from_str(value, field="published_at")
    except CodecError:
        text = value.strip()
        if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) >= 9:
            return _unix(float(text[:20]))
        found = parse_date(text).at
        if found is None:
            raise
        moment = found
    if not OLDEST <= moment <= NEWEST:
        raise CodecError(f"'published_at' is not believable: {value[:40]!r}.")
    return moment


def _unix(seconds: float) -> datetime:
    if seconds > 1e11:
        seconds /= 1000
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise CodecError("'published_at' is no time.") from error
    if not OLDEST <= moment <= NEWEST:
        raise CodecError(f"'published_at' is not believable: {moment:%Y-%m-%d}.")
    return moment


def _article(row: dict[str, object], source: str) -> Article:
    moment = archive_time(row.get("published_at"))
    row["published_at"] = time_to_str(moment)
    guid = row.pop("guid", None)
    if isinstance(guid, str) and guid.strip() and not row.get("id"):
        name = row.get("source")
        row["id"] = article_id(name if isinstance(name, str) and name else source, guid=guid)
    return article_from_row(row, now=moment, source=source)
