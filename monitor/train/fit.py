"""The training loop: multi-task, partial labels, deterministic by seed, a checkpoint after every epoch."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from monitor.core.errors import ConfigError, TrainError
from monitor.model.network import MultiTaskNetwork
from monitor.model.preprocess import Preprocessing, without_cashtags
from monitor.train.batches import bucketed
from monitor.train.config import TrainConfig
from monitor.train.data import Example

Report = Callable[[str], None]
_UNLABELLED = -100  # what cross-entropy ignores


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What the loop did: figures per epoch, those before a resume included."""

    epochs: list[dict[str, float]]


def encode(tokenizer: Tokenizer, steps: Preprocessing, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of prepared texts."""
    return [item.ids for item in tokenizer.encode_batch([steps.model_input(text) for text in texts])]


def collate(ids: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Padded ids and the mask."""
    longest = max(len(row) for row in ids)
    tokens = torch.full((len(ids), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for number, row in enumerate(ids):
        tokens[number, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[number, : len(row)] = 1
    return tokens, mask


def predict_logits(
    network: MultiTaskNetwork, ids: Sequence[Sequence[int]], *, pad: int, batch_tokens: int = 8192, bf16: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Logits of every task, in the order of ``ids``, without gradients."""
    network.eval()
    device = next(network.parameters()).device
    names = list(network.heads)
    out: dict[str, list[Any]] = {name: [None] * len(ids) for name in names}
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for batch in bucketed([len(row) for row in ids], batch_tokens=batch_tokens, rng=random.Random(0)):
            tokens, mask = collate([ids[i] for i in batch], pad)
            logits = network(tokens.to(device), mask.to(device))
            for name, values in zip(names, logits, strict=True):
                for place, row in zip(batch, values.float().cpu().numpy(), strict=True):
                    out[name][place] = row
    return {name: np.asarray(rows, dtype=np.float32) for name, rows in out.items()}


def _freeze(network: MultiTaskNetwork, config: TrainConfig) -> None:
    layers = encoder_layers(network)
    if config.fit.freeze_layers > len(layers):
        raise ConfigError(f"fit.freeze_layers is {config.fit.freeze_layers}; the encoder has {len(layers)} layers.")
    frozen: list[nn.Module] = list(layers[: config.fit.freeze_layers])
    if config.fit.freeze_embeddings or config.fit.freeze_layers:
        frozen.append(network.encoder.get_input_embeddings())  # type: ignore[operator]
        frozen.extend(m for name, m in network.encoder.named_children() if name == "embeddings")
    for module in frozen:
        for parameter in module.parameters():
            parameter.requires_grad_(False)


def encoder_layers(network: MultiTaskNetwork) -> list[nn.Module]:
    """The encoder's layers from the bottom up: its longest list of like modules."""
    lists = [list(m) for m in network.encoder.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len, default=[])


def parameter_groups(network: MultiTaskNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    """Optimiser groups: heads at their own rate, layers at rates that decay downwards, no decay on biases and norms."""
    fit = config.fit
    layers = encoder_layers(network)
    depth = {id(p): n for n, layer in enumerate(layers, start=1) for p in layer.parameters()}
    heads = {id(p) for p in network.heads.parameters()}
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


def _epoch_examples(examples: Sequence[Example], config: TrainConfig, epoch: int) -> list[Example]:
    """The epoch's share of every data set, drawn by seed."""
    rng = random.Random(f"{config.seed}/{epoch}/draw")
    shares = {Path(dataset.path).stem: dataset.share for dataset in config.data}
    chosen: list[Example] = []
    for source, share in shares.items():
        members = [example for example in examples if example.source == source]
        count = len(members) if share >= 1 else max(1, round(len(members) * share))
        chosen.extend(members if share >= 1 else rng.sample(members, count))
    return chosen


def _augmented(text: str, config: TrainConfig, rng: random.Random) -> str:
    if rng.random() < config.augment.drop_cashtags:
        text = without_cashtags(text) or text
    return text.lower() if rng.random() < config.augment.lower_case else text


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
        _freeze(network, config)
        self.optimizer = torch.optim.AdamW(parameter_groups(network, config), betas=(0.9, 0.98), eps=1e-6)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.epoch = 0
        self.step = 0
        self.history: list[dict[str, float]] = []
        # The plan of every epoch is drawn beforehand, so that the schedule knows the number of steps exactly.
        self.total = sum(len(self._plan(epoch)[1]) for epoch in range(config.fit.epochs))

    def _plan(self, epoch: int) -> tuple[list[tuple[Example, list[int]]], list[list[int]]]:
        rng = random.Random(f"{self.config.seed}/{epoch}/batches")
        examples = _epoch_examples(self.examples, self.config, epoch)
        ids = encode(self.tokenizer, self.steps, [_augmented(ex.text, self.config, rng) for ex in examples])
        batches = bucketed([len(row) for row in ids], batch_tokens=self.config.fit.batch_tokens, rng=rng)
        return list(zip(examples, ids, strict=True)), batches

    def _loss(self, batch: Sequence[tuple[Example, list[int]]]) -> Tensor:
        device = next(self.network.parameters()).device
        tokens, mask = collate([ids for _, ids in batch], self.pad)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.config.fit.bf16):
            outputs = self.network(tokens.to(device), mask.to(device))
        losses: list[Tensor] = []
        for (name, task), logits in zip(self.config.tasks.items(), outputs, strict=True):
            target = torch.tensor([ex.labels.get(name, _UNLABELLED) for ex, _ in batch], device=device)
            if (target != _UNLABELLED).any():
                # Summed and divided by the whole batch: every label weighs the same, whatever its batch holds else.
                total = functional.cross_entropy(
                    logits.float(),
                    target,
                    ignore_index=_UNLABELLED,
                    label_smoothing=self.config.fit.label_smoothing,
                    reduction="sum",
                )
                losses.append(total * task.weight / len(batch))
        return torch.stack(losses).sum()

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
        nn.utils.clip_grad_norm_([p for p in self.network.parameters() if p.requires_grad], self.config.fit.clip_norm)
        self.optimizer.step()
        self.step += 1
        return value

    def run(self) -> FitResult:
        """Trains the epochs that are left. Raises TrainError when the loss is no number."""
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
            if self.evaluate is not None:
                figures |= dict(self.evaluate())
            self.history.append(figures)
            self.report("epoch done: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
            self.save()
        return FitResult(epochs=self.history)

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        if self.checkpoint is None:
            return
        part = self.checkpoint.with_suffix(".part")
        state = {
            "fingerprint": self.config.fingerprint(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
        }
        torch.save(state, part)
        os.replace(part, self.checkpoint)  # noqa: PTH105 - atomic on purpose

    def resume(self) -> bool:
        """Goes on from the checkpoint when there is one. Raises TrainError when it belongs to another recipe."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.config.fingerprint():
            raise TrainError(
                f"{self.checkpoint} was written by another recipe.", hint="Choose an empty --out, or drop --resume."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
        return True
