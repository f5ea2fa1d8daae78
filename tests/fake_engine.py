"""Engines for tests: one without a model, which reads sentiment off a few words, and one that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.core.errors import ModelInputError
from monitor.model.artefact import Artefact, TaskSpec
from monitor.model.calibration import Calibration
from monitor.model.engines.base import Logits, TokenEngine
from monitor.model.preprocess import Preprocessing

SENTIMENT = ("negative", "neutral", "positive")
BAD, GOOD = ("loss", "fraud", "亏损"), ("profit", "record", "盈利")


def by_words(text: str) -> tuple[float, float, float]:
    """Surer with more words; neutral when there are none."""
    bad, good = (sum(text.lower().count(word) for word in words) for words in (BAD, GOOD))
    raw = np.array([1.0 + 3 * bad, 1.5, 1.0 + 3 * good])
    low, middle, high = raw / raw.sum()
    return float(low), float(middle), float(high)


class FakeEngine(TokenEngine):
    """Answers with ``answer(text)``; refuses texts that hold ``refuses``."""

    name = "fake"

    def __init__(
        self,
        answer: Callable[[str], Sequence[float]] = by_words,
        *,
        tasks: Mapping[str, Sequence[str]] | None = None,
        refuses: str = "",
        name: str = "fake",
    ) -> None:
        labels = tasks or {"sentiment": SENTIMENT}
        self.artefact = Artefact(
            path=Path("nowhere"),
            id=f"{name}@000000000000",
            name=name,
            tasks={
                task: TaskSpec(labels=tuple(of_task), names={}, calibration=Calibration(temperature=1.0))
                for task, of_task in labels.items()
            },
            preprocessing=Preprocessing(),
            pad_id=0,
            pooling="mean",
            encoder={},
            languages=("en", "zh"),
        )
        self.model = self.artefact.id
        self._answer, self._refuses = answer, refuses

    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        raise AssertionError("the fake engine has no tokens")

    def predict_tasks(self, prepared: Sequence[str], *, token_budget: int = 0) -> dict[str, NDArray[np.float64]]:
        if self._refuses and any(self._refuses in text for text in prepared):
            raise ModelInputError("The model cannot take this batch.")
        rows = np.array([self._answer(text) for text in prepared], dtype=np.float64)
        return dict.fromkeys(self.artefact.tasks, rows)


class WatchedEngine(TokenEngine):
    """Another engine, with the sizes of the batches that reached it."""

    def __init__(self, inner: TokenEngine) -> None:
        super().__init__(inner.artefact)
        self.inner = inner
        self.batches: list[int] = []
        self.closed = False

    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        self.batches.append(len(batch))
        return self.inner.logits(batch)

    def close(self) -> None:
        self.closed = True
