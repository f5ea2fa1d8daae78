"""Distillation: what one or several teachers say of every training text, as soft targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from monitor.core.errors import ArtefactMissingError, ConfigError
from monitor.model import network as networks
from monitor.model.artefact import Artefact
from monitor.model.preprocess import Preprocessing, group_key
from monitor.train import checkpoint as checkpoints
from monitor.train.config import TrainConfig
from monitor.train.data import Example, read_texts
from monitor.train.forward import encode, predict_logits

Probabilities = dict[str, NDArray[np.float32]]


def softened(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Softmax of logits / temperature, row by row."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def ensemble(answers: Sequence[Mapping[str, NDArray[np.float32]]]) -> Probabilities:
    """Task → the mean of the teachers' probabilities, over those that know the task."""
    tasks = {task for answer in answers for task in answer}
    return {task: np.mean([answer[task] for answer in answers if task in answer], axis=0) for task in tasks}


def _from_artefact(path: Path, config: TrainConfig, texts: Sequence[str], device: torch.device) -> Probabilities:
    artefact = Artefact.load(path)
    if artefact.safetensors is None:
        raise ArtefactMissingError(
            f"{path}: a teacher needs float weights.", hint="Train it with --safetensors, or name its checkpoint."
        )
    from safetensors.torch import load_file

    sizes = {name: len(task.labels) for name, task in artefact.tasks.items()}
    network = networks.build(artefact.encoder, tasks=sizes, pooling=artefact.pooling)
    network.load_state_dict(load_file(artefact.safetensors))
    ids = encode(artefact.tokenizer(), artefact.preprocessing, texts)
    logits = predict_logits(network.to(device), ids, pad=artefact.pad_id, bf16=config.fit.bf16)
    out: Probabilities = {}
    for name, task in config.tasks.items():
        known = list(artefact.tasks[name].labels) if name in artefact.tasks else []
        if set(known) == set(task.labels):
            order = [known.index(label) for label in task.labels]
            out[name] = softened(logits[name][:, order], _temperature(config))
    return out


def _from_checkpoint(
    path: Path,
    config: TrainConfig,
    texts: Sequence[str],
    device: torch.device,
    *,
    encoder: str,
    tokenizer: Tokenizer,
    pad: int,
) -> Probabilities:
    sizes = {name: len(task.labels) for name, task in config.tasks.items()}
    network = networks.from_pretrained(encoder, tasks=sizes, pooling=config.pooling)
    left = set(checkpoints.start_from(network, config, path))
    ids = encode(tokenizer, Preprocessing(**config.preprocessing.model_dump()), texts)
    logits = predict_logits(network.to(device), ids, pad=pad, bf16=config.fit.bf16)
    known = [name for name in config.tasks if f"heads.{name}.weight" not in left]
    return {name: softened(logits[name], _temperature(config)) for name in known}


def _temperature(config: TrainConfig) -> float:
    return config.distill.temperature if config.distill else 1.0


def taught(
    examples: Sequence[Example],
    config: TrainConfig,
    *,
    folder: Path,
    encoder: str,
    tokenizer: Tokenizer,
    pad: int,
    device: torch.device,
    held: Sequence[Example] = (),
) -> list[Example]:
    """The training texts, and those of ``distill.texts`` that are neither among them nor in ``held``, with what the
    teachers say of them. Raises ConfigError when no teacher knows any of the recipe's tasks."""
    assert config.distill is not None
    given = list(examples)
    seen = {example.group for example in (*examples, *held)}
    steps = Preprocessing(**config.preprocessing.model_dump())
    for name in config.distill.texts:
        for row, raw in read_texts(folder / name):
            text, group = steps.text(raw), group_key(raw)
            if text and group not in seen:
                seen.add(group)
                given.append(Example(text=text, labels={}, source=UNLABELLED, row=row, group=group))
    texts = [example.text for example in given]
    answers = []
    for teacher in config.distill.teachers:
        path = Path(teacher) if Path(teacher).is_absolute() else folder / teacher
        if path.is_dir():
            answers.append(_from_artefact(path, config, texts, device))
        else:
            answers.append(_from_checkpoint(path, config, texts, device, encoder=encoder, tokenizer=tokenizer, pad=pad))
    means = ensemble(answers)
    if not means:
        raise ConfigError("key 'distill.teachers': none of them knows a task of the recipe with the same labels.")
    return [
        replace(example, teacher={task: tuple(rows[place].tolist()) for task, rows in means.items()})
        for place, example in enumerate(given)
    ]


UNLABELLED = "unlabelled"
"""The data set that unlabelled texts count as."""
