"""The recipe of a retraining: the old one, with the new labels added, started from the present model's weights."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitor.core.errors import ConfigError, TrainError
from monitor.model.artefact import SAFETENSORS, Artefact
from monitor.train.config import TrainConfig
from monitor.train.lifecycle.labels import TASKS, Decided
from monitor.train.sections import DataSet, Preparation

NEW, HELD = "new-labels", "new-labels-held"
"""Names of the two data sets that the labels become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the new is mixed with the old. ``replay``: the part of each old data set's training rows drawn in an epoch;
    ``weight``: the factor of a new label's loss; ``slower``: the factor of the recipe's learning rates."""

    epochs: int = 2
    replay: float = 0.3
    weight: float = 1.0
    slower: float = 0.3


def derive(recipe: TrainConfig, artefact: Artefact, labels: Sequence[Decided], folder: Path, plan: Plan) -> TrainConfig:
    """The recipe to train; writes the two files of labels into ``folder``.

    The split's seed and parts stay, so that what was tested on stays unseen. Raises ConfigError when the recipe is not
    the model's (other labels), TrainError when there are no labels to train on.
    """
    check_same_labels(recipe, artefact)
    tasks = [task for task in TASKS if task in recipe.tasks]
    rows = {
        NEW: [item for item in labels if item.labels and not item.held],
        HELD: [item for item in labels if item.labels and item.held],
    }
    if not rows[NEW]:
        raise TrainError(
            "There are no new labels to train on.", hint="Import some: `riskwire label export`, then `label import`."
        )
    sets = []
    ways: Literal["train", "test"]
    for name, ways in ((NEW, "train"), (HELD, "test")):
        if not rows[name]:
            continue
        path = _write(folder / f"{name}.csv", rows[name], tasks)
        sets.append(
            DataSet(path=str(path), name=name, labels={task: task for task in tasks}, weight=plan.weight, split=ways)
        )  # fmt: skip
    replayed = [
        dataset.model_copy(update={"share": max(1e-6, min(1.0, dataset.share * plan.replay))})
        for dataset in recipe.data
    ]
    fit = recipe.fit.model_copy(
        update={
            "epochs": plan.epochs,
            "learning_rate": recipe.fit.learning_rate * plan.slower,
            "head_learning_rate": recipe.fit.head_learning_rate * plan.slower,
            "freeze_encoder": False,
            "unfreeze_layers": 0,
        }
    )
    # What is not named here stays at its default: how the encoder was once cut, distilled or adapted is done with.
    return TrainConfig(
        name=artefact.name,
        encoder=recipe.encoder,
        pooling=artefact.pooling,  # type: ignore[arg-type]
        seed=recipe.seed,
        licence=recipe.licence,
        description=recipe.description,
        languages=list(artefact.languages),
        preprocessing=Preparation(**artefact.preprocessing.to_dict()),  # type: ignore[arg-type]
        tasks=recipe.tasks,
        data=[*replayed, *sets],
        labels=recipe.labels,
        split=recipe.split,
        augment=recipe.augment,
        fit=fit,
    )


def check_same_labels(recipe: TrainConfig, artefact: Artefact) -> None:
    """Raises ConfigError unless recipe and model have the same tasks with the same labels in the same order."""
    wanted = {name: tuple(task.labels) for name, task in recipe.tasks.items()}
    has = {name: task.labels for name, task in artefact.tasks.items()}
    for task in sorted(set(wanted) | set(has)):
        if wanted.get(task) != has.get(task):
            raise ConfigError(
                f"The recipe and {artefact.id} have other labels for the task '{task}'.",
                hint="Name the recipe that the model was made with: --recipe FILE.",
            )


def write_start(artefact: Artefact, folder: Path) -> tuple[Path, Path]:
    """The model as an encoder folder (configuration, weights, tokenizer) and as a checkpoint to start from.

    Without float weights in the artefact the int8 ones are taken back to floats.
    """
    from safetensors.torch import save_file

    from monitor.model import network as networks
    from monitor.model.engines.torch import dequantised, read_safetensors
    from monitor.train import checkpoint as checkpoints

    sizes = {name: len(task.labels) for name, task in artefact.tasks.items()}
    weights = read_safetensors(artefact.path / SAFETENSORS) if artefact.safetensors else dequantised(artefact.onnx)
    network = networks.build(artefact.encoder, tasks=sizes, pooling=artefact.pooling)
    network.load_state_dict(weights)
    encoder = folder / "encoder"
    encoder.mkdir(parents=True, exist_ok=True)
    network.encoder.config.save_pretrained(encoder)  # type: ignore[union-attr, operator]
    state = {name: value.contiguous() for name, value in network.encoder.state_dict().items()}
    save_file(state, encoder / SAFETENSORS, metadata={"format": "pt"})
    (encoder / "tokenizer.json").write_bytes((artefact.path / "tokenizer.json").read_bytes())
    start = folder / "start.pt"
    checkpoints.write(
        start,
        {"network": network.state_dict(), "labels": {name: list(task.labels) for name, task in artefact.tasks.items()}},
    )
    return encoder, start


def _write(path: Path, rows: Sequence[Decided], tasks: Sequence[str]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "lang", *tasks])
            for item in rows:
                writer.writerow([item.text, item.lang, *(item.labels.get(task, "") for task in tasks)])
    except OSError as error:
        raise TrainError(f"{path}: cannot be written ({error.strerror}).", hint="Choose another --out.") from error
    return path.absolute()
