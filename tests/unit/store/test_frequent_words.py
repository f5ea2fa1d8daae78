"""A frequent word's newest hits are found without looking at all of them, and are the right ones."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from store_tools import NOW, scored

from monitor.core.clock import SystemClock
from monitor.core.types import SearchQuery
from monitor.db.directory import DataDirectory
from monitor.store import queries
from monitor.store.sqlite import SqliteStore


@pytest.mark.parametrize("in_order", [True, False])
async def test_the_short_way_gives_what_the_long_way_gives(tmp_path: Path, monkeypatch, in_order: bool) -> None:
    random.seed(3)
    minutes = list(range(3_000))
    if not in_order:
        random.shuffle(minutes)
    items = [
        scored(n, f"{'bank' if n % 3 else 'oil'} {n}", published_at=NOW + timedelta(minutes=minutes[n]))
        for n in range(3_000)
    ]
    directory = DataDirectory.open(tmp_path / "data", mode="owner")
    store = await SqliteStore.open(directory, clock=SystemClock())
    asked = [
        SearchQuery(text="bank", limit=7, offset=offset, **more)
        for offset in (0, 5, 900, 1_999)
        for more in ({}, {"until": NOW + timedelta(minutes=2_000)}, {"source": "s1"}, {"topic": "none"})
    ]
    try:
        await store.put(items)
        answers = []
        for frequent in (10**9, 10):
            monkeypatch.setattr(queries, "_FREQUENT", frequent)
            pages = [await store.search(query) for query in asked]
            answers.append([(page.total, [item.article.id for item in page.items]) for page in pages])
        assert answers[0] == answers[1]
        assert answers[0][0][0] == 2_000
    finally:
        await store.close()
        directory.close()


async def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    directory = DataDirectory.open(folder, mode="owner")
    store = await SqliteStore.open(directory, clock=SystemClock())
    await store.put([scored(1, "Bank fails", entities=("acme",))])

    def older(connection) -> None:
        for name in ("entities_by_position", "facts_by_sentiment", "facts_by_lang"):
            connection.execute(f"DROP INDEX {name}")
        connection.execute("PRAGMA user_version = 1")

    await store.database.write(older, alone=True)
    await store.close()
    store = await SqliteStore.open(directory, clock=SystemClock())
    try:
        assert (await store.facets(SearchQuery())).entities == {"acme": 1}
        version = await store.database.read(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
        assert version == 2
    finally:
        await store.close()
        directory.close()
