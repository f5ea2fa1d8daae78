"""Evaluation of an artefact on a CSV of texts and labels. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monitor.core.errors import TrainError, UsageError
from monitor.model.engines.base import TokenEngine
from monitor.train.data import cell, label_index, read_rows
from monitor.train.metrics import summary


def evaluate_file(engine: TokenEngine, *, task: str, path: Path) -> dict[str, object]:
    """``task, n, accuracy, macro_f1, weighted_f1, ece, per_class`` of the model on ``path`` (columns text, label).

    When the file uses only some of the task's labels (positive and negative, say), ``decided`` adds the part of texts
    that got one of those and the accuracy among them, and ``among_labels`` the accuracy when only those may be chosen.
    Raises UsageError on a task that the model has not, TrainError on a bad row.
    """
    if task not in engine.artefact.tasks:
        raise UsageError(
            f"{engine.artefact.id} has no task '{task}'.", hint=f"Its tasks: {', '.join(engine.artefact.tasks)}."
        )
    labels = engine.artefact.tasks[task].labels
    texts: list[str] = []
    truth_list: list[int] = []
    for line, row in read_rows(path):
        text = cell(path, line, row, "text")
        prepared = engine.artefact.preprocessing.readable(text) if isinstance(text, str) else ""
        if not prepared:
            raise TrainError(f"{path}, row {line}, column 'text': there is no text.", hint="Remove the row.")
        texts.append(prepared)
        truth_list.append(label_index(path, line, "label", cell(path, line, row, "label"), labels))
    if not texts:
        raise TrainError(f"{path}: there are no rows.", hint="Give a CSV with the columns text and label.")
    truth = np.asarray(truth_list, dtype=np.int64)
    probabilities = engine.predict_tasks(texts)[task]
    result: dict[str, object] = {"task": task, "model": engine.model} | summary(probabilities, truth, labels)
    present = np.unique(truth)
    if len(present) < len(labels):
        predicted = probabilities.argmax(axis=1)
        decided = np.isin(predicted, present)
        among = present[probabilities[:, present].argmax(axis=1)]
        result["decided"] = {
            "labels": [labels[i] for i in present],
            "part": float(decided.mean()),
            "accuracy": float((predicted[decided] == truth[decided]).mean()) if decided.any() else 0.0,
        }
        result["among_labels"] = {"accuracy": float((among == truth).mean())}
    return result
