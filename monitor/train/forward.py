"""Texts to token ids to tensors to logits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from monitor.model.network import MultiTaskNetwork
from monitor.model.preprocess import Preprocessing
from monitor.train.batches import bucketed


def encode(tokenizer: Tokenizer, steps: Preprocessing, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of prepared texts."""
    return [item.ids for item in tokenizer.encode_batch([steps.model_input(text) for text in texts])]


def collate(ids: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Padded ids and the mask."""
    longest = max(len(row) for row in ids)
    tokens = torch.full((len(ids), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for number, row in enumerate(ids):
        tokens[number, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[number, : len(row)] = 1
    return tokens, mask


def predict_logits(
    network: MultiTaskNetwork, ids: Sequence[Sequence[int]], *, pad: int, batch_tokens: int = 8192, bf16: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Logits of every task, in the order of ``ids``, without gradients."""
    network.eval()
    device = next(network.parameters()).device
    names = list(network.heads)
    out: dict[str, list[Any]] = {name: [None] * len(ids) for name in names}
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for batch in bucketed([len(row) for row in ids], batch_tokens=batch_tokens, rng=random.Random(0)):
            tokens, mask = collate([ids[i] for i in batch], pad)
            logits = network(tokens.to(device), mask.to(device))
            for name, values in zip(names, logits, strict=True):
                for place, row in zip(batch, values.float().cpu().numpy(), strict=True):
                    out[name][place] = row
    return {name: np.asarray(rows, dtype=np.float32) for name, rows in out.items()}
