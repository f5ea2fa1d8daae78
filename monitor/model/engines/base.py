"""What every engine does alike: texts to token batches, logits to calibrated scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.errors import ArtefactMismatchError, ModelInputError
from monitor.core.types import SENTIMENTS, Scores
from monitor.model.artefact import Artefact
from monitor.model.batching import plan_batches

Logits = NDArray[np.float32]
Probabilities = Mapping[str, NDArray[np.float64]]
"""Task → one row of probabilities per text."""
TOKEN_BUDGET = 768
"""Most tokens in a batch on the CPU. What lies between two layers then stays near the cache: on cores with 1 MiB of it,
batches of 1,024 were some 10 % slower than such of 384 for each core, padding included."""


class TokenEngine(ABC):
    """Runs an artefact on token ids; implements :class:`monitor.core.ports.Engine` on top of that.

    Synchronous; exactly one thread at a time calls it.
    """

    name = "engine"
    token_budget = TOKEN_BUDGET
    """The batch, in tokens with padding, that runs best; batches may be larger."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.model = artefact.id
        self.tokenizer = artefact.tokenizer()

    @abstractmethod
    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        """Task → logits [texts, labels] of one batch of token ids, padded together to its longest text.

        Raises ModelInputError when the batch cannot be taken.
        """

    def close(self) -> None:
        """Releases memory; the engine is not used afterwards."""
        return

    def tokens(self, prepared: Sequence[str]) -> list[list[int]]:
        """Token ids of prepared texts, cut to the artefact's limit. May run beside :meth:`logits`."""
        steps = self.artefact.preprocessing
        return [item.ids for item in self.tokenizer.encode_batch([steps.model_input(text) for text in prepared])]

    def probabilities(self, batch: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float64]]:
        """Calibrated probabilities of one batch of token ids."""
        return {
            task: self.artefact.tasks[task].calibration.probabilities(values)
            for task, values in self.logits(batch).items()
        }

    def predict_tasks(
        self, prepared: Sequence[str], *, token_budget: int | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Task → probabilities [texts, labels], in the order of the prepared texts; batches of ``token_budget``, the
        engine's own by default."""
        ids = self.tokens(prepared)
        out = {task: np.zeros((len(ids), len(spec.labels))) for task, spec in self.artefact.tasks.items()}
        for batch in plan_batches([len(row) for row in ids], token_budget or self.token_budget):
            for task, rows in self.probabilities([ids[i] for i in batch]).items():
                out[task][batch] = rows
        return out

    def predict(self, batch: Sequence[str]) -> Sequence[Scores]:
        """Scores in the order of the batch. Raises ModelInputError when a text has nothing to read."""
        check_tasks(self.artefact)
        prepared = [self.artefact.preprocessing.readable(text) for text in batch]
        for number, text in enumerate(prepared):
            if not text:
                raise ModelInputError(f"Text {number + 1} of {len(batch)} has nothing to read in it.")
        table = self.predict_tasks(prepared)
        return [to_scores(self.artefact, {task: rows[i] for task, rows in table.items()}) for i in range(len(batch))]


def check_tasks(artefact: Artefact) -> None:
    """Raises ArtefactMismatchError unless the artefact has what :class:`Scores` needs."""
    missing = {"topic", "sentiment"} - set(artefact.tasks)
    if missing or set(artefact.tasks["sentiment"].labels) != set(SENTIMENTS):
        raise ArtefactMismatchError(
            f"{artefact.id} cannot score news: "
            + (f"it has no task {', '.join(sorted(missing))}." if missing else "its sentiment labels are others."),
            hint=f"It needs a task 'topic' and a task 'sentiment' with the labels {', '.join(SENTIMENTS)}.",
        )


def to_scores(artefact: Artefact, rows: Mapping[str, NDArray[np.float64]]) -> Scores:
    """One text's probabilities as Scores; sentiments in the order of SENTIMENTS."""
    topic = dict(zip(artefact.tasks["topic"].labels, rows["topic"].tolist(), strict=True))
    sentiment = dict(zip(artefact.tasks["sentiment"].labels, rows["sentiment"].tolist(), strict=True))
    return Scores(topics=topic, sentiments={name: sentiment[name] for name in SENTIMENTS})


def check(batch: Sequence[Sequence[int]]) -> None:
    """Raises ModelInputError on an empty batch or text."""
    if not batch or not all(len(row) for row in batch):
        raise ModelInputError("A batch needs texts of at least one token.")


def pad(batch: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask as arrays. Raises ModelInputError on an empty batch or text."""
    check(batch)
    ids = np.full((len(batch), max(map(len, batch))), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(batch):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask
