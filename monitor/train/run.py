"""``riskwire train``: data, fit, calibration, export and card, in one deterministic run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from monitor.core.errors import ConfigError, TrainError
from monitor.model import network as networks
from monitor.train import checkpoint as checkpoints
from monitor.train.adapters import attach, merge
from monitor.train.config import TrainConfig
from monitor.train.data import Example, load_data
from monitor.train.fit import OnStep, Report, Trainer, encode, predict_logits
from monitor.train.hub import loading
from monitor.train.layers import drop_layers
from monitor.train.metrics import Floats, softmax, summary
from monitor.train.selection import labelled, sources_of
from monitor.train.trackers import trackers_of

CHECKPOINT = "checkpoint.pt"


def device_of(config: TrainConfig) -> torch.device:
    """Where to train. Raises ConfigError when the recipe wants a GPU and torch sees none."""
    wanted, there = config.fit.device, torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError("key 'fit.device': torch sees no CUDA device.", hint='Use device = "auto" or "cpu".')
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def load_tokenizer(encoder: str, max_tokens: int) -> Tokenizer:
    """The encoder's fast tokenizer, cutting at ``max_tokens``. Raises ConfigError."""
    file = Path(encoder) / "tokenizer.json"
    try:
        if file.exists():
            tokenizer = Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer

            with loading(encoder):
                tokenizer = AutoTokenizer.from_pretrained(encoder, use_fast=True).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"encoder '{encoder}': no tokenizer ({str(error).splitlines()[0]}).",
            hint="Name a folder with config.json, model.safetensors and tokenizer.json, or a model of the hub.",
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def figures(
    config: TrainConfig, examples: Sequence[Example], probabilities: Mapping[str, Floats]
) -> dict[str, dict[str, dict[str, object]]]:
    """Task → data set → summary, of probabilities in the order of ``examples``."""
    table: dict[str, dict[str, dict[str, object]]] = {}
    for name, task in config.tasks.items():
        table[name] = {}
        for source in sources_of(config, name):
            places, truth = labelled(examples, name, source)
            if places:
                table[name][source] = summary(probabilities[name][places], truth, list(task.labels))
    return table


def train(
    config: TrainConfig,
    *,
    data: Path,
    out: Path,
    encoder: str | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    baseline: bool = False,
    safetensors: bool = True,
    evaluate_also: Sequence[tuple[str, Path]] = (),
    robustness: bool = False,
    threads: int | None = None,
    report: Report = lambda _line: None,
    on_step: OnStep | None = None,
    verbose: bool = False,
) -> Path:
    """Trains ``config`` on the files below ``data`` and writes the artefact ``out``/``config.name``; returns it.

    ``encoder`` overrides the recipe's (a local folder in place of a hub name). ``resume`` goes on from the last
    epoch's checkpoint. ``start_from`` overrides the recipe's: an earlier run's checkpoint or artefact whose weights are
    trained on, with a fresh optimiser. ``baseline`` also fits TF-IDF with a linear SVM on the very same split.
    ``safetensors`` keeps the float weights in the artefact, for the torch engine. ``evaluate_also`` are (task, CSV)
    pairs whose figures go into the metrics; ``robustness`` adds the robustness suite's. ``on_step`` is told of every
    step, in place of a line now and then; ``verbose`` names every conflict of the data.

    Raises TrainError or ConfigError.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    parts, found = load_data(config, data)
    report(f"data: {found.to_dict()}")
    for lines in (found.unreadable, found.conflicts, found.disputed):
        for line in lines if verbose else _few(lines):
            report(line)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{out}: cannot be written ({error.strerror}).", hint="Choose another --out.") from error
    device = device_of(config)
    source = encoder or config.encoder
    tokenizer = load_tokenizer(source, config.preprocessing.max_tokens)
    sizes = {name: len(task.labels) for name, task in config.tasks.items()}
    if config.pretrain is not None:
        from monitor.train.pretrain import pretrain

        folder = pretrain(
            config.pretrain,
            config,
            source=source,
            tokenizer=tokenizer,
            data=data,
            out=out / "encoder",
            device=device,
            report=report,
        )
        source = str(folder)
        torch.manual_seed(config.seed)
    with loading(source):
        network = networks.from_pretrained(source, tasks=sizes, pooling=config.pooling, dropout=config.fit.dropout)
    earlier = start_from or (Path(config.start_from) if config.start_from else None)
    if earlier is not None:
        left = checkpoints.start_from(network, config, earlier)
        report(f"started from {earlier}" + (f"; new: {', '.join(left)}" if left else ""))
    pad = int(network.encoder.config.pad_token_id or 0)  # type: ignore[union-attr, arg-type]
    examples: Sequence[Example] = parts["train"]
    if config.distill is not None:
        from monitor.train.distil import taught

        report(f"asking {len(config.distill.teachers)} teacher(s)")
        examples = taught(
            examples,
            config,
            folder=data,
            encoder=source,
            tokenizer=tokenizer,
            pad=pad,
            device=device,
            held=[*parts["calibration"], *parts["test"]],
        )
        torch.manual_seed(config.seed)
    if config.keep_layers or config.encoder_layers:
        kept = drop_layers(network, keep=config.keep_layers, chosen=config.encoder_layers)
        report(f"layers kept: {', '.join(map(str, kept))}")
    adapters = attach(network, config.adapter) if config.adapter else None
    network.to(device)
    trackers = trackers_of(config, out)
    trainer = Trainer(
        config=config,
        network=network,
        tokenizer=tokenizer,
        pad=pad,
        examples=examples,
        checkpoint=out / CHECKPOINT,
        report=report,
        evaluate=_epoch_check(config, network, tokenizer, pad, parts["calibration"]),
        adapters=adapters,
        trackers=trackers,
        on_step=on_step,
    )
    if resume and trainer.resume():
        report(f"resumed after epoch {trainer.epoch}, step {trainer.step}")
    try:
        result = trainer.run()
    finally:
        for tracker in trackers:
            tracker.close()
    network.to("cpu")
    if config.adapter is not None:
        merge(network, config.adapter)

    from monitor.train.finish import finish

    return finish(
        config,
        network=network,
        tokenizer=tokenizer,
        pad=pad,
        parts=parts,
        found=found,
        fit=result,
        out=out / config.name,
        baseline=baseline,
        safetensors=safetensors,
        evaluate_also=evaluate_also,
        report=report,
        robustness=robustness,
    )


def _few(lines: Sequence[str], shown: int = 5) -> list[str]:
    more = len(lines) - shown
    return [*lines[:shown], *([f"… and {more} more of the kind"] if more > 0 else [])]


def _epoch_check(
    config: TrainConfig, network: networks.MultiTaskNetwork, tokenizer: Tokenizer, pad: int, held: Sequence[Example]
) -> Callable[[], Mapping[str, float]]:
    """A function that gives accuracy and macro-F1 on the held-out part, by task and data set."""
    from monitor.model.preprocess import Preprocessing

    ids = encode(tokenizer, Preprocessing(**config.preprocessing.model_dump()), [ex.text for ex in held])

    def check() -> Mapping[str, float]:
        logits = predict_logits(network, ids, pad=pad, bf16=config.fit.bf16)
        table = figures(config, held, {name: softmax(values) for name, values in logits.items()})
        return {
            f"{task}/{source}/{key}": float(str(row[key]))
            for task, rows in table.items()
            for source, row in rows.items()
            for key in ("accuracy", "macro_f1")
        }

    return check
