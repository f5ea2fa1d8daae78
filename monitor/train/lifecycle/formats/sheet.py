"""CSV for spreadsheets: UTF-8 with a byte order mark (they need it); the last two columns are to be filled in."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.core.errors import TrainError
from monitor.model.artefact import Artefact
from monitor.train.lifecycle.formats.reading import Reading, known, text_of
from monitor.train.lifecycle.labels import TASKS

COLUMNS = (
    "id", "text", "lang", "published_at", "source", "predicted_topic", "p_topic", "predicted_sentiment", "p_negative",
    "p_neutral", "p_positive", "reason", "model", "sentiment", "topic",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(out: Path, rows: Sequence[Mapping[str, Any]], _artefact: Artefact) -> list[Path]:
    """One file, ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([guarded(str(row.get(name, ""))) for name in COLUMNS])
    return [out]


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: foreign text may begin with "="."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def unguarded(cell: str) -> str:
    """The inverse of :func:`guarded`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def read(reading: Reading) -> None:
    """The rows of a file; ``annotator`` and ``labelled_at`` are columns that may be there. Raises TrainError."""
    rows = csv.reader(io.StringIO(text_of(reading.path), newline=""), strict=True)
    csv.field_size_limit(10_000_000)
    try:
        head = next(rows, [])
        for name in ("text", "sentiment", "topic"):
            if name not in head:
                raise TrainError(
                    f"{reading.path}, row 1: column '{name}' is missing.",
                    hint=f"Columns found: {', '.join(head) or 'none'}. A comma must part them.",
                )
        for cells in rows:
            if not any(cells):
                continue
            where = f"row {rows.line_num}"
            if len(cells) != len(head):
                reading.problems.append(f"{where}: {len(cells)} cells, but {len(head)} columns")
                continue
            row = dict(zip(head, cells, strict=True))
            reading.add(
                where,
                text=unguarded(row["text"]),
                annotator=row.get("annotator", ""),
                given={task: row[task] for task in TASKS},
                at=row.get("labelled_at", ""),
                article_id=unguarded(row.get("id", "")),
                lang=row.get("lang", ""),
                source=unguarded(row.get("source", "")),
                published_at=row.get("published_at", ""),
                model=row.get("model", ""),
                reason=row.get("reason", ""),
                predicted=known(reading.artefact, {task: row.get(f"predicted_{task}", "") for task in TASKS}),
            )
    except csv.Error as error:
        raise TrainError(f"{reading.path}, row {rows.line_num}: no CSV: {error}.", hint="Check its quotes.") from error
