"""Labelling files: a CSV for spreadsheets, an Argilla dataset, Label Studio tasks; out with the model's word, back in
with the annotators'.

CSV: UTF-8 with a byte order mark (spreadsheets need it), the columns of :data:`COLUMNS`, the last two to be filled in.
Argilla 2 (checked with 2.8): the folder that ``rg.Dataset.from_disk`` reads, and ``records.json`` as ``to_disk`` writes
it. Label Studio 1.x (checked with label-studio-sdk 2.1): tasks with predictions, a labelling configuration, and the
JSON export (not JSON-MIN).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from monitor.core.codec import time_to_str
from monitor.core.errors import TrainError, UsageError
from monitor.model.artefact import Artefact
from monitor.train.lifecycle.labels import TASKS, Label
from monitor.train.lifecycle.pool import Candidate
from monitor.train.sections import label_id

FORMATS = ("csv", "argilla", "labelstudio")
COLUMNS = (
    "id", "text", "lang", "published_at", "source", "predicted_topic", "p_topic", "predicted_sentiment", "p_negative",
    "p_neutral", "p_positive", "reason", "model", "sentiment", "topic",
)  # fmt: skip
RECORDS, SETTINGS, DATASET = "records.json", ".argilla/settings.json", ".argilla/dataset.json"
TASKS_FILE, CONFIG_FILE = "tasks.json", "labeling-config.xml"
GUIDELINES = (
    "Topic: what the text is mainly about. Sentiment: how it reads for the company, market or economy it is about, to "
    "somebody who knows nothing else; neutral when it does not say. Leave out what you cannot decide."
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SHOWN = 20


def facts(candidate: Candidate) -> dict[str, Any]:
    """The columns of a candidate that are not to be filled in."""
    article, scores = candidate.item.article, candidate.scores
    return {
        "id": article.id,
        "text": candidate.text,
        "lang": article.lang,
        "published_at": time_to_str(article.published_at),
        "source": article.source,
        "predicted_topic": scores.topic,
        "p_topic": round(scores.topics[scores.topic], 4),
        "predicted_sentiment": scores.sentiment,
        **{f"p_{name}": round(scores.sentiments.get(name, 0.0), 4) for name in ("negative", "neutral", "positive")},
        "reason": candidate.reason,
        "model": candidate.model,
    }


def write(form: str, out: Path, chosen: Sequence[Candidate], artefact: Artefact) -> list[Path]:
    """Writes the files of a format (a CSV file; a folder for the others); returns them. Raises UsageError."""
    rows = [facts(candidate) for candidate in chosen]
    try:
        if form == "csv":
            out.parent.mkdir(parents=True, exist_ok=True)
            return [_write_csv(out, rows)]
        out.mkdir(parents=True, exist_ok=True)
        if form == "argilla":
            return _write_argilla(out, rows, artefact)
        return _write_labelstudio(out, rows, artefact)
    except (OSError, UnicodeEncodeError) as error:
        raise UsageError(f"{out}: cannot be written: {error}.", hint="Choose another place with --out.") from error


def _write_csv(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with out.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([guarded(str(row.get(name, ""))) for name in COLUMNS])
    return out


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: foreign text may begin with "="."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def unguarded(cell: str) -> str:
    """The inverse of :func:`guarded`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return path


def _display(artefact: Artefact, task: str, label: str) -> str:
    spec = artefact.tasks[task]
    return " / ".join(dict.fromkeys(spec.display(label, lang) for lang in ("en", "zh")))


def _write_argilla(out: Path, rows: Sequence[Mapping[str, Any]], artefact: Artefact) -> list[Path]:
    questions = [
        {
            "name": task,
            "title": task.capitalize(),
            "description": None,
            "required": False,
            "type": "label_selection",
            "settings": {
                "type": "label_selection",
                "options": [
                    {"value": label, "text": _display(artefact, task, label)} for label in artefact.tasks[task].labels
                ],
                "visible_options": None,
            },
        }
        for task in TASKS
    ]
    text = {
        "name": "text", "title": "Text", "required": True, "description": None, "type": "text",
        "settings": {"type": "text", "use_markdown": False},
    }  # fmt: skip
    metadata = [
        {
            "name": name,
            "title": name,
            "visible_for_annotators": True,
            "settings": {"type": "terms", "values": None, "visible_for_annotators": True},
        }
        for name in ("lang", "reason", "model", "source")
    ]
    settings = {
        "guidelines": GUIDELINES,
        "questions": questions,
        "fields": [text],
        "vectors": [],
        "metadata": metadata,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }
    dataset = {"name": "riskwire-labels", "guidelines": GUIDELINES, "allow_extra_metadata": True}
    records = [
        {
            "id": row["id"],
            "fields": {"text": row["text"]},
            "metadata": {name: row[name] for name in ("lang", "reason", "model", "source", "published_at")},
            "suggestions": {
                task: {
                    "value": row[f"predicted_{task}"],
                    "score": row["p_topic"] if task == "topic" else row[f"p_{row['predicted_sentiment']}"],
                    "agent": row["model"],
                }
                for task in TASKS
            },
            "responses": {},
            "vectors": {},
        }
        for row in rows
    ]
    return [_json(out / SETTINGS, settings), _json(out / DATASET, dataset), _json(out / RECORDS, records)]


def _write_labelstudio(out: Path, rows: Sequence[Mapping[str, Any]], artefact: Artefact) -> list[Path]:
    lines = ["<View>", '  <Text name="text" value="$text"/>']
    for task in TASKS:
        lines.append(f'  <Header value="{task.capitalize()}"/>')
        lines.append(f'  <Choices name="{task}" toName="text" choice="single" showInline="true">')
        lines += [
            f"    <Choice value={quoteattr(label)} hint={quoteattr(_display(artefact, task, label))}/>"
            for label in artefact.tasks[task].labels
        ]
        lines.append("  </Choices>")
    lines.append("</View>")
    tasks = [
        {
            "data": {name: row[name] for name in ("id", "text", "lang", "published_at", "source", "reason", "model")},
            "predictions": [
                {
                    "model_version": row["model"],
                    "score": min(row["p_topic"], row[f"p_{row['predicted_sentiment']}"]),
                    "result": [
                        {
                            "id": task,
                            "from_name": task,
                            "to_name": "text",
                            "type": "choices",
                            "value": {"choices": [row[f"predicted_{task}"]]},
                        }
                        for task in TASKS
                    ],
                }
            ],
        }
        for row in rows
    ]
    config = out / CONFIG_FILE
    config.write_text("\n".join(lines) + "\n", "utf-8")
    return [config, _json(out / TASKS_FILE, tasks)]


@dataclass(slots=True)
class _Reading:
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
            if text in (*spec.names.get(label, {}).values(), _display(self.artefact, task, label)):
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


def read(form: str, path: Path, *, artefact: Artefact, annotator: str = "", now: str) -> list[Label]:
    """The labels of a file, also those that are empty. ``annotator``: who labelled rows that do not say.

    Raises TrainError naming every bad row (the first 20 of them); nothing of such a file should be used.
    """
    reading = _Reading(path=path, artefact=artefact, annotator=annotator, at=now)
    readers: dict[str, Callable[[_Reading], None]] = {
        "csv": _read_csv, "argilla": _read_argilla, "labelstudio": _read_labelstudio,
    }  # fmt: skip
    readers[form](reading)
    if reading.problems:
        shown = "\n  ".join(reading.problems[:_SHOWN])
        more = f"\n  … and {len(reading.problems) - _SHOWN} more" if len(reading.problems) > _SHOWN else ""
        raise TrainError(f"{path}: nothing was imported.\n  {shown}{more}", hint="Mend these rows and import again.")
    return reading.found


def _text(path: Path) -> str:
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


def _read_csv(reading: _Reading) -> None:
    rows = csv.reader(io.StringIO(_text(reading.path), newline=""), strict=True)
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
                predicted=_known(reading.artefact, {task: row.get(f"predicted_{task}", "") for task in TASKS}),
            )
    except csv.Error as error:
        raise TrainError(f"{reading.path}, row {rows.line_num}: no CSV: {error}.", hint="Check its quotes.") from error


def _known(artefact: Artefact, given: Mapping[str, object]) -> dict[str, str]:
    return {task: str(name) for task, name in given.items() if name in artefact.tasks[task].labels}


def _objects(reading: _Reading) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        data = json.loads(_text(reading.path))
    except (ValueError, RecursionError) as error:
        raise TrainError(f"{reading.path}: this is not JSON: {error}.") from error
    if not isinstance(data, list):
        raise TrainError(f"{reading.path}: expected a list of records.", hint="Export it anew.")
    for number, item in enumerate(data, 1):
        if isinstance(item, Mapping):
            yield f"record {number}", item
        else:
            reading.problems.append(f"record {number}: expected an object")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _read_argilla(reading: _Reading) -> None:
    if reading.path.is_dir():
        reading.path = reading.path / RECORDS
    for where, record in _objects(reading):
        if "fields" not in record:
            reading.problems.append(f"{where}: no 'fields'; export with dataset.to_disk() or records.to_json()")
            continue
        said: dict[str, dict[str, object]] = {}
        for task in TASKS:
            for response in _list(_object(record.get("responses")).get(task)):
                answer = _object(response)
                if answer.get("status", "submitted") in ("submitted", None):
                    said.setdefault(str(answer.get("user_id") or ""), {})[task] = answer.get("value")
        suggestions, metadata = _object(record.get("suggestions")), _object(record.get("metadata"))
        hints = {task: _object(suggestions.get(task)) for task in TASKS}
        for user, given in (said or {"": {}}).items():
            reading.add(
                where,
                text=_object(record["fields"]).get("text"),
                annotator=user,
                given=given,
                article_id=str(record.get("id") or ""),
                model=str(metadata.get("model") or hints["sentiment"].get("agent") or ""),
                predicted=_known(reading.artefact, {task: hint.get("value") for task, hint in hints.items()}),
                **{name: str(metadata.get(name) or "") for name in ("lang", "source", "published_at", "reason")},
            )


def _read_labelstudio(reading: _Reading) -> None:
    for where, task in _objects(reading):
        if "annotations" not in task:
            reading.problems.append(f"{where}: no 'annotations'; export as JSON, not as JSON-MIN or CSV")
            continue
        data = _object(task.get("data"))
        predictions = _list(task.get("predictions"))
        hint = _object(predictions[0]) if predictions else {}
        # Newer exports name predictions by number only; the model is in the data as well.
        for number, item in enumerate(_list(task["annotations"]), 1):
            annotation = _object(item)
            if annotation.get("was_cancelled"):
                continue
            who = annotation.get("completed_by")
            person = _object(who).get("email") or _object(who).get("id") if isinstance(who, Mapping) else who
            reading.add(
                f"{where}, annotation {number}",
                text=data.get("text"),
                annotator="" if person is None else str(person),
                given=_choices(reading, f"{where}, annotation {number}", annotation),
                at=str(annotation.get("updated_at") or annotation.get("created_at") or ""),
                article_id=str(data.get("id") or ""),
                model=str(data.get("model") or hint.get("model_version") or ""),
                predicted=_known(reading.artefact, _choices(None, where, hint)),
                **{name: str(data.get(name) or "") for name in ("lang", "source", "published_at", "reason")},
            )


def _choices(reading: _Reading | None, where: str, annotation: Mapping[str, Any]) -> dict[str, object]:
    given: dict[str, object] = {}
    for result in _list(annotation.get("result")):
        region = _object(result)
        name, picked = region.get("from_name"), _list(_object(region.get("value")).get("choices"))
        if name in TASKS and region.get("type") == "choices" and picked:
            given[str(name)] = picked[0]
            if len(picked) > 1 and reading is not None:
                reading.problems.append(f"{where}, '{name}': {len(picked)} choices, but one is asked for")
    return given
