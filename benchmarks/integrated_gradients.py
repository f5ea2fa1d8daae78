"""Integrated gradients in torch: what ``explain.py`` in this folder compares with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.model.artefact import Artefact
from monitor.model.engines.torch import TorchEngine


class IntegratedGradients:
    """Weights from gradients along the straight line from a baseline to the text (Sundararajan, Taly and Yan, 2017).

    The word embeddings of the text's own tokens move; prefix, special tokens and positions stand. Gauss-Legendre nodes,
    so that few steps come near the integral; ``gaps`` holds by how much the weights of each text and label miss the
    difference of the probabilities at the two ends.
    """

    def __init__(self, artefact: Artefact, *, baseline: int, steps: int = 32, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._engine = TorchEngine(artefact, threads=threads, device="cpu")
        self._network: Any = self._engine._network.requires_grad_(False)
        self._baseline = baseline
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self._at = torch.tensor((nodes + 1) / 2, dtype=torch.float32)
        self._share = torch.tensor(weights / 2, dtype=torch.float32)
        self.gaps: list[float] = []

    def weigh(self, text: Any, columns: Sequence[int]) -> tuple[NDArray[np.float64], int]:
        """[words, tasks] for the columns (topics first, then sentiments), and the number of gradients taken."""
        prefix = self._engine.artefact.preprocessing.prefix
        encoded = self._engine.tokenizer.encode(prefix + text.text)
        own = np.array(
            [
                end > len(prefix) and not special
                for (_, end), special in zip(encoded.offsets, encoded.special_tokens_mask, strict=True)
            ]
        )
        ids = torch.tensor([encoded.ids])
        other = torch.where(torch.tensor(own)[None], torch.tensor(self._baseline), ids)
        table = self._network.encoder.get_input_embeddings()
        here, there = table(ids)[0], table(other)[0]
        path = (there + self._at[:, None, None] * (here - there)).requires_grad_(True)
        values = self._probabilities(ids, path)[:, columns]
        ends = self._probabilities(ids, torch.stack([here, there]))[:, columns].detach()
        weights = np.zeros((len(text.words), len(columns)))
        for number in range(len(columns)):
            (gradient,) = torch.autograd.grad(values[:, number].sum(), path, retain_graph=number + 1 < len(columns))
            tokens = ((self._share[:, None, None] * gradient).sum(0) * (here - there)).sum(1).numpy()
            self.gaps.append(float(abs(tokens[own].sum() - (ends[0, number] - ends[1, number]))))
            for index, word in enumerate(text.words):
                for token, (start, end) in enumerate(encoded.offsets):
                    if own[token] and end - len(prefix) > word.start and start - len(prefix) < word.end:
                        weights[index, number] += tokens[token]
        return weights, len(self._at)

    def _probabilities(self, ids: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Calibrated probabilities [rows, all labels] with ``embedded`` in the place of the word embeddings."""
        rows = ids.expand(len(embedded), -1)
        hook = self._network.encoder.get_input_embeddings().register_forward_hook(lambda *_: embedded)
        try:
            logits = self._network(rows, torch.ones_like(rows))
        finally:
            hook.remove()
        named = dict(zip(self._engine.artefact.tasks, logits, strict=True))
        out = []
        for task in ("topic", "sentiment"):
            calibration = self._engine.artefact.tasks[task].calibration
            scaled = named[task] / calibration.temperature
            if calibration.bias:
                scaled = scaled + torch.tensor(calibration.bias)
            out.append(torch.softmax(scaled, dim=1))
        return torch.cat(out, dim=1)
