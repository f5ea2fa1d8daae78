"""How faithful explanations are: which way of weighing words finds the words that the model's verdict rests on.

    python benchmarks/explain.py [--texts FILE]... [--count N] [--ways "A;B"] [--work FILE] [--report FILE]

Texts are lines of each FILE, or the column ``text`` of a CSV; by default the package's own English and Chinese corpus.
``--count`` texts of three words at least are drawn, evenly over the files. Each is explained for its most probable
topic and for its most probable sentiment. Then words are taken out, the heaviest first, and put back into nothing, the
heaviest first, and the probability of the label is watched:

- deletion: area under the curve of taking out, over the part of the words taken; low is good;
- insertion: area under the curve of putting in; high is good (Petsiuk, Das and Saenko, "RISE", 2018);
- comprehensiveness: how much probability is lost without the heaviest 1, 5, 10, 20, 50 % of the words, a word at least,
  mean over the five; high is good (DeYoung et al., "ERASER", 2020);
- sufficiency: the same with nothing but those words; low is good;
- masked deletion (``--masked``): as deletion, with the tokenizer's mask in place of each word, so that a method that
  itself takes words out has no home advantage;
- agreement: Spearman's correlation of the weights with integrated gradients from padding.

Intervals are 95 % bootstrap intervals over texts. Integrated gradients (Sundararajan, Taly and Yan, 2017) run in torch
on the same weights as floats. ``--work`` keeps what is done text by text, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as RichTable
from scipy.stats import spearmanr

import monitor.train
from monitor.model.artefact import Artefact, locate
from monitor.model.attribution import METHODS, Masks, Planner, kernel_shap, leave_one_out
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TokenEngine
from monitor.model.explain import Unit, units, variant

Floats = NDArray[np.float64]
Row = dict[str, Any]
TASKS = ("topic", "sentiment")
BINS = (0.01, 0.05, 0.10, 0.20, 0.50)
LONGEST = 48
"""Texts of more words are passed over: their curves take the time of all the others."""
TIMED = 20
"""Milliseconds are measured on the first so many texts, each way with nothing known beforehand."""
REFERENCE = "integrated gradients (pad)"
MEASURES = ("deletion", "insertion", "comprehensiveness", "sufficiency", "masked_deletion", "agreement")


@dataclass(slots=True)
class Text:
    """One text with what has been computed of its variants."""

    number: int
    text: str
    group: str
    words: list[Unit]
    engine: TokenEngine
    known: dict[tuple[str, bytes], Floats] = field(default_factory=dict)

    def values(self, masks: Masks, *, filler: str = "") -> Floats:
        """[variants, topics and sentiments] of the variants that keep the words of each mask; computed once."""
        keys = [(filler, mask.tobytes()) for mask in masks]
        missing = {key: mask for key, mask in zip(keys, masks, strict=True) if key not in self.known}
        if missing:
            dropped = [[w for w, kept in zip(self.words, mask, strict=True) if not kept] for mask in missing.values()]
            steps = self.engine.artefact.preprocessing
            rows = self.engine.predict_tasks([steps.text(variant(self.text, gone, filler=filler)) for gone in dropped])
            for key, row in zip(missing, np.hstack([rows[task] for task in TASKS]), strict=True):
                self.known[key] = row
        return np.array([self.known[key] for key in keys])


Weigh = Callable[[Text, Sequence[int]], tuple[Floats, int]]
"""[words, columns] of weights for these columns, and how many variants (or gradients) that took."""


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, action="append", help="lines, or a CSV with a column 'text'; repeatable")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", help="folder of an artefact; the packaged one by default")
    parser.add_argument("--ways", default="", help="only these, by semicolon (names as in the table)")
    parser.add_argument("--masked", action="store_true", help="measure masked deletion too")
    parser.add_argument("--seed", type=int, default=1, help="draws the texts and the random orders")
    parser.add_argument("--steps", type=int, default=32, help="steps of the integrated gradients")
    parser.add_argument("--without-gradients", action="store_true", help="no integrated gradients: needs no torch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", default="1/1", help="K/N: work on every N-th text only, for N processes")
    parser.add_argument("--work", type=Path, help="JSON lines of what is done; read at the start, so a run goes on")
    parser.add_argument("--report", type=Path, help="write all figures here as JSON")
    args = parser.parse_args()

    artefact = Artefact.load(locate(args.model))
    engine = choose_engine(artefact, "onnx", threads=args.threads)
    corpus = Path(monitor.train.__file__).parent / "corpus"
    files = args.texts or [corpus / "news-en.csv", corpus / "news-zh.csv"]
    texts = draw(files, engine, count=args.count, seed=args.seed)
    ways = all_ways(
        artefact, seed=args.seed, gradients=not args.without_gradients, steps=args.steps, threads=args.threads
    )
    if args.ways:
        ways = {name: ways[name] for name in args.ways.split(";")}
    rows = [row for row in done(args.work, artefact.id) if row["way"] in ways and row["text"] < len(texts)]
    part, parts = (int(number) for number in args.part.split("/"))
    for row in measure(texts[part - 1 :: parts], ways, artefact, rows=rows, masked=args.masked):
        rows.append(row)
        if args.work:
            with args.work.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"model": artefact.id, **row}) + "\n")
    result = {
        "model": artefact.id,
        "machine": f"{platform.machine()}, {args.threads} of {os.cpu_count()} threads",
        "texts": {file.name: sum(text.group == file.name for text in texts) for file in files},
        "words_per_text": float(np.mean([len(text.words) for text in texts])),
        "seed": args.seed,
        "tables": {
            group: summary([row for row in rows if group in ("all", row["task"], row["group"])], seed=args.seed)
            for group in ("all", *TASKS, *(file.name for file in files))
        },
    }
    show(result)
    if args.report:
        args.report.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def draw(files: Sequence[Path], engine: TokenEngine, *, count: int, seed: int) -> list[Text]:
    """Texts of three words and more, from the files in turn."""
    rng = np.random.default_rng(seed)
    steps = engine.artefact.preprocessing
    found: list[list[Text]] = []
    for file in files:
        lines = read(file)
        rng.shuffle(lines)
        wanted = -(-count // len(files))
        mine: list[Text] = []
        for line in lines:
            text = steps.text(line)
            words = units(text, engine.tokenizer, limit=LONGEST + 1)
            if 3 <= len(words) <= LONGEST and len(mine) < wanted:
                mine.append(Text(number=0, text=text, group=file.name, words=words, engine=engine))
        found.append(mine)
    turns = [mine[turn] for turn in range(max(map(len, found))) for mine in found if turn < len(mine)][:count]
    for number, text in enumerate(turns):
        text.number = number
    return turns


def read(file: Path) -> list[str]:
    """The texts of a file, each once."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as handle:
            lines = [row["text"] for row in csv.DictReader(handle)]
    else:
        lines = file.read_text("utf-8").splitlines()
    return list(dict.fromkeys(line for line in lines if line.strip()))


def done(work: Path | None, model: str) -> list[Row]:
    """What an earlier run with the same model, texts and seed left."""
    if work is None or not work.exists():
        return []
    rows = [json.loads(line) for line in work.read_text("utf-8").splitlines()]
    return [row for row in rows if row["model"] == model]


def special(artefact: Artefact, *names: str) -> str:
    """The tokenizer's token of one of these names, or nothing."""
    tokenizer = artefact.tokenizer()
    return next((name for name in names if tokenizer.token_to_id(name) is not None), "")


def all_ways(artefact: Artefact, *, seed: int, gradients: bool, steps: int, threads: int) -> dict[str, Weigh]:
    """Every way that is measured, by name; the costly ones last."""

    def planned(planner: Planner, *, filler: str = "", odds: bool = False) -> Weigh:
        def weigh(text: Text, columns: Sequence[int]) -> tuple[Floats, int]:
            plan = planner(len(text.words))
            values = text.values(plan.masks, filler=filler)[:, columns]
            if odds:
                values = np.log(np.clip(values, 1e-6, 1)) - np.log(np.clip(1 - values, 1e-6, 1))
            return plan.weights(values), len(np.unique(plan.masks, axis=0))

        return weigh

    def random(text: Text, columns: Sequence[int]) -> tuple[Floats, int]:
        return np.random.default_rng((seed, text.number)).normal(size=(len(text.words), len(columns))), 0

    def drawn_anew(count: int) -> Weigh:
        return planned(lambda words: kernel_shap(words, budget=count, seed=seed))

    ways: dict[str, Weigh] = {"random": random}
    ways |= {name: planned(planner) for name, planner in METHODS.items()}
    ways["shap-64, other draw"] = drawn_anew(64)
    ways["shap-64, log-odds"] = planned(METHODS["shap-64"], odds=True)
    mask = special(artefact, "<mask>", "[MASK]")
    if mask:
        ways[f"leave-one-out, {mask}"] = planned(leave_one_out, filler=mask)
        ways[f"shap-64, {mask}"] = planned(METHODS["shap-64"], filler=mask)
    if gradients:
        from integrated_gradients import IntegratedGradients

        baselines = {"pad": artefact.pad_id} | ({"mask": artefact.tokenizer().token_to_id(mask)} if mask else {})
        for name, token in baselines.items():
            ways[f"integrated gradients ({name})"] = IntegratedGradients(
                artefact, baseline=token, steps=steps, threads=threads
            ).weigh
    return ways


def measure(
    texts: Sequence[Text], ways: dict[str, Weigh], artefact: Artefact, *, rows: Sequence[Row], masked: bool
) -> Iterator[Row]:
    """A row per text, task and way that is not among ``rows``; gradients after all the others."""
    finished = {(row["text"], row["way"]) for row in rows}
    mask = special(artefact, "<mask>", "[MASK]") if masked else ""
    topics = len(artefact.tasks["topic"].labels)
    began = time.monotonic()
    for stage in (
        [way for way in ways if not way.startswith("integrated")],
        *([way] for way in ways if way.startswith("integrated")),
    ):
        for count, text in enumerate(texts, 1):
            todo = [way for way in stage if (text.number, way) not in finished]
            if todo:
                whole = text.values(np.ones((1, len(text.words)), bool))[0]
                columns = [int(np.argmax(whole[:topics])), topics + int(np.argmax(whole[topics:]))]
                yield from measure_text(text, {way: ways[way] for way in todo}, columns, mask)
                text.known.clear()
                if count % 10 == 0:
                    print(f"{stage[0]} …: {count}/{len(texts)}, {time.monotonic() - began:.0f} s", file=sys.stderr)


def measure_text(text: Text, ways: dict[str, Weigh], columns: Sequence[int], mask: str) -> Iterator[Row]:
    """The rows of one text."""
    found: dict[str, tuple[Floats, int, float | None]] = {}
    for name, weigh in ways.items():
        if text.number < TIMED:
            text.known.clear()
        start = time.perf_counter()
        weights, variants = weigh(text, columns)
        seconds = time.perf_counter() - start
        found[name] = (weights, variants, 1000 * seconds if text.number < TIMED else None)
    orders = {
        (name, task): np.argsort(-weights[:, task], kind="stable")
        for name, (weights, _, _) in found.items()
        for task in range(len(TASKS))
    }
    # All curves of a text at once: many of their steps are the same.
    text.values(np.vstack([np.vstack([removed(order), ~removed(order)]) for order in orders.values()]))
    if mask:
        text.values(np.vstack([removed(order) for order in orders.values()]), filler=mask)
    for (name, number), order in orders.items():
        weights, variants, took = found[name]
        yield {
            "text": text.number, "group": text.group, "task": TASKS[number], "way": name, "variants": variants,
            "ms": took, "weights": [round(float(w), 6) for w in weights[:, number]],
            **curves(text, order, columns[number], mask),
        }  # fmt: skip


def removed(order: NDArray[np.intp]) -> Masks:
    """Masks of taking out: none, the first of ``order``, the first two …, all."""
    rank = np.argsort(order)
    return np.array([rank >= step for step in range(len(order) + 1)])


def curves(text: Text, order: NDArray[np.intp], column: int, mask: str) -> dict[str, float]:
    """The measures of one order of words for one label."""
    out = text.values(removed(order))[:, column]
    back = text.values(~removed(order))[:, column]
    steps = [max(1, round(part * len(order))) for part in BINS]
    measures = {
        "deletion": area(out),
        "insertion": area(back),
        "comprehensiveness": float(np.mean([out[0] - out[step] for step in steps])),
        "sufficiency": float(np.mean([out[0] - back[step] for step in steps])),
    }
    if mask:
        measures["masked_deletion"] = area(text.values(removed(order), filler=mask)[:, column])
    return measures


def area(curve: Floats) -> float:
    """Area under a curve over [0, 1], by trapezoids."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def summary(rows: Sequence[Row], *, seed: int) -> list[Row]:
    """Per way: means with 95 % bootstrap intervals over texts (both tasks of a text are drawn together)."""
    rng = np.random.default_rng(seed)
    reference = {(row["text"], row["task"]): row["weights"] for row in rows if row["way"] == REFERENCE}
    table: list[Row] = []
    for name in dict.fromkeys(row["way"] for row in rows):
        values: dict[str, dict[int, list[float]]] = {measure_: {} for measure_ in MEASURES}
        mine = [row for row in rows if row["way"] == name]
        for row in mine:
            measures = {**row}
            other = reference.get((row["text"], row["task"]))
            if other is not None and len(set(other)) > 1:
                flat = len(set(row["weights"])) == 1
                measures["agreement"] = 0.0 if flat else float(spearmanr(row["weights"], other).statistic)
            for measure_ in MEASURES:
                if measure_ in measures:
                    values[measure_].setdefault(row["text"], []).append(measures[measure_])
        timed = [row["ms"] for row in mine if row["ms"] is not None]
        line: Row = {
            "way": name, "texts": len({row["text"] for row in mine}),
            "variants": float(np.mean([row["variants"] for row in mine])),
            "ms": float(np.median(timed)) if timed else None,
        }  # fmt: skip
        for measure_, by_text in values.items():
            if by_text:
                means = np.array([np.mean(each) for each in by_text.values()])
                draws = rng.integers(0, len(means), size=(1000, len(means)))
                low, high = np.percentile(means[draws].mean(axis=1), [2.5, 97.5])
                line[measure_] = [float(means.mean()), float(low), float(high)]
        table.append(line)
    return table


def show(result: Row) -> None:
    """Prints the tables."""
    console = Console(width=200)
    console.print(
        f"{result['model']} on {result['machine']}; {result['texts']}, {result['words_per_text']:.1f} words a text, "
        f"seed {result['seed']}; in brackets the 95 % interval", highlight=False, markup=False,
    )  # fmt: skip
    for group, lines in result["tables"].items():
        table = RichTable("way", "texts", *(name.replace("_", " ") for name in MEASURES), "variants", "ms", title=group)
        for line in lines:
            cells = ["{:.3f} ({:.3f}–{:.3f})".format(*line[m]) if m in line else "" for m in MEASURES]
            took = "" if line["ms"] is None else f"{line['ms']:.0f}"
            table.add_row(line["way"], str(line["texts"]), *cells, f"{line['variants']:.0f}", took)
        console.print(table, highlight=False)


if __name__ == "__main__":
    main()
