"""What every format reads alike: rows are checked one by one, and what is wrong is said of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.core.errors import TrainError
from monitor.model.artefact import Artefact
from monitor.train.lifecycle.formats.outgoing import display
from monitor.train.lifecycle.labels import TASKS, Label
from monitor.train.sections import label_id


@dataclass(slots=True)
class Reading:
    """One import: its labels so far, and what is wrong with the file, row by row."""

    path: Path
    artefact: Artefact
    annotator: str
    at: str
    found: list[Label] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def label(self, where: str, task: str, value: object) -> str:
        """The label's id, of its id or a display name; "" for an empty cell, and for an unknown one, which is noted."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return ""
        spec = self.artefact.tasks[task]
        text = str(value).strip()
        if label_id(text) in spec.labels:
            return label_id(text)
        for label in spec.labels:
            if text in (*spec.names.get(label, {}).values(), display(self.artefact, task, label)):
                return label
        self.problems.append(f"{where}, '{task}': unknown label {text[:60]!r}; known: {', '.join(spec.labels)}")
        return ""

    def add(self, where: str, *, text: object, annotator: str, given: Mapping[str, object], **more: Any) -> None:
        """One row: checked, and kept."""
        if not isinstance(text, str) or not text.strip():
            self.problems.append(f"{where}: there is no text")
            return
        try:
            text.encode()
        except UnicodeEncodeError:
            self.problems.append(f"{where}: its text holds half a character")
            return
        if "\ufffd" in text:
            self.problems.append(f"{where}: its text holds \ufffd, so it was saved in a wrong encoding")
            return
        labels = {task: self.label(where, task, given.get(task)) for task in TASKS}
        name = (annotator or self.annotator).strip()
        if not name and any(labels.values()):
            self.problems.append(f"{where}: who labelled it? Add a column 'annotator', or --annotator NAME")
            return
        self.found.append(
            Label(
                text=text,
                annotator=name,
                at=more.pop("at", "") or self.at,
                origin=f"{self.path.name}, {where}",
                sentiment=labels["sentiment"],
                topic=labels["topic"],
                **more,
            )
        )


def text_of(path: Path) -> str:
    """The file, which must be UTF-8. Raises TrainError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}).", hint="Check the path.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw[: error.start].count(b"\n") + 1
        raise TrainError(
            f"{path}, row {row}: not UTF-8 (byte {error.start}).",
            hint="Save it as 'CSV UTF-8', or convert it to UTF-8.",
        ) from error


def known(artefact: Artefact, given: Mapping[str, object]) -> dict[str, str]:
    """Of what the model is said to have predicted, the labels that it has, by task."""
    return {task: str(name) for task, name in given.items() if name in artefact.tasks[task].labels}


def objects(reading: Reading) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a JSON file that holds a list of them, each with where it is. Raises TrainError."""
    try:
        data = json.loads(text_of(reading.path))
    except (ValueError, RecursionError) as error:
        raise TrainError(f"{reading.path}: this is not JSON: {error}.") from error
    if not isinstance(data, list):
        raise TrainError(f"{reading.path}: expected a list of records.", hint="Export it anew.")
    for number, item in enumerate(data, 1):
        if isinstance(item, Mapping):
            yield f"record {number}", item
        else:
            reading.problems.append(f"record {number}: expected an object")


def as_object(value: object) -> Mapping[str, Any]:
    """The value, or an empty object when it is none."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> Sequence[Any]:
    """The value, or an empty list when it is none."""
    return value if isinstance(value, list) else []
