"""Dropping layers of an encoder: 12 become 6, which are then trained back to strength (with [distill], say)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from monitor.core.errors import ConfigError
from monitor.model.network import MultiTaskNetwork, layer_list


def evenly(layers: int, keep: int) -> list[int]:
    """Which of ``layers`` stay when ``keep`` do: evenly spaced, first and last among them (12, 6: 0 2 4 6 8 11)."""
    if keep == 1:
        return [layers - 1]
    return [place * (layers - 1) // (keep - 1) for place in range(keep)]


def drop_layers(network: MultiTaskNetwork, *, keep: int = 0, chosen: Sequence[int] = ()) -> list[int]:
    """Keeps the ``chosen`` layers (from 0 at the bottom, in that order), or ``keep`` evenly spaced ones; returns them.

    The encoder's configuration then says the new number, so that the artefact builds the same network. Raises
    ConfigError when there are no such layers.
    """
    try:
        holder, name, layers = layer_list(network.encoder)
    except ValueError as error:
        raise ConfigError(f"key 'keep_layers': {error}.") from error
    stay = list(chosen) or evenly(len(layers), keep or len(layers))
    if keep > len(layers) or any(not 0 <= place < len(layers) for place in stay) or len(set(stay)) < len(stay):
        wanted = f"encoder_layers = {stay}" if chosen else f"keep_layers = {keep}"
        raise ConfigError(f"key '{wanted}': the encoder has layers 0 to {len(layers) - 1}.")
    setattr(holder, name, nn.ModuleList([layers[place] for place in stay]))
    network.encoder.config.num_hidden_layers = len(stay)  # type: ignore[union-attr]
    return stay
