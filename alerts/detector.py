"""The surge detector of one series: upper tails of negative stories over several windows, pure and deterministic.

Per window, with ``x`` negative stories (sum of calibrated probabilities) among ``v`` stories and ``m`` negatives
expected by :mod:`alerts.baseline`:

- *count*: P(X ≥ x) for a negative binomial with mean ``m`` and 1/r = phi + 1/(evidence on the level), continued to
  real ``x`` by the regularised incomplete beta function I(m/(r+m); x, r) (Abramowitz & Stegun 26.5.26); both are in
  units of the quantum (see :func:`alerts.baseline.quantum`);
- *share*: P(X ≥ x | v) for a binomial with the expected share, its size divided by the design effect
  1 + (v - 1) * rho (Kish 1965), continued likewise. A surge of volume alone has an ordinary share and does not alarm:
  unless the share test passes ``share_alpha``, its p-value counts too.

The p-value of a series is the smallest over the windows times their number (Bonferroni); the false discovery rate over
all series is the pipeline's business (:mod:`alerts.fdr`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scipy.special import betainc, nbdtrik

from alerts import baseline
from alerts.baseline import Baseline, BaselineConfig
from monitor.core.errors import CodecError, ConfigError
from monitor.core.types import Bucket, Finding, SeriesKey

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """When a series counts as surging."""

    width: timedelta = timedelta(minutes=5)
    windows: tuple[timedelta, ...] = ()
    """Three of them, the second one hour; when empty: about five minutes, one hour, six hours."""
    min_stories: int = 4
    min_negatives: float = 3.0
    """Expected number of negative stories in the window below which nothing is tested."""
    warm_up: timedelta = timedelta(hours=48)
    relearn: timedelta = timedelta(hours=24)
    """After a change of model the share is learned anew for so long before the series is tested again."""
    share_alpha: float = 0.05
    baseline: BaselineConfig = field(default_factory=BaselineConfig)

    def __post_init__(self) -> None:
        if not timedelta(0) < self.width < _HOUR or _HOUR % self.width:
            raise ConfigError(
                f"The bucket width must divide one hour and be shorter, got {self.width}.",
                hint="Use 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or 30 minutes.",
            )
        if not self.windows:
            short = self.width * max(1, math.ceil(timedelta(minutes=5) / self.width))
            object.__setattr__(self, "windows", (short, _HOUR, 6 * _HOUR))
        if not self.windows or len(self.windows) != len(self.baseline.dispersion):
            raise ConfigError("The detector needs three windows: a short one, one hour, and a long one.")
        if any(window % self.width for window in self.windows) or self.windows[1] != _HOUR:
            raise ConfigError("Windows must be multiples of the bucket width, and the second one hour.")
        if list(self.windows) != sorted(set(self.windows)) or self.windows[-1] % _HOUR:
            raise ConfigError("Windows must grow, and the longest be whole hours.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeState:
    """State of one series. ``index`` is the last bucket stepped (bucket number since the Unix epoch); ``recent`` are
    the non-empty buckets of the longest window: (index, stories, negatives). Buckets up to ``floor`` belong to an
    incident that is over and no longer count."""

    base: Baseline | None = None
    index: int = -1
    floor: int = -1
    recent: tuple[tuple[int, int, float], ...] = ()
    model: str = ""


class SurgeDetector:
    """Implements :class:`monitor.core.ports.Detector`. One instance serves all series; it holds no state of them.

    ``shape`` is the weekly shape that new series borrow until they have their own (see :func:`baseline.shape_of`).
    """

    def __init__(self, config: DetectorConfig | None = None, *, shape: Sequence[float] | None = None) -> None:
        self.config = config or DetectorConfig()
        self.shape = shape
        self._seconds = int(self.config.width.total_seconds())
        self._per_hour = int(_HOUR / self.config.width)
        self._sizes = tuple(int(window / self.config.width) for window in self.config.windows)
        self._longest = self._sizes[-1] // self._per_hour

    def index_of(self, moment: datetime) -> int:
        """Number of the bucket that holds ``moment``."""
        return int(moment.timestamp()) // self._seconds

    def start_of(self, index: int) -> datetime:
        """Start of bucket ``index``."""
        return datetime.fromtimestamp(index * self._seconds, UTC)

    def initial(self) -> SurgeState:
        """The state of a series never seen before."""
        return SurgeState()

    def begin(self, index: int, model: str = "") -> SurgeState:
        """The state of a series that is watched since bucket ``index`` and had nothing yet."""
        base = baseline.fresh(self.config.baseline, index // self._per_hour, self.shape)
        return SurgeState(base=base, index=index - 1, model=model)

    def step(self, state: SurgeState, bucket: Bucket) -> tuple[SurgeState, Finding | None]:
        """Takes the next closed bucket; see the port. A bucket that is not after the last one is refused."""
        index = self.index_of(bucket.start)
        state = self.advance(state, index, bucket.stories, bucket.expected_negatives)
        findings = self.assess(state, bucket.key) if bucket.stories else ()
        return state, self.best(findings)

    def advance(self, state: SurgeState, index: int, stories: int, negatives: float) -> SurgeState:
        """The state after bucket ``index``, without a test. Raises ValueError when time goes back."""
        if state.base is None:
            state = self.begin(index, state.model)
        base = state.base
        assert base is not None
        if index <= state.index:
            raise ValueError(f"bucket {index} is not after {state.index}")
        recent = state.recent
        hour = index // self._per_hour
        if hour > base.hour:
            by_hour: dict[int, list[tuple[float, float]]] = {}
            for at, v, x in recent:
                by_hour.setdefault(at // self._per_hour, []).append((float(v), x))
            base = baseline.learn(
                self.config.baseline,
                base,
                hour,
                by_hour,
                per_hour=self._per_hour,
                longest=self._longest,
                shape=self.shape,
            )
        oldest = index - self._sizes[-1]
        if recent and recent[0][0] <= oldest:
            recent = tuple(item for item in recent if item[0] > oldest)
        if stories:
            recent = (*recent, (index, stories, min(float(stories), max(0.0, negatives))))
        return SurgeState(base=base, index=index, floor=state.floor, recent=recent, model=state.model)

    def resume(self, state: SurgeState, index: int) -> SurgeState:
        """Goes on at ``index`` after a time in which nobody watched (an outage): that time is not learned."""
        if state.base is None or index <= state.index + 1:
            return state
        state = self.advance(state, state.index + 1, 0, 0.0)
        assert state.base is not None
        base = baseline.skip(self.config.baseline, state.base, index // self._per_hour, self.shape)
        return SurgeState(base=base, index=index - 1, floor=index - 1, model=state.model)

    def relearn(self, state: SurgeState, model: str) -> SurgeState:
        """Takes note of another model: story counts stay valid, the negative share is learned anew."""
        if state.model == model or state.base is None:
            return replace(state, model=model)
        base = baseline.forget_share(self.config.baseline, state.base)
        return SurgeState(base=base, index=state.index, floor=state.index, model=model)

    def settle(self, state: SurgeState) -> SurgeState:
        """After an incident is over: what it counted no longer opens another."""
        return replace(state, floor=state.index)

    def ready(self, state: SurgeState) -> bool:
        """Whether the series has been watched long enough to be tested."""
        base = state.base
        if base is None:
            return False
        hour = state.index // self._per_hour
        if (hour - base.since) * _HOUR < self.config.warm_up:
            return False
        return base.share_since == base.since or (hour - base.share_since) * _HOUR >= self.config.relearn

    def expected(self, state: SurgeState, size: int = 1) -> tuple[float, float]:
        """Stories and negatives expected in the ``size`` buckets that end with the current one."""
        base = state.base
        assert base is not None
        stories = negatives = 0.0
        last, first = state.index, state.index - size + 1
        for back in range(len(base.rates) + self._longest + 1):
            hour = base.hour - back
            low = max(first, hour * self._per_hour)
            high = min(last, (hour + 1) * self._per_hour - 1)
            if high >= low:
                v, x = base.rates[max(0, len(base.rates) - 1 - back)]
                share = (high - low + 1) / self._per_hour
                stories += v * share
                negatives += x * share
            if low == first:
                break
        return stories, negatives

    def dispersion(self, state: SurgeState, window: int = 1) -> float:
        """Dispersion phi of a window (variance = mean + phi * mean²)."""
        assert state.base is not None
        return baseline.dispersions(self.config.baseline, state.base.moments)[window]

    def assess(self, state: SurgeState, key: SeriesKey) -> tuple[Finding, ...]:
        """Findings of the windows that hold enough, p-values not yet corrected for the number of windows."""
        if not state.recent or not self.ready(state):
            return ()
        config = self.config
        findings: list[Finding] = []
        previous: tuple[int, float] | None = None
        for which, size in enumerate(self._sizes):
            oldest = max(state.index - size, state.floor)
            v, x = 0, 0.0
            for at, stories, negatives in reversed(state.recent):
                if at <= oldest:
                    break
                v += stories
                x += negatives
            if v < config.min_stories or x < config.min_negatives or (v, x) == previous:
                continue
            previous = (v, x)
            mean_v, mean_x = self.expected(state, size)
            if x <= mean_x:
                continue
            findings.append(self._finding(state, key, which, v, x, mean_v, mean_x))
        return tuple(findings)

    def best(self, findings: Sequence[Finding]) -> Finding | None:
        """The finding with the smallest p-value, corrected for the number of windows."""
        if not findings:
            return None
        finding = min(findings, key=lambda f: (f.p_value, f.window))
        return replace(finding, p_value=min(1.0, finding.p_value * len(self._sizes)))

    def _finding(
        self, state: SurgeState, key: SeriesKey, which: int, v: int, x: float, mean_v: float, mean_x: float
    ) -> Finding:
        base = state.base
        assert base is not None
        c = self.config.baseline
        phi = baseline.dispersions(c, base.moments)[which]
        evidence = c.level_shape + sum(base.negatives)
        r = 1.0 / (phi + 1.0 / evidence)
        scale = baseline.quantum(c, base.moments)
        unit_x, unit_mean = x / scale, mean_x / scale
        p_count = float(betainc(unit_x, r, unit_mean / (r + unit_mean)))
        share = min(0.98, mean_x / mean_v)
        rho = baseline.share_dispersion(c, base.moments) + 1.0 / (c.share_weight + sum(base.negatives) / share)
        effect = baseline.thinning(scale, share) + (v - 1) * rho
        p_share = float(betainc(x / effect, (v - x) / effect + 1.0, share))
        p = p_count if p_share <= self.config.share_alpha else max(p_count, p_share)
        chance = r / (r + unit_mean)
        return Finding(
            key=key,
            at=self.start_of(state.index + 1),
            window=self.config.windows[which],
            observed=x,
            expected=mean_x,
            low=_quantile(0.025, r, chance, scale),
            high=_quantile(0.975, r, chance, scale),
            p_value=max(p, 1e-300),
            stories=v,
        )

    def to_docs(self, state: SurgeState) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """JSON documents: the part that changes with every bucket, and the baseline (changes hourly)."""
        quick = {
            "index": state.index,
            "floor": state.floor,
            "model": state.model,
            "recent": [list(item) for item in state.recent],
        }
        return quick, baseline.to_doc(state.base) if state.base else None

    def from_docs(self, quick: Mapping[str, Any], slow: Mapping[str, Any] | None) -> SurgeState:
        """The inverse of :meth:`to_docs`. Raises CodecError."""
        try:
            return SurgeState(
                base=baseline.from_doc(slow) if slow is not None else None,
                index=int(quick["index"]),
                floor=int(quick["floor"]),
                model=str(quick["model"]),
                recent=tuple((int(at), int(v), float(x)) for at, v, x in quick["recent"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored detector state is incomplete: {error}.") from error


def _quantile(level: float, r: float, chance: float, scale: float) -> float:
    """Quantile of the negative binomial in stories, rounded outwards to a whole number."""
    value = float(nbdtrik(level, r, chance)) * scale
    if not math.isfinite(value) or value < 0.0:
        return 0.0
    return float(math.ceil(value) if level > 0.5 else math.floor(value))
