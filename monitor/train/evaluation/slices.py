"""The same figures by source, language, length or any other column: a good mean may hide a bad part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from monitor.core.errors import UsageError
from monitor.core.text import guess_language
from monitor.model.preprocess import width
from monitor.train.evaluation.intervals import wilson
from monitor.train.evaluation.sets import LabelledSet
from monitor.train.metrics import Floats, summary

DEFAULT = ("source", "lang", "length")
LENGTHS = ((40, "1-40"), (80, "41-80"), (160, "81-160"))
"""Columns of text on a terminal; a Chinese character is two."""
_LONGER = "161+"
MOST = 40
"""Most parts shown of one column; the rest is put together."""
_OTHER = "(others)"
_EMPTY = "(empty)"


def check_columns(data: LabelledSet, names: Sequence[str]) -> None:
    """Raises UsageError when a column to slice by is not there and cannot be worked out."""
    for name in names:
        if name not in (*DEFAULT, *data.columns):
            raise UsageError(
                f"{data.path} has no column '{name}' to group by.",
                hint=f"Columns to group by: {', '.join([*data.columns, 'lang', 'length'])}.",
            )


def slices(data: LabelledSet, probabilities: Floats, names: Sequence[str]) -> dict[str, object]:
    """Column → its parts, largest first, with ``n``, ``accuracy`` and its Wilson interval, ``macro_f1`` and the mean
    ``confidence``. ``lang`` is guessed from the text when there is no such column, ``length`` always worked out;
    ``source`` is left out when there is none."""
    found: dict[str, object] = {}
    predicted = probabilities.argmax(axis=1)
    for name in names:
        values, how = _values(data, name)
        if values is None:
            continue
        parts = []
        for value in _order(name, values):
            inside = np.asarray([item == value for item in values])
            figures = summary(probabilities[inside], data.truth[inside], data.labels)
            right = int((predicted[inside] == data.truth[inside]).sum())
            low, high = wilson(right, int(inside.sum()))
            parts.append({
                "value": value,
                "n": figures["n"],
                "accuracy": figures["accuracy"],
                "interval": [low, high],
                "macro_f1": figures["macro_f1"],
                "confidence": float(probabilities[inside].max(axis=1).mean()),
            })  # fmt: skip
        found[name] = {"from": how, "parts": parts}
    return found


def _values(data: LabelledSet, name: str) -> tuple[list[str] | None, str]:
    if name in data.columns:
        values = [value or _EMPTY for value in data.columns[name]]
        kept = {value for value, _ in Counter(values).most_common(MOST)}
        return [value if value in kept else _OTHER for value in values], "column"
    if name == "lang":
        return [guess_language(text) for text in data.texts], "guessed from the text"
    if name == "length":
        return [_length(text) for text in data.texts], "columns of text, a Chinese character is two"
    return None, ""


def _length(text: str) -> str:
    columns = width(text)
    return next((name for limit, name in LENGTHS if columns <= limit), _LONGER)


def _order(name: str, values: Sequence[str]) -> list[str]:
    counts = Counter(values)
    if name == "length" and set(counts) <= {*(label for _, label in LENGTHS), _LONGER}:
        return [label for label in (*(label for _, label in LENGTHS), _LONGER) if counts[label]]
    return sorted(counts, key=lambda value: (value == _OTHER, -counts[value], value))
