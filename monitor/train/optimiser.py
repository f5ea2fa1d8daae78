"""Which weights learn, how fast, and when: freezing, rates by layer, the schedule."""

from __future__ import annotations

from typing import Any

from torch import nn

from monitor.core.errors import ConfigError
from monitor.model.network import MultiTaskNetwork
from monitor.train.config import TrainConfig


def freeze(network: MultiTaskNetwork, config: TrainConfig) -> None:
    """Fixes what the recipe wants fixed. Raises ConfigError when the encoder has fewer layers than that."""
    layers = encoder_layers(network)
    if config.fit.freeze_layers > len(layers):
        raise ConfigError(f"fit.freeze_layers is {config.fit.freeze_layers}; the encoder has {len(layers)} layers.")
    frozen: list[nn.Module] = list(layers[: config.fit.freeze_layers])
    if config.fit.freeze_embeddings or config.fit.freeze_layers:
        frozen.append(network.encoder.get_input_embeddings())  # type: ignore[operator]
        frozen.extend(m for name, m in network.encoder.named_children() if name == "embeddings")
    if config.fit.freeze_encoder:
        frozen.append(network.encoder)
    for module in frozen:
        for parameter in module.parameters():
            parameter.requires_grad_(False)


class Thaw:
    """Gradual unfreezing (Howard and Ruder 2018): which of the trained weights learn in an epoch."""

    def __init__(self, network: MultiTaskNetwork, layers_per_epoch: int) -> None:
        layers = encoder_layers(network)
        depth = {id(p): n for n, layer in enumerate(layers, start=1) for p in layer.parameters()}
        encoder = {id(p) for p in network.encoder.parameters()}
        self._each = layers_per_epoch
        self._layers = len(layers)
        # How many layers lie above a weight, those of the encoder only: heads and pooling learn from the start.
        self._above = [
            (p, len(layers) - depth.get(id(p), 0)) for p in network.parameters() if p.requires_grad and id(p) in encoder
        ]

    def apply(self, epoch: int) -> None:
        """Lets the top ``epoch * layers_per_epoch`` layers learn, and the embeddings when that is more than all."""
        if self._each == 0:
            return
        open_layers = epoch * self._each
        for parameter, above in self._above:
            parameter.requires_grad_(above < open_layers)


def encoder_layers(network: MultiTaskNetwork) -> list[nn.Module]:
    """The encoder's layers from the bottom up: its longest list of like modules."""
    lists = [list(m) for m in network.encoder.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len, default=[])


def parameter_groups(network: MultiTaskNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    """Optimiser groups: heads at their own rate, layers at rates that decay downwards, no decay on biases and norms."""
    fit = config.fit
    layers = encoder_layers(network)
    depth = {id(p): n for n, layer in enumerate(layers, start=1) for p in layer.parameters()}
    heads = {id(p) for p in network.parameters()} - {id(p) for p in network.encoder.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in heads:
            rate = fit.head_learning_rate
        else:
            rate = fit.learning_rate * fit.layer_decay ** (len(layers) - depth.get(id(parameter), 0))
        decay = fit.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def schedule(step: int, *, total: int, warmup: float) -> float:
    """Factor of the learning rate: a linear rise over ``warmup`` of the steps, then linearly to zero."""
    rise = max(1, round(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (total - step) / max(1, total - rise))
