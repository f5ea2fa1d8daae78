"""The surge detector of one series: upper tails of negative stories over many windows, pure and deterministic.

Windows from one bucket to a day are scanned whenever a story comes, and the time since the cumulative sum of the
baseline was last at zero (a slow burn has no fixed length). Per window, with ``x`` negative stories among ``v`` stories
and ``m`` negatives expected by :mod:`alerts.baseline`:

- *count*: P(X ≥ x) for a negative binomial with mean ``m`` and 1/r = phi + 1/(evidence on the level), continued to
  real ``x`` by the regularised incomplete beta function I(m/(r+m); x, r) (Abramowitz & Stegun 26.5.26), all in units of
  the quantum (see :func:`alerts.baseline.quantum`);
- *share*, when the stories that are not negative surge as well: P(X ≥ x | v) for a binomial with the usual share, its
  size divided by the design effect 1 + (v - 1) * rho (Kish 1965), continued likewise. A surge of volume alone has an
  ordinary share and does not alarm: the larger of the two p-values counts, that of the share times ``crowd_looks``,
  because within such a surge it is looked at hundreds of times.

The scales are put on one footing by how often each is looked at independently: a week holds 2,016 windows of five
minutes but seven of a day. ``p * week / window`` is the number of such findings that an ordinary week would bring; the
smallest over the windows, times an effective number of scales (they overlap, so it is far below their number), gives
the p-value of the series: the probability that an ordinary week holds the like anywhere. The false discovery rate over
all series is the pipeline's business (:mod:`alerts.fdr`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scipy.special import betainc, nbdtrik

from alerts import baseline
from alerts.baseline import LONGEST, SCALES, Baseline, BaselineConfig
from monitor.core.errors import CodecError, ConfigError
from monitor.core.types import Bucket, Finding, SeriesKey

_HOUR = timedelta(hours=1)
_MINUTES = (5, 10, 15, 30, 60, 120, 360, 720, 1440)
_TYPICAL = 0.83
"""Mean p(negative) of stories above one half: so much a negative story adds, and the rest of it is no other story."""
_BURN_HOURS = 3
"""Since how long the cumulative sum must be above zero to be tested; the fixed windows see what is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """When a series counts as surging."""

    width: timedelta = timedelta(minutes=5)
    windows: tuple[timedelta, ...] = ()
    """Growing, at most a day; when empty: 5, 10, 15, 30 minutes, 1, 2, 6, 12, 24 hours, as far as the bucket goes."""
    min_stories: int = 3
    min_negatives: float = 2.2
    """Expected number of negative stories in the window below which nothing is tested."""
    warm_up: timedelta = timedelta(hours=48)
    relearn: timedelta = timedelta(hours=24)
    """After a change of model the share is learned anew for so long before the series is tested again."""
    crowd: float = 2.0
    """Standard deviations (and stories) above the expectation from which other stories surge too."""
    crowd_looks: float = 10.0
    """What the share test costs: within a surge of volume it is looked at many times."""
    burn: float = 10.0
    """What the cumulative sum costs: its window is chosen, not given."""
    scales: float = 2.0
    """Effective number of independent windows among those tested (see benchmarks/detection)."""
    baseline: BaselineConfig = field(default_factory=BaselineConfig)

    def __post_init__(self) -> None:
        if not timedelta(0) < self.width < _HOUR or _HOUR % self.width:
            raise ConfigError(
                f"The bucket width must divide one hour and be shorter, got {self.width}.",
                hint="Use 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or 30 minutes.",
            )
        if not self.windows:
            usual = (timedelta(minutes=minutes) for minutes in _MINUTES)
            chosen = {self.width, *(window for window in usual if window > self.width and not window % self.width)}
            object.__setattr__(self, "windows", tuple(sorted(chosen)))
        if any(window <= timedelta(0) or window % self.width for window in self.windows):
            raise ConfigError("Windows must be multiples of the bucket width.")
        if list(self.windows) != sorted(set(self.windows)) or self.windows[-1] > timedelta(hours=LONGEST):
            raise ConfigError("Windows must grow, and the longest be at most a day.")


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
    owed: tuple[float, float] = (0.0, 0.0)
    """Late stories and negatives of hours that are learned already: they are learned with the present hour."""


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
        self._week = baseline.WEEK * self._per_hour
        self._places = {size: self._place(size) for size in self._sizes}

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

    def advance(
        self,
        state: SurgeState,
        index: int,
        stories: int,
        negatives: float,
        late: Sequence[tuple[int, int, float]] = (),
    ) -> SurgeState:
        """The state after bucket ``index``, without a test. Raises ValueError when time goes back.

        ``late`` are (bucket, stories, negatives) of earlier buckets that came only now: windows count them where they
        belong, so that what a feed hands in after an outage is not a surge of the minute in which it does.
        """
        if state.base is None:
            state = self.begin(index, state.model)
        base = state.base
        assert base is not None
        if index <= state.index:
            raise ValueError(f"bucket {index} is not after {state.index}")
        recent, owed = state.recent, state.owed
        hour = index // self._per_hour
        if hour > base.hour:
            by_hour: dict[int, list[tuple[float, float]]] = {}
            settled: dict[int, tuple[float, float]] = {}
            for at, v, x in reversed(recent):
                if at < base.hour * self._per_hour:
                    break
                by_hour.setdefault(at // self._per_hour, []).append((float(v), x))
                if at <= state.floor:
                    before = settled.get(at // self._per_hour, (0.0, 0.0))
                    settled[at // self._per_hour] = (before[0] + v, before[1] + x)
            if owed[0]:
                by_hour.setdefault(base.hour, []).append(owed)
                owed = (0.0, 0.0)
            base = baseline.learn(
                self.config.baseline,
                base,
                hour,
                by_hour,
                per_hour=self._per_hour,
                shape=self.shape,
                settled=settled,
            )
        oldest = index - self._sizes[-1]
        if recent and recent[0][0] <= oldest:
            recent = tuple(item for item in recent if item[0] > oldest)
        if stories:
            recent = (*recent, (index, stories, min(float(stories), max(0.0, negatives))))
        if late:
            recent = _merged(recent, [row for row in late if row[0] > oldest])
            past = [row for row in late if row[0] // self._per_hour < base.hour]
            owed = (owed[0] + sum(row[1] for row in past), owed[1] + sum(row[2] for row in past))
        return SurgeState(base=base, index=index, floor=state.floor, recent=recent, model=state.model, owed=owed)

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
        base = baseline.extinguish(state.base) if state.base is not None else None
        return replace(state, base=base, floor=state.index)

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
        return next(self._expected(state, (size,)))

    def _expected(self, state: SurgeState, sizes: Sequence[int]) -> Iterator[tuple[float, float]]:
        """The same for several, growing sizes in one go."""
        base = state.base
        assert base is not None
        last = len(base.rates) - 1
        stories = negatives = 0.0
        back, high = base.hour - state.index // self._per_hour, state.index
        for size in sizes:
            first = state.index - size + 1
            while high >= first:
                low = max(first, (base.hour - back) * self._per_hour)
                v, x = base.rates[max(0, last - back)]
                share = (high - low + 1) / self._per_hour
                stories += v * share
                negatives += x * share
                high = low - 1
                if low != first or low % self._per_hour == 0:
                    back += 1
            yield stories, negatives

    def _place(self, size: int) -> tuple[int, float]:
        """Between which two scales of the baseline a window lies, and how far, by the logarithm of its length."""
        anchors = [max(1, hours * self._per_hour) for hours in SCALES]
        for lower in range(len(anchors) - 1):
            if size < anchors[lower + 1]:
                return lower, math.log(size / anchors[lower]) / math.log(anchors[lower + 1] / anchors[lower])
        return len(anchors) - 2, 1.0

    def dispersion(self, state: SurgeState, size: int = 12) -> float:
        """Dispersion phi of a window of ``size`` buckets (variance = mean + phi * mean²)."""
        assert state.base is not None
        return _between(baseline.dispersions(self.config.baseline, state.base.moments), self._place(size))

    def windows(self, state: SurgeState) -> Iterator[tuple[int, int, float, float, float]]:
        """What the windows hold: size in buckets, stories, negatives, both expected. Empty ones and those that hold
        no more than the one before are left out."""
        means = self._expected(state, self._sizes)
        rows = iter(reversed(state.recent))
        row = next(rows, None)
        v, x, known = 0, 0.0, 0
        for size in self._sizes:
            oldest = max(state.index - size, state.floor)
            while row is not None and row[0] > oldest:
                v, x, row = v + row[1], x + row[2], next(rows, None)
            mean_v, mean_x = next(means)
            if v > known:
                known = v
                yield size, v, x, mean_v, mean_x
        base = state.base
        assert base is not None
        start, past_v, past_x, past_mean_v, past_mean_x, value = base.burn
        if value > 0.0 and base.hour - start >= _BURN_HOURS:
            size = state.index - base.hour * self._per_hour + 1
            mean_v, mean_x = self.expected(state, size)
            now_v, now_x = past_v, past_x
            for at, stories, negatives in reversed(state.recent):
                if at <= max(state.index - size, state.floor):
                    break
                now_v, now_x = now_v + stories, now_x + negatives
            size += (base.hour - start) * self._per_hour
            yield size, round(now_v), now_x, past_mean_v + mean_v, past_mean_x + mean_x

    def assess(self, state: SurgeState, key: SeriesKey) -> tuple[Finding, ...]:
        """Findings of the windows that hold enough, p-values not yet corrected for the number of looks."""
        if not state.recent or not self.ready(state):
            return ()
        c = self.config
        tests = [
            row for row in self.windows(state) if row[1] >= c.min_stories and row[2] >= max(c.min_negatives, row[4])
        ]
        if not tests:
            return ()
        base = state.base
        assert base is not None
        phis = baseline.dispersions(c.baseline, base.moments)
        known = sum(base.negatives)
        scale = baseline.quantum(c.baseline, base.moments)
        rho = baseline.share_dispersion(c.baseline, base.moments)
        share, told = baseline.usual_share(c.baseline, base)
        at = self.start_of(state.index + 1)
        findings = []
        for size, v, x, mean_v, mean_x in tests:
            place = self._places.get(size) or self._place(size)
            unit_x, unit_mean = x / scale, mean_x / scale
            r = 1.0 / (_between(phis, place) + 1.0 / (c.baseline.level_shape + known))
            p = float(betainc(unit_x, r, unit_mean / (r + unit_mean)))
            doubt = rho + 1.0 / (c.baseline.share_weight + told)
            if self._crowded(v - x / _TYPICAL, mean_v - mean_x / _TYPICAL, phis[1]):
                effect = baseline.thinning(scale, share) + (v - 1) * doubt
                p_share = float(betainc(x / effect, max(0.0, v - x) / effect + 1.0, share))
                p = max(p, min(1.0, c.crowd_looks * p_share))
            chance = r / (r + unit_mean)
            findings.append(
                Finding(
                    key=key,
                    at=at,
                    window=size * c.width,
                    observed=x,
                    expected=mean_x,
                    low=_quantile(0.025, r, chance, scale),
                    high=_quantile(0.975, r, chance, scale),
                    p_value=max(p, 1e-300),
                    stories=v,
                )
            )
        return tuple(findings)

    def _crowded(self, others: float, mean: float, phi: float) -> bool:
        """Whether the stories that are not negative surge as well."""
        mean = max(0.0, mean)
        return others > mean + self.config.crowd * math.sqrt(mean + phi * mean**2) + self.config.crowd

    def best(self, findings: Sequence[Finding]) -> Finding | None:
        """The finding that is rarest in an ordinary week; its p-value becomes the probability that such a week holds
        the like in any window."""
        if not findings:
            return None
        week = timedelta(hours=baseline.WEEK)
        rates = [
            (
                f.p_value * (week / f.window) * (1.0 if f.window in self.config.windows else self.config.burn),
                f.window,
                f,
            )
            for f in findings
        ]
        rate, _, finding = min(rates, key=lambda row: row[:2])
        return replace(finding, p_value=max(-math.expm1(-rate * self.config.scales), 1e-300))

    def to_docs(self, state: SurgeState) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """JSON documents: the part that changes with every bucket, and the baseline (changes hourly)."""
        quick = {
            "index": state.index,
            "floor": state.floor,
            "model": state.model,
            "recent": [list(item) for item in state.recent],
            "owed": list(state.owed),
        }
        return quick, baseline.to_doc(state.base) if state.base else None

    def from_docs(self, quick: Mapping[str, Any], slow: Mapping[str, Any] | None) -> SurgeState:
        """The inverse of :meth:`to_docs`. Raises CodecError."""
        try:
            owed = quick.get("owed", (0.0, 0.0))  # states of older versions owe nothing
            return SurgeState(
                base=baseline.from_doc(slow) if slow is not None else None,
                index=int(quick["index"]),
                floor=int(quick["floor"]),
                model=str(quick["model"]),
                recent=tuple((int(at), int(v), float(x)) for at, v, x in quick["recent"]),
                owed=(float(owed[0]), float(owed[1])),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CodecError(f"A stored detector state is incomplete: {error}.") from error


def _merged(
    recent: Sequence[tuple[int, int, float]], late: Sequence[tuple[int, int, float]]
) -> tuple[tuple[int, int, float], ...]:
    counts = {at: (v, x) for at, v, x in recent}
    for at, v, x in late:
        before = counts.get(at, (0, 0.0))
        counts[at] = (before[0] + v, before[1] + x)
    return tuple((at, v, x) for at, (v, x) in sorted(counts.items()))


def _between(values: Sequence[float], place: tuple[int, float]) -> float:
    lower, part = place
    return values[lower] + part * (values[lower + 1] - values[lower])


def _quantile(level: float, r: float, chance: float, scale: float) -> float:
    """Quantile of the negative binomial in stories, rounded outwards to a whole number."""
    value = float(nbdtrik(level, r, chance)) * scale
    if not math.isfinite(value) or value < 0.0:
        return 0.0
    return float(math.ceil(value) if level > 0.5 else math.floor(value))
