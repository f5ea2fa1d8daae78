"""What keeps a small network from learning its texts by heart: R-Drop and adversarial steps on the embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


def symmetric_kl(one: Tensor, two: Tensor) -> Tensor:
    """(KL(p||q) + KL(q||p)) / 2 of two rows of logits each, [texts]."""
    log_p, log_q = functional.log_softmax(one.float(), dim=1), functional.log_softmax(two.float(), dim=1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1) / 2


def r_drop(first: Sequence[Tensor], second: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """R-Drop (Liang et al. 2021): how far two passes with other dropout masks lie apart, summed over texts and tasks.
    It asks for no label, so every text counts for every task."""
    parts = [weight * symmetric_kl(a, b).sum() for a, b, weight in zip(first, second, weights, strict=True)]
    return torch.stack(parts).sum()


class Perturbation:
    """Adversarial training on the word embeddings (fast gradient method, Miyato et al. 2017).

    Within :meth:`recording` the pass notes the embeddings of the batch; after its backward pass :meth:`adding` moves
    them along their gradient, text by text, by ``size`` times the norm of the text's embeddings. (The paper takes an
    absolute step on normalised embeddings; a relative one needs no knowledge of their scale.) Works with frozen
    embeddings too, since it is their output that moves.
    """

    def __init__(self, embeddings: nn.Module, size: float) -> None:
        self.embeddings = embeddings
        self.size = size
        self._seen: list[Tensor] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The embeddings of the passes within are kept until :meth:`adding`."""

        def note(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            output.retain_grad()
            self._seen.append(output)
            return output

        self._seen.clear()
        handle = self.embeddings.register_forward_hook(note)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def adding(self) -> Iterator[None]:
        """The same passes, with the embeddings moved to where the loss grows fastest."""
        moves = iter([self.move(output) for output in self._seen])
        self._seen.clear()
        handle = self.embeddings.register_forward_hook(lambda _module, _inputs, output: output + next(moves))
        try:
            yield
        finally:
            handle.remove()

    def move(self, output: Tensor) -> Tensor:
        """The step for embeddings [texts, tokens, hidden] after a backward pass."""
        if output.grad is None:
            return torch.zeros_like(output)
        gradient = output.grad.detach()
        norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        length = self.size * output.detach().flatten(1).norm(dim=1)
        step: Tensor = gradient * (length / norm).view(-1, 1, 1)
        return step
