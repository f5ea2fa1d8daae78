"""Reads rules files (TOML), checks everything, and says of every error where it stands and what was expected."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from alerts.rules.asked import Facts
from alerts.rules.engine import RuleSet
from alerts.rules.parser import QueryError, Vocabulary, parse
from alerts.rules.places import Places, Table
from alerts.rules.query import And, Field, Level, Near, Not, Or, Query, Regex, Word
from alerts.rules.rule import NAME, Rule
from monitor.core.errors import ConfigError
from monitor.core.types import Severity

__all__ = ["Facts", "load_rules", "parse_rules"]

KEYS = ("name", "title", "query", "severity", "open", "series", "cool_down", "quiet", "within")
FILE_LIMIT = 5_000_000
RULES_LIMIT = 10_000
ERRORS_SHOWN = 20
TITLE_LIMIT = 200
_SPAN = re.compile(r"(\d{1,5})\s*(m|min|h|d)")
_UNITS = {"m": 1, "min": 1, "h": 60, "d": 1440}
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=30)
_HINT = "See docs/rules.md; 'riskwire rules check FILE' tells whether a file is right."


def load_rules(paths: Iterable[Path], vocabulary: Vocabulary | None = None) -> RuleSet:
    """The rules of all files. Raises ConfigError that names each wrong rule with file, line and column."""
    rules: list[Rule] = []
    errors: list[str] = []
    for path in paths:
        found, wrong = _parse(_read(path), str(path), vocabulary)
        rules += found
        errors += wrong
    seen: dict[str, Rule] = {}
    for rule in rules:
        if rule.name in seen:
            first = seen[rule.name]
            errors.append(
                f"{rule.file}, line {rule.line}: there is a rule '{rule.name}' in {first.file}, line {first.line} "
                "already."
            )
        seen.setdefault(rule.name, rule)
    _raise(errors)
    if len(rules) > RULES_LIMIT:
        raise ConfigError(f"There are {len(rules):,} rules; at most {RULES_LIMIT:,} are taken.", hint=_HINT)
    return RuleSet(rules)


def parse_rules(text: str, file: str = "rules", vocabulary: Vocabulary | None = None) -> tuple[Rule, ...]:
    """The rules of one file's text. Raises ConfigError as :func:`load_rules` does."""
    rules, errors = _parse(text, file, vocabulary)
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            errors.append(f"{file}, line {rule.line}: there is a rule '{rule.name}' already.")
        seen.add(rule.name)
    _raise(errors)
    return tuple(rules)


def _raise(errors: list[str]) -> None:
    if errors:
        more = len(errors) - ERRORS_SHOWN
        shown = errors[:ERRORS_SHOWN] + ([f"… and {more} more."] if more > 0 else [])
        raise ConfigError("\n".join(shown), hint=_HINT)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise ConfigError(f"{path}: a rules file may have at most {FILE_LIMIT // 1_000_000} MB.", hint=_HINT)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the file is not UTF-8 (byte {error.start}).", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: the rules cannot be read: {error.strerror or error}.",
            hint="Check detect.rules in the configuration.",
        ) from error


def _parse(text: str, file: str, vocabulary: Vocabulary | None) -> tuple[list[Rule], list[str]]:
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}.", hint=_HINT) from error
    places = Places(text)
    errors = []
    for key in data:
        if key != "rules":
            offset = _found(places, key)
            errors.append(f"{file}, line {places.place(offset).line}: unknown key '{key}'. Expected [[rules]].")
    rows, tables = data.get("rules", []), places.arrays("rules")
    if not isinstance(rows, list) or len(rows) != len(tables):
        errors.append(f"{file}: each rule is written as a table of its own, under [[rules]].")
        return [], errors
    rules = []
    for row, table in zip(rows, tables, strict=True):
        reader = _Reader(file, places, table, row)
        try:
            rules.append(reader.rule(vocabulary))
        except _WrongError as error:
            errors.append(error.args[0])
    return rules, errors


def _found(places: Places, key: str) -> int:
    for table in places.tables:
        if table.name.strip("[]").partition(".")[0] == key:
            return table.start
        for name, (start, _) in table.keys.items():
            if not table.name and name.partition(".")[0] == key:
                return start
    return 0


class _WrongError(Exception):
    """One rule is wrong; the first argument is the whole sentence."""


class _Reader:
    """Reads one rule of a file."""

    def __init__(self, file: str, places: Places, table: Table, row: Mapping[str, Any]) -> None:
        self.file, self.places, self.table, self.row = file, places, table, row
        name = row.get("name")
        self.called = f"rule '{name}'" if isinstance(name, str) and name else "a rule without a name"

    def wrong(self, message: str, key: str = "", *, at: int | None = None, hint: str = "") -> _WrongError:
        """The error, with its place: that of the key, or of character ``at`` of its value."""
        offset = self.table.start
        if key in self.table.keys:
            start, value = self.table.keys[key]
            offset = start if at is None else value.offsets[min(at, len(value.offsets) - 1)] if value.offsets else start
        place = self.places.place(offset)
        where = f"{self.file}, line {place.line}" + (f", column {place.column}" if at is not None else "")
        return _WrongError(f"{where}: {self.called}: {message}." + (f" {hint}" if hint else ""))

    def text(self, key: str, default: str | None = None) -> str:
        value = self.row.get(key, default)
        if value is None:
            raise self.wrong(f"the key '{key}' is missing")
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(f"{key} must be a text, not {_shown(value)}", key)
        return value

    def rule(self, vocabulary: Vocabulary | None) -> Rule:
        for key in self.row:
            if key not in KEYS:
                close = difflib.get_close_matches(key, KEYS, n=1)
                raise self.wrong(
                    f"unknown key '{key}'",
                    key,
                    hint=f"Did you mean '{close[0]}'?" if close else f"Keys: {', '.join(KEYS)}.",
                )
        name = self.text("name")
        if not NAME.fullmatch(name) or len(name) > 80:
            raise self.wrong("a name holds small letters, digits, - and _ between them, at most 80", "name")
        title = self.row.get("title", "")
        if not isinstance(title, str) or len(title) > TITLE_LIMIT or "\n" in title:
            raise self.wrong(f"title must be one line of at most {TITLE_LIMIT} characters", "title")
        at_once = self._does()
        within = self.row.get("within", "text")
        if within not in ("text", "title"):
            raise self.wrong(f'within must be "text" or "title", not {_shown(within)}', "within")
        query = self._query(vocabulary)
        return Rule(
            name=name,
            query=query,
            title=title.strip(),
            severity=self._severity(),
            at_once=at_once,
            cool_down=self._span("cool_down", timedelta(hours=6)),
            quiet=self._span("quiet", timedelta(hours=2)),
            title_only=within == "title",
            file=self.file,
            line=self.places.place(self.table.start).line,
        )

    def _does(self) -> bool:
        opens, series = self.row.get("open"), self.row.get("series")
        if "open" in self.row and opens != "at once":
            raise self.wrong(f'open must be "at once", not {_shown(opens)}', "open")
        if "series" in self.row and series is not True:
            raise self.wrong(f"series must be true, not {_shown(series)}", "series")
        if (opens is None) == (series is None):
            raise self.wrong('expected one of open = "at once" and series = true', "series" if series else "")
        if series:
            for key in ("severity", "cool_down", "quiet"):
                if key in self.row:
                    raise self.wrong(
                        f'{key} goes with open = "at once"; the incidents of a series take theirs from its statistics',
                        key,
                    )
        return opens is not None

    def _severity(self) -> Severity:
        value = self.row.get("severity", Severity.WARNING.value)
        if value not in [item.value for item in Severity]:
            raise self.wrong(f"severity must be info, warning or critical, not {_shown(value)}", "severity")
        return Severity(value)

    def _span(self, key: str, default: timedelta) -> timedelta:
        value = self.row.get(key)
        if value is None:
            return default
        match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
        span = timedelta(minutes=int(match[1]) * _UNITS[match[2]]) if match else timedelta(0)
        if not _SHORTEST <= span <= _LONGEST:
            raise self.wrong(
                f'{key} must be a time from "1m" to "30d", such as "90m" or "6h", not {_shown(value)}', key
            )
        return span

    def _query(self, vocabulary: Vocabulary | None) -> Query:
        text = self.text("query")
        try:
            query = parse(text, vocabulary)
        except QueryError as error:
            raise self.wrong(error.message, "query", at=error.at, hint=error.hint) from error
        except ConfigError as error:
            raise self.wrong(error.message.rstrip("."), "query", hint=error.hint) from error
        if _of_nothing(query):
            raise self.wrong(
                "it is true of a story that says nothing, and so of nearly all",
                "query",
                hint="Ask for something that must be there.",
            )
        return query


def _of_nothing(query: Query) -> bool:
    """Whether a query is true where none of its words and fields is, whatever the probabilities are."""
    if isinstance(query, Not):
        return not _of_nothing(query.part) and not isinstance(query.part, Level)
    if isinstance(query, And):
        return all(_of_nothing(part) for part in query.parts)
    if isinstance(query, Or):
        return any(_of_nothing(part) for part in query.parts)
    if isinstance(query, Field):
        return query.name == "uncertain" and query.value == "no"
    assert isinstance(query, Word | Regex | Level | Near)
    return False


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
