"""The sections of a recipe, one class each. Every key is documented here and in docs/model.md."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CORPUS = "corpus:"
"""A path that starts with this names a file of the corpus in the package."""
_OTHER = re.compile(r"[^0-9a-z]+")


def label_id(label: str) -> str:
    """The id of a label: lower-cased, every run of other characters one underscore (``Fed | Central Banks`` →
    ``fed_central_banks``)."""
    return _OTHER.sub("_", label.lower()).strip("_")


class Section(BaseModel):
    """A table of the recipe: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Names(Section):
    """How people see a label."""

    en: str
    zh: str = ""


class Task(Section):
    """A classification task: its labels in the order of the head's outputs."""

    labels: dict[str, Names] = Field(min_length=2)
    weight: float = Field(default=1.0, gt=0)
    """Factor of this task's loss."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(default=2.0, ge=0)
    """Focal loss: how much less a text counts that is already answered with confidence (0: cross-entropy)."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``balanced``: texts / (labels x texts of the label), in the training part; or a weight by label (others 1)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    """In place of ``fit.label_smoothing``."""

    @field_validator("labels")
    @classmethod
    def _ids(cls, labels: dict[str, Names]) -> dict[str, Names]:
        for name in labels:
            if label_id(name) != name:
                raise ValueError(f"label '{name}' is not an id; write it as '{label_id(name)}'")
        return labels

    @model_validator(mode="after")
    def _weights(self) -> Task:
        unknown = set(self.class_weights) - set(self.labels) if isinstance(self.class_weights, dict) else set()
        if unknown:
            raise ValueError(f"class_weights names unknown labels: {', '.join(sorted(unknown))}")
        return self


class DataSet(Section):
    """One file of labelled texts, ``.csv`` or ``.jsonl``, relative to the data folder; ``corpus:FILE`` is one of those
    that come with Riskwire."""

    path: str
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """What figures call it; the file's name without its ending by default."""
    text: str = "text"
    labels: dict[str, str] = Field(min_length=1)
    """Task → column. An empty cell means that the row has no label for that task. An object of probabilities by label
    (in a CSV: as JSON) is a soft target."""
    agree: bool = False
    """The label column holds an object of labels (say, per entity); rows whose labels differ are left out."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The part of the training rows, drawn anew for each epoch, that is trained on."""
    weight: float = Field(default=1.0, gt=0)
    """Factor of its rows' loss."""
    split: Literal["hash", "train", "test"] = "hash"
    """``hash``: as [split] says; ``train``: never calibrated or tested on; ``test``: only tested on. A text that
    another data set holds out is not trained on."""

    @property
    def source(self) -> str:
        """Its name in figures."""
        return self.name or PurePosixPath(self.path.removeprefix(CORPUS)).stem


class Overlay(Section):
    """More labels for texts of the data sets: a CSV ``key,label``. The key is the first 16 hex digits of the SHA-256 of
    the normalised text. Only texts of the training part that have no label of the task get one."""

    path: str
    task: str
    weight: float = Field(default=1.0, gt=0)
    """Factor of the loss of these labels, times the weight of the text's data set."""


class Preparation(Section):
    """See :class:`monitor.model.preprocess.Preprocessing`."""

    prefix: str = ""
    max_tokens: int = Field(default=128, ge=8, le=8192)
    max_chars: int = Field(default=1000, ge=32)
    short_title: int = Field(default=24, ge=0)
    body_chars: int = Field(default=240, ge=0)


class Split(Section):
    """Parts of the texts held out for calibration and for test; the rest is trained on."""

    calibration: float = Field(default=0.05, gt=0, lt=0.5)
    test: float = Field(default=0.10, gt=0, lt=0.5)


class Augment(Section):
    """Chances that a training text is changed when it is drawn."""

    drop_cashtags: float = Field(default=0.0, ge=0, le=1)
    lower_case: float = Field(default=0.0, ge=0, le=1)
    upper_case: float = Field(default=0.0, ge=0, le=1)
    typos: float = Field(default=0.0, ge=0, le=1)
    """One slip of the keyboard in one longer word."""
    slugs: float = Field(default=0.0, ge=0, le=1)
    """An agency's mark before the text ("UPDATE 1-") or a source's behind it."""


class Fit(Section):
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
    task_weighting: Literal["fixed", "uncertainty"] = "fixed"
    """``uncertainty``: the weights are learned (Kendall et al. 2018), starting from ``tasks.*.weight``."""
    sampling_temperature: float = Field(default=1.0, ge=1)
    """Data sets are drawn in proportion to their size to the power 1/T: 1 as they are, large T all alike. The number of
    texts in an epoch stays the same."""
    averaging: Literal["none", "ema", "swa"] = "none"
    """The weights that are measured and exported are an average over steps: exponential, or equal (SWA)."""
    averaging_decay: float = Field(default=0.999, gt=0, lt=1)
    """EMA: the part of the average that stays with every step (less in the first steps: at most (1 + t) / (10 + t))."""
    averaging_start: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The part of all steps after which averaging starts: by default 0 for ``ema``, 0.75 for ``swa``."""
    freeze_embeddings: bool = False
    freeze_layers: int = Field(default=0, ge=0)
    """That many layers from the bottom stay as they are (the embeddings too)."""
    bf16: bool = True
