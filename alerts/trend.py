"""The hours before an incident, for its chart: negative stories seen, expected, and the band they usually keep to."""

from __future__ import annotations

import math
from datetime import timedelta

from alerts.detector import SurgeDetector, SurgeState
from monitor.core.types import TrendPoint

HOURS = 24
_BAND = 2.0
"""Standard deviations on either side."""


def trend_of(detector: SurgeDetector, state: SurgeState, hours: int = HOURS) -> tuple[TrendPoint, ...]:
    """The last ``hours``, each counted back from the end of the bucket that the state closed, oldest first."""
    if state.base is None:
        return ()
    size = int(timedelta(hours=1) / detector.config.width)
    seen = [0.0] * hours
    for at, _, negatives in state.recent:
        back = (state.index - at) // size
        if 0 <= back < hours:
            seen[back] += negatives
    phi = detector.dispersion(state)
    points, before = [], 0.0
    for back in range(hours):
        _, total = detector.expected(state, size * (back + 1))
        mean, before = max(0.0, total - before), total
        spread = _BAND * math.sqrt(mean + phi * mean**2)
        points.append(
            TrendPoint(
                start=detector.start_of(state.index + 1 - size * (back + 1)),
                observed=round(seen[back], 3),
                expected=round(mean, 3),
                low=round(max(0.0, mean - spread), 3),
                high=round(mean + spread, 3),
            )
        )
    return tuple(reversed(points))
