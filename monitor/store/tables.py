"""The tables of the embedded store and the SQL that writes them. Synchronous.

``articles`` holds what people read, in the order of arrival. ``facts`` repeats, in a few bytes a row, what articles are
filtered, ordered and counted by, so that a search over a common word or a year's series reads megabytes, not gigabytes;
its indexes answer series without touching a row. ``words`` is the full-text index over :func:`words.indexed`, without a
copy of the text; it is kept in step here, in the same transaction.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

from monitor.core.types import ScoredArticle
from monitor.db.schema import statements
from monitor.store.rows import COLUMNS, NAMED, Row, decode, entity_ids
from monitor.store.words import indexed


def _name_generation(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE generation (id TEXT NOT NULL)")
    connection.execute("INSERT INTO generation (id) VALUES (?)", (secrets.token_hex(4),))


def _create(connection: sqlite3.Connection) -> None:
    statements(
        "CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        "CREATE TABLE articles (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
        "fetched INTEGER NOT NULL, scored INTEGER NOT NULL, model INTEGER NOT NULL, topic_labels INTEGER NOT NULL, "
        "topic_values BLOB NOT NULL, sentiment_labels INTEGER NOT NULL, sentiment_values BLOB NOT NULL, "
        "signature TEXT NOT NULL, title TEXT NOT NULL, url TEXT NOT NULL, more TEXT, body TEXT NOT NULL)",
        "CREATE TABLE facts (position INTEGER PRIMARY KEY REFERENCES articles, published INTEGER NOT NULL, "
        "source INTEGER NOT NULL, topic INTEGER NOT NULL, sentiment INTEGER NOT NULL, lang INTEGER NOT NULL, "
        "negative REAL NOT NULL)",
        "CREATE INDEX facts_by_time ON facts (published, source, negative)",
        "CREATE INDEX facts_by_topic ON facts (topic, published, source, negative)",
        "CREATE INDEX facts_by_source ON facts (source, published, negative)",
        "CREATE TABLE entities (entity INTEGER NOT NULL, published INTEGER NOT NULL, "
        "position INTEGER NOT NULL, source INTEGER NOT NULL, negative REAL NOT NULL, "
        "PRIMARY KEY (entity, published, position)) WITHOUT ROWID",
        "CREATE VIRTUAL TABLE words USING fts5 (title, body, content='', "
        "tokenize='porter unicode61 remove_diacritics 2')",
    )(connection)
    _name_generation(connection)


_spread = statements(
    "CREATE INDEX entities_by_position ON entities (position)",
    "CREATE INDEX facts_by_sentiment ON facts (sentiment, published)",
    "CREATE INDEX facts_by_lang ON facts (lang, published)",
)
"""Version 2: how the matches of a search are spread. On 1,000,000 articles it takes seconds, once."""

MIGRATIONS = (_create, _spread)

_INSERT = f"INSERT INTO articles ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_KEPT_COLUMNS = {"id", "fetched"}  # a second put changes neither
_UPDATED = [name for name in COLUMNS if name not in _KEPT_COLUMNS]
_UPDATE = f"UPDATE articles SET {', '.join(f'{name} = ?' for name in _UPDATED)} WHERE position = ?"
_UPDATED_INDEXES = [COLUMNS.index(name) for name in _UPDATED]
_NAMED_INDEXES = [COLUMNS.index(name) for name in NAMED]
_TITLE, _BODY = COLUMNS.index("title"), COLUMNS.index("body")

_FACTS = (
    "INSERT OR REPLACE INTO facts (position, published, source, topic, sentiment, lang, negative) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_ENTITY = "INSERT INTO entities (entity, published, position, source, negative) VALUES (?, ?, ?, ?, ?)"
_WORDS = "INSERT INTO words (rowid, title, body) VALUES (?, ?, ?)"
_UNWORDS = "INSERT INTO words (words, rowid, title, body) VALUES ('delete', ?, ?, ?)"

_SELECTED = ", ".join(f"{name}_name.name" if name in NAMED else f"articles.{name}" for name in COLUMNS)
_JOINS = " ".join(f"JOIN names AS {name}_name ON {name}_name.id = articles.{name}" for name in NAMED)
READ = (
    f"SELECT articles.position, source_name.name, lang_name.name, facts.published, {_SELECTED} FROM articles "
    "JOIN facts ON facts.position = articles.position "
    f"JOIN names AS source_name ON source_name.id = facts.source JOIN names AS lang_name ON lang_name.id = facts.lang "
    f"{_JOINS}"
)
"""Whole articles; :func:`item` takes its rows."""


def item(row: Sequence[object]) -> ScoredArticle:
    """One row of :data:`READ`."""
    _, source, lang, published, *article = row
    return decode(str(source), str(lang), int(published), article)  # type: ignore[call-overload]


def find_name(connection: sqlite3.Connection, name: str) -> int | None:
    """The number of a name, or None when no article ever had it."""
    try:
        row = connection.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
    except UnicodeEncodeError:  # half a character: nothing that was ever stored
        return None
    return None if row is None else int(row[0])


class Names:
    """Gives names their numbers, once each in a transaction (a roll-back may take new ones away again)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a name; a new name gets one."""
        known = self._known.get(name)
        if known is None:
            known = find_name(self._connection, name)
            if known is None:
                known = self._connection.execute("INSERT INTO names (name) VALUES (?)", (name,)).lastrowid
                assert known is not None
            self._known[name] = known
        return known


def put(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Inserts or replaces; the last of several with one id wins."""
    names = Names(connection)
    for row in rows:
        _put(connection, names, row)


def _put(connection: sqlite3.Connection, names: Names, row: Row) -> None:
    values = list(row.article)
    for index in _NAMED_INDEXES:
        values[index] = names.number(values[index])
    old = connection.execute("SELECT position, title, body, more FROM articles WHERE id = ?", (row.id,)).fetchone()
    title, body = row.article[_TITLE], row.article[_BODY]
    if old is None:
        made = connection.execute(_INSERT, values).lastrowid
        assert made is not None
        position = made
        connection.execute(_WORDS, (position, indexed(title), indexed(body)))
    else:
        position, old_title, old_body, old_more = old
        _remove_entities(connection, position, old_more)
        connection.execute(_UPDATE, (*(values[index] for index in _UPDATED_INDEXES), position))
        if (old_title, old_body) != (title, body):
            connection.execute(_UNWORDS, (position, indexed(old_title), indexed(old_body)))
            connection.execute(_WORDS, (position, indexed(title), indexed(body)))
    source = names.number(row.source)
    topic, lang = names.number(row.topic), names.number(row.lang)
    connection.execute(_FACTS, (position, row.published, source, topic, row.sentiment, lang, row.negative))
    for entity in row.entities:
        connection.execute(_ENTITY, (names.number(entity), row.published, position, source, row.negative))


def _remove_entities(connection: sqlite3.Connection, position: int, more: str | None) -> None:
    for entity in entity_ids(more):
        connection.execute(
            "DELETE FROM entities WHERE entity = (SELECT id FROM names WHERE name = ?) "
            "AND published = (SELECT published FROM facts WHERE position = ?) AND position = ?",
            (entity, position, position),
        )


def expire(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Drops up to ``limit`` articles published before ``before``; returns how many."""
    doomed = connection.execute(
        "SELECT position, title, body, more FROM articles WHERE position IN "
        "(SELECT position FROM facts WHERE published < ? ORDER BY published LIMIT ?)",
        (before, limit),
    ).fetchall()
    for position, title, body, more in doomed:
        connection.execute(_UNWORDS, (position, indexed(title), indexed(body)))
        _remove_entities(connection, position, more)
        connection.execute("DELETE FROM facts WHERE position = ?", (position,))
        connection.execute("DELETE FROM articles WHERE position = ?", (position,))
    return len(doomed)
