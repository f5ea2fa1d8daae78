"""Label Studio 1.x (checked with label-studio-sdk 2.1): tasks with predictions, a labelling configuration, and the JSON
export (not JSON-MIN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from monitor.model.artefact import Artefact
from monitor.train.lifecycle.formats.outgoing import display, write_json
from monitor.train.lifecycle.formats.reading import Reading, as_list, as_object, known, objects
from monitor.train.lifecycle.labels import TASKS

TASKS_FILE, CONFIG_FILE = "tasks.json", "labeling-config.xml"


def write(out: Path, rows: Sequence[Mapping[str, Any]], artefact: Artefact) -> list[Path]:
    """The folder ``out``: the labelling configuration, and tasks with the model's word as predictions."""
    out.mkdir(parents=True, exist_ok=True)
    lines = ["<View>", '  <Text name="text" value="$text"/>']
    for task in TASKS:
        lines.append(f'  <Header value="{task.capitalize()}"/>')
        lines.append(f'  <Choices name="{task}" toName="text" choice="single" showInline="true">')
        lines += [
            f"    <Choice value={quoteattr(label)} hint={quoteattr(display(artefact, task, label))}/>"
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
    return [config, write_json(out / TASKS_FILE, tasks)]


def read(reading: Reading) -> None:
    """Annotations that were not cancelled, of each person. Raises TrainError."""
    for where, task in objects(reading):
        if "annotations" not in task:
            reading.problems.append(f"{where}: no 'annotations'; export as JSON, not as JSON-MIN or CSV")
            continue
        data = as_object(task.get("data"))
        predictions = as_list(task.get("predictions"))
        hint = as_object(predictions[0]) if predictions else {}
        # Newer exports name predictions by number only; the model is in the data as well.
        for number, item in enumerate(as_list(task["annotations"]), 1):
            annotation = as_object(item)
            if annotation.get("was_cancelled"):
                continue
            who = annotation.get("completed_by")
            person = as_object(who).get("email") or as_object(who).get("id") if isinstance(who, Mapping) else who
            reading.add(
                f"{where}, annotation {number}",
                text=data.get("text"),
                annotator="" if person is None else str(person),
                given=_choices(reading, f"{where}, annotation {number}", annotation),
                at=str(annotation.get("updated_at") or annotation.get("created_at") or ""),
                article_id=str(data.get("id") or ""),
                model=str(data.get("model") or hint.get("model_version") or ""),
                predicted=known(reading.artefact, _choices(None, where, hint)),
                **{name: str(data.get(name) or "") for name in ("lang", "source", "published_at", "reason")},
            )


def _choices(reading: Reading | None, where: str, annotation: Mapping[str, Any]) -> dict[str, object]:
    given: dict[str, object] = {}
    for result in as_list(annotation.get("result")):
        region = as_object(result)
        name, picked = region.get("from_name"), as_list(as_object(region.get("value")).get("choices"))
        if name in TASKS and region.get("type") == "choices" and picked:
            given[str(name)] = picked[0]
            if len(picked) > 1 and reading is not None:
                reading.problems.append(f"{where}, '{name}': {len(picked)} choices, but one is asked for")
    return given
