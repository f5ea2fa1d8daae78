"""Evaluation of an artefact on a CSV of texts and labels. Needs no torch.

:func:`evaluate_file` gives the few figures that go into an artefact's metrics and card; :func:`evaluate` everything
that ``riskwire evaluate`` reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.model.engines.base import TokenEngine
from monitor.train.evaluation.abstention import abstention
from monitor.train.evaluation.compare import compare, read_verdicts, verdicts_of
from monitor.train.evaluation.intervals import LEVEL, RESAMPLES, SEED, intervals
from monitor.train.evaluation.sets import LabelledSet, read_set
from monitor.train.evaluation.slices import DEFAULT, check_columns, slices
from monitor.train.metrics import Floats, brier, confusion, reliability, summary

EXAMPLES = 5
"""Texts shown of each confusion: those that the model was surest of."""
_TEXT_LIMIT = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """``figures``: the JSON report; ``data`` and ``probabilities``: what they were worked out from."""

    figures: dict[str, object]
    data: LabelledSet
    probabilities: Floats


def evaluate_file(engine: TokenEngine, *, task: str, path: Path) -> dict[str, object]:
    """``task, model, n, accuracy, macro_f1, weighted_f1, ece, per_class`` on ``path`` (columns text, label).

    When the file uses only some of the task's labels (positive and negative, say), ``decided`` adds the part of texts
    that got one of those and the accuracy among them, and ``among_labels`` the accuracy when only those may be chosen.
    No text of the file is in it. Raises UsageError on a task that the model has not, TrainError on a bad row.
    """
    data = read_set(engine, task=task, path=path)
    return _basic(engine, data, engine.predict_tasks(data.texts)[task])


def evaluate(
    engine: TokenEngine,
    *,
    task: str,
    path: Path,
    group_by: Sequence[str] = DEFAULT,
    other: TokenEngine | Path | None = None,
    cluster: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Evaluation:
    """All figures of the model on ``path``, with intervals, curves, slices, confusions and their surest examples.

    ``other``: a second model, or a file of its predictions, to compare with. ``cluster``: the column whose equal cells
    are resampled together, equal texts by default. Raises UsageError and TrainError as :func:`evaluate_file` does, and
    when a column or a prediction does not fit.
    """
    data = read_set(engine, task=task, path=path, cluster=cluster)
    check_columns(data, group_by)
    theirs = read_verdicts(other, data) if isinstance(other, Path) else None
    probabilities = np.asarray(engine.predict_tasks(data.texts)[task], dtype=np.float64)
    if isinstance(other, TokenEngine):
        theirs = verdicts_of(other, data)
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    figures = _basic(engine, data, probabilities) | {
        "file": path.name,
        "notes": list(data.notes),
        "intervals": {
            name: list(edges)
            for name, edges in intervals(probabilities, data.truth, data.groups, resamples=resamples, seed=seed).items()
        },
        "bootstrap": {
            "method": "BCa; percentile for ECE and differences",
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "grouped_by": cluster or "equal normalised text",
            "groups": int(data.groups.max()) + 1,
        },
        "brier": brier(probabilities, data.truth),
        "confidence": float(probabilities.max(axis=1).mean()),
        "reliability": reliability(probabilities, data.truth),
        "abstention": abstention(probabilities, data.truth),
        "confusion": {
            "labels": list(data.labels),
            "table": confusion(data.truth, predicted, len(data.labels)),
        },
        "slices": slices(data, probabilities, group_by),
        "errors": _errors(data, probabilities),
    }
    if theirs is not None and other is not None:
        name = other.name if isinstance(other, Path) else other.model
        figures["comparison"] = compare(data, predicted, theirs, name=name, resamples=resamples, seed=seed)
    return Evaluation(figures=figures, data=data, probabilities=probabilities)


def _basic(engine: TokenEngine, data: LabelledSet, probabilities: Floats) -> dict[str, object]:
    truth, labels = data.truth, data.labels
    result: dict[str, object] = {"task": data.task, "model": engine.model} | summary(probabilities, truth, labels)
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


def _errors(data: LabelledSet, probabilities: Floats) -> list[dict[str, object]]:
    """Confusions, the most frequent first, each with the texts that the model was surest of."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place in np.argsort(-confidence, kind="stable"):
        if predicted[place] != data.truth[place]:
            found[int(data.truth[place]), int(predicted[place])].append(int(place))
    ranked = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "truth": data.labels[truth],
            "predicted": data.labels[guess],
            "n": len(places),
            "examples": [
                {
                    "row": data.rows[place],
                    "confidence": float(confidence[place]),
                    "text": data.texts[place][:_TEXT_LIMIT],
                }
                for place in places[:EXAMPLES]
            ],
        }
        for (truth, guess), places in ranked
    ]
