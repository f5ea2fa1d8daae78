"""Labelling files: out with the model's word, back in with the annotators'; one module for each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.core.errors import TrainError, UsageError
from monitor.model.artefact import Artefact
from monitor.train.lifecycle.formats import argilla, labelstudio, sheet
from monitor.train.lifecycle.formats.outgoing import facts
from monitor.train.lifecycle.formats.reading import Reading
from monitor.train.lifecycle.labels import Label
from monitor.train.lifecycle.pool import Candidate

__all__ = ["FORMATS", "read", "write"]

_Write = Callable[[Path, Sequence[Mapping[str, Any]], Artefact], list[Path]]
_FORMATS: Mapping[str, tuple[_Write, Callable[[Reading], None]]] = {
    "csv": (sheet.write, sheet.read),
    "argilla": (argilla.write, argilla.read),
    "labelstudio": (labelstudio.write, labelstudio.read),
}
FORMATS = tuple(_FORMATS)
_SHOWN = 20


def write(form: str, out: Path, chosen: Sequence[Candidate], artefact: Artefact) -> list[Path]:
    """Writes the files of a format (a CSV file; a folder for the others); returns them. Raises UsageError."""
    to_files, _ = _FORMATS[form]
    try:
        return to_files(out, [facts(candidate) for candidate in chosen], artefact)
    except (OSError, UnicodeEncodeError) as error:
        raise UsageError(f"{out}: cannot be written: {error}.", hint="Choose another place with --out.") from error


def read(form: str, path: Path, *, artefact: Artefact, annotator: str = "", now: str) -> list[Label]:
    """The labels of a file, also those that are empty. ``annotator``: who labelled rows that do not say.

    Raises TrainError naming every bad row (the first 20 of them); nothing of such a file should be used.
    """
    reading = Reading(path=path, artefact=artefact, annotator=annotator, at=now)
    _, from_file = _FORMATS[form]
    from_file(reading)
    if reading.problems:
        shown = "\n  ".join(reading.problems[:_SHOWN])
        more = f"\n  … and {len(reading.problems) - _SHOWN} more" if len(reading.problems) > _SHOWN else ""
        raise TrainError(f"{path}: nothing was imported.\n  {shown}{more}", hint="Mend these rows and import again.")
    return reading.found
