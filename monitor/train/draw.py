"""What an epoch is trained on: a draw from every data set."""

from __future__ import annotations

import random
from collections.abc import Sequence

from monitor.train.config import TrainConfig
from monitor.train.data import Example


def epoch_examples(examples: Sequence[Example], config: TrainConfig, epoch: int) -> list[Example]:
    """The epoch's texts of every data set, drawn by seed."""
    rng = random.Random(f"{config.seed}/{epoch}/draw")
    members: dict[str, list[Example]] = {dataset.source: [] for dataset in config.data}
    for example in examples:
        members.setdefault(example.source, []).append(example)
    shares = {dataset.source: dataset.share for dataset in config.data}
    sizes = {
        source: len(rows) if shares.get(source, 1) >= 1 else max(1, round(len(rows) * shares[source]))
        for source, rows in members.items()
        if rows
    }
    if config.fit.sampling_temperature > 1:
        sizes = tempered(sizes, config.fit.sampling_temperature)
    chosen: list[Example] = []
    for source, size in sizes.items():
        copies, rest = divmod(size, len(members[source]))
        chosen.extend(members[source] * copies)
        if rest:
            chosen.extend(rng.sample(members[source], rest))
    return chosen


def tempered(sizes: dict[str, int], temperature: float) -> dict[str, int]:
    """The same number of texts in all, shared out in proportion to ``size ** (1 / temperature)`` (as multilingual BERT
    and XLM do over languages); small sets then repeat, large ones are sampled."""
    parts = {source: size ** (1 / temperature) for source, size in sizes.items()}
    factor = sum(sizes.values()) / sum(parts.values())
    return {source: max(1, round(part * factor)) for source, part in parts.items()}
