"""The training loop: multi-task, partial labels, deterministic by seed, checkpoints that it goes on from exactly."""

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
from monitor.train.adapters import Adapters
from monitor.train.augment import augmented
from monitor.train.averaging import WeightAverage
from monitor.train.batches import bucketed
from monitor.train.config import TrainConfig
from monitor.train.data import Example
from monitor.train.draw import epoch_examples
from monitor.train.forward import collate, encode, predict_logits
from monitor.train.losses import TaskLosses
from monitor.train.memory import halving
from monitor.train.optimiser import Thaw, encoder_layers, freeze, parameter_groups, schedule
from monitor.train.regularise import Perturbation, r_drop
from monitor.train.stopping import Watch
from monitor.train.trackers import Tracker

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

BEST = "best.pt"
"""Beside the checkpoint: the weights of the best epoch so far, with early stopping."""
Report = Callable[[str], None]
OnStep = Callable[[int, int, float, float], None]
"""Step, steps in all, loss, tokens a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What the loop did: figures per epoch, those before a resume included."""

    epochs: list[dict[str, float]]
    best_epoch: int | None = None
    """The epoch whose weights were taken, where early stopping chose one."""


Batch = Sequence[tuple[Example, list[int]]]


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
        adapters: Adapters | None = None,
        trackers: Sequence[Tracker] = (),
        on_step: OnStep | None = None,
    ) -> None:
        self.config = config
        self.network = network
        self.tokenizer = tokenizer
        self.pad = pad
        self.examples = examples
        self.checkpoint = checkpoint
        self.report = report
        self.evaluate = evaluate
        self.adapters = adapters or Adapters()
        self.trackers = trackers
        self.on_step = on_step
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
        self._thaw = Thaw(network, config.fit.unfreeze_layers)
        self._perturb: Perturbation | None = None
        if config.fit.adversarial:
            embeddings: nn.Module = network.encoder.get_input_embeddings()  # type: ignore[operator]
            self._perturb = Perturbation(embeddings, config.fit.adversarial)
        self.watch = Watch(config.early_stopping) if config.early_stopping else None
        self._best: dict[str, Tensor] = {}
        self.average: WeightAverage | None = None
        if config.fit.averaging != "none":
            self.average = WeightAverage(network, kind=config.fit.averaging, decay=config.fit.averaging_decay)
        start = config.fit.averaging_start
        self._average_after = start if start is not None else 0.75 if config.fit.averaging == "swa" else 0.0
        self.epoch = 0
        self.step = 0
        self.pieces = 1
        """Into how many a batch is cut to fit into memory."""
        self._done: list[float] = []
        """The losses of the present epoch's batches so far."""
        self.history: list[dict[str, float]] = []
        # The plan of every epoch is drawn beforehand, so that the schedule knows the number of steps exactly.
        self.total = sum(len(self._plan(epoch)[1]) for epoch in range(config.fit.epochs))
        self.adapters.begin(self.total)

    def _plan(self, epoch: int) -> tuple[list[tuple[Example, list[int]]], list[list[list[int]]]]:
        """The epoch's texts, and for every step the batches that it takes together."""
        rng = random.Random(f"{self.config.seed}/{epoch}/batches")
        examples = epoch_examples(self.examples, self.config, epoch)
        ids = encode(self.tokenizer, self.steps, [augmented(ex.text, self.config.augment, rng) for ex in examples])
        batches = bucketed([len(row) for row in ids], batch_tokens=self.config.fit.batch_tokens, rng=rng)
        size = self.config.fit.accumulate
        groups = [batches[start : start + size] for start in range(0, len(batches), size)]
        return list(zip(examples, ids, strict=True)), groups

    def _loss(self, batch: Batch, texts: int | None = None) -> Tensor:
        """The loss of ``batch``, which is all or a piece of the ``texts`` of a step."""
        fit = self.config.fit
        examples, count = [example for example, _ in batch], texts or len(batch)
        tokens, mask = collate([ids for _, ids in batch], self.pad)
        if fit.r_drop:
            tokens, mask = tokens.repeat(2, 1), mask.repeat(2, 1)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=fit.bf16):
            outputs = self.network(tokens.to(self.device), mask.to(self.device))
        if not fit.r_drop:
            plain: Tensor = self.losses(outputs, examples, count)
            return plain
        first, second = zip(*(logits.split(len(batch)) for logits in outputs), strict=True)
        labels = (self.losses(first, examples, count) + self.losses(second, examples, count)) / 2
        apart = r_drop(first, second, [task.weight for task in self.config.tasks.values()])
        both: Tensor = labels + fit.r_drop * apart / count
        return both

    def _backward(self, batch: Batch, texts: int) -> float:
        """Adds the gradient of a piece of a step; returns its part of the loss."""
        with self._perturb.recording() if self._perturb else nullcontext():
            loss = self._loss(batch, texts)
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
            if self._perturb:
                with self._perturb.adding():
                    self._loss(batch, texts).backward()  # type: ignore[no-untyped-call]
        return value

    def _gradient(self, batches: Sequence[Batch], pieces: int) -> float:
        """The gradient of a step over ``batches``, each cut into ``pieces``; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        texts = sum(map(len, batches))
        total = 0.0
        for batch in batches:
            size = math.ceil(len(batch) / pieces)
            for start in range(0, len(batch), size):
                total += self._backward(batch[start : start + size], texts)
        penalty = self.adapters.penalty()
        if penalty is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        return total

    def _step(self, batches: Sequence[Batch]) -> float:
        factor = schedule(self.step, total=self.total, warmup=self.config.fit.warmup)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        value, self.pieces = halving(
            lambda pieces: self._gradient(batches, pieces),
            pieces=self.pieces,
            most=max(map(len, batches)),
            report=self.report,
        )
        if not math.isfinite(value):
            rows = ", ".join(f"{ex.source} row {ex.row}" for ex, _ in batches[0][:5])
            raise TrainError(
                f"The loss became {value} at step {self.step + 1} of {self.total} (epoch {self.epoch + 1}; batch of "
                f"{sum(map(len, batches))} texts: {rows}, …).",
                hint="Lower fit.learning_rate or set fit.bf16 = false; look at those rows.",
            )
        nn.utils.clip_grad_norm_(self._trained, self.config.fit.clip_norm)
        self.optimizer.step()
        self.adapters.after_step(self.step)
        self.step += 1
        if self.average is not None and self.step > self.total * self._average_after:
            self.average.update()
        return value

    def run(self) -> FitResult:
        """Trains the epochs that are left; the network then has the weights to export. Raises TrainError when the loss
        is no number."""
        while self.epoch < self.config.fit.epochs and not (self.watch and self.watch.stop):
            if not self._done:  # else it is resumed within an epoch, with its own random state
                torch.manual_seed(self.config.seed * 1000 + self.epoch)
            seconds = self._epoch()
            figures = {"epoch": float(self.epoch + 1), "loss": float(np.mean(self._done)), "seconds": round(seconds, 1)}
            self.epoch, self._done = self.epoch + 1, []
            if self.losses.log_variance is not None:
                figures |= {f"weight/{name}": value for name, value in self.losses.task_weights().items()}
            with self.average.applied() if self.average else nullcontext():
                if self.evaluate is not None:
                    figures |= dict(self.evaluate())
                if self.watch and self.watch.better(figures, self.epoch):
                    self._keep_best()
            self.history.append(figures)
            for tracker in self.trackers:
                tracker.log(self.step, figures)
            self.report("epoch done: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
            self.save()
        if self.watch:
            self.network.load_state_dict(self._best)
            self.report(f"the weights of epoch {self.watch.best_epoch} are taken ({self.watch.best:.4f})")
        elif self.average is not None:
            self.average.swap()
        return FitResult(epochs=self.history, best_epoch=self.watch.best_epoch if self.watch else None)

    def _epoch(self) -> float:
        """Trains the steps of the present epoch that are left; returns the seconds that it took."""
        items, groups = self._plan(self.epoch)
        self._thaw.apply(self.epoch)
        self.network.train()
        began, tokens = time.monotonic(), 0
        for number, group in enumerate(groups[len(self._done) :], start=len(self._done) + 1):
            batches = [[items[i] for i in indices] for indices in group]
            self._done.append(self._step(batches))
            tokens += sum(len(ids) for batch in batches for _, ids in batch)
            rate = tokens / max(1e-9, time.monotonic() - began)
            if self.on_step is not None:
                self.on_step(self.step, self.total, self._done[-1], rate)
            if number % 50 == 0 or number == len(groups):
                loss = float(np.mean(self._done[-50:]))
                for tracker in self.trackers:
                    tracker.log(self.step, {"train/loss": loss, "train/tokens_per_second": rate})
                if self.on_step is None:
                    self.report(
                        f"epoch {self.epoch + 1}/{self.config.fit.epochs} step {self.step}/{self.total} "
                        f"loss {loss:.4f} {rate:,.0f} tokens/s"
                    )
            every = self.config.fit.checkpoint_steps
            if every and self.step % every == 0 and number < len(groups):
                self.save()
        return time.monotonic() - began

    def _keep_best(self) -> None:
        state = self.network.state_dict()
        if self.checkpoint is not None:
            labels = checkpoints.labels_of(self.config)
            checkpoints.write(
                self.checkpoint.with_name(BEST), {"network": state, "labels": labels, "epoch": self.epoch}
            )
        self._best = {name: value.clone() for name, value in state.items()}

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
            "done": self._done,
            "pieces": self.pieces,
            "rng": torch.get_rng_state(),
            "adapters": self.adapters.state(),
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        if self.watch is not None:
            state["watch"] = self.watch.state()
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
        self.adapters.load(state.get("adapters", {}))
        if self.average is not None:
            self.average.load(state["average"])
        if self.watch is not None:
            self.watch.load(state["watch"])
            if self.watch.best_epoch:
                self._best = checkpoints.read(self.checkpoint.with_name(BEST))["network"]
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
        self._done, self.pieces = state.get("done", []), state.get("pieces", 1)
        if self._done:
            torch.set_rng_state(state["rng"])
        if self._done and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        return True
