"""What is uncertain of a score: a verdict below the precision asked for, a language the model was not made for."""

from __future__ import annotations

from monitor.core.errors import ConfigError
from monitor.core.text import guess_language
from monitor.core.types import Scores
from monitor.model.artefact import Artefact

LANGUAGE = "language"


class Doubter:
    """Names the doubts of a score. Raises ConfigError when the model cannot promise ``min_precision`` for a task."""

    def __init__(self, artefact: Artefact, *, min_precision: float | None = None) -> None:
        self._languages = frozenset(artefact.languages)
        self._thresholds: dict[str, float] = {}
        if min_precision is None:
            return
        for task in ("topic", "sentiment"):
            calibration = artefact.tasks[task].calibration
            threshold = calibration.threshold(min_precision)
            if threshold is None:
                best = max((point.precision for point in calibration.points), default=None)
                raise ConfigError(
                    f"model.min_precision is {min_precision:g}, which {artefact.id} cannot promise for '{task}': "
                    + ("it carries no operating points." if best is None else f"its surest texts reach {best:.3f}."),
                    hint="Unset it, or take another model." if best is None else f"Set it to at most {best:.3f}.",
                )
            self._thresholds[task] = threshold

    def doubts(self, scores: Scores, text: str) -> tuple[str, ...]:
        """``topic``, ``sentiment``, ``language``: those that are in doubt."""
        found = [
            task
            for task, values in (("topic", scores.topics), ("sentiment", scores.sentiments))
            if max(values.values()) < self._thresholds.get(task, 0.0)
        ]
        if guess_language(text) not in self._languages:
            found.append(LANGUAGE)
        return tuple(found)
