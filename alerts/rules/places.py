"""Where in a TOML file its ``[[tables]]`` and keys stand: ``tomllib`` does not tell.

Only for text that ``tomllib`` has read without complaint; nothing is checked here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}
_CODES = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Value:
    """The value of a key. ``offsets``: of a string, where in the file each of its characters stands, and its end."""

    start: int
    offsets: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """One table: its header (its name in it; '' for the top) and the keys in it."""

    name: str
    start: int
    keys: dict[str, tuple[int, Value]] = field(default_factory=dict)


class Places:
    """The tables of a file in order, the top one first."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.tables = [Table("", 0)]
        self._read()

    def place(self, offset: int) -> Place:
        """Line and column of a character of the file."""
        line = self._text.count("\n", 0, offset) + 1
        return Place(line, offset - (self._text.rfind("\n", 0, offset) + 1) + 1)

    def arrays(self, name: str) -> list[Table]:
        """The tables ``[[name]]``, in order."""
        return [table for table in self.tables if table.name == f"[{name}]"]

    def _read(self) -> None:
        text, size = self._text, len(self._text)
        while self._at < size:
            char = text[self._at]
            if char in " \t\r\n":
                self._at += 1
            elif char == "#":
                self._comment()
            elif char == "[":
                start, double = self._at, text.startswith("[[", self._at)
                self._at += 2 if double else 1
                name = self._key()
                self.tables.append(Table(f"[{name}]" if double else name, start))
                self._at += 2 if double else 1
            else:
                start = self._at
                name = self._key()
                self._at += 1  # the equals sign
                self._spaces()
                value = Value(self._at)
                self._value(value)
                self.tables[-1].keys[name] = (start, value)

    def _spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _comment(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end

    def _key(self) -> str:
        """A key, dotted or quoted, up to the sign that ends it."""
        parts: list[str] = []
        while self._text[self._at] not in "=]":
            char = self._text[self._at]
            if char in "\"'":
                value = Value(self._at)
                parts.append(self._string(value))
            else:
                if char not in " \t":
                    parts.append(char)
                self._at += 1
        return "".join(parts)

    def _value(self, value: Value) -> None:
        text, depth = self._text, 0
        if text[self._at] in "\"'":
            self._string(value)
            return
        while self._at < len(text):
            char = text[self._at]
            if char in "\"'":
                self._string(Value(self._at))
                continue
            if char == "#":
                self._comment()
                continue
            if char == "\n" and depth <= 0:
                return
            depth += (char in "[{") - (char in "]}")
            self._at += 1

    def _string(self, value: Value) -> str:
        """A string of any of the four kinds; notes where its characters stand."""
        text, quote = self._text, self._text[self._at]
        long = text.startswith(quote * 3, self._at)
        closing = quote * 3 if long else quote
        self._at += len(closing)
        if long and text.startswith("\n", self._at):
            self._at += 1
        found: list[str] = []
        while True:
            # Up to two quotes may stand before the three that close.
            if text.startswith(closing, self._at) and not (long and text.startswith(closing + quote, self._at)):
                break
            char, start = text[self._at], self._at
            if char == "\\" and quote == '"':
                char = self._escape()
                if not char:
                    continue
            else:
                self._at += 1
            found.append(char)
            value.offsets.append(start)
        value.offsets.append(self._at)
        self._at += len(closing)
        return "".join(found)

    def _escape(self) -> str:
        """The character of an escape; '' for a line that goes on in the next."""
        text = self._text
        mark = text[self._at + 1]
        if mark in _CODES:
            end = self._at + 2 + _CODES[mark]
            char = chr(int(text[self._at + 2 : end], 16))
            self._at = end
            return char
        if mark in _ESCAPES:
            self._at += 2
            return _ESCAPES[mark]
        self._at += 1
        while self._at < len(text) and text[self._at] in " \t\r\n":
            self._at += 1
        return ""
