"""The training configuration: a TOML file, checked key by key before anything starts."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from monitor.core.errors import ConfigError
from monitor.train.sections import (
    Adapter,
    Augment,
    DataSet,
    Distill,
    EarlyStopping,
    Fit,
    Names,
    Overlay,
    Preparation,
    Pretrain,
    Section,
    Split,
    Task,
    Tracking,
    label_id,
)

__all__ = [
    "Adapter",
    "Augment",
    "DataSet",
    "Distill",
    "EarlyStopping",
    "Fit",
    "Names",
    "Overlay",
    "Preparation",
    "Pretrain",
    "Split",
    "Task",
    "Tracking",
    "TrainConfig",
    "label_id",
    "load_config",
]


class TrainConfig(Section):
    """A whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    """The artefact's name."""
    encoder: str
    """A model of the Hugging Face hub, or a folder with config.json, model.safetensors and tokenizer.json."""
    start_from: str = ""
    """A checkpoint of an earlier run, or its artefact, whose weights are trained on; relative to the recipe."""
    pooling: Literal["mean", "cls", "attention"] = "mean"
    """How a text's vector comes from its tokens'; ``attention`` learns a weight of every token."""
    seed: int = Field(default=0, ge=0)
    """The same seed gives the same weights on the same machine."""
    licence: str = "unstated"
    """For the card."""
    description: str = ""
    """For the card."""
    languages: list[str] = Field(default_factory=lambda: ["en"])
    """What it was trained for; other languages are answered with a flag."""
    preprocessing: Preparation = Field(default_factory=Preparation)
    """Section."""
    tasks: dict[str, Task] = Field(min_length=1)
    """Section."""
    data: list[DataSet] = Field(min_length=1)
    """Section."""
    labels: list[Overlay] = Field(default_factory=list)
    """Section."""
    split: Split = Field(default_factory=Split)
    """Section."""
    augment: Augment = Field(default_factory=Augment)
    """Section."""
    fit: Fit = Field(default_factory=Fit)
    """Section."""
    early_stopping: EarlyStopping | None = None
    """Section."""
    keep_layers: int = Field(default=0, ge=0)
    """That many layers of the encoder are kept, evenly spaced, first and last among them. 0: all."""
    encoder_layers: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """The layers that are kept, from 0 at the bottom, in place of ``keep_layers``."""
    adapter: Adapter | None = None
    """Section."""
    distill: Distill | None = None
    """Section."""
    pretrain: Pretrain | None = None
    """Section."""
    tracking: Tracking = Field(default_factory=Tracking)
    """Section."""

    def fingerprint(self) -> str:
        """Changes with anything that changes the training run: a checkpoint of another recipe is not resumed."""
        # Defaults are left out, so that a key that a later version adds does not make checkpoints unusable; and what a
        # run started from is in the checkpoint already.
        text = self.model_dump_json(exclude_defaults=True, exclude={"start_from", "tracking"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _names_differ(self) -> TrainConfig:
        names = [dataset.source for dataset in self.data]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two data sets are called '{name}'; give one of them another 'name'")
        return self


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
        key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
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
    for number, overlay in enumerate(config.labels):
        if overlay.task not in config.tasks:
            raise ConfigError(
                f"{path}: key 'labels.{number}.task': there is no task '{overlay.task}'.",
                hint=f"Use one of: {', '.join(config.tasks)}.",
            )
    if config.keep_layers and config.encoder_layers:
        raise ConfigError(f"{path}: key 'keep_layers': cannot stand beside 'encoder_layers'.", hint="Take one out.")
    if config.adapter and config.adapter.method == "prefix":
        raise ConfigError(
            f"{path}: key 'adapter.method': prefix tuning cannot be merged, and no artefact carries it.",
            hint="Use lora, adalora or bottleneck.",
        )
    fit = config.fit
    frozen = fit.unfreeze_layers or fit.freeze_layers or fit.freeze_encoder
    if config.adapter and config.adapter.method == "adalora" and frozen:
        raise ConfigError(
            f"{path}: key 'adapter.method': AdaLoRA shares its ranks out over all layers, so all must learn.",
            hint="Take unfreeze_layers, freeze_layers and freeze_encoder out of [fit], or use lora.",
        )
    for name in config.early_stopping.monitor if config.early_stopping else ():
        task, _, metric = name.rpartition("/")
        if task.split("/")[0] not in config.tasks or metric not in ("accuracy", "macro_f1"):
            raise ConfigError(
                f"{path}: key 'early_stopping.monitor': there is no figure '{name}'.",
                hint="Write TASK/METRIC or TASK/DATA/METRIC, with accuracy or macro_f1.",
            )
    if config.start_from:
        # Relative to the recipe, wherever the command is run.
        config = config.model_copy(update={"start_from": str(path.parent / config.start_from)})
    return config
