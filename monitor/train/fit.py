"""The training loop: multi-task, partial labels, deterministic by seed, a checkpoint after every epoch."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from monitor.core.errors import TrainError
from monitor.model.network import MultiTaskNetwork
from monitor.model.preprocess import Preprocessing
from monitor.train import checkpoint as checkpoints
from monitor.train.augment import augmented
from monitor.train.averaging import WeightAverage
from monitor.train.batches import bucketed
from monitor.train.config import TrainConfig
from monitor.train.data import Example
from monitor.train.draw import epoch_examples
from monitor.train.forward import collate, encode, predict_logits
from monitor.train.losses import TaskLosses
from monitor.train.optimiser import encoder_layers, freeze, parameter_groups, schedule

__all__ = [
    "FitResult",
    "Report",
    "Trainer",
    "collate",
    "encode",
    "encoder_layers",
    "parameter_groups",
    "predict_logits",
    "schedule",
]

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What the loop did: figures per epoch, those before a resume included."""

    epochs: list[dict[str, float]]


class Trainer:
    """Holds one run: network, optimiser, place in the schedule. ``run`` trains all epochs that are left."""

    def __init__(
        self,
        *,
        config: TrainConfig,
        network: MultiTaskNetwork,
        tokenizer: Tokenizer,
        pad: int,
        examples: Sequence[Example],
        checkpoint: Path | None = None,
        report: Report = lambda _line: None,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self.config = config
        self.network = network
        self.tokenizer = tokenizer
        self.pad = pad
        self.examples = examples
        self.checkpoint = checkpoint
        self.report = report
        self.evaluate = evaluate
        self.steps = Preprocessing(**config.preprocessing.model_dump())
        self.device = next(network.parameters()).device
        freeze(network, config)
        self.losses = TaskLosses(config, examples).to(self.device)
        groups = parameter_groups(network, config)
        if learned := list(self.losses.parameters()):
            groups.append({"params": learned, "lr": config.fit.head_learning_rate, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self.average: WeightAverage | None = None
        if config.fit.averaging != "none":
            self.average = WeightAverage(network, kind=config.fit.averaging, decay=config.fit.averaging_decay)
        start = config.fit.averaging_start
        self._average_after = start if start is not None else 0.75 if config.fit.averaging == "swa" else 0.0
        self.epoch = 0
        self.step = 0
        self.history: list[dict[str, float]] = []
        # The plan of every epoch is drawn beforehand, so that the schedule knows the number of steps exactly.
        self.total = sum(len(self._plan(epoch)[1]) for epoch in range(config.fit.epochs))

    def _plan(self, epoch: int) -> tuple[list[tuple[Example, list[int]]], list[list[int]]]:
        rng = random.Random(f"{self.config.seed}/{epoch}/batches")
        examples = epoch_examples(self.examples, self.config, epoch)
        ids = encode(self.tokenizer, self.steps, [augmented(ex.text, self.config.augment, rng) for ex in examples])
        batches = bucketed([len(row) for row in ids], batch_tokens=self.config.fit.batch_tokens, rng=rng)
        return list(zip(examples, ids, strict=True)), batches

    def _loss(self, batch: Sequence[tuple[Example, list[int]]]) -> Tensor:
        tokens, mask = collate([ids for _, ids in batch], self.pad)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.fit.bf16):
            outputs = self.network(tokens.to(self.device), mask.to(self.device))
        loss: Tensor = self.losses(outputs, [example for example, _ in batch], len(batch))
        return loss

    def _step(self, batch: Sequence[tuple[Example, list[int]]]) -> float:
        factor = schedule(self.step, total=self.total, warmup=self.config.fit.warmup)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            rows = ", ".join(f"{ex.source} row {ex.row}" for ex, _ in batch[:5])
            raise TrainError(
                f"The loss became {value} at step {self.step + 1} of {self.total} (epoch {self.epoch + 1}; batch of "
                f"{len(batch)} texts: {rows}, …).",
                hint="Lower fit.learning_rate or set fit.bf16 = false; look at those rows.",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._trained, self.config.fit.clip_norm)
        self.optimizer.step()
        self.step += 1
        if self.average is not None and self.step > self.total * self._average_after:
            self.average.update()
        return value

    def run(self) -> FitResult:
        """Trains the epochs that are left; the network then has the weights to export. Raises TrainError when the loss
        is no number."""
        while self.epoch < self.config.fit.epochs:
            torch.manual_seed(self.config.seed * 1000 + self.epoch)
            items, batches = self._plan(self.epoch)
            self.network.train()
            began, losses, epoch_tokens = time.monotonic(), [], 0
            for number, indices in enumerate(batches, start=1):
                batch = [items[i] for i in indices]
                losses.append(self._step(batch))
                epoch_tokens += sum(len(ids) for _, ids in batch)
                if number % 50 == 0 or number == len(batches):
                    rate = epoch_tokens / max(1e-9, time.monotonic() - began)
                    self.report(
                        f"epoch {self.epoch + 1}/{self.config.fit.epochs} step {self.step}/{self.total} "
                        f"loss {np.mean(losses[-50:]):.4f} {rate:,.0f} tokens/s"
                    )
            elapsed = time.monotonic() - began
            self.epoch += 1
            figures = {"epoch": float(self.epoch), "loss": float(np.mean(losses)), "seconds": round(elapsed, 1)}
            if self.losses.log_variance is not None:
                figures |= {f"weight/{name}": value for name, value in self.losses.task_weights().items()}
            if self.evaluate is not None:
                with self.average.applied() if self.average else nullcontext():
                    figures |= dict(self.evaluate())
            self.history.append(figures)
            self.report("epoch done: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
            self.save()
        if self.average is not None:
            self.average.swap()
        return FitResult(epochs=self.history)

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        if self.checkpoint is None:
            return
        state: dict[str, Any] = {
            "fingerprint": self.config.fingerprint(),
            "labels": checkpoints.labels_of(self.config),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "losses": self.losses.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.state()
        checkpoints.write(self.checkpoint, state)

    def resume(self) -> bool:
        """Goes on from the checkpoint when there is one. Raises TrainError when it belongs to another recipe."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return False
        state = checkpoints.read(self.checkpoint)
        if state["fingerprint"] != self.config.fingerprint():
            raise TrainError(
                f"{self.checkpoint} was written by another recipe.", hint="Choose an empty --out, or drop --resume."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses.load_state_dict(state["losses"])
        if self.average is not None:
            self.average.load(state["average"])
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
        return True
