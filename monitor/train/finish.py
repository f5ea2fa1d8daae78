"""What follows the fit: export, int8, calibration on held-out texts, measurement on the test part, card, hashes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer

from monitor.core.types import SENTIMENTS
from monitor.model import artefact as artefacts
from monitor.model.artefact import Artefact
from monitor.model.batching import plan_batches
from monitor.model.calibration import Calibration
from monitor.model.engines.base import TOKEN_BUDGET
from monitor.model.engines.onnx import OnnxEngine
from monitor.model.network import MultiTaskNetwork, encoder_config
from monitor.model.preprocess import Preprocessing
from monitor.train.baseline import linear_svm
from monitor.train.calibrate import calibrate
from monitor.train.card import render
from monitor.train.config import TrainConfig
from monitor.train.data import DataReport, Example
from monitor.train.evaluate import evaluate_file
from monitor.train.export import export_float, quantize_best
from monitor.train.fit import FitResult, Report, encode, predict_logits
from monitor.train.metrics import ece, per_class, softmax, summary
from monitor.train.robustness.suite import run_suite
from monitor.train.selection import labelled, sources_of

Logits = Mapping[str, NDArray[np.float32]]
_CALIBRATION_TEXTS = 800
ALL = "(all)"
"""What the figures over all data sets of a task are filed under."""


def finish(
    config: TrainConfig,
    *,
    network: MultiTaskNetwork,
    tokenizer: Tokenizer,
    pad: int,
    parts: Mapping[str, Sequence[Example]],
    found: DataReport,
    fit: FitResult,
    out: Path,
    baseline: bool,
    safetensors: bool,
    evaluate_also: Sequence[tuple[str, Path]],
    report: Report,
    robustness: bool = False,
) -> Path:
    """Writes the artefact to ``out``, replacing an older one only when the new one is whole; returns ``out``."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".making-") as scratch:
        folder = Path(scratch) / out.name
        folder.mkdir()
        report("exporting")
        export_float(network, Path(scratch) / "float.onnx", max_tokens=config.preprocessing.max_tokens)
        int8_way = quantize_best(
            Path(scratch) / "float.onnx",
            folder / artefacts.ONNX,
            ids=_calibration_ids(config, tokenizer, parts["train"]),
        )
        tokenizer.save(str(folder / artefacts.TOKENIZER), pretty=False)
        if safetensors:
            state = {name: value.contiguous() for name, value in network.state_dict().items()}
            save_file(state, folder / artefacts.SAFETENSORS)
        calibrations = dict.fromkeys(config.tasks, Calibration())
        _write_config(folder, config, network, pad, calibrations)
        _write_report(folder, {}, "")
        engine = OnnxEngine(Artefact.load(folder))

        report("calibrating and measuring")
        held, test = parts["calibration"], parts["test"]
        held_ids = engine.tokens([ex.text for ex in held])
        test_ids = engine.tokens([ex.text for ex in test])
        held_logits, int8 = _logits(engine, held_ids), _logits(engine, test_ids)
        float32 = predict_logits(network, test_ids, pad=pad)
        for name in config.tasks:
            places, truth = labelled(held, name)
            calibrations[name] = calibrate(held_logits[name][places], truth)
        _write_config(folder, config, network, pad, calibrations)
        _write_report(folder, {}, "")
        engine = OnnxEngine(Artefact.load(folder))

        metrics: dict[str, Any] = {
            "seed": config.seed,
            "split": "by hash of the normalised text (case, URLs, cashtags, punctuation, white space removed)",
            "data": found.to_dict(),
            "int8": int8_way,
            "parameters": sum(p.numel() for p in network.parameters()),
            "fit": {"epochs": fit.epochs},
            "test": _test_figures(config, parts, int8, float32, calibrations, baseline=baseline),
            "batch_sensitivity": _batch_sensitivity(engine, test_ids),
            "also": [],
            "bytes": 0,
        }
        for task, path in evaluate_also:
            report(f"evaluating on {path.name}")
            metrics["also"].append({"file": path.name} | evaluate_file(engine, task=task, path=path))
        sentiments = config.tasks["sentiment"].labels if "sentiment" in config.tasks else ()
        if robustness and set(SENTIMENTS) <= set(sentiments):
            report("running the robustness suite")
            metrics["robustness"] = run_suite(engine).to_dict(failures=False)
        metrics["bytes"] = sum(file.stat().st_size for file in folder.iterdir())
        metrics = _rounded(metrics)
        _write_report(
            folder, metrics, render(config, metrics, {task: found.temperature for task, found in calibrations.items()})
        )
        loaded = Artefact.load(folder)
        _replace(folder, out)
    report(f"{loaded.id}: {metrics['bytes'] / 1e6:.1f} MB")
    return out


def _calibration_ids(config: TrainConfig, tokenizer: Tokenizer, train: Sequence[Example]) -> list[list[int]]:
    """Token ids of training texts, evenly drawn: what the int8 ranges of activations are found on."""
    steps = Preprocessing(**config.preprocessing.model_dump())
    return encode(tokenizer, steps, [ex.text for ex in train[:: max(1, len(train) // _CALIBRATION_TEXTS)]])


def _logits(engine: OnnxEngine, ids: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    out: dict[str, NDArray[np.float32]] = {}
    for batch in plan_batches([len(row) for row in ids], TOKEN_BUDGET):
        for task, rows in engine.logits([ids[i] for i in batch]).items():
            out.setdefault(task, np.zeros((len(ids), rows.shape[1]), dtype=np.float32))[batch] = rows
    return out


def _test_figures(
    config: TrainConfig,
    parts: Mapping[str, Sequence[Example]],
    int8: Logits,
    float32: Logits,
    calibrations: Mapping[str, Calibration],
    *,
    baseline: bool,
) -> dict[str, dict[str, dict[str, object]]]:
    """Task → data set → figures of the int8 model as shipped, beside float32, uncalibrated and the baseline."""
    table: dict[str, dict[str, dict[str, object]]] = {}
    for name, task in config.tasks.items():
        labels = list(task.labels)
        table[name] = {}
        sources: list[str | None] = [*sources_of(config, name)]
        for source in sources if len(sources) == 1 else [*sources, None]:
            places, truth = labelled(parts["test"], name, source)
            if not places:
                continue
            row = summary(calibrations[name].probabilities(int8[name][places]), truth, labels)
            plain = summary(calibrations[name].probabilities(float32[name][places]), truth, labels)
            row["temperature"] = calibrations[name].temperature
            row["ece_uncalibrated"] = ece(softmax(int8[name][places]), truth)
            row["float32"] = {key: plain[key] for key in ("accuracy", "macro_f1", "ece")}
            if baseline and source is not None:
                predicted = linear_svm(config, parts, task=name, source=source)
                scores = per_class(truth, predicted, labels)
                present = [label for i, label in enumerate(labels) if (truth == i).any() or (predicted == i).any()]
                row["tfidf_linear_svm"] = {
                    "accuracy": float((predicted == truth).mean()),
                    "macro_f1": float(np.mean([scores[label]["f1"] for label in present])),
                }
            table[name][source or ALL] = row
    return table


def _batch_sensitivity(engine: OnnxEngine, ids: Sequence[Sequence[int]], *, texts: int = 200) -> dict[str, object]:
    """How far a text's probabilities move with the texts that share its batch: largest and mean absolute difference
    between alone and batched, and changed verdicts. Int8 activations are scaled token by token, so it should be next
    to nothing."""
    chosen = list(ids[:texts])
    worst, changed = 0.0, 0
    total: list[float] = []
    alone = [engine.probabilities([row]) for row in chosen]
    for batch in plan_batches([len(row) for row in chosen], TOKEN_BUDGET):
        for task, rows in engine.probabilities([chosen[i] for i in batch]).items():
            for place, together in zip(batch, rows, strict=True):
                apart = np.abs(together - alone[place][task][0])
                worst = max(worst, float(apart.max()))
                total.append(float(apart.mean()))
                changed += int(together.argmax() != alone[place][task][0].argmax())
    return {"texts": len(chosen), "largest": worst, "mean": float(np.mean(total)), "verdicts_changed": changed}


def _write_config(
    folder: Path, config: TrainConfig, network: MultiTaskNetwork, pad: int, calibrations: Mapping[str, Calibration]
) -> None:
    data = {
        "format": artefacts.FORMAT,
        "name": config.name,
        "description": config.description,
        "licence": config.licence,
        "languages": config.languages,
        "preprocessing": config.preprocessing.model_dump(),
        "pad_id": pad,
        "pooling": config.pooling,
        "encoder": encoder_config(network),
        "base_model": config.encoder,
        "tasks": {
            name: {
                "labels": list(task.labels),
                "names": {label: names.model_dump() for label, names in task.labels.items()},
            }
            | calibrations[name].to_dict()
            for name, task in config.tasks.items()
        },
        "made_with": {package: version(package) for package in ("riskwire", "torch", "transformers", "onnxruntime")},
    }
    text = json.dumps(data, ensure_ascii=False, indent=2, sort_keys=False, default=str)
    (folder / artefacts.CONFIG).write_text(text + "\n", "utf-8")


def _write_report(folder: Path, metrics: Mapping[str, Any], card: str) -> None:
    (folder / artefacts.METRICS).write_text(json.dumps(metrics, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (folder / artefacts.CARD).write_text(card, "utf-8")
    artefacts.write_sums(folder)


def _replace(folder: Path, out: Path) -> None:
    old = out.with_name(f".old-{out.name}")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _rounded(value: Any) -> Any:
    """The same with floats to six places: more would be noise."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
