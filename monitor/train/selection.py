"""Which examples carry which task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.train.config import TrainConfig
from monitor.train.data import Example


def labelled(examples: Sequence[Example], task: str, source: str | None = None) -> tuple[list[int], NDArray[np.int64]]:
    """Places and labels of the examples that carry ``task`` (and come from ``source``)."""
    places = [i for i, ex in enumerate(examples) if task in ex.labels and (source is None or ex.source == source)]
    return places, np.asarray([examples[i].labels[task] for i in places], dtype=np.int64)


def sources_of(config: TrainConfig, task: str) -> list[str]:
    """The data sets that label ``task``, first the one that the recipe names first."""
    return [dataset.source for dataset in config.data if task in dataset.labels]
