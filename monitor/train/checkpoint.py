"""Checkpoints: written whole or not at all, resumed only by their own recipe, and weights to start another run from."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monitor.core.errors import ConfigError, TrainError
from monitor.model.network import MultiTaskNetwork
from monitor.train.config import TrainConfig


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` to ``path``, replacing what was there only when it is whole. Raises TrainError."""
    part = path.with_suffix(".part")
    try:
        torch.save(dict(state), part)
        os.replace(part, path)  # noqa: PTH105 - atomic on purpose
    except (OSError, RuntimeError) as error:  # torch's zip writer says RuntimeError when the disk is full
        raise TrainError(
            f"{path}: cannot be written ({error}).", hint="Free disk space, or choose another --out."
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; only tensors and plain values are unpickled. Raises TrainError."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}).", hint="Check the path.") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainError(f"{path}: this is no checkpoint ({str(error).splitlines()[0]}).") from error
    return state


def labels_of(config: TrainConfig) -> dict[str, list[str]]:
    """Task → labels, kept in the checkpoint so that a head is not taken for other labels of the same number."""
    return {name: list(task.labels) for name, task in config.tasks.items()}


def _weights(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]] | None]:
    """Weights and, where they are known, the labels of the heads: of a checkpoint, a bare state, or an artefact."""
    if path.is_dir():
        import json

        from safetensors.torch import load_file

        if not (path / "model.safetensors").is_file():
            raise ConfigError(
                f"start_from '{path}': there is no model.safetensors.",
                hint="Name a checkpoint, or an artefact with float weights.",
            )
        tasks = json.loads((path / "config.json").read_text("utf-8")).get("tasks", {})
        return load_file(path / "model.safetensors"), {name: list(task["labels"]) for name, task in tasks.items()}
    state = read(path)
    weights: dict[str, Tensor] = dict(state.get("network", state))
    # What a run measured and exported is the average; that is what another goes on from.
    average = state.get("average")
    if average and average["updates"]:
        weights.update(average["weights"])
    return weights, state.get("labels")


def start_from(network: MultiTaskNetwork, config: TrainConfig, path: Path) -> list[str]:
    """Takes the weights of an earlier run: the encoder, and the heads that have the same labels; returns the names of
    the network's weights that stay as they were.

    Raises ConfigError when the encoder's weights are not there or have other shapes.
    """
    if not path.exists():
        raise ConfigError(f"start_from '{path}': there is no such file.", hint="Name a checkpoint or an artefact.")
    weights, labels = _weights(path)
    wanted = labels_of(config)
    own = network.state_dict()
    taken: dict[str, Tensor] = {}
    for name, value in own.items():
        found = weights.get(name)
        if not isinstance(found, Tensor) or found.shape != value.shape:
            continue
        task = name.split(".")[1] if name.startswith("heads.") else ""
        if task and labels is not None and labels.get(task) != wanted[task]:
            continue
        taken[name] = found
    left = [name for name in own if name not in taken]
    missing = [name for name in left if name.startswith("encoder.")]
    if missing:
        raise ConfigError(
            f"start_from '{path}': {len(missing)} of the encoder's weights are not there or have another shape "
            f"({missing[0]} …).",
            hint="Name the encoder that the checkpoint was trained on.",
        )
    network.load_state_dict(taken, strict=False)
    return left
