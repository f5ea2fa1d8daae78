"""MODEL_CARD.md, written from the recipe and what was measured: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.train.config import TrainConfig


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def render(config: TrainConfig, metrics: Mapping[str, Any], temperatures: Mapping[str, float]) -> str:
    """The card as Markdown."""
    lines = [
        f"# {config.name}",
        "",
        config.description or "A multi-task text classifier.",
        "",
        f"- Encoder: `{config.encoder}`, {config.pooling} pooling; {metrics['parameters'] / 1e6:.1f} M parameters",
        f"- Tasks: {', '.join(f'{name} ({len(task.labels)} labels)' for name, task in config.tasks.items())}",
        f"- Languages: {', '.join(config.languages)}",
        f"- Licence: {config.licence}",
        f"- Trained: {config.fit.epochs} epochs, seed {config.seed}, with `riskwire train`",
        f"- Weights: int8 (matrices per channel, embeddings per row); activations int8 too, {_activations(metrics)}",
        "",
        "## Measured on the test part",
        "",
        "Texts are split by hash of their normalised form (no case, URLs, cashtags, punctuation or white space), over "
        "all data sets together: none of the test part was trained or calibrated on. In per cent; ECE with 15 bins.",
        "",
        "| task | data | n | accuracy | macro-F1 | float32 accuracy | SVM accuracy | SVM F1 | ECE before | ECE after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, sources in metrics["test"].items():
        for source, row in sources.items():
            svm = row.get("tfidf_linear_svm")
            lines.append(
                f"| {task} | {source} | {row['n']} | {_percent(row['accuracy'])} | {_percent(row['macro_f1'])} "
                f"| {_percent(row['float32']['accuracy'])} | {_percent(svm['accuracy']) if svm else '–'} "
                f"| {_percent(svm['macro_f1']) if svm else '–'} | {_percent(row['ece_uncalibrated'])} "
                f"| {_percent(row['ece'])} |"
            )
    sensitivity = metrics["batch_sensitivity"]
    lines += [
        "",
        f"SVM: TF-IDF with a linear SVM on the same split. Temperatures: "
        f"{', '.join(f'{name} {value:.3f}' for name, value in temperatures.items())}, fitted on the calibration part.",
        "",
        f"Alone or in a batch: over {sensitivity['texts']} texts the probabilities differ by at most "
        f"{sensitivity['largest']:.6f}; {sensitivity['verdicts_changed']} verdicts change.",
        "",
    ]
    if metrics["also"]:
        lines += [
            "## Measured on other data",
            "",
            "Never trained on. *Decided*: texts that got one of the labels that the file uses, and how many of them "
            "were right; *among them*: accuracy when only those labels may be chosen.",
            "",
            "| task | file | n | accuracy | macro-F1 | decided | right of the decided | among them |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in metrics["also"]:
            decided, among = row.get("decided"), row.get("among_labels")
            cells = [_percent(row["accuracy"]), _percent(row["macro_f1"])]
            cells += [_percent(decided["part"]), _percent(decided["accuracy"])] if decided else ["–", "–"]
            cells.append(_percent(among["accuracy"]) if among else "–")
            lines.append(f"| {row['task']} | {row['file']} | {row['n']} | {' | '.join(cells)} |")
        lines.append("")
    lines += _robustness(metrics.get("robustness"))
    for task, sources in metrics["test"].items():
        source, row = next(iter(sources.items()))
        lines += [
            f"## {task}: labels on {source}",
            "",
            "| label | name | precision | recall | F1 | n |",
            "|---|---|---|---|---|---|",
        ]
        for label, figures in row["per_class"].items():
            names = config.tasks[task].labels[label]
            shown = f"{names.en} / {names.zh}" if names.zh else names.en
            lines.append(
                f"| `{label}` | {shown} | {_percent(figures['precision'])} | {_percent(figures['recall'])} "
                f"| {_percent(figures['f1'])} | {figures['support']} |"
            )
        lines.append("")
    lines += [
        "## Training data",
        "",
        "| data | rows | kept | duplicates | disagreeing | trained on |",
        "|---|---|---|---|---|---|",
    ]
    data = metrics["data"]
    for source, rows in data["rows"].items():
        lines.append(
            f"| {source} | {rows} | {data['kept'][source]} | {data['left_out_duplicates'][source]} "
            f"| {data['left_out_disagreeing'][source]} | {data['sizes']['train'].get(source, 0)} |"
        )
    lines += [
        "",
        f"{data['label_conflicts']} rows repeat a text with another label (the first one counts); "
        f"{data['left_out_unreadable']} hold nothing but a link.",
        "",
        "## Limits",
        "",
        "Short news texts only: a title, or the start of the body where the title says too little. A language that "
        "was not trained on rests on the encoder alone. The sentiment is how a text reads, not advice. "
        "A verdict is a probability; act on incidents, not on single texts.",
        "",
    ]
    return "\n".join(lines)


def _robustness(suite: Mapping[str, Any] | None) -> list[str]:
    """The section of the suite, from ``SuiteResult.to_dict(failures=False)``; nothing when it was not run."""
    if not suite:
        return []
    langs = sorted({lang for row in suite["capabilities"].values() for lang in row} - {"all", "target"})
    lines = [
        "## Robustness",
        "",
        f"{suite['passed']} of {suite['n']} cases pass: known verdicts, changes that must not matter, directions "
        "(`riskwire evaluate --suite robustness`). Pass rates in per cent, in brackets the number of cases.",
        "",
        f"| capability | all | {' | '.join(langs)} | target |",
        f"|---|---|{'---|' * len(langs)}---|",
    ]
    for name, row in suite["capabilities"].items():
        cells = [f"{_percent(row[lang]['pass_rate'])} ({row[lang]['n']})" if lang in row else "–" for lang in langs]
        lines.append(
            f"| `{name}` | {_percent(row['all']['pass_rate'])} | {' | '.join(cells)} | {100 * row['target']:.0f} |"
        )
    return [*lines, ""]


def _activations(metrics: Mapping[str, Any]) -> str:
    if metrics.get("int8", {}).get("activations") == "static":
        return "at constant scales found on training texts"
    return "quantised at run time, token by token"
