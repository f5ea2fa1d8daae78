"""Floors: the pass rates below which a model must not fall, recorded from what was measured.

The targets in the table of capabilities say where a model should be; the floors of a model say where it is, less a
margin, so that a change of code, runtime or processor that costs capability is noticed. The margin is two cases or one
in twenty, whichever is more: int8 arithmetic differs a little between processors, and a verdict on the edge may flip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.core.errors import TrainError, UsageError
from monitor.train.robustness.suite import SuiteResult

MARGIN_CASES, MARGIN_PART = 2, 0.05
_HINT = "Write it with `riskwire evaluate --suite robustness --write-floors FILE`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """The floors of a model: capability → language → pass rate."""

    model: str
    floors: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A capability in a language that is below its floor."""

    capability: str
    lang: str
    measured: float
    floor: float

    def __str__(self) -> str:
        return f"{self.capability} ({self.lang}): {self.measured:.1%}, the floor is {self.floor:.1%}"


def floors_of(result: SuiteResult) -> Floors:
    """What was measured less the margin, for every capability and language."""
    return Floors(
        model=result.model,
        floors={
            name: {
                lang: max(0, rate.passed - max(MARGIN_CASES, math.ceil(MARGIN_PART * rate.n))) / rate.n
                for lang, rate in langs.items()
                if lang != "all"
            }
            for name, langs in result.rates().items()
        },
    )


def below(result: SuiteResult, floors: Floors) -> list[Shortfall]:
    """Every capability and language whose pass rate is below its floor. What has no floor yet is not held to one; what
    has a floor and was not measured counts as 0."""
    rates = result.rates()
    found = []
    for name, langs in floors.floors.items():
        for lang, floor in langs.items():
            rate = rates.get(name, {}).get(lang)
            measured = rate.part if rate is not None else 0.0
            if measured < floor - 1e-6:
                found.append(Shortfall(capability=name, lang=lang, measured=measured, floor=floor))
    return found


def write_floors(path: Path, floors: Floors) -> None:
    """Writes a JSON file. Raises UsageError when it cannot be written."""
    rounded = {
        name: {lang: math.floor(value * 10_000) / 10_000 for lang, value in langs.items()}
        for name, langs in floors.floors.items()
    }
    data = {
        "model": floors.model,
        "written_by": "riskwire evaluate --suite robustness --write-floors",
        "margin": f"{MARGIN_CASES} cases or {MARGIN_PART:.0%}, whichever is more, below what was measured",
        "floors": rounded,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).", hint="Choose another file.") from error


def read_floors(path: Path) -> Floors:
    """Reads what :func:`write_floors` wrote. Raises TrainError when it is not that."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return Floors(
            model=str(data["model"]),
            floors={
                str(name): {str(lang): float(value) for lang, value in langs.items()}
                for name, langs in data["floors"].items()
            },
        )
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}).", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainError(f"{path} holds no floors ({error!r}).", hint=_HINT) from error
