"""Runs the suite on a model, and what came out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from monitor.core.errors import ModelInputError, UsageError
from monitor.core.types import SENTIMENTS
from monitor.model.engines.base import TokenEngine
from monitor.train.robustness.cases import CAPABILITIES, NEGATIVE, POSITIVE, Case, Kind
from monitor.train.robustness.files import handwritten, pairs
from monitor.train.robustness.surface import changed
from monitor.train.robustness.swaps import swapped
from monitor.train.robustness.templates import generated

TASK = "sentiment"
_SHOWN = 200
"""Longest text in a report: the suite holds some of 10,000 characters."""


@cache
def all_cases() -> tuple[Case, ...]:
    """The whole suite, the same in every run."""
    return (*handwritten(), *generated(), *pairs(), *swapped(), *changed())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case. ``reason`` says in words why it failed; empty when it passed."""

    case: Case
    verdict: str
    reason: str = ""

    @property
    def passed(self) -> bool:
        """True when nothing was wrong."""
        return not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of some cases passed."""

    passed: int
    n: int

    @property
    def part(self) -> float:
        """The pass rate, 0 to 1."""
        return self.passed / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """The outcome of every case."""

    model: str
    outcomes: tuple[Outcome, ...]

    def overall(self) -> Rate:
        """Over everything."""
        return _rate(self.outcomes)

    def rates(self) -> dict[str, dict[str, Rate]]:
        """Capability → language → rate, in the order of the table of capabilities; ``all`` is over the languages."""
        table: dict[str, dict[str, Rate]] = {}
        for name in CAPABILITIES:
            mine = [outcome for outcome in self.outcomes if outcome.case.capability == name]
            if mine:
                langs = sorted({outcome.case.lang for outcome in mine})
                table[name] = {"all": _rate(mine)} | {
                    lang: _rate([outcome for outcome in mine if outcome.case.lang == lang]) for lang in langs
                }
        return table

    def by_kind(self) -> dict[str, Rate]:
        """Kind of test → rate."""
        return {kind.value: _rate([outcome for outcome in self.outcomes if outcome.case.kind is kind]) for kind in Kind}

    def failures(self) -> list[Outcome]:
        """What failed, in the order of the suite."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    def to_dict(self, *, failures: bool = True) -> dict[str, object]:
        """A JSON object; without the failures it is a summary that fits into an artefact's metrics."""
        overall = self.overall()
        data: dict[str, object] = {
            "suite": "robustness",
            "model": self.model,
            "n": overall.n,
            "passed": overall.passed,
            "pass_rate": round(overall.part, 4),
            "kinds": {
                kind: {"n": rate.n, "passed": rate.passed, "pass_rate": round(rate.part, 4)}
                for kind, rate in self.by_kind().items()
            },
            "capabilities": {
                name: {
                    lang: {"n": rate.n, "passed": rate.passed, "pass_rate": round(rate.part, 4)}
                    for lang, rate in langs.items()
                }
                | {"target": CAPABILITIES[name].target}
                for name, langs in self.rates().items()
            },
        }
        if failures:
            data["failures"] = [
                {
                    "id": outcome.case.id,
                    "kind": outcome.case.kind.value,
                    "capability": outcome.case.capability,
                    "lang": outcome.case.lang,
                    "text": shortened(outcome.case.text),
                    "verdict": outcome.verdict,
                    "reason": outcome.reason,
                }
                | ({"other": shortened(outcome.case.other)} if outcome.case.other else {})
                for outcome in self.failures()
            ]
        return data


def shortened(text: str) -> str:
    """Valid text of a length for reports: lone surrogates replaced, cut."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def run_suite(engine: TokenEngine, *, cases: Sequence[Case] | None = None) -> SuiteResult:
    """Runs the suite (or ``cases``) on a model's sentiment head.

    Raises UsageError when the model has no task ``sentiment`` with the labels negative, neutral and positive.
    """
    spec = engine.artefact.tasks.get(TASK)
    if spec is None or set(spec.labels) != set(SENTIMENTS):
        raise UsageError(
            f"{engine.artefact.id} cannot be put through the robustness suite.",
            hint=f"The suite needs a task '{TASK}' with the labels {', '.join(SENTIMENTS)}.",
        )
    chosen = all_cases() if cases is None else tuple(cases)
    rows = _probabilities(engine, (text for case in chosen for text in (case.text, case.other) if text))
    labels = spec.labels
    return SuiteResult(model=engine.model, outcomes=tuple(_judge(case, rows, labels) for case in chosen))


_Row = NDArray[np.float64] | None
"""Probabilities; None where the model could not take the text."""


def _probabilities(engine: TokenEngine, texts: Iterable[str]) -> dict[str, _Row]:
    distinct = list(dict.fromkeys(texts))
    steps = engine.artefact.preprocessing
    prepared = [steps.readable(text) for text in distinct]
    readable = [text for text in dict.fromkeys(prepared) if text]
    rows: dict[str, _Row] = {"": None}
    try:
        table = engine.predict_tasks(readable)[TASK]
        rows |= dict(zip(readable, table, strict=True))
    except ModelInputError:
        for text in readable:
            try:
                rows[text] = engine.predict_tasks([text])[TASK][0]
            except ModelInputError:
                rows[text] = None
    return {text: rows[ready] for text, ready in zip(distinct, prepared, strict=True)}


def _judge(case: Case, rows: Mapping[str, _Row], labels: Sequence[str]) -> Outcome:
    row = rows[case.text]
    if row is None:
        return Outcome(case=case, verdict="", reason="the model could not read the text")
    verdict = labels[int(row.argmax())]
    if case.kind is Kind.MFT:
        right = verdict in case.expected
        reason = "" if right else f"{verdict} ({row.max():.2f}) in place of {' or '.join(case.expected)}"
        return Outcome(case=case, verdict=verdict, reason=reason)
    other = rows[case.other]
    if other is None:
        return Outcome(case=case, verdict=verdict, reason="the model could not read the text it is compared with")
    if case.kind is Kind.INV:
        return Outcome(case=case, verdict=verdict, reason=_moved(case, row, other, labels))
    gap = _score(row, labels) - _score(other, labels)
    reason = "" if gap >= case.margin else f"scores {gap:+.2f} against the other, {case.margin:+.2f} is the least"
    return Outcome(case=case, verdict=verdict, reason=reason)


def _moved(case: Case, row: NDArray[np.float64], other: NDArray[np.float64], labels: Sequence[str]) -> str:
    negative = list(labels).index(NEGATIVE)
    before, after = labels[int(other.argmax())], labels[int(row.argmax())]
    move = float(row[negative] - other[negative])
    if before != after:
        return f"{before} became {after}; p(negative) moved by {move:+.2f}"
    return "" if abs(move) <= case.margin else f"p(negative) moved by {move:+.2f}, more than {case.margin:.2f}"


def _score(row: NDArray[np.float64], labels: Sequence[str]) -> float:
    return float(row[list(labels).index(POSITIVE)] - row[list(labels).index(NEGATIVE)])


def _rate(outcomes: Sequence[Outcome]) -> Rate:
    return Rate(passed=sum(outcome.passed for outcome in outcomes), n=len(outcomes))
