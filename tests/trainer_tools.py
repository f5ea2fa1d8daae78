"""Trainers on the tiny network, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_model
import torch

from monitor.model import network as networks
from monitor.train.config import TrainConfig, load_config
from monitor.train.data import load_data
from monitor.train.fit import Trainer
from monitor.train.run import load_tokenizer


def tiny_config(**fit: object) -> TrainConfig:
    """The tiny recipe with other values in [fit]."""
    config = load_config(tiny_model.folder() / "recipe.toml")
    data = config.model_dump()
    data["fit"] |= {"epochs": 2, **fit}
    return TrainConfig.model_validate(data)


def with_tasks(config: TrainConfig, **changes: object) -> TrainConfig:
    """The recipe with other values in every task."""
    data = config.model_dump()
    for task in data["tasks"].values():
        task |= changes
    return TrainConfig.model_validate(data)


def tiny_network(config: TrainConfig) -> networks.MultiTaskNetwork:
    """The tiny encoder with fresh heads, by the recipe's seed."""
    torch.manual_seed(config.seed)
    sizes = {name: len(task.labels) for name, task in config.tasks.items()}
    encoder = str(tiny_model.folder() / "encoder")
    return networks.from_pretrained(encoder, tasks=sizes, pooling=config.pooling, dropout=config.fit.dropout)


def tiny_trainer(config: TrainConfig, checkpoint: Path | None = None, **more: Any) -> Trainer:
    """A trainer on the tiny data."""
    where = tiny_model.folder()
    network = more.pop("network", None) or tiny_network(config)
    return Trainer(
        config=config,
        network=network,
        tokenizer=load_tokenizer(str(where / "encoder"), 48),
        pad=1,
        examples=load_data(config, where)[0]["train"],
        checkpoint=checkpoint,
        **more,
    )


def same_weights(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """Bit for bit."""
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
