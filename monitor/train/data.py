"""Labelled texts: read with every bad row named, duplicates and conflicts counted, split without leakage."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.core.errors import TrainError
from monitor.model.preprocess import Preprocessing, group_key
from monitor.train.config import DataSet, Split, TrainConfig, label_id

PARTS = ("train", "calibration", "test")
_CELL_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text with the labels it has: task → index into the task's labels (partial: not every task)."""

    text: str
    labels: Mapping[str, int]
    source: str
    row: int
    group: str


@dataclass(slots=True)
class DataReport:
    """What was found in the files; goes into the metrics and the card."""

    rows: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    disagreeing: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """A JSON object; of the conflicts and unreadable rows only their number."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "left_out_disagreeing": self.disagreeing,
            "left_out_duplicates": self.duplicates,
            "label_conflicts": len(self.conflicts),
            "left_out_unreadable": len(self.unreadable),
            "sizes": self.sizes,
        }


def read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows of a ``.csv`` or ``.jsonl`` file with their line numbers. Raises TrainError naming file and row."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        row = json.loads(text)
                        if not isinstance(row, dict):
                            raise TrainError(f"{path}, row {line}: expected a JSON object.")
                        yield line, row
            elif path.suffix == ".csv":
                csv.field_size_limit(_CELL_LIMIT)
                reader = csv.DictReader(file, strict=True)
                for row in reader:
                    line = reader.line_num
                    if None in row:
                        raise TrainError(
                            f"{path}, row {line}: more cells than columns.", hint="Quote texts that hold commas."
                        )
                    yield line, row
            else:
                raise TrainError(f"{path}: unknown kind of file.", hint="Use .csv or .jsonl.")
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}).", hint="Check the data folder.") from error
    except UnicodeDecodeError as error:
        raise TrainError(
            f"{path}, after row {line}: not UTF-8 ({error.reason} at byte {error.start}).", hint="Save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise TrainError(f"{path}, after row {line}: broken CSV: {error}.") from error
    except json.JSONDecodeError as error:
        raise TrainError(f"{path}, row {line}: not JSON: {error}.") from error


def cell(path: Path, line: int, row: Mapping[str, Any], column: str) -> Any:
    """One cell. Raises TrainError when the column is not there."""
    if column not in row or row[column] is None:
        raise TrainError(
            f"{path}, row {line}: column '{column}' is missing.",
            hint=f"Columns found: {', '.join(map(str, row)) or 'none'}.",
        )
    return row[column]


def label_index(path: Path, line: int, column: str, value: object, labels: Sequence[str]) -> int:
    """The index of a label given by id or by name. Raises TrainError naming file, row and column."""
    if not isinstance(value, str) or label_id(value) not in labels:
        raise TrainError(
            f"{path}, row {line}, column '{column}': unknown label {str(value)[:60]!r}.",
            hint=f"Known labels: {', '.join(labels)}.",
        )
    return labels.index(label_id(value))


def _read(
    dataset: DataSet, folder: Path, config: TrainConfig, steps: Preprocessing, report: DataReport
) -> list[Example]:
    path = folder / dataset.path
    name = Path(dataset.path).stem
    task_labels = {task: list(config.tasks[task].labels) for task in dataset.labels}
    examples: list[Example] = []
    seen: dict[str, Mapping[str, int]] = {}
    rows = disagreeing = duplicates = 0
    for line, row in read_rows(path):
        rows += 1
        raw = cell(path, line, row, dataset.text)
        if not isinstance(raw, str) or not raw.strip():
            raise TrainError(f"{path}, row {line}, column '{dataset.text}': there is no text.", hint="Remove the row.")
        if not (text := steps.text(raw)):  # nothing but a link, say
            report.unreadable.append(f"{path}, row {line}: nothing is left of {raw[:60]!r}")
            continue
        labels: dict[str, int] = {}
        for task, column in dataset.labels.items():
            value = cell(path, line, row, column)
            if dataset.agree:
                if not isinstance(value, dict) or not value:
                    raise TrainError(f"{path}, row {line}, column '{column}': expected an object of labels.")
                indices = {label_index(path, line, column, item, task_labels[task]) for item in value.values()}
                if len(indices) > 1:
                    disagreeing += 1
                    continue
                labels[task] = indices.pop()
            elif value != "":
                labels[task] = label_index(path, line, column, value, task_labels[task])
        if not labels:
            continue
        if text in seen:
            duplicates += 1
            if seen[text] != labels:
                report.conflicts.append(f"{path}, row {line}: the same text has another label further up")
            continue
        seen[text] = labels
        examples.append(Example(text=text, labels=labels, source=name, row=line, group=group_key(raw)))
    report.rows[name] = rows
    report.kept[name] = len(examples)
    report.disagreeing[name] = disagreeing
    report.duplicates[name] = duplicates
    return examples


def _check_classes(examples: Sequence[Example], config: TrainConfig, folder: Path, what: str) -> None:
    for name, task in config.tasks.items():
        counts = Counter(example.labels[name] for example in examples if name in example.labels)
        files = [(str(folder / d.path), d.labels[name]) for d in config.data if name in d.labels]
        for index, label in enumerate(task.labels):
            if counts[index] < 2:
                where = "; ".join(f"{path}, column '{column}'" for path, column in files) or "no data set"
                raise TrainError(
                    f"Task '{name}', label '{label}': only {counts[index]} example(s) {what} ({where}).",
                    hint="Add examples of it or take the label out of the recipe; two are the least.",
                )


def part_of(group: str, split: Split, seed: int) -> str:
    """Where a group of equal texts belongs, by hash: the same in every run, also after more data came."""
    raw = hashlib.blake2b(f"{seed}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(raw, "big") / 2**64
    if place < split.test:
        return "test"
    return "calibration" if place < split.test + split.calibration else "train"


def load_data(config: TrainConfig, folder: Path) -> tuple[dict[str, list[Example]], DataReport]:
    """Reads and splits all data sets of a recipe, grouped by normalised text over all of them together.

    Raises TrainError for a bad row (file, row and column named), an unknown label, a class with fewer than two
    examples (in all, or left for training), or a leak between the parts.
    """
    report = DataReport()
    steps = Preprocessing(**config.preprocessing.model_dump())
    examples = [ex for dataset in config.data for ex in _read(dataset, folder, config, steps, report)]
    _check_classes(examples, config, folder, "in all")
    parts: dict[str, list[Example]] = {part: [] for part in PARTS}
    for example in examples:
        parts[part_of(example.group, config.split, config.seed)].append(example)
    _check_classes(parts["train"], config, folder, "left to train on")
    for part in ("calibration", "test"):
        for name in config.tasks:
            if not any(name in example.labels for example in parts[part]):
                raise TrainError(
                    f"The {part} part has no example of task '{name}'.",
                    hint="Add data, or raise split.calibration or split.test in the recipe.",
                )
    check_leakage(parts)
    for part, members in parts.items():
        sizes: dict[str, int] = defaultdict(int)
        for example in members:
            sizes[example.source] += 1
        report.sizes[part] = dict(sizes)
    return parts, report


def check_leakage(parts: Mapping[str, Sequence[Example]]) -> None:
    """Raises TrainError when a normalised text lies in two parts."""
    home: dict[str, str] = {}
    for part, members in parts.items():
        for example in members:
            if home.setdefault(example.group, part) != part:
                raise TrainError(
                    f"{example.source}, row {example.row}: the text is in '{part}' and in '{home[example.group]}'."
                )
