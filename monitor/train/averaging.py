"""Averages of the weights over the steps, exponential (EMA) or equal (SWA): what is then measured and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The running average of the parameters that are trained, on their device.

    ``ema``: at update t, ``average = d * average + (1 - d) * weights`` with ``d = min(decay, (1 + t) / (10 + t))``, so
    that the first steps are forgotten fast (as ``num_updates`` does in TensorFlow's ExponentialMovingAverage).
    ``swa``: the plain mean of the weights after every step (Izmailov et al. 2018, with every step sampled).
    """

    def __init__(self, network: nn.Module, *, kind: str, decay: float) -> None:
        self.kind = kind
        self.decay = decay
        self.updates = 0
        self._names = [name for name, p in network.named_parameters() if p.requires_grad]
        members = dict(network.named_parameters())
        self._live: list[Tensor] = [members[name].detach() for name in self._names]
        self._average: list[Tensor] = [value.clone() for value in self._live]

    def update(self) -> None:
        """Takes the weights as they are after a step into the average."""
        self.updates += 1
        keep = 1 - 1 / self.updates  # after the first step the average is the weights, of either kind
        if self.kind == "ema" and self.updates > 1:
            keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._live, 1 - keep)

    def swap(self) -> None:
        """Exchanges the average and the network's weights. Before the first update there is nothing to exchange."""
        if self.updates == 0:
            return
        with torch.no_grad():
            for live, average in zip(self._live, self._average, strict=True):
                kept = live.clone()
                live.copy_(average)
                average.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the network has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"updates": self.updates, "weights": dict(zip(self._names, self._average, strict=True))}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.updates = state["updates"]
        with torch.no_grad():
            for name, average in zip(self._names, self._average, strict=True):
                average.copy_(state["weights"][name])
