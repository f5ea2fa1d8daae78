"""The SQL that counts the embedded store: facets of a search, and the breakdown by topic, entity or source."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from monitor.core.errors import UsageError
from monitor.core.types import SENTIMENTS, BreakdownQuery, BreakdownRow, Facets, Scope, SearchQuery
from monitor.db.values import to_micros
from monitor.store.queries import newest, plan_of

FACET_SAMPLE = 20_000
"""Matches that are looked at one by one; beyond, the newest so many stand for all."""
ROWS, STEPS = 1_000, 1_000
"""Of one breakdown."""
_TABLES = {Scope.TOPIC: "facts", Scope.SOURCE: "facts", Scope.ENTITY: "entities"}
NONE = Facets(total=0, topics={}, sentiments={}, sources={}, languages={}, entities={})


def facets(connection: sqlite3.Connection, query: SearchQuery) -> Facets:
    """See the port."""
    plan = plan_of(connection, query)
    if plan is None:
        return NONE
    total = int(connection.execute(f"SELECT COUNT(*) FROM {plan.tables} {plan.where}", plan.values).fetchone()[0])
    if "facts" not in plan.tables:
        plan.tables += " CROSS JOIN facts ON facts.position = words.rowid"
    sampled = total > FACET_SAMPLE
    columns = "facts.position, facts.topic, facts.sentiment, facts.source, facts.lang"
    if sampled:
        page = replace(query, limit=FACET_SAMPLE, offset=0)
        places = [place for (place,) in newest(connection, plan, page, total)]
        rows = [
            row
            for piece in _pieces(places)
            for row in connection.execute(
                f"SELECT {columns} FROM facts WHERE position IN ({','.join('?' * len(piece))})", piece
            )
        ]
    else:
        rows = connection.execute(f"SELECT {columns} FROM {plan.tables} {plan.where}", plan.values).fetchall()
    names = _Names(connection)
    return Facets(
        total=total,
        topics=names.counted(Counter(row[1] for row in rows)),
        sentiments={SENTIMENTS[number]: count for number, count in Counter(row[2] for row in rows).most_common()},
        sources=names.counted(Counter(row[3] for row in rows)),
        languages=names.counted(Counter(row[4] for row in rows)),
        entities=names.counted(_entities(connection, [row[0] for row in rows])),
        sampled=sampled,
    )


def _pieces(positions: list[int]) -> Iterator[list[int]]:
    """As many as fit into one statement."""
    for start in range(0, len(positions), 500):
        yield positions[start : start + 500]


def _entities(connection: sqlite3.Connection, positions: list[int]) -> Counter[int]:
    found: Counter[int] = Counter()
    for piece in _pieces(positions):
        marks = ",".join("?" * len(piece))
        found.update(
            dict(
                connection.execute(
                    f"SELECT entity, COUNT(*) FROM entities WHERE position IN ({marks}) GROUP BY entity", piece
                ).fetchall()
            )
        )
    return found


class _Names:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of(self, number: int) -> str:
        return str(self._connection.execute("SELECT name FROM names WHERE id = ?", (number,)).fetchone()[0])

    def counted(self, counts: Mapping[int, int]) -> dict[str, int]:
        """By name, most frequent first."""
        named = ((self.of(number), count) for number, count in counts.items())
        return dict(sorted(named, key=lambda pair: (-pair[1], pair[0])))


def check_breakdown(query: BreakdownQuery) -> tuple[int, int, int]:
    """Since, until and width in microseconds. Raises UsageError when they cannot be served."""
    since, until, width = to_micros(query.since), to_micros(query.until), int(query.width.total_seconds() * 1_000_000)
    if query.scope not in _TABLES:
        raise UsageError(f"There is no breakdown by '{query.scope}'.", hint="Use topic, entity or source.")
    if width <= 0 or until <= since or -(-(until - since) // width) > STEPS:
        raise UsageError(f"A breakdown has 1 to {STEPS} steps of positive width.", hint="Ask for wider steps.")
    return since, until, width


def breakdown(connection: sqlite3.Connection, query: BreakdownQuery) -> list[BreakdownRow]:
    """See the port. One short range of a covering index for each value that the store knows."""
    since, until, width = check_breakdown(query)
    table, column = _TABLES[query.scope], query.scope.value
    rows = connection.execute(
        # The values by a loose scan: one seek each, however many articles they have.
        f"WITH RECURSIVE value (id) AS (SELECT MIN({column}) FROM {table} UNION ALL SELECT (SELECT MIN({column}) "
        f"FROM {table} WHERE {column} > id) FROM value WHERE id IS NOT NULL) "
        f"SELECT id, (t.published - ?) / ? AS step, COUNT(*), SUM(t.negative) FROM value CROSS JOIN {table} AS t "
        f"ON t.{column} = value.id WHERE t.published >= ? AND t.published < ? GROUP BY id, step",
        (since, width, since, until),
    )
    return rows_of(_named(connection, rows), -(-(until - since) // width))


def _named(
    connection: sqlite3.Connection, rows: Iterable[tuple[int, int, int, float]]
) -> list[tuple[str, int, int, float]]:
    name = cache(_Names(connection).of)
    return [(name(number), step, articles, negatives) for number, step, articles, negatives in rows]


def rows_of(cells: Iterable[tuple[str, int, int, float]], steps: int) -> list[BreakdownRow]:
    """The rows of (value, step, articles, negatives), in the port's order."""
    table: dict[str, list[tuple[int, float]]] = {}
    for value, step, articles, negatives in cells:
        table.setdefault(value, [(0, 0.0)] * steps)[step] = (articles, negatives)
    rows = [
        BreakdownRow(
            value=value,
            articles=sum(articles for articles, _ in row),
            expected_negatives=sum(negatives for _, negatives in row),
            steps=tuple(row),
        )
        for value, row in table.items()
    ]
    return sorted(rows, key=lambda row: (-row.expected_negatives, row.value))[:ROWS]
