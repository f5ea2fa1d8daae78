"""The watchlist: the institutions and companies that articles are searched for.

It is read from CSV files: the packaged one first, then the user's own. A row with an id seen in an earlier file
replaces that entity whole. Columns (only ``id`` and ``name`` are required, unknown columns are refused):

    id          stable slug, e.g. ``deutsche-bank``
    name        English display name, also an alias          name_zh     Chinese display name, also an alias
    kind        slug, e.g. ``bank``                          country     ISO 3166 two letters, or empty
    tickers     ``NYSE:JPM|HKEX:700``                        aliases     English, separated by ``|``
    aliases_zh  Chinese, separated by ``|``                  context     rules for ambiguous aliases, see ``rules.py``
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from monitor.core.errors import ConfigError
from monitor.entities.folding import fold
from monitor.entities.rules import AliasRule, parse_rules
from monitor.entities.tickers import Ticker, parse_ticker

COLUMNS = ("id", "name", "name_zh", "kind", "country", "tickers", "aliases", "aliases_zh", "context")
REQUIRED = ("id", "name")
ALIAS_LIMIT = 120
FILE_LIMIT = 20_000_000
_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_COUNTRY = re.compile(r"[A-Z]{2}")
_DOCS = "docs/watchlist.md describes the columns."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One watch-listed institution or company. ``rules`` is keyed by the folded alias."""

    id: str
    name: str
    name_zh: str = ""
    kind: str = ""
    country: str = ""
    tickers: tuple[Ticker, ...] = ()
    aliases: tuple[str, ...] = ()
    rules: Mapping[str, AliasRule] = field(default_factory=dict)

    @property
    def all_aliases(self) -> tuple[str, ...]:
        """Both names and every alias, without repetitions (after folding)."""
        seen: dict[str, str] = {}
        for alias in (self.name, self.name_zh, *self.aliases):
            if alias:
                seen.setdefault(fold(alias).text, alias)
        return tuple(seen.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchlist:
    """Entities in the order in which they were first named; ids are unique."""

    entities: tuple[Entity, ...]

    def get(self, entity_id: str) -> Entity | None:
        """The entity with this id, or None."""
        return next((entity for entity in self.entities if entity.id == entity_id), None)

    def __len__(self) -> int:
        return len(self.entities)


def load_watchlist(paths: Iterable[Path | str] = (), *, packaged: bool = True) -> Watchlist:
    """Reads the packaged watchlist and then ``paths``; later rows replace earlier ones with the same id.

    Raises ConfigError that names file, line and column.
    """
    entities: dict[str, Entity] = {}
    if packaged:
        text = resources.files("monitor.entities").joinpath("watchlist.csv").read_text(encoding="utf-8")
        entities.update(_parse(text, "watchlist.csv"))
    for path in paths:
        entities.update(_parse(_read(Path(path)), str(path)))
    return Watchlist(entities=tuple(entities.values()))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise ConfigError(f"{path}: a watchlist may have at most {FILE_LIMIT // 1_000_000} MB.", hint=_DOCS)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: the file is not UTF-8 (byte {error.start}).", hint="Save it as CSV with UTF-8 encoding."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: the watchlist cannot be read: {error.strerror or error}.",
            hint="Check the path in the configuration and the file's permissions.",
        ) from error


class _Place:
    """Names file, line and column in errors."""

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self.line = line

    def error(self, column: str, message: str, hint: str = _DOCS) -> ConfigError:
        where = f"{self.file}, line {self.line}" + (f", column '{column}'" if column else "")
        return ConfigError(f"{where}: {message}", hint=hint)


def _parse(text: str, file: str) -> dict[str, Entity]:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _Place(file, line).error("", "the file holds a NUL byte.", "Save it as plain CSV.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    entities: dict[str, Entity] = {}
    first_line: dict[str, int] = {}
    before = 0
    while True:
        place = _Place(file, before + 1)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise place.error("", f"this is not valid CSV: {error}.", "Check the quotes around cells.") from error
        before = reader.line_num
        if cells is None:
            break
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        if header is None:
            header = _header(cells, place)
            continue
        if len(cells) > len(header):
            raise place.error(
                "", f"{len(cells)} cells, but the header has {len(header)} columns.", "Quote cells that hold a comma."
            )
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        entity = _entity(row, place)
        if entity.id in entities:
            raise place.error("id", f"'{entity.id}' is already given in line {first_line[entity.id]}.")
        entities[entity.id] = entity
        first_line[entity.id] = place.line
    if header is None:
        raise _Place(file, 1).error("", f"the file is empty; expected the header {','.join(COLUMNS)}.")
    return entities


def _header(cells: Sequence[str], place: _Place) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    for name in names:
        if name not in COLUMNS:
            raise place.error(name, f"unknown column; the columns are {', '.join(COLUMNS)}.")
        if names.count(name) > 1:
            raise place.error(name, "the column appears twice.")
    for name in REQUIRED:
        if name not in names:
            raise place.error(name, "the column is missing.")
    return names


def _entity(row: Mapping[str, str], place: _Place) -> Entity:
    identity, name = row.get("id", ""), row.get("name", "")
    if not _SLUG.fullmatch(identity):
        raise place.error("id", f"expected a slug such as 'deutsche-bank', got '{identity}'.")
    if not name:
        raise place.error("name", "the name is empty.")
    kind, country = row.get("kind", ""), row.get("country", "")
    if kind and not _SLUG.fullmatch(kind):
        raise place.error("kind", f"expected a slug such as 'bank', got '{kind}'.")
    if country and not _COUNTRY.fullmatch(country):
        raise place.error("country", f"expected two capital letters such as 'US', got '{country}'.")
    aliases: list[str] = []
    for column in ("name", "name_zh", "aliases", "aliases_zh"):
        values = [row.get(column, "")] if column.startswith("name") else row.get(column, "").split("|")
        for alias in filter(None, (value.strip() for value in values)):
            _check_alias(alias, column, place)
            aliases.append(alias)
    tickers: list[Ticker] = []
    for ticker in filter(None, (value.strip() for value in row.get("tickers", "").split("|"))):
        try:
            tickers.append(parse_ticker(ticker))
        except ValueError as error:
            raise place.error("tickers", f"{error}.") from error
    folded = {fold(alias).text for alias in aliases}
    try:
        rules = parse_rules(row.get("context", ""))
    except ValueError as error:
        raise place.error("context", f"{error}.") from error
    for alias, rule in rules.items():
        if alias not in folded:
            raise place.error("context", f"the rule for '{rule.alias}' names no alias of this row.")
    return Entity(
        id=identity,
        name=name,
        name_zh=row.get("name_zh", ""),
        kind=kind,
        country=country,
        tickers=tuple(tickers),
        aliases=tuple(aliases),
        rules=rules,
    )


def _check_alias(alias: str, column: str, place: _Place) -> None:
    if len(alias) > ALIAS_LIMIT:
        raise place.error(column, f"an alias has {len(alias)} characters; at most {ALIAS_LIMIT} are allowed.")
    folded = fold(alias).text.strip()
    if sum(char.isalnum() for char in folded) < 2:
        raise place.error(
            column,
            f"the alias '{alias}' is too short to be told from other text.",
            "Use at least two letters, or give it as a ticker.",
        )
