"""Batches for training: texts of like length together, up to a number of tokens, in an order drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence


def bucketed(lengths: Sequence[int], *, batch_tokens: int, rng: random.Random) -> list[list[int]]:
    """Indices in batches whose size times longest length stays within ``batch_tokens`` (one text may exceed it alone).

    Every index occurs once. Lengths are jittered by up to 15 % before sorting, so that batches differ between epochs.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i] * rng.uniform(0.85, 1.15), i))
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for index in order:
        longest_with = max(longest, lengths[index])
        if batch and longest_with * (len(batch) + 1) > batch_tokens:
            batches.append(batch)
            batch, longest_with = [], lengths[index]
        batch.append(index)
        longest = longest_with
    if batch:
        batches.append(batch)
    rng.shuffle(batches)
    return batches
