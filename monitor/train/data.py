"""Labelled texts: read with every bad row named, duplicates and conflicts counted, split without leakage."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from monitor.core.errors import TrainError
from monitor.model.preprocess import Preprocessing, group_key
from monitor.train.config import DataSet, Overlay, Split, TrainConfig, label_id
from monitor.train.sections import CORPUS

PARTS = ("train", "calibration", "test")
_CELL_LIMIT = 10_000_000
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text with the labels it has: task → index into the task's labels (partial: not every task)."""

    text: str
    labels: Mapping[str, int]
    source: str
    row: int
    group: str
    soft: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Task → probabilities of its labels, where the label is a soft one; ``labels`` then holds the likeliest."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Task → factor of the loss, where it is not 1."""
    teacher: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Task → what the teachers of a distillation say, at its temperature."""


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
    held_elsewhere: dict[str, int] = field(default_factory=dict)
    shared: int = 0
    disputed: list[str] = field(default_factory=list)
    overlays: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """A JSON object; of the conflicts and unreadable rows only their number."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "left_out_disagreeing": self.disagreeing,
            "left_out_duplicates": self.duplicates,
            "label_conflicts": len(self.conflicts),
            "left_out_unreadable": len(self.unreadable),
            "left_out_held_elsewhere": self.held_elsewhere,
            "texts_in_several_data_sets": self.shared,
            "conflicts_between_data_sets": len(self.disputed),
            "label_overlays": self.overlays,
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


def read_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Unlabelled texts with their line numbers: the lines of a ``.txt``, or the column ``text`` of a CSV or JSONL.
    Empty ones are left out. Raises TrainError."""
    if path.suffix != ".txt":
        for line, row in read_rows(path):
            if isinstance(text := cell(path, line, row, "text"), str) and text.strip():
                yield line, text
        return
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from ((line, text) for line, text in enumerate(file, start=1) if text.strip())
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}).", hint="Check the data folder.") from error
    except UnicodeDecodeError as error:
        raise TrainError(f"{path}: not UTF-8 ({error.reason}).", hint="Save it as UTF-8.") from error


def label_index(path: Path, line: int, column: str, value: object, labels: Sequence[str]) -> int:
    """The index of a label given by id or by name. Raises TrainError naming file, row and column."""
    if not isinstance(value, str) or label_id(value) not in labels:
        raise TrainError(
            f"{path}, row {line}, column '{column}': unknown label {str(value)[:60]!r}.",
            hint=f"Known labels: {', '.join(labels)}.",
        )
    return labels.index(label_id(value))


def data_path(folder: Path, path: str) -> Path:
    """Where a data set lies: in the data folder, or in the corpus that comes with the package (``corpus:FILE``)."""
    if not path.startswith(CORPUS):
        return folder / path
    name = path.removeprefix(CORPUS)
    corpus = Path(str(files("monitor.train").joinpath("corpus")))
    if not name or Path(name).name != name:
        raise TrainError(f"'{path}' names no file of the corpus.", hint="Write corpus:FILE, without folders.")
    if not (corpus / name).is_file():
        found = ", ".join(sorted(file.name for file in corpus.glob("*.csv"))) or "none"
        raise TrainError(f"The corpus has no file '{name}'.", hint=f"Files there: {found}.")
    return corpus / name


def soft_label(path: Path, line: int, column: str, value: object, labels: Sequence[str]) -> tuple[float, ...] | None:
    """Probabilities in the order of ``labels``, of an object or its JSON text; None when the cell is a plain label.
    Raises TrainError for unknown labels, or numbers that are no probabilities or do not add up to 1 (within 0.01)."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise TrainError(f"{path}, row {line}, column '{column}': not JSON: {error}.") from error
    if not isinstance(value, dict):
        return None
    found = [0.0] * len(labels)
    for name, part in value.items():
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= 1:
            raise TrainError(
                f"{path}, row {line}, column '{column}': '{name}' is not a probability: {str(part)[:40]!r}.",
                hint="A soft label is an object label: probability. Labels per entity need 'agree = true'.",
            )
        found[label_index(path, line, column, name, labels)] += float(part)
    if not math.isclose(sum(found), 1.0, abs_tol=0.01):
        raise TrainError(f"{path}, row {line}, column '{column}': the probabilities add up to {sum(found):.3g}, not 1.")
    return tuple(part / sum(found) for part in found)


def _read(
    dataset: DataSet, folder: Path, config: TrainConfig, steps: Preprocessing, report: DataReport
) -> list[Example]:
    path = data_path(folder, dataset.path)
    name = dataset.source
    weights = dict.fromkeys(dataset.labels, dataset.weight) if dataset.weight != 1 else {}
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
        soft: dict[str, tuple[float, ...]] = {}
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
            elif parts := soft_label(path, line, column, value, task_labels[task]):
                soft[task] = parts
                labels[task] = parts.index(max(parts))
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
        examples.append(
            Example(text=text, labels=labels, source=name, row=line, group=group_key(raw), soft=soft, weights=weights)
        )
    report.rows[name] = rows
    report.kept[name] = len(examples)
    report.disagreeing[name] = disagreeing
    report.duplicates[name] = duplicates
    return examples


def _check_classes(examples: Sequence[Example], config: TrainConfig, folder: Path, what: str) -> None:
    for name, task in config.tasks.items():
        counts = Counter(example.labels[name] for example in examples if name in example.labels)
        places = [(str(data_path(folder, d.path)), d.labels[name]) for d in config.data if name in d.labels]
        for index, label in enumerate(task.labels):
            if counts[index] < 2:
                where = "; ".join(f"{path}, column '{column}'" for path, column in places) or "no data set"
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
    _find_disputed(examples, config, report)
    parts = _split(examples, config, report)
    _check_classes(parts["train"], config, folder, "left to train on")
    for part in ("calibration", "test"):
        for name in config.tasks:
            if not any(name in example.labels for example in parts[part]):
                raise TrainError(
                    f"The {part} part has no example of task '{name}'.",
                    hint="Add data, or raise split.calibration or split.test in the recipe.",
                )
    check_leakage(parts)
    for overlay in config.labels:
        parts["train"] = overlaid(overlay, data_path(folder, overlay.path), config, parts, report)
    for part, members in parts.items():
        sizes: dict[str, int] = defaultdict(int)
        for example in members:
            sizes[example.source] += 1
        report.sizes[part] = dict(sizes)
    return parts, report


def _split(examples: Sequence[Example], config: TrainConfig, report: DataReport) -> dict[str, list[Example]]:
    """The parts. What one data set holds out is left out of the training rows of the others."""
    ways = {dataset.source: dataset.split for dataset in config.data}
    tested = {example.group for example in examples if ways[example.source] == "test"}
    homes: dict[str, str] = dict.fromkeys(tested, "test")
    for example in examples:
        if ways[example.source] == "hash" and example.group not in homes:
            homes[example.group] = part_of(example.group, config.split, config.seed)
    parts: dict[str, list[Example]] = {part: [] for part in PARTS}
    for example in examples:
        home = homes.get(example.group, "train")
        left_out = home != "train" if ways[example.source] == "train" else False
        if left_out or (example.group in tested and ways[example.source] != "test"):
            report.held_elsewhere[example.source] = report.held_elsewhere.get(example.source, 0) + 1
        else:
            parts[home].append(example)
    return parts


def _find_disputed(examples: Sequence[Example], config: TrainConfig, report: DataReport) -> None:
    """Counts the texts that several data sets have, and names those that they label differently."""
    first: dict[tuple[str, str], Example] = {}
    homes: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        homes[example.group].add(example.source)
        for task, label in example.labels.items():
            other = first.setdefault((example.group, task), example)
            if other.source != example.source and other.labels[task] != label:
                names = list(config.tasks[task].labels)
                here, there = names[label], names[other.labels[task]]
                elsewhere = f"{other.source}, row {other.row}"
                report.disputed.append(
                    f"{example.source}, row {example.row}: {task} is {here}, but {there} in {elsewhere}"
                )
    report.shared = sum(len(sources) > 1 for sources in homes.values())


def check_leakage(parts: Mapping[str, Sequence[Example]]) -> None:
    """Raises TrainError when a normalised text lies in two parts."""
    home: dict[str, str] = {}
    for part, members in parts.items():
        for example in members:
            if home.setdefault(example.group, part) != part:
                raise TrainError(
                    f"{example.source}, row {example.row}: the text is in '{part}' and in '{home[example.group]}'."
                )


def text_key(group: str) -> str:
    """The key of a normalised text in a label overlay: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def overlaid(
    overlay: Overlay, path: Path, config: TrainConfig, parts: Mapping[str, Sequence[Example]], report: DataReport
) -> list[Example]:
    """The training part with the overlay's labels added where no text of the same normalised form has one of the task.

    Every text gets the label once, also when several data sets have it. Raises TrainError naming file and row.
    """
    labels = list(config.tasks[overlay.task].labels)
    given: dict[str, tuple[int, tuple[float, ...] | None]] = {}
    counts = dict.fromkeys(("rows", "given", "already_labelled", "held_out", "no_such_text", "repeated"), 0)
    for line, row in read_rows(path):
        counts["rows"] += 1
        key, value = cell(path, line, row, "key"), cell(path, line, row, "label")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise TrainError(
                f"{path}, row {line}, column 'key': {str(key)[:40]!r} is not a key.",
                hint="A key is the first 16 hex digits of the SHA-256 of the normalised text.",
            )
        soft = soft_label(path, line, "label", value, labels)
        label = soft.index(max(soft)) if soft else label_index(path, line, "label", value, labels)
        if key in given:
            counts["repeated"] += 1
            if given[key][0] != label:
                report.conflicts.append(f"{path}, row {line}: the same key has another label further up")
            continue
        given[key] = (label, soft)
    task = overlay.task
    train = list(parts["train"])
    labelled = {text_key(example.group) for example in train if task in example.labels}
    held = {text_key(example.group) for part in ("calibration", "test") for example in parts[part]}
    counts["already_labelled"] = len(given.keys() & labelled)
    counts["held_out"] = len(given.keys() & held)
    for place, example in enumerate(train):
        key = text_key(example.group)
        if key not in given or key in labelled:
            continue
        label, soft = given[key]
        weight = overlay.weight * next((d.weight for d in config.data if d.source == example.source), 1.0)
        train[place] = replace(
            example,
            labels={**example.labels, task: label},
            soft={**example.soft, task: soft} if soft else example.soft,
            weights={**example.weights, task: weight} if weight != 1 else example.weights,
        )
        labelled.add(key)
        counts["given"] += 1
    counts["no_such_text"] = len(given) - counts["given"] - counts["already_labelled"] - counts["held_out"]
    report.overlays[f"{Path(overlay.path.removeprefix(CORPUS)).stem}/{task}"] = counts
    return train
