"""A labelled set as it is evaluated: texts, labels, whatever other columns it has, and what is odd about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.core.errors import TrainError, UsageError
from monitor.model.engines.base import TokenEngine
from monitor.model.preprocess import group_key
from monitor.train.data import cell, label_index, read_rows
from monitor.train.metrics import Ints

TEXT, LABEL = "text", "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """``raw`` and ``texts``: as in the file, and as the model reads them. ``columns``: the others, by name; an empty
    cell is "". ``groups``: the number of each text's group; equal normalised texts (or an equal cell of the chosen
    column) share one. ``rows``: line numbers."""

    path: Path
    task: str
    labels: tuple[str, ...]
    raw: tuple[str, ...]
    texts: tuple[str, ...]
    truth: Ints
    rows: tuple[int, ...]
    columns: Mapping[str, tuple[str, ...]]
    groups: Ints
    notes: tuple[str, ...]


def labels_of(engine: TokenEngine, task: str) -> tuple[str, ...]:
    """The labels of a model's task. Raises UsageError when the model has no such task."""
    if task not in engine.artefact.tasks:
        raise UsageError(
            f"{engine.artefact.id} has no task '{task}'.", hint=f"Its tasks: {', '.join(engine.artefact.tasks)}."
        )
    return engine.artefact.tasks[task].labels


def read_set(engine: TokenEngine, *, task: str, path: Path, cluster: str | None = None) -> LabelledSet:
    """Reads a CSV or JSONL with the columns ``text`` and ``label`` for a model's task.

    ``cluster`` names a column whose equal cells belong together (a story, say), in place of equal texts. Raises
    UsageError on a task that the model has not or a ``cluster`` column that is not there, TrainError on a bad row.
    """
    labels = labels_of(engine, task)
    raw: list[str] = []
    texts: list[str] = []
    truth: list[int] = []
    rows: list[int] = []
    others: list[Mapping[str, str]] = []
    for line, row in read_rows(path):
        text = cell(path, line, row, TEXT)
        prepared = engine.artefact.preprocessing.readable(text) if isinstance(text, str) else ""
        if not prepared:
            raise TrainError(f"{path}, row {line}, column 'text': there is no text.", hint="Remove the row.")
        truth.append(label_index(path, line, LABEL, cell(path, line, row, LABEL), labels))
        raw.append(text)
        texts.append(prepared)
        rows.append(line)
        others.append({k: "" if v is None else str(v).strip() for k, v in row.items() if k not in (TEXT, LABEL)})
    if not texts:
        raise TrainError(f"{path}: there are no rows.", hint="Give a CSV with the columns text and label.")
    names = list(dict.fromkeys(name for other in others for name in other))
    columns = {name: tuple(other.get(name, "") for other in others) for name in names}
    if cluster is not None and cluster not in columns:
        raise UsageError(f"{path} has no column '{cluster}'.", hint=f"Its other columns: {', '.join(names) or 'none'}.")
    keys = [group_key(text) for text in raw]
    places: dict[str, int] = {}
    chosen = keys if cluster is None else columns[cluster]
    groups = np.asarray([places.setdefault(key, len(places)) for key in chosen], dtype=np.int64)
    return LabelledSet(
        path=path,
        task=task,
        labels=labels,
        raw=tuple(raw),
        texts=tuple(texts),
        truth=np.asarray(truth, dtype=np.int64),
        rows=tuple(rows),
        columns=columns,
        groups=groups,
        notes=tuple(_notes(labels, truth, keys, rows)),
    )


def _notes(labels: Sequence[str], truth: Sequence[int], keys: Sequence[str], rows: Sequence[int]) -> list[str]:
    notes = []
    counts = Counter(truth)
    if missing := [label for i, label in enumerate(labels) if not counts[i]]:
        notes.append(f"No example of {', '.join(missing)}: macro-F1 leaves out what is neither there nor predicted.")
    if single := [label for i, label in enumerate(labels) if counts[i] == 1]:
        notes.append(f"Only one example of {', '.join(single)}: recall is 0 or 1, and no interval covers such a class.")
    seen: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        seen[key].append(place)
    repeated = [places for places in seen.values() if len(places) > 1]
    if repeated:
        notes.append(
            f"{sum(map(len, repeated)) - len(repeated)} rows repeat a text that stands further up (case, links, "
            "punctuation aside); they count, but are resampled together."
        )
    conflicts = [places for places in repeated if len({truth[place] for place in places}) > 1]
    if conflicts:
        first = conflicts[0]
        notes.append(
            f"{len(conflicts)} texts have more than one label, for example rows {rows[first[0]]} and "
            f"{next(rows[place] for place in first if truth[place] != truth[first[0]])}: one must count as wrong."
        )
    return notes
