"""Does the clustering join what belongs together? Labels come from the wire's own structure, not from similarity.

Same story: the same words filed in another channel within a day; the same words under another prefix (``RPT-``,
``CORRECTED-``, ``UPDATE 1-`` …); a chain ``UPDATE n-``, ``UPDATE n+1-`` within twelve hours whose first three words
agree (editors keep the lead and change the rest). Another story: two titles that are both ``UPDATE n-`` with the same
number within twelve hours and begin with another word: a story has one first update. The last are hard pairs, wire
templates among them; random pairs are hardly ever alike.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from compare import EARLIER, LATER
from rich.console import Console
from rich.table import Table

from alerts.stories import StoryIndex, signature
from connectors.archive import read_archive
from monitor.core.types import Article

NEAR, DAY = timedelta(hours=12), timedelta(hours=24)
_UPDATE = re.compile(r"^UPDATE (\d+)-(.+)$")
_PREFIX = re.compile(r"^(?:(?:UPDATE|WRAPUP|RPT|REFILE|CORRECTED|REPEAT|EXCLUSIVE|ANALYSIS|INTERVIEW)\s*\d*\s*-\s*)+")
THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8)
Pair = tuple[int, int]


def plain(title: str) -> str:
    """The title without its prefixes: a rule of its own, not that of the clustering."""
    return " ".join(_PREFIX.sub("", title.strip()).casefold().split())


def pairs_of(rows: list[Article]) -> dict[str, list[Pair]]:
    """Labelled pairs of row numbers by kind, the earlier row first."""
    found: dict[str, list[Pair]] = defaultdict(list)
    last: dict[str, int] = {}
    chains: dict[tuple[int, str], int] = {}
    firsts: dict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        words = plain(row.title)
        before = last.get(words)
        if before is not None and row.published_at - rows[before].published_at <= DAY:
            if rows[before].title != row.title:
                found["other prefix"].append((before, number))
            elif rows[before].source != row.source:
                found["other channel"].append((before, number))
        last[words] = number
        match = _UPDATE.match(row.title)
        if match is None:
            continue
        step, lead = int(match[1]), " ".join(words.split()[:3])
        chained = chains.get((step - 1, lead))
        if (
            chained is not None
            and row.published_at - rows[chained].published_at <= NEAR
            and plain(rows[chained].title) != words
        ):
            found["edited update"].append((chained, number))
        chains[step, lead] = number
        recent = [n for n in firsts[step][-60:] if row.published_at - rows[n].published_at <= NEAR]
        found["different"] += [(n, number) for n in recent if plain(rows[n].title).split()[:1] != words.split()[:1]]
        firsts[step].append(number)
    return found


def stories(archives: Path, console: Console, titles: int) -> None:
    """Prints recall by kind and pairwise precision at several thresholds, through the very index of the product."""
    totals: dict[float, dict[str, list[int]]] = {t: defaultdict(lambda: [0, 0]) for t in THRESHOLDS}
    wrong: list[tuple[str, str]] = []
    for name in (*EARLIER, *LATER):
        rows = list(islice(read_archive(archives / f"{name}.csv.gz"), titles))
        labelled = pairs_of(rows)
        signs = [signature(row) for row in rows]
        for threshold in THRESHOLDS:
            index = StoryIndex(threshold=threshold)
            home = [index.assign(row, _at(row), sign)[0] for row, sign in zip(rows, signs, strict=True)]
            for kind, pairs in labelled.items():
                joined = [pair for pair in pairs if home[pair[0]] == home[pair[1]]]
                totals[threshold][kind][0] += len(joined)
                totals[threshold][kind][1] += len(pairs)
                if threshold == 0.6 and kind == "different":
                    wrong += [(rows[a].title, rows[b].title) for a, b in joined[:3]]
    kinds = ("other channel", "other prefix", "edited update", "different")
    table = Table(title=f"Pairs joined, of the first {titles:,} titles of each window")
    table.add_column("threshold")
    for kind in kinds:
        table.add_column(f"{kind} ({totals[0.6][kind][1]:,})", justify="right")
    table.add_column("precision", justify="right")
    table.add_column("recall", justify="right")
    for threshold, by_kind in totals.items():
        same = [by_kind[kind] for kind in kinds[:3]]
        hits, all_same = sum(row[0] for row in same), sum(row[1] for row in same)
        cells = [f"{100 * by_kind[kind][0] / max(1, by_kind[kind][1]):.2f} %" for kind in kinds]
        precision = hits / max(1, hits + by_kind["different"][0])
        table.add_row(f"{threshold}", *cells, f"{100 * precision:.2f} %", f"{100 * hits / max(1, all_same):.1f} %")
    console.print(table)
    for one, other in wrong[:8]:
        console.print(f"  joined in error at 0.6: {one} | {other}", markup=False, highlight=False)


def _at(row: Article) -> datetime:
    return row.published_at
