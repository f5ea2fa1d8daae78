"""The torch network: one shared encoder, pooled, with one linear head per task. Imported only where torch is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

POOLINGS = ("mean", "cls")


class MultiTaskNetwork(nn.Module):
    """``forward`` returns the logits of every task, in the order of ``tasks``."""

    def __init__(
        self, encoder: nn.Module, *, hidden: int, tasks: Mapping[str, int], pooling: str = "mean", dropout: float = 0.1
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}")
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # type: ignore[assignment]  # pre-training's own pooler: untrained weight that we pool without
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in tasks.items()})

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector per text."""
        states: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled: Tensor = (states * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return pooled

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Logits [texts, labels] per task."""
        pooled = self.dropout(self.embed(input_ids, attention_mask))
        return tuple(head(pooled) for head in self.heads.values())


def build(
    encoder_config: Mapping[str, Any], *, tasks: Mapping[str, int], pooling: str, dropout: float = 0.1
) -> MultiTaskNetwork:
    """A network with random weights from an encoder's configuration (as ``PretrainedConfig.to_dict`` gives it)."""
    from transformers import AutoConfig, AutoModel

    settings = dict(encoder_config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    encoder = AutoModel.from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    return MultiTaskNetwork(encoder, hidden=int(config.hidden_size), tasks=tasks, pooling=pooling, dropout=dropout)


def from_pretrained(
    name_or_path: str, *, tasks: Mapping[str, int], pooling: str, dropout: float = 0.1
) -> MultiTaskNetwork:
    """A network on a pre-trained encoder: a folder or a hub name. Raises OSError when it is neither."""
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    encoder = AutoModel.from_pretrained(name_or_path, dtype=torch.float32, attn_implementation="sdpa")
    return MultiTaskNetwork(
        encoder, hidden=int(encoder.config.hidden_size), tasks=tasks, pooling=pooling, dropout=dropout
    )


def encoder_config(network: MultiTaskNetwork) -> dict[str, Any]:
    """What :func:`build` needs to make the same network again."""
    settings: dict[str, Any] = network.encoder.config.to_diff_dict()  # type: ignore[union-attr, operator]
    settings = {name: value for name, value in settings.items() if not name.startswith("_") and name != "dtype"}
    settings["model_type"] = network.encoder.config.model_type  # type: ignore[union-attr]
    return settings
