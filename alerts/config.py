"""Everything that shapes detection, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from alerts.detector import DetectorConfig
from alerts.incidents import IncidentConfig
from alerts.pairs import PairConfig
from alerts.series import SeriesConfig
from alerts.silence import SilenceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """The defaults are explained in docs/detector.md."""

    series: SeriesConfig = field(default_factory=SeriesConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    incidents: IncidentConfig = field(default_factory=IncidentConfig)
    silence: SilenceConfig = field(default_factory=SilenceConfig)
    grace: timedelta = timedelta(seconds=60)
    """A bucket closes when the watermark is this far past its end."""
    story_window: timedelta = timedelta(hours=48)
    story_threshold: float = 0.6
    story_limit: int = 100_000
    driving: float = 0.5
    """Probability of being negative from which a story counts as driving."""
    outage_after: timedelta = timedelta(hours=12)
    """When nothing at all came for so long, nobody watched: the baselines do not learn that time."""
    look_back: timedelta = timedelta(days=28)
    """A series seen for the first time is taken to have been empty for at most so long."""
