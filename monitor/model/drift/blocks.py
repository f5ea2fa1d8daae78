"""What is counted of the news of one block of time (a day, say). Blocks add up, and are small enough to be kept."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError, UsageError
from monitor.core.ids import digest
from monitor.core.types import ScoredArticle, Scores
from monitor.model.artefact import Artefact
from monitor.model.preprocess import group_key

FORMAT = 1
TASKS = ("topic", "sentiment")
BINS = 50
"""Bins of the top probability and of the entropy (as a part of the greatest possible), over 0 to 1."""
LENGTHS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128)
"""Upper edges, inclusive, of the bins of a text's tokens; one more bin for longer ones."""
WORD_BUCKETS = 512
SAMPLE = 64
"""Texts of a block whose place in the model's space is kept."""
_FLOOR = 1e-4
_UNKNOWN = ("<unk>", "[UNK]", "<UNK>", "unk")
_MIX = 0x9E3779B1


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Counts over the articles of one block; an article whose text was seen in the block counts once.

    ``outputs``: those of ``n`` that the model scored which the report is about; ``topics``, ``sentiments``,
    ``confidence``, ``entropy`` (histograms by task) and ``space`` (centred log probabilities) are theirs.
    """

    start: datetime
    n: int = 0
    outputs: int = 0
    topics: Mapping[str, int] = field(default_factory=dict)
    sentiments: Mapping[str, int] = field(default_factory=dict)
    languages: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    confidence: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    entropy: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    tokens: int = 0
    unknown: int = 0
    words: tuple[int, ...] = ()
    space: tuple[tuple[float, ...], ...] = ()


class Observer:
    """Turns stored articles into blocks. ``model``: whose verdicts count as outputs; the artefact's id by default."""

    def __init__(self, artefact: Artefact, *, model: str | None = None) -> None:
        self.model = artefact.id if model is None else model
        self._steps = artefact.preprocessing
        self._tokenizer = artefact.tokenizer()
        vocabulary = (self._tokenizer.token_to_id(name) for name in _UNKNOWN)
        self._unknown = next((number for number in vocabulary if number is not None), -1)
        self._topics = artefact.tasks["topic"].labels
        self._sentiments = artefact.tasks["sentiment"].labels

    def block(self, start: datetime, items: Sequence[ScoredArticle]) -> Block:
        """The counts of ``items``. Pure computing; tokenises every text."""
        once: dict[str, ScoredArticle] = {}
        for item in items:
            text = self._steps.article(item.article.title, item.article.body)
            if text:
                once.setdefault(group_key(text), item)
        kept = list(once.values())
        texts = [self._steps.article(item.article.title, item.article.body) for item in kept]
        lengths, words, tokens, unknown = self._read(texts)
        scored = [item for item in kept if item.scored.model == self.model]
        fit = [item.scored.scores for item in scored if set(item.scored.scores.topics) == set(self._topics)]
        # In the order of a hash, so that the first few are a random sample, and the same one every time.
        scored.sort(key=lambda item: digest(item.article.id))
        sample = [s for s in (item.scored.scores for item in scored) if set(s.topics) == set(self._topics)][:SAMPLE]
        return Block(
            start=start,
            n=len(kept),
            outputs=len(fit),
            topics=dict(Counter(scores.topic for scores in fit)),
            sentiments=dict(Counter(scores.sentiment for scores in fit)),
            languages=dict(Counter(item.article.lang for item in kept)),
            sources=dict(Counter(item.article.source for item in kept)),
            confidence={task: _histogram([max(_of(s, task).values()) for s in fit]) for task in TASKS},
            entropy={task: _histogram([_entropy(_of(s, task).values()) for s in fit]) for task in TASKS},
            lengths=lengths,
            tokens=tokens,
            unknown=unknown,
            words=words,
            space=tuple(self._place(scores) for scores in sample),
        )

    def _read(self, texts: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
        lengths = np.zeros(len(LENGTHS) + 1, dtype=np.int64)
        words = np.zeros(WORD_BUCKETS, dtype=np.int64)
        tokens = unknown = 0
        for item in self._tokenizer.encode_batch(list(texts), add_special_tokens=False) if texts else ():
            ids = np.asarray(item.ids, dtype=np.int64)
            lengths[np.searchsorted(LENGTHS, len(ids))] += 1
            tokens += len(ids)
            unknown += int((ids == self._unknown).sum())
            # A word counts once in a text: what matters is in how many texts it occurs.
            words[np.unique((ids * _MIX & 0xFFFFFFFF) * WORD_BUCKETS >> 32)] += 1
        return tuple(lengths.tolist()), tuple(words.tolist()), tokens, unknown

    def _place(self, scores: Scores) -> tuple[float, ...]:
        """The logits, up to what calibration and softmax leave of them: a linear image of the encoder's embedding."""
        place: list[float] = []
        for table, labels in ((scores.topics, self._topics), (scores.sentiments, self._sentiments)):
            logs = [math.log(max(table[label], _FLOOR)) for label in labels]
            mean = sum(logs) / len(logs)
            place += [round(value - mean, 3) for value in logs]
        return tuple(place)


def _of(scores: Scores, task: str) -> Mapping[str, float]:
    return scores.topics if task == "topic" else scores.sentiments


def _histogram(values: Sequence[float]) -> tuple[int, ...]:
    places = np.minimum((np.asarray(values, dtype=np.float64) * BINS).astype(np.int64), BINS - 1)
    return tuple(np.bincount(places, minlength=BINS).tolist()) if len(values) else (0,) * BINS


def _entropy(values: Iterable[float]) -> float:
    """Shannon's entropy as a part of the greatest possible one."""
    row: NDArray[np.float64] = np.asarray(list(values), dtype=np.float64)
    most = math.log(max(2, len(row)))
    row = row[row > 0]
    return float(np.clip(-(row * np.log(row)).sum() / most, 0.0, 1.0))


def save(path: Path, blocks: Sequence[Block], *, model: str, made_at: datetime) -> None:
    """Writes blocks as a reference for later reports. Raises UsageError when the file cannot be written."""
    data = {
        "format": FORMAT,
        "model": model,
        "made_at": time_to_str(made_at),
        "blocks": [
            {name: getattr(block, name) for name in Block.__dataclass_fields__} | {"start": time_to_str(block.start)}
            for block in blocks
        ],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).", hint="Choose another file.") from error


def load(path: Path) -> tuple[list[Block], str]:
    """Blocks and the model's id, as :func:`save` wrote them. Raises UsageError."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["format"] != FORMAT:
            raise UsageError(f"{path} has format {data['format']!r}; this Riskwire reads {FORMAT}.")
        blocks = [_from_dict(row) for row in data["blocks"]]
        model = str(data["model"])
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).", hint="Check the path.") from error
    except (ValueError, KeyError, TypeError, AttributeError, CodecError, RecursionError) as error:
        raise UsageError(
            f"{path} is no drift reference ({error!r}).", hint="Make one: `riskwire drift --save FILE`."
        ) from error
    return blocks, model


def _from_dict(row: Mapping[str, Any]) -> Block:
    def counts(name: str) -> dict[str, int]:
        return {str(key): int(value) for key, value in row[name].items()}

    def histograms(name: str) -> dict[str, tuple[int, ...]]:
        return {task: tuple(map(int, row[name][task])) for task in TASKS}

    return Block(
        start=time_from_str(row["start"]),
        n=int(row["n"]),
        outputs=int(row["outputs"]),
        topics=counts("topics"),
        sentiments=counts("sentiments"),
        languages=counts("languages"),
        sources=counts("sources"),
        confidence=histograms("confidence"),
        entropy=histograms("entropy"),
        lengths=tuple(map(int, row["lengths"])),
        tokens=int(row["tokens"]),
        unknown=int(row["unknown"]),
        words=tuple(map(int, row["words"])),
        space=tuple(tuple(map(float, place)) for place in row["space"]),
    )
