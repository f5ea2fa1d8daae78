"""Argilla 2 (checked with 2.8): the folder that ``rg.Dataset.from_disk`` reads, and ``records.json`` as ``to_disk``
writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.model.artefact import Artefact
from monitor.train.lifecycle.formats.outgoing import display, write_json
from monitor.train.lifecycle.formats.reading import Reading, as_list, as_object, known, objects
from monitor.train.lifecycle.labels import TASKS

RECORDS, SETTINGS, DATASET = "records.json", ".argilla/settings.json", ".argilla/dataset.json"
GUIDELINES = (
    "Topic: what the text is mainly about. Sentiment: how it reads for the company, market or economy it is about, to "
    "somebody who knows nothing else; neutral when it does not say. Leave out what you cannot decide."
)


def write(out: Path, rows: Sequence[Mapping[str, Any]], artefact: Artefact) -> list[Path]:
    """The folder ``out``: settings, dataset and records, the model's word as suggestions."""
    out.mkdir(parents=True, exist_ok=True)
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
                    {"value": label, "text": display(artefact, task, label)} for label in artefact.tasks[task].labels
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
    return [
        write_json(out / SETTINGS, settings),
        write_json(out / DATASET, dataset),
        write_json(out / RECORDS, records),
    ]


def read(reading: Reading) -> None:
    """Submitted responses, of each user, from the folder or its records. Raises TrainError."""
    if reading.path.is_dir():
        reading.path = reading.path / RECORDS
    for where, record in objects(reading):
        if "fields" not in record:
            reading.problems.append(f"{where}: no 'fields'; export with dataset.to_disk() or records.to_json()")
            continue
        said: dict[str, dict[str, object]] = {}
        for task in TASKS:
            for response in as_list(as_object(record.get("responses")).get(task)):
                answer = as_object(response)
                if answer.get("status", "submitted") in ("submitted", None):
                    said.setdefault(str(answer.get("user_id") or ""), {})[task] = answer.get("value")
        suggestions, metadata = as_object(record.get("suggestions")), as_object(record.get("metadata"))
        hints = {task: as_object(suggestions.get(task)) for task in TASKS}
        for user, given in (said or {"": {}}).items():
            reading.add(
                where,
                text=as_object(record["fields"]).get("text"),
                annotator=user,
                given=given,
                article_id=str(record.get("id") or ""),
                model=str(metadata.get("model") or hints["sentiment"].get("agent") or ""),
                predicted=known(reading.artefact, {task: hint.get("value") for task, hint in hints.items()}),
                **{name: str(metadata.get(name) or "") for name in ("lang", "source", "published_at", "reason")},
            )
