"""The torch network: one shared encoder, pooled, with one linear head per task. Imported only where torch is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

POOLINGS = ("mean", "cls", "attention")
_NEVER = -1e9  # a score whose share is nought, and that stays finite in every format


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
        # Starts at nought, which is the mean.
        self.pool = nn.Linear(hidden, 1) if pooling == "attention" else None
        if self.pool is not None:
            nn.init.zeros_(self.pool.weight)
            nn.init.zeros_(self.pool.bias)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in tasks.items()})

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector per text."""
        states: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        if self.pool is not None:
            scores = self.pool(states).float().masked_fill(attention_mask.unsqueeze(-1) == 0, _NEVER)
            attended: Tensor = (states * torch.softmax(scores, dim=1).to(states.dtype)).sum(1)
            return attended
        pooled: Tensor = (states * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return pooled

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Logits [texts, labels] per task."""
        pooled = self.dropout(self.embed(input_ids, attention_mask))
        return tuple(head(pooled) for head in self.heads.values())


class Bottleneck(nn.Module):
    """A layer followed by a bottleneck adapter (Houlsby et al. 2019): ``h + up(gelu(down(h)))``, at first ``h``."""

    def __init__(self, layer: nn.Module, hidden: int, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(hidden, width)
        self.up = nn.Linear(width, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        """What the layer gives, its hidden states adapted."""
        out = self.layer(*inputs, **settings)
        if isinstance(out, tuple):
            return (self._adapted(out[0]), *out[1:])
        return self._adapted(out)

    def _adapted(self, states: Tensor) -> Tensor:
        moved: Tensor = states + self.up(functional.gelu(self.down(states)))
        return moved


def layer_list(encoder: nn.Module) -> tuple[nn.Module, str, nn.ModuleList]:
    """Where an encoder keeps its layers: the module, the attribute, the list (its longest list of modules). Raises
    ValueError when it has none."""
    lists = [(m, name, c) for m in encoder.modules() for name, c in m.named_children() if isinstance(c, nn.ModuleList)]
    if not lists:
        raise ValueError("the encoder has no list of layers")
    return max(lists, key=lambda item: len(item[2]))


def add_bottlenecks(encoder: nn.Module, width: int) -> None:
    """Puts a bottleneck adapter behind every layer, and says so in the encoder's configuration, so that :func:`build`
    makes the same network again."""
    holder, name, layers = layer_list(encoder)
    hidden = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
    setattr(holder, name, nn.ModuleList([Bottleneck(layer, hidden, width) for layer in layers]))
    encoder.config.bottleneck_adapter = width  # type: ignore[union-attr]


def build(
    encoder_config: Mapping[str, Any], *, tasks: Mapping[str, int], pooling: str, dropout: float = 0.1
) -> MultiTaskNetwork:
    """A network with random weights from an encoder's configuration (as ``PretrainedConfig.to_dict`` gives it)."""
    from transformers import AutoConfig, AutoModel

    settings = dict(encoder_config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    encoder = AutoModel.from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    if width := getattr(config, "bottleneck_adapter", 0):
        add_bottlenecks(encoder, int(width))
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
