"""What the detector expects of a series, by its stored state: the last 24 hours and their usual band."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from alerts.detector import DetectorConfig, SurgeDetector
from alerts.documents import BASELINE, SERIES
from alerts.trend import trend_of
from monitor.core.ports import StateStore
from monitor.core.types import SeriesKey, TrendPoint


async def band_of(state: StateStore, key: SeriesKey, bucket_minutes: int) -> Sequence[TrendPoint] | None:
    """Negative stories seen and expected, hour by hour, oldest first; None when the detector knows nothing of it.

    Raises StorageError, or CodecError when the state cannot be read.
    """
    quick = await state.get(SERIES, str(key))
    if quick is None:
        return None
    slow = await state.get(BASELINE, str(key))
    detector = SurgeDetector(DetectorConfig(width=timedelta(minutes=bucket_minutes)))
    return trend_of(detector, detector.from_docs(quick, slow)) or None
