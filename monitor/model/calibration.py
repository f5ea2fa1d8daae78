"""From logits to probabilities that mean what they say, and from probabilities to verdicts that may abstain.

A task's calibration is a temperature and a bias per label (vector scaling with one shared slope; Guo et al., "On
Calibration of Modern Neural Networks", 2017); a temperature alone is the case of no bias. Its operating points say, as
measured on texts that were neither trained nor tested on, how often the verdict is right among the texts whose top
probability reaches a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.errors import ArtefactMismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Among held-out texts with a top probability of at least ``threshold`` (their part: ``coverage``), the part that
    was right."""

    threshold: float
    coverage: float
    precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """``softmax(logits / temperature + bias)``; no bias when it is empty."""

    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    points: tuple[OperatingPoint, ...] = ()

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Row-wise probabilities [texts, labels]."""
        scaled = logits.astype(np.float64) / self.temperature
        if self.bias:
            scaled = scaled + np.asarray(self.bias)
        scaled -= scaled.max(axis=1, keepdims=True)
        powers = np.exp(scaled)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)

    def threshold(self, precision: float) -> float | None:
        """The lowest top probability from which on at least ``precision`` of the verdicts were right, there and at
        every higher point; None when no operating point reaches it."""
        found: float | None = None
        for point in sorted(self.points, key=lambda item: -item.threshold):
            if point.precision < precision:
                break
            found = point.threshold
        return found

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`from_dict` reads."""
        return {
            "temperature": self.temperature,
            "bias": list(self.bias),
            "operating_points": [[p.threshold, p.coverage, p.precision] for p in self.points],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, labels: Sequence[str], task: str) -> Calibration:
        """Reads an artefact's task; those made before there were biases and operating points have neither.

        Raises ArtefactMismatchError.
        """
        try:
            temperature = float(data["temperature"])
            bias = tuple(float(value) for value in data.get("bias", ()))
            points = tuple(
                OperatingPoint(threshold=float(threshold), coverage=float(coverage), precision=float(precision))
                for threshold, coverage, precision in data.get("operating_points", ())
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactMismatchError(f"Task '{task}': the calibration is unsound ({error!r}).") from error
        finite = np.isfinite([temperature, *bias]).all() and temperature > 0
        if not finite or (bias and len(bias) != len(labels)):
            raise ArtefactMismatchError(f"Task '{task}': the calibration is unsound.")
        return cls(temperature=temperature, bias=bias, points=points)
