"""The training configuration: a TOML file, checked key by key before anything starts."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitor.core.errors import ConfigError

_OTHER = re.compile(r"[^0-9a-z]+")


def label_id(label: str) -> str:
    """The id of a label: lower-cased, every run of other characters one underscore (``Fed | Central Banks`` →
    ``fed_central_banks``)."""
    return _OTHER.sub("_", label.lower()).strip("_")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Names(_Section):
    """How people see a label."""

    en: str
    zh: str = ""


class Task(_Section):
    """A classification task: its labels in the order of the head's outputs."""

    labels: dict[str, Names] = Field(min_length=2)
    weight: float = Field(default=1.0, gt=0)
    """Factor of this task's loss."""

    @field_validator("labels")
    @classmethod
    def _ids(cls, labels: dict[str, Names]) -> dict[str, Names]:
        for name in labels:
            if label_id(name) != name:
                raise ValueError(f"label '{name}' is not an id; write it as '{label_id(name)}'")
        return labels


class DataSet(_Section):
    """One file of labelled texts, ``.csv`` or ``.jsonl``, relative to the data folder."""

    path: str
    text: str = "text"
    labels: dict[str, str] = Field(min_length=1)
    """Task → column. An empty cell means that the row has no label for that task."""
    agree: bool = False
    """The label column holds an object of labels (say, per entity); rows whose labels differ are left out."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The part of the training rows, drawn anew for each epoch, that is trained on."""


class Preparation(_Section):
    """See :class:`monitor.model.preprocess.Preprocessing`."""

    prefix: str = ""
    max_tokens: int = Field(default=128, ge=8, le=8192)
    max_chars: int = Field(default=1000, ge=32)
    short_title: int = Field(default=24, ge=0)
    body_chars: int = Field(default=240, ge=0)


class Split(_Section):
    """Parts of the texts held out for calibration and for test; the rest is trained on."""

    calibration: float = Field(default=0.05, gt=0, lt=0.5)
    test: float = Field(default=0.10, gt=0, lt=0.5)


class Augment(_Section):
    """Chances that a training text is changed when it is drawn."""

    drop_cashtags: float = Field(default=0.0, ge=0, le=1)
    lower_case: float = Field(default=0.0, ge=0, le=1)


class Fit(_Section):
    """The optimisation."""

    epochs: int = Field(default=4, ge=1)
    batch_tokens: int = Field(default=2048, ge=16)
    """Texts of like length are batched up to this many tokens, padding included."""
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer below the top learns at this factor of the rate of the one above it."""
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.06, ge=0, lt=1)
    """Part of all steps over which the rate rises; it then falls linearly to zero."""
    clip_norm: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    freeze_embeddings: bool = False
    freeze_layers: int = Field(default=0, ge=0)
    """That many layers from the bottom stay as they are (the embeddings too)."""
    bf16: bool = True


class TrainConfig(_Section):
    """A whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    encoder: str
    pooling: Literal["mean", "cls"] = "mean"
    seed: int = Field(default=0, ge=0)
    licence: str = "unstated"
    description: str = ""
    languages: list[str] = Field(default_factory=lambda: ["en"])
    preprocessing: Preparation = Field(default_factory=Preparation)
    tasks: dict[str, Task] = Field(min_length=1)
    data: list[DataSet] = Field(min_length=1)
    split: Split = Field(default_factory=Split)
    augment: Augment = Field(default_factory=Augment)
    fit: Fit = Field(default_factory=Fit)

    def fingerprint(self) -> str:
        """Changes with anything that changes the training run: a checkpoint of another recipe is not resumed."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def load_config(path: Path) -> TrainConfig:
    """Reads a recipe. Raises ConfigError naming the file, the key and what is expected there."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).", hint="Name an existing TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: this is not TOML: {error}.") from error
    try:
        config = TrainConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: key '{key}': {first['msg']}, got {str(first.get('input'))[:60]!r}.",
            hint=f"{error.error_count()} key(s) in all need attention; see docs on `riskwire train`.",
        ) from error
    for number, dataset in enumerate(config.data):
        for task in dataset.labels:
            if task not in config.tasks:
                raise ConfigError(
                    f"{path}: key 'data.{number}.labels.{task}': there is no task '{task}'.",
                    hint=f"Use one of: {', '.join(config.tasks)}; or add [tasks.{task}.labels].",
                )
    return config
