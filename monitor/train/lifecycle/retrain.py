"""Trains on new labels with replay of the old data, and judges the result. Needs the ``train`` extra."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.errors import UsageError
from monitor.core.text import guess_language
from monitor.model.artefact import Artefact
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TokenEngine
from monitor.train.config import TrainConfig
from monitor.train.data import Example, load_data
from monitor.train.evaluation.sets import LabelledSet, read_set
from monitor.train.lifecycle.gates import Bounds, Decision, Paired, decide
from monitor.train.lifecycle.labels import Decided
from monitor.train.lifecycle.recipe import HELD, Plan, derive, write_start
from monitor.train.metrics import Ints
from monitor.train.selection import labelled, sources_of

REPORT = "decision.json"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The candidate's folder, the decision, and the JSON report (also in the run's folder)."""

    candidate: Path
    decision: Decision
    report: Mapping[str, Any]


def retrain(
    recipe: TrainConfig,
    present: Artefact,
    labels: Sequence[Decided],
    *,
    data: Path,
    out: Path,
    plan: Plan | None = None,
    frozen: Sequence[tuple[str, Path]] = (),
    bounds: Bounds | None = None,
    threads: int | None = None,
    report: Report = lambda _line: None,
) -> Outcome:
    """Makes a candidate in ``out`` from ``present`` and judges it. Installs nothing.

    ``data``: the folder of the recipe's data sets. ``frozen``: (task, CSV) pairs beside the recipe's own test part.
    Raises TrainError or ConfigError.
    """
    from monitor.train.run import train

    chosen = plan or Plan()
    config = derive(recipe, present, labels, out, chosen)
    encoder, start = write_start(present, out)
    where = train(
        config,
        data=data,
        out=out,
        encoder=str(encoder),
        start_from=start,
        safetensors=present.safetensors is not None,
        threads=threads,
        report=report,
    )
    candidate = Artefact.load(where)
    report("judging")
    notes = _notes(recipe, present)
    decision = judge(config, present, candidate, data=data, frozen=frozen, bounds=bounds, threads=threads)
    summary = {
        "present": present.id,
        "candidate": candidate.id,
        "plan": {name: getattr(chosen, name) for name in Plan.__dataclass_fields__},
        "new_labels": {
            "trained_on": sum(bool(item.labels) and not item.held for item in labels),
            "held_out": sum(bool(item.labels) and item.held for item in labels),
            "left_out_disputed": sum(bool(item.disputed) for item in labels),
        },
        "notes": notes,
    } | decision.to_dict()
    (out / REPORT).write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return Outcome(candidate=where, decision=decision, report=summary)


def judge(
    config: TrainConfig,
    present: Artefact,
    candidate: Artefact,
    *,
    data: Path,
    frozen: Sequence[tuple[str, Path]] = (),
    bounds: Bounds | None = None,
    threads: int | None = None,
) -> Decision:
    """The gates over the recipe's test part, the held-out new labels, and ``frozen``; both models as shipped, int8."""
    parts, _ = load_data(config, data)
    now, then = choose_engine(candidate, "onnx", threads=threads), choose_engine(present, "onnx", threads=threads)
    try:
        sets = _tested(config, parts["test"], then, now)
        sets += [_frozen(read_set(then, task=task, path=path), then, now) for task, path in frozen]
    finally:
        now.close()
        then.close()
    return decide(sets, bounds)


def _tested(config: TrainConfig, test: Sequence[Example], then: TokenEngine, now: TokenEngine) -> list[Paired]:
    texts = [example.text for example in test]
    was, is_ = then.predict_tasks(texts), now.predict_tasks(texts)
    languages = [guess_language(text) for text in texts]
    groups = _numbers([example.group for example in test])
    found = []
    for task in config.tasks:
        for source in sources_of(config, task):
            places, truth = labelled(test, task, source)
            if places:
                found.append(
                    Paired(
                        task=task, name=source, labels=tuple(config.tasks[task].labels), truth=truth,
                        present=was[task][places], candidate=is_[task][places], groups=groups[places],
                        slices={"lang": [languages[i] for i in places]}, new=source == HELD,
                    )
                )  # fmt: skip
    return found


def _frozen(data: LabelledSet, then: TokenEngine, now: TokenEngine) -> Paired:
    if now.artefact.tasks[data.task].labels != data.labels:
        raise UsageError(f"{now.model} has other labels for '{data.task}' than {then.model}.")
    texts = [now.artefact.preprocessing.readable(text) for text in data.raw]
    return Paired(
        task=data.task,
        name=data.path.stem,
        labels=data.labels,
        truth=data.truth,
        present=then.predict_tasks(data.texts)[data.task],
        candidate=now.predict_tasks(texts)[data.task],
        groups=data.groups,
        slices={"lang": data.columns.get("lang") or [guess_language(text) for text in data.texts]},
    )


def _numbers(keys: Sequence[str]) -> Ints:
    places: dict[str, int] = {}
    return np.asarray([places.setdefault(key, len(places)) for key in keys], dtype=np.int64)


def _notes(recipe: TrainConfig, present: Artefact) -> list[str]:
    seed = present.metrics().get("seed")
    if seed == recipe.seed:
        return []
    return [
        f"{present.id} was made with seed {seed}, the recipe says {recipe.seed}: the present model may have been "
        "trained on texts of the frozen test part, which favours it."
    ]
