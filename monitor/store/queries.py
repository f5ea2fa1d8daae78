"""The SQL that reads the embedded store: search and series."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from monitor.core.errors import UsageError
from monitor.core.types import SENTIMENTS, Scope, ScoredArticle, SearchPage, SearchQuery, SeriesPoint, SeriesQuery
from monitor.db.values import from_micros, to_micros
from monitor.store.tables import READ, find_name, item
from monitor.store.words import match_expression

SEARCH_LIMIT = 1_000
OFFSET_LIMIT = 100_000
_FREQUENT = 50_000
"""Hits of a search from which on it pays to look at the newest articles first."""
SERIES_STEPS = 100_000
"""Points of one answer: ten years of hours fit."""


@dataclass(slots=True)
class Plan:
    """The parts of a search statement."""

    tables: str = "facts"
    conditions: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)

    def add(self, condition: str, *values: object) -> None:
        self.conditions.append(condition)
        self.values.extend(values)

    @property
    def where(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""


def check_search(query: SearchQuery) -> None:
    """Raises UsageError when limit or offset cannot be served."""
    if not 0 <= query.limit <= SEARCH_LIMIT:
        raise UsageError(f"A search gives 0 to {SEARCH_LIMIT} articles at a time, not {query.limit}.")
    if not 0 <= query.offset <= OFFSET_LIMIT:
        raise UsageError(
            f"A search can skip 0 to {OFFSET_LIMIT} articles, not {query.offset}.", hint="Narrow it by time instead."
        )


def search(connection: sqlite3.Connection, query: SearchQuery) -> SearchPage:
    """Newest first; articles of the same time in the reverse order of arrival."""
    plan = plan_of(connection, query)
    if plan is None:
        return SearchPage(items=(), total=0)
    total = connection.execute(f"SELECT COUNT(*) FROM {plan.tables} {plan.where}", plan.values).fetchone()[0]
    if plan.tables.startswith("words") and "facts" not in plan.tables:
        plan.tables += " CROSS JOIN facts ON facts.position = words.rowid"
    rows = newest(connection, plan, query, int(total))
    return SearchPage(items=tuple(_by_position(connection, position) for (position,) in rows), total=int(total))


def newest(connection: sqlite3.Connection, plan: Plan, query: SearchQuery, total: int) -> list[tuple[int]]:
    """Positions of the page. Of a frequent word's hits only those of the newest articles are looked at, as long as
    they fill the page: the full-text index is entered at the first position that such an article has."""
    order = "ORDER BY facts.published DESC, facts.position DESC LIMIT ? OFFSET ?"
    sql = f"SELECT facts.position FROM {plan.tables} {plan.where}"
    if total > _FREQUENT and plan.tables.startswith("words"):
        stored = connection.execute("SELECT MAX(position) - MIN(position) + 1 FROM facts").fetchone()[0]
        look = max(1_000, 4 * (query.limit + query.offset + 1) * stored // total)
        end = 1 << 62 if query.until is None else to_micros(query.until)
        found = connection.execute(
            "SELECT published FROM facts WHERE published < ? ORDER BY published DESC LIMIT 1 OFFSET ?", (end, look)
        ).fetchone()
        if found is not None:
            low, high = connection.execute(
                "SELECT MIN(position), MAX(position) FROM facts WHERE published >= ? AND published < ?", (found[0], end)
            ).fetchone()
            rows = connection.execute(
                f"{sql} AND facts.published >= ? AND words.rowid BETWEEN ? AND ? {order}",
                (*plan.values, found[0], low, high, query.limit, query.offset),
            ).fetchall()
            if len(rows) == query.limit:
                return rows
    return connection.execute(f"{sql} {order}", (*plan.values, query.limit, query.offset)).fetchall()


def plan_of(connection: sqlite3.Connection, query: SearchQuery) -> Plan | None:
    """What to read for a search; None when nothing can match."""
    plan = Plan()
    for column, name in (("topic", query.topic), ("source", query.source), ("lang", query.lang)):
        if name:
            number = find_name(connection, name)
            if number is None:
                return None
            plan.add(f"facts.{column} = ?", number)
    if query.sentiment:
        if query.sentiment not in SENTIMENTS:
            return None
        plan.add("facts.sentiment = ?", SENTIMENTS.index(query.sentiment))
    if query.since is not None:
        plan.add("facts.published >= ?", to_micros(query.since))
    if query.until is not None:
        plan.add("facts.published < ?", to_micros(query.until))
    if query.entity:
        entity = find_name(connection, query.entity)
        if entity is None:
            return None
        plan.add(
            "facts.position IN (SELECT position FROM entities WHERE entity = ? AND published >= ? AND published < ?)",
            entity,
            -(1 << 62) if query.since is None else to_micros(query.since),
            1 << 62 if query.until is None else to_micros(query.until),
        )
    if query.text.strip():
        expression = match_expression(query.text)
        if not expression:
            return None
        # CROSS JOIN keeps the order: first the words, then a look at the facts of each hit.
        plan.tables = "words CROSS JOIN facts ON facts.position = words.rowid" if plan.conditions else "words"
        plan.add("words MATCH ?", expression)
    return plan


def _by_position(connection: sqlite3.Connection, position: int) -> ScoredArticle:
    return item(connection.execute(f"{READ} WHERE articles.position = ?", (position,)).fetchone())


def check_series(query: SeriesQuery) -> tuple[int, int, int]:
    """Since, until and width in microseconds. Raises UsageError when they cannot be served."""
    since, until, width = to_micros(query.since), to_micros(query.until), int(query.width.total_seconds() * 1_000_000)
    if width <= 0:
        raise UsageError("The width of a series' steps must be positive.")
    if query.key.scope in (Scope.PAIR, Scope.LANGUAGE):
        raise UsageError(
            f"The store counts no series of the scope '{query.key.scope.value}'.",
            hint="Ask for the topic or the entity.",
        )
    if query.key.scope is Scope.RULE:
        raise UsageError(
            "The store keeps articles, not what rules made of them.", hint="'riskwire rules test' runs rules over them."
        )
    if until > since and (until - since) / width > SERIES_STEPS:
        raise UsageError(
            f"A series has at most {SERIES_STEPS} steps, this one would have {(until - since) // width}.",
            hint="Ask for wider steps or a shorter time.",
        )
    return since, until, width


def series(connection: sqlite3.Connection, query: SeriesQuery) -> list[SeriesPoint]:
    """Counts per step, read from a covering index alone. The last step may reach beyond ``until``; it counts only
    what lies before."""
    since, until, width = check_series(query)
    if until <= since:
        return []
    table, condition, values = "facts", "", []
    if query.key.scope is not Scope.ALL:
        number = find_name(connection, query.key.value)
        values = [-1 if number is None else number]
        table = "entities" if query.key.scope is Scope.ENTITY else "facts"
        condition = f"{query.key.scope.value} = ? AND"
    rows = connection.execute(
        f"SELECT (published - ?) / ? AS step, COUNT(*), SUM(negative), COUNT(DISTINCT source) FROM {table} "
        f"WHERE {condition} published >= ? AND published < ? GROUP BY step",
        (since, width, *values, since, until),
    )
    found = {step: (articles, negatives, sources) for step, articles, negatives, sources in rows}
    points = []
    for step in range(-(-(until - since) // width)):
        articles, negatives, sources = found.get(step, (0, 0.0, 0))
        points.append(
            SeriesPoint(
                start=from_micros(since + step * width),
                articles=articles,
                expected_negatives=negatives,
                sources=sources,
            )
        )
    return points
