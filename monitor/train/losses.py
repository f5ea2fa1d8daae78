"""The losses: per task and text, with partial and soft labels, weights of classes, texts and tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.train.config import Task, TrainConfig
from monitor.train.data import Example

UNLABELLED = -100
"""What cross-entropy ignores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a batch says of one task. ``soft`` [texts, labels] is there when a text has a soft label, ``weights``
    [texts] when a text counts more or less than 1."""

    index: Tensor
    labelled: int
    soft: Tensor | None = None
    weights: Tensor | None = None


def targets_of(batch: Sequence[Example], task: str, labels: int, device: torch.device) -> Targets:
    """The targets of ``task`` in a batch."""
    index = [example.labels.get(task, UNLABELLED) for example in batch]
    soft = weights = None
    if any(task in example.soft for example in batch):
        rows = [
            example.soft.get(task) or [float(label == place) for place in range(labels)]
            for example, label in zip(batch, index, strict=True)
        ]
        soft = torch.tensor(rows, device=device)
    if any(task in example.weights for example in batch):
        weights = torch.tensor([example.weights.get(task, 1.0) for example in batch], device=device)
    return Targets(
        index=torch.tensor(index, device=device),
        labelled=sum(label != UNLABELLED for label in index),
        soft=soft,
        weights=weights,
    )


def class_weights(task: str, spec: Task, examples: Sequence[Example]) -> Tensor | None:
    """The weight of every label, or None when all weigh 1. ``balanced`` is texts / (labels x texts of the label), as
    in scikit-learn's ``class_weight="balanced"``."""
    labels = list(spec.labels)
    if isinstance(spec.class_weights, dict):
        return torch.tensor([spec.class_weights.get(label, 1.0) for label in labels])
    if spec.class_weights == "none":
        return None
    counts = Counter(example.labels[task] for example in examples if task in example.labels)
    return torch.tensor([counts.total() / (len(labels) * max(1, counts[index])) for index in range(len(labels))])


def loss_rows(
    logits: Tensor,
    targets: Targets,
    *,
    smoothing: float = 0.0,
    classes: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """The loss of every text [texts], 0 where it is unlabelled.

    Sum over labels c of ``w_c * y_c * (1 - p_c)^gamma * -log p_c``: cross-entropy; with ``gamma`` the focal loss (Lin
    et al. 2017). ``y`` is the soft label, or one-hot, mixed with the uniform distribution by ``smoothing``.
    """
    if gamma == 0 and targets.soft is None:
        rows = functional.cross_entropy(
            logits, targets.index, weight=classes, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="none"
        )
    else:
        size = logits.shape[1]
        there = (targets.index != UNLABELLED).unsqueeze(1)
        wanted = targets.soft
        if wanted is None:
            wanted = functional.one_hot(targets.index.clamp(min=0), size).to(logits.dtype)
        wanted = (wanted * (1 - smoothing) + smoothing / size) * there
        log_p = functional.log_softmax(logits, dim=1)
        if classes is not None:
            wanted = wanted * classes
        if gamma:
            wanted = wanted * (1 - log_p.exp()).clamp(min=0) ** gamma
        rows = -(wanted * log_p).sum(1)
    return rows if targets.weights is None else rows * targets.weights


def distilled(logits: Tensor, batch: Sequence[Example], task: str, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student at T), summed over the texts that have a teacher (Hinton et al. 2015)."""
    places = [place for place, example in enumerate(batch) if task in example.teacher]
    wanted = torch.tensor([batch[place].teacher[task] for place in places], device=logits.device)
    log_q = functional.log_softmax(logits[places].float() / temperature, dim=1)
    return functional.kl_div(log_q, wanted, reduction="sum") * temperature**2


class TaskLosses(nn.Module):
    """The loss of a batch over all tasks. Holds the weights of classes and, when they are learned, of tasks."""

    def __init__(self, config: TrainConfig, examples: Sequence[Example]) -> None:
        super().__init__()
        self.config = config
        self._distill = config.distill
        self._own = 1 - config.distill.weight if config.distill else 1.0
        self.classes: dict[str, Tensor | None] = {
            name: class_weights(name, task, examples) for name, task in config.tasks.items()
        }
        self.log_variance: nn.Parameter | None = None
        if config.fit.task_weighting == "uncertainty":
            # exp(-s) is the factor of a task's loss: it begins at the recipe's weight.
            weights = torch.tensor([task.weight for task in config.tasks.values()])
            self.log_variance = nn.Parameter(-weights.log())

    def forward(self, outputs: Sequence[Tensor], batch: Sequence[Example], texts: int) -> Tensor:
        """The sum over the labels of ``batch``, divided by ``texts``, the number of texts of the whole step: every
        label weighs the same, whatever its batch holds else."""
        losses: list[Tensor] = []
        for place, ((name, task), logits) in enumerate(zip(self.config.tasks.items(), outputs, strict=True)):
            targets = targets_of(batch, name, logits.shape[1], logits.device)
            if targets.labelled:
                total = self.task_loss(name, task, logits.float(), targets)
                losses.append(self._weighted(total, targets, task, place) * self._own / texts)
            if self._distill and any(name in example.teacher for example in batch):
                taught = distilled(logits, batch, name, self._distill.temperature)
                losses.append(taught * task.weight * self._distill.weight / texts)
        if not losses:
            return outputs[0].sum() * 0.0  # a batch without any label: a gradient of nought
        return torch.stack(losses).sum()

    def task_loss(self, name: str, task: Task, logits: Tensor, targets: Targets) -> Tensor:
        """The summed loss of one task."""
        smoothing = self.config.fit.label_smoothing if task.label_smoothing is None else task.label_smoothing
        gamma = task.focal_gamma if task.loss == "focal" else 0.0
        classes = self.classes[name]
        if gamma == 0 and targets.soft is None and targets.weights is None and classes is None:
            return functional.cross_entropy(
                logits, targets.index, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="sum"
            )
        if classes is not None:
            classes = self.classes[name] = classes.to(logits.device)
        return loss_rows(logits, targets, smoothing=smoothing, classes=classes, gamma=gamma).sum()

    def _weighted(self, total: Tensor, targets: Targets, task: Task, place: int) -> Tensor:
        if self.log_variance is None:
            return total * task.weight
        # Kendall, Gal and Cipolla (2018), classification: L / sigma^2 + log sigma per labelled text; s = log sigma^2.
        s = self.log_variance[place]
        labelled: float | Tensor = targets.labelled
        if targets.weights is not None:
            labelled = targets.weights[targets.index != UNLABELLED].sum()
        return torch.exp(-s) * total + labelled * s / 2

    def task_weights(self) -> dict[str, float]:
        """The present factor of every task's loss."""
        if self.log_variance is None:
            return {name: task.weight for name, task in self.config.tasks.items()}
        values = torch.exp(-self.log_variance.detach()).tolist()
        return dict(zip(self.config.tasks, values, strict=True))
