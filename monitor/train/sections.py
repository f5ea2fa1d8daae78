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

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Names(Section):
    """How people see a label."""

    en: str
    zh: str = ""


class Task(Section):
    """A classification task: its labels in the order of the head's outputs."""

    labels: dict[str, Names] = Field(min_length=2)
    """Label id → display names: ``{ en = "…", zh = "…" }``."""
    weight: float = Field(default=1.0, gt=0)
    """Factor of this task's loss."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """``focal`` (Lin et al. 2017) is for many easy texts and few hard ones."""
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
    """The file, or ``corpus:FILE``."""
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """What figures call it; the file's name without its ending by default."""
    text: str = "text"
    """The column of the texts."""
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
    """The CSV, or ``corpus:FILE``."""
    task: str
    """The task that the labels are of."""
    weight: float = Field(default=1.0, gt=0)
    """Factor of the loss of these labels, times the weight of the text's data set."""


class Preparation(Section):
    """See :class:`monitor.model.preprocess.Preprocessing`."""

    prefix: str = ""
    """Put before every text (what the encoder was pre-trained with)."""
    max_tokens: int = Field(default=128, ge=8, le=8192)
    """Texts are cut there."""
    max_chars: int = Field(default=1000, ge=32)
    """And there, before they are split into tokens."""
    short_title: int = Field(default=24, ge=0)
    """A title narrower than this many columns is followed by the start of the body."""
    body_chars: int = Field(default=240, ge=0)
    """How much of the body that is."""


class Split(Section):
    """Parts of the texts held out for calibration and for test; the rest is trained on."""

    calibration: float = Field(default=0.05, gt=0, lt=0.5)
    """For temperatures, early stopping and the figures of every epoch."""
    test: float = Field(default=0.10, gt=0, lt=0.5)
    """For the figures of the card."""


class Augment(Section):
    """Chances that a training text is changed when it is drawn."""

    drop_cashtags: float = Field(default=0.0, ge=0, le=1)
    """Without ``$AAPL``-like tags."""
    lower_case: float = Field(default=0.0, ge=0, le=1)
    """All small letters."""
    upper_case: float = Field(default=0.0, ge=0, le=1)
    """All capitals."""
    typos: float = Field(default=0.0, ge=0, le=1)
    """One slip of the keyboard in one longer word."""
    slugs: float = Field(default=0.0, ge=0, le=1)
    """An agency's mark before the text ("UPDATE 1-") or a source's behind it."""


class Fit(Section):
    """The optimisation."""

    epochs: int = Field(default=4, ge=1)
    """Times that the texts are gone through."""
    batch_tokens: int = Field(default=2048, ge=16)
    """Texts of like length are batched up to this many tokens, padding included."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of the encoder's top layer, and of adapters."""
    head_learning_rate: float = Field(default=1e-3, gt=0)
    """Of heads, attention pooling and learned task weights."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer below the top learns at this factor of the rate of the one above it."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's, on matrices only."""
    warmup: float = Field(default=0.06, ge=0, lt=1)
    """Part of all steps over which the rate rises; it then falls linearly to zero."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Before the heads."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The part of a label that is spread over all labels."""
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
    accumulate: int = Field(default=1, ge=1)
    """That many batches make one step: a large batch in the memory of a small one."""
    r_drop: float = Field(default=0.0, ge=0)
    """R-Drop (Liang et al. 2021): every batch is read twice with other dropout, and the two answers are drawn together
    with this factor. Twice the work."""
    adversarial: float = Field(default=0.0, ge=0, lt=1)
    """Every batch is read again with its embeddings moved against it (Miyato et al. 2017), by this part of their norm.
    Twice the work."""
    freeze_encoder: bool = False
    """Only the heads (and an attention pooling) learn."""
    unfreeze_layers: int = Field(default=0, ge=0)
    """Gradual unfreezing (Howard and Ruder 2018): in the first epoch only the heads learn, with every further one that
    many more layers from the top, the embeddings last. 0: everything from the start."""
    freeze_embeddings: bool = False
    """The embeddings stay as they are."""
    freeze_layers: int = Field(default=0, ge=0)
    """That many layers from the bottom stay as they are (the embeddings too)."""
    bf16: bool = True
    """Arithmetic in bfloat16 where torch deems it safe, on CPU and GPU; weights stay float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: a GPU where torch sees one."""
    checkpoint_steps: int = Field(default=0, ge=0)
    """A checkpoint every that many steps too, not only after every epoch."""


class Adapter(Section):
    """Parameter-efficient training: the encoder's own weights stay as they are."""

    method: Literal["lora", "adalora", "prefix", "bottleneck"]
    """``lora``, ``adalora``: merged at export. ``bottleneck`` (Houlsby et al. 2019): stays part of the network.
    ``prefix``: refused, since an artefact could not carry it."""
    rank: int = Field(default=8, ge=1)
    """LoRA's rank; AdaLoRA's mean rank at the end."""
    first_rank: int = Field(default=0, ge=0)
    """AdaLoRA's rank at the start; 0: half as much again as ``rank``."""
    alpha: int = Field(default=16, ge=1)
    """What LoRA adds is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On what goes into the adapters."""
    targets: list[str] = Field(default_factory=list)
    """Ends of the names of the linear layers that get one, say ``["query", "value"]``; all by default."""
    bottleneck: int = Field(default=64, ge=1)
    """Width of bottleneck adapters."""


class Distill(Section):
    """Learning from what teachers say of the training texts, besides their labels."""

    teachers: list[str] = Field(min_length=1)
    """Artefact folders (with float weights) or checkpoints of the same encoder, relative to the data folder; the mean
    of their probabilities counts."""
    temperature: float = Field(default=2.0, gt=0)
    """Softens the teachers' and the student's probabilities (Hinton et al. 2015)."""
    weight: float = Field(default=0.5, gt=0, le=1)
    """The part of the teachers in the loss; the labels have the rest."""
    texts: list[str] = Field(default_factory=list)
    """Unlabelled texts (.txt, .csv or .jsonl with a column ``text``) that only the teachers say something of."""


class Pretrain(Section):
    """Masked language modelling on unlabelled text of the domain, before the fit; the encoder goes to
    ``OUT/encoder``."""

    texts: list[str] = Field(min_length=1)
    """``.txt`` (a text a line), ``.csv`` or ``.jsonl`` (column ``text``), relative to the data folder."""
    epochs: int = Field(default=1, ge=1)
    """Times that the texts are gone through, masked anew each time."""
    batch_tokens: int = Field(default=4096, ge=16)
    """Tokens of a batch, padding included."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Of everything."""
    warmup: float = Field(default=0.06, ge=0, lt=1)
    """As ``fit.warmup``."""
    mask: float = Field(default=0.15, gt=0, lt=1)
    """The part of the tokens that is to be guessed: 80 % of them masked, 10 % random, 10 % as they are."""
    freeze_embeddings: bool = False
    """The embeddings stay as they are."""


class Tracking(Section):
    """Where figures go besides the terminal and ``metrics.json``."""

    tensorboard: bool = False
    """Event files in ``OUT/tensorboard``; needs the package ``tensorboard``."""
    wandb: str = ""
    """A project of Weights & Biases; needs the package ``wandb`` and its login."""


class EarlyStopping(Section):
    """Ends the run when the monitored figures of the calibration part stop improving; the best epoch's weights are
    taken. Without this section the last epoch's are."""

    monitor: list[str] = Field(min_length=1)
    """``TASK/METRIC`` (mean over data sets) or ``TASK/DATA/METRIC``; METRIC is ``accuracy`` or ``macro_f1``. Their mean
    counts."""
    patience: int = Field(default=2, ge=1)
    """Epochs without improvement after which the run ends."""
    min_gain: float = Field(default=0.0, ge=0)
    """What counts as improvement: more than this."""
