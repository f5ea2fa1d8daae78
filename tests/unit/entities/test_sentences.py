"""Hand-written sentences: what a careful reader would mark, against what the matcher marks."""

from __future__ import annotations

from pathlib import Path

from monitor.core.text import has_han
from monitor.entities.matcher import EntityMatcher
from monitor.entities.watchlist import Watchlist


def _table() -> list[tuple[str, frozenset[str]]]:
    rows = []
    for line in (Path(__file__).parent / "sentences.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            text, _, ids = line.partition("\t")
            rows.append((text, frozenset(filter(None, ids.split(",")))))
    return rows


def test_the_table_is_large_varied_and_names_known_entities(watchlist: Watchlist) -> None:
    rows = _table()
    assert len(rows) >= 150
    assert sum(has_han(text) for text, _ in rows) >= 60
    assert sum(not ids for _, ids in rows) >= 60, "sentences with nothing to find"
    known = {entity.id for entity in watchlist.entities}
    assert not {identity for _, ids in rows for identity in ids} - known


def test_precision_and_recall(matcher: EntityMatcher) -> None:
    hit = missed = false = 0
    wrong: list[str] = []
    for text, expected in _table():
        found = frozenset(matcher.entities(text))
        hit += len(found & expected)
        missed += len(expected - found)
        false += len(found - expected)
        if found != expected:
            wrong.append(f"{text}: missed {sorted(expected - found)}, false {sorted(found - expected)}")
    report = "\n".join(wrong)
    assert hit / (hit + false) >= 0.98, report
    assert hit / (hit + missed) >= 0.98, report
    assert len(wrong) <= 3, report
