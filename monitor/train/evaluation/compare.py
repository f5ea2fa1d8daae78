"""Is one model better than another on the same texts? McNemar's test on what only one of them gets right.

McNemar 1947; the exact test and the mid-p variant, which is less conservative, as Fagerland, Lydersen and Laake
recommend ("The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact conditional",
2013).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binom

from monitor.core.errors import TrainError, UsageError
from monitor.model.engines.base import TokenEngine
from monitor.train.data import cell, read_rows
from monitor.train.evaluation.intervals import LEVEL, mean_interval
from monitor.train.evaluation.sets import LabelledSet
from monitor.train.metrics import Floats, Ints

PREDICTED = "predicted"


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """Two-sided exact and mid-p values for the texts that only the first, and only the second, got right."""
    n, least = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0, 1.0
    tail = 2 * float(binom.cdf(least, n, 0.5))
    return min(1.0, tail), min(1.0, tail - float(binom.pmf(least, n, 0.5)))


def compare(data: LabelledSet, first: Ints, second: Ints, *, name: str, resamples: int, seed: int) -> dict[str, object]:
    """The comparison of two models' verdicts (label numbers, -1 for none of the labels) as a JSON object."""
    right, other = first == data.truth, second == data.truth
    only_first, only_second = int((right & ~other).sum()), int((~right & other).sum())
    exact, mid = mcnemar(only_first, only_second)
    gap = right.astype(np.float64) - other
    return {
        "with": name,
        "accuracy": float(other.mean()),
        "difference": float(gap.mean()),
        "interval": list(mean_interval(gap, data.groups, resamples=resamples, seed=seed)),
        "level": LEVEL,
        "both_right": int((right & other).sum()),
        "only_this_right": only_first,
        "only_other_right": only_second,
        "both_wrong": int((~right & ~other).sum()),
        "agreement": float((first == second).mean()),
        "p_exact": exact,
        "p_mid": mid,
    }


def verdicts_of(engine: TokenEngine, data: LabelledSet) -> Ints:
    """Another model's verdicts in the numbers of the set's labels; -1 for a label that the set's task has not.

    Raises UsageError when the model lacks the task or shares no label with it.
    """
    if data.task not in engine.artefact.tasks:
        raise UsageError(f"{engine.artefact.id}, to compare with, has no task '{data.task}'.")
    theirs = engine.artefact.tasks[data.task].labels
    places = np.asarray([data.labels.index(label) if label in data.labels else -1 for label in theirs])
    if (places < 0).all():
        raise UsageError(f"{engine.artefact.id}, to compare with, has other labels for '{data.task}'.")
    steps = engine.artefact.preprocessing
    texts = [steps.readable(text) for text in data.raw]
    return np.asarray(places[engine.predict_tasks(texts)[data.task].argmax(axis=1)], dtype=np.int64)


def read_verdicts(path: Path, data: LabelledSet) -> Ints:
    """Verdicts from a file with the column ``predicted`` (as ``--predictions`` writes it), one row for each text and in
    their order; a column ``text``, if there is one, must hold the same texts.

    Raises TrainError naming the row that does not fit.
    """
    found: list[int] = []
    for line, row in read_rows(path):
        value = str(cell(path, line, row, PREDICTED)).strip()
        if len(found) < len(data.raw) and "text" in row and row["text"] != data.raw[len(found)]:
            raise TrainError(
                f"{path}, row {line}: its text is not that of {data.path}, row {data.rows[len(found)]}.",
                hint="Both files must hold the same texts in the same order.",
            )
        found.append(data.labels.index(value) if value in data.labels else -1)
    if len(found) != len(data.raw):
        raise TrainError(
            f"{path} has {len(found)} predictions, {data.path} {len(data.raw)} texts.",
            hint="Both files must hold the same texts in the same order.",
        )
    if all(verdict < 0 for verdict in found):
        raise TrainError(f"{path}: none of the predictions is a label of '{data.task}'.", hint=", ".join(data.labels))
    return np.asarray(found, dtype=np.int64)


def write_predictions(path: Path, data: LabelledSet, probabilities: Floats) -> None:
    """A CSV: text, label, predicted, confidence and one column of probabilities for each label.

    Raises UsageError when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label", PREDICTED, "confidence", *(f"p_{label}" for label in data.labels)])
            for text, truth, row in zip(data.raw, data.truth, probabilities, strict=True):
                writer.writerow(_line(text, data.labels, int(truth), row))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).", hint="Choose another file.") from error


def _line(text: str, labels: Sequence[str], truth: int, row: Floats) -> list[str]:
    best = int(row.argmax())
    return [text, labels[truth], labels[best], f"{row[best]:.6f}", *(f"{value:.6f}" for value in row)]
