"""The labels that users gave: one JSON line each, only ever appended to."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from monitor.core.errors import TrainError, UsageError
from monitor.core.ids import digest
from monitor.core.text import guess_language
from monitor.model.preprocess import group_key

FILE = "labels.jsonl"
TASKS = ("sentiment", "topic")
HELD = 0.4
"""The part of the labelled texts that is never trained on: a new model is judged by it."""
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one annotator said of one text; an empty ``topic`` or ``sentiment`` says nothing of that task.

    ``predicted`` and ``model``: what the model had said, where the file tells. ``reason``: why it was exported.
    """

    text: str
    annotator: str
    at: str
    sentiment: str = ""
    topic: str = ""
    article_id: str = ""
    lang: str = ""
    source: str = ""
    published_at: str = ""
    model: str = ""
    reason: str = ""
    predicted: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    """Format and row it came from."""

    @property
    def group(self) -> str:
        """The normalised text: what makes two texts the same."""
        return group_key(self.text)

    def of(self, task: str) -> str:
        """The label of a task, "" when there is none."""
        return self.topic if task == "topic" else self.sentiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A text with the labels that its annotators agree on, by majority; a tie leaves the task out."""

    text: str
    lang: str
    labels: Mapping[str, str]
    disputed: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """True when the text is kept for judging models: by hash, so that it stays so."""
        return is_held(group_key(self.text))


def is_held(group: str) -> bool:
    """Whether a normalised text is never trained on."""
    return int(digest("held", group, size=8), 16) < HELD * 2**64


def read_labels(path: Path) -> list[Label]:
    """All lines; none when there is no file yet. Raises TrainError naming the line."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"{path}: cannot be read: {error}.") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found.append(Label(**{name: row[name] for name in Label.__dataclass_fields__ if name in row}))
        except (ValueError, TypeError, AttributeError) as error:
            raise TrainError(f"{path}, line {number}: this is no label: {error}.", hint="Mend or remove it.") from error
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did: ``added`` new lines, of which ``revised`` replace the same annotator's earlier word;
    ``known`` said what was there; ``empty`` had no label; ``conflicts``: texts on which annotators differ."""

    added: int
    revised: int
    known: int
    empty: int
    conflicts: tuple[str, ...]


def append(path: Path, new: Sequence[Label], *, refuse_conflicts: bool) -> Imported:
    """Adds labels; what is there already is not added again. With ``refuse_conflicts`` nothing is added when two
    annotators differ on a text, and TrainError names both rows."""
    known = latest(read_labels(path))
    fresh: dict[tuple[str, str], Label] = {}
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for label in new:
        if not label.sentiment and not label.topic:
            counts["empty"] += 1
            continue
        key = (label.group, label.annotator)
        if key in fresh:
            if any(fresh[key].of(task) != label.of(task) for task in TASKS):
                problems.append(f"{label.origin}: {label.annotator} labels the text of {fresh[key].origin} otherwise")
            continue
        old = known.get(key)
        if old is not None and all(old.of(task) == label.of(task) for task in TASKS):
            counts["known"] += 1
            continue
        counts["revised"] += old is not None
        fresh[key] = label
    _refuse(path, problems, "the same annotator says two things of one text")
    conflicts = _conflicts({**known, **fresh}, touched={group for group, _ in fresh})
    if refuse_conflicts:
        _refuse(path, conflicts, "annotators differ", hint="Settle them, or import with --conflicts keep.")
    if fresh:
        _write(path, fresh.values())
    return Imported(
        added=len(fresh),
        revised=counts["revised"],
        known=counts["known"],
        empty=counts["empty"],
        conflicts=tuple(conflicts),
    )


def latest(labels: Sequence[Label]) -> dict[tuple[str, str], Label]:
    """By text and annotator, the last word."""
    return {(label.group, label.annotator): label for label in labels}


def decide(labels: Sequence[Label]) -> list[Decided]:
    """The texts with their labels by majority of annotators, in the order in which the texts first came."""
    texts: dict[str, list[Label]] = defaultdict(list)
    for (group, _), label in latest(labels).items():
        texts[group].append(label)
    found = []
    for members in texts.values():
        chosen: dict[str, str] = {}
        disputed = []
        for task in TASKS:
            votes = Counter(label.of(task) for label in members if label.of(task)).most_common(2)
            if len(votes) == 2 and votes[0][1] == votes[1][1]:
                disputed.append(task)
            elif votes:
                chosen[task] = votes[0][0]
        lang = members[0].lang or guess_language(members[0].text)
        found.append(Decided(text=members[0].text, lang=lang, labels=chosen, disputed=tuple(disputed)))
    return found


def stats(labels: Sequence[Label]) -> dict[str, Any]:
    """Counts by task, label, language, annotator and reason; how often annotators agree (Cohen's kappa by pair); how
    often the model had been right, of all and of those exported at random (an unbiased sample of the news)."""
    last = latest(labels)
    decided = decide(labels)
    right: dict[str, dict[str, list[int]]] = {task: defaultdict(lambda: [0, 0]) for task in TASKS}
    for label in last.values():
        for task in TASKS:
            if label.of(task) and label.predicted.get(task):
                for kind in ("all", "random") if label.reason == "random" else ("all",):
                    right[task][kind][0] += label.of(task) == label.predicted[task]
                    right[task][kind][1] += 1
    return {
        "labels": len(last),
        "texts": len(decided),
        "held_out": sum(item.held for item in decided),
        "disputed": sum(bool(item.disputed) for item in decided),
        "languages": dict(Counter(item.lang for item in decided).most_common()),
        "annotators": dict(Counter(label.annotator for label in last.values()).most_common()),
        "reasons": dict(Counter(label.reason or "unknown" for label in last.values()).most_common()),
        "tasks": {
            task: {
                "texts": sum(task in item.labels for item in decided),
                "by_label": dict(Counter(i.labels[task] for i in decided if task in i.labels).most_common()),
                "model_was_right": {kind: {"right": r, "n": n} for kind, (r, n) in right[task].items()},
                "agreement": _agreement(last, task),
            }
            for task in TASKS
        },
    }


def _agreement(last: Mapping[tuple[str, str], Label], task: str) -> list[dict[str, Any]]:
    by_text: dict[str, dict[str, str]] = defaultdict(dict)
    for (group, annotator), label in last.items():
        if label.of(task):
            by_text[group][annotator] = label.of(task)
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in by_text.values():
        for one, two in combinations(sorted(said), 2):
            pairs[one, two].append((said[one], said[two]))
    rows: list[dict[str, Any]] = []
    for (one, two), both in sorted(pairs.items()):
        n = len(both)
        same = sum(a == b for a, b in both) / n
        first, second = Counter(a for a, _ in both), Counter(b for _, b in both)
        chance = sum(first[name] * second[name] for name in first) / (n * n)
        kappa = (same - chance) / (1 - chance) if chance < 1 else 1.0
        rows.append({"annotators": [one, two], "n": n, "agreement": same, "kappa": kappa})
    return rows


def _conflicts(labels: Mapping[tuple[str, str], Label], *, touched: set[str]) -> list[str]:
    by_text: dict[str, list[Label]] = defaultdict(list)
    for (group, _), label in labels.items():
        if group in touched:
            by_text[group].append(label)
    found = []
    for members in by_text.values():
        for task in TASKS:
            said = {label.of(task): label for label in members if label.of(task)}
            if len(said) > 1:
                words = "; ".join(f"{label.origin}: {label.annotator} says {name}" for name, label in said.items())
                found.append(f"{task} of {members[0].text[:60]!r}: {words}")
    return found


def _refuse(path: Path, problems: Sequence[str], what: str, hint: str = "Mend the rows and import again.") -> None:
    if problems:
        shown = "\n  ".join(problems[:_SHOWN])
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise TrainError(f"Nothing was added to {path}: {what}.\n  {shown}{more}", hint=hint)


def _write(path: Path, labels: Iterable[Label]) -> None:
    text = "".join(json.dumps(asdict(label), ensure_ascii=False, sort_keys=True) + "\n" for label in labels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            text = "\n" + text  # a line that a crash cut short stays a line of its own, and is named when read
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, UnicodeEncodeError) as error:
        raise UsageError(f"{path}: cannot be written: {error}.", hint="Choose another file with --out.") from error
