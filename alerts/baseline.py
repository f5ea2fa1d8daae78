"""The seasonal baseline of one series: how many stories, and how many negative ones, are normal in which hour.

A gamma-Poisson hierarchy per hour of the week (posterior means, Gelman et al., *Bayesian Data Analysis*, §2.6 and §5):

    level                     all hours of the series
    └── hour of day × {weekday, weekend}      48 groups, shrunk to the level times the shared shape
        └── hour of the week                   168 cells, shrunk to their group

Stories and negative stories each have such a hierarchy: how many negatives an hour brings depends little on how many
press releases it brings. Counts are divided by ``1 + phi * mean`` before they enter (an overdispersed count carries
less information than a Poisson one), forgotten by half every ``half_life`` weeks, and clipped at a few standard
deviations above what was expected, so that an outbreak does not become the norm. Over this slow profile lies a quick
level (half-life three days). Dispersion is estimated by moments at four time scales, once a week has been seen.

Beside it runs a cumulative sum (Page 1954) of the log-likelihood ratio of twice the expected negatives. Its last zero
is the maximum-likelihood beginning of what may be a slow burn; :mod:`alerts.detector` tests the time since then.

An hour is predicted when it begins and learned when it is over, never the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Any

from monitor.core.errors import CodecError, ConfigError

WEEK = 168
GROUPS = 48
SCALES = (0, 1, 6, 24)
"""Hours of the time scales at which dispersion is known; 0 is one bucket."""
SHARE_TOP = 0.6
LONGEST = 24
"""Hours whose prediction is kept."""
_CUMULATIVE_RATIO = 2.0
_CUMULATIVE_HOURS = 7 * 24
_THURSDAY = 72  # hours from Monday 00:00 to the weekday of 1970-01-01


def hour_of_week(hour: int) -> int:
    """0 is Monday 00:00 UTC; ``hour`` counts from the Unix epoch."""
    return (hour + _THURSDAY) % WEEK


@lru_cache(maxsize=16)
def _days(dates: tuple[str, ...]) -> frozenset[int]:
    return frozenset((date.fromisoformat(text) - date(1970, 1, 1)).days for text in dates)


def group_of(cell: int) -> int:
    """Hour of day on weekdays (0–23) or at the weekend (24–47)."""
    return cell % 24 + (24 if cell >= 120 else 0)


_LOG_RATIO = math.log(_CUMULATIVE_RATIO)
_MOMENTS = 3 * len(SCALES) + 2
_NO_BURN = (-1, 0.0, 0.0, 0.0, 0.0, 0.0)
_CELLS = tuple(tuple(c for c in range(WEEK) if group_of(c) == g) for g in range(GROUPS))
_SLICES = tuple(slice(g, 120, 24) if g < 24 else slice(96 + g, WEEK, 24) for g in range(GROUPS))


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineConfig:
    """Constants of the baseline. Shapes ``a`` of gamma priors are worth that many observed stories."""

    half_life: float = 6.0
    """Weeks after which an observation counts half."""
    quick_half_life: float = 72.0
    """Hours after which the quick level forgets half."""
    prior_rate: float = 0.05
    """Stories an hour of a series of which nothing is known."""
    prior_share: float = 0.25
    share_limit: float = 0.95
    share_weight: float = 20.0
    """Stories that the expected share is worth at the beginning, and after a change of model."""
    level_shape: float = 0.5
    group_shape: float = 2.0
    """1/variance of the relative deviation of a group from the level (about 70 %)."""
    cell_shape: float = 10.0
    """The same for a cell against its group (about 30 %)."""
    quick_weight: float = 15.0
    """Stories that 'nothing changed' is worth in the quick level."""
    dispersion: tuple[float, ...] = (0.5, 0.4, 0.4, 0.4)
    """Prior negative-binomial dispersion at the :data:`SCALES`."""
    dispersion_weight: float = 60.0
    """Squared expected negatives that the prior dispersion is worth."""
    quantum_weight: float = 10.0
    """Expected negatives that a quantum of one is worth."""
    share_dispersion: float = 0.02
    share_dispersion_weight: float = 50.0
    clip: float = 2.5
    """Standard deviations above the expectation at which a count is clipped before it is learned."""
    learn_hours: int = 24
    """Hours without clipping at the beginning."""
    dispersion_hours: int = 168
    """Hours before residuals enter the dispersion: earlier ones show how little was known."""
    holidays: tuple[str, ...] = ()
    """ISO dates (UTC) that are like Sundays, see :mod:`alerts.calendar`."""

    def __post_init__(self) -> None:
        try:
            _days(self.holidays)
        except ValueError as error:
            raise ConfigError(f"A holiday is not a date: {error}.", hint="Write 2026-12-25.") from error

    def cell(self, hour: int) -> int:
        """The hour of the week that an hour is like."""
        if self.holidays and hour // 24 in _days(self.holidays):
            return 6 * 24 + hour % 24
        return hour_of_week(hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is known of one series. Sums are weighted by age; hours count from the Unix epoch."""

    since: int
    share_since: int
    hour: int
    """The hour that is being collected: predicted, not yet learned."""
    exposure: tuple[float, ...]
    stories: tuple[float, ...]
    watched: tuple[float, ...]
    """Exposure of ``negatives``; less than ``exposure`` after a change of model."""
    negatives: tuple[float, ...]
    quick: tuple[float, float, float, float]
    """Quick level: stories seen and expected, negatives seen and expected."""
    moments: tuple[float, ...]
    """Per scale: squared residuals, means, squared means; then numerator and denominator for the share."""
    rates: tuple[tuple[float, float], ...]
    """Predicted stories and negatives of the last hours, the current one last."""
    past: tuple[tuple[float, float], ...] = ()
    """Negatives seen and expected in the last hours learned, for the longest scale."""
    burn: tuple[int, float, float, float, float, float] = _NO_BURN
    """The cumulative sum: its first hour, stories and negatives since then, both expected, and its value. -1: at
    zero, it begins with the hour being collected."""


def fresh(config: BaselineConfig, hour: int, shape: Sequence[float] | None = None) -> Baseline:
    """A baseline that begins at ``hour`` and knows only its priors."""
    empty = Baseline(
        since=hour,
        share_since=hour,
        hour=hour,
        exposure=(0.0,) * WEEK,
        stories=(0.0,) * WEEK,
        watched=(0.0,) * WEEK,
        negatives=(0.0,) * WEEK,
        quick=(0.0, 0.0, 0.0, 0.0),
        moments=(0.0,) * _MOMENTS,
        rates=(),
    )
    learner = _Learner(config, empty, shape)
    learner.rates.append(learner.predict(hour)[:2])
    return learner.frozen()


def quantum(config: BaselineConfig, moments: Sequence[float]) -> float:
    """How much one negative story adds to the sum of probabilities, at most one.

    A sum of probabilities below one varies less than a Poisson count of the same mean: its variance begins as
    ``quantum * mean``. Estimated on the shortest window, where clustering matters least (a quasi-Poisson scale,
    McCullagh & Nelder 1989, §6.2).
    """
    weight = config.quantum_weight
    return min(1.0, max(0.2, (weight + moments[0]) / (weight + moments[1])))


def dispersions(config: BaselineConfig, moments: Sequence[float]) -> tuple[float, ...]:
    """Dispersion ``phi`` per scale (variance = quantum * mean + phi * mean²), by moments, shrunk."""
    weight, scale = config.dispersion_weight, quantum(config, moments)
    return tuple(
        min(
            3.0,
            max(0.02, (weight * prior + moments[3 * i] - scale * moments[3 * i + 1]) / (weight + moments[3 * i + 2])),
        )
        for i, prior in enumerate(config.dispersion)
    )


def share_dispersion(config: BaselineConfig, moments: Sequence[float]) -> float:
    """Intra-class correlation of 'is negative' within an hour, by moments, shrunk."""
    weight = config.share_dispersion_weight
    value = (weight * config.share_dispersion + moments[-2]) / (weight + moments[-1])
    return min(0.5, max(0.002, value))


def usual_share(config: BaselineConfig, base: Baseline) -> tuple[float, float]:
    """The share of stories that are negative, over all hours, and the number of stories it rests on.

    At most ``SHARE_TOP``: where most stories are bad news anyway, more stories are more bad news. The share of an hour
    would be the ratio of two small numbers at night.
    """
    watched = sum(base.watched) / max(1e-9, sum(base.exposure))
    stories = sum(base.stories) * min(1.0, watched)
    share = (config.share_weight * config.prior_share + sum(base.negatives)) / (config.share_weight + stories)
    return min(SHARE_TOP, share), stories


def thinning(scale: float, share: float) -> float:
    """Variance of one story's probability against that of a yes-or-no with the same mean, given the quantum."""
    return max(0.2, (scale - share) / (1.0 - share)) if share < 1.0 else 1.0


class _Learner:
    """Mutable working copy of a baseline while hours are learned."""

    def __init__(self, config: BaselineConfig, base: Baseline, shape: Sequence[float] | None) -> None:
        self.config = config
        self.shape = shape
        self.base = base
        self.hour = base.hour
        self.exposure = list(base.exposure)
        self.stories = list(base.stories)
        self.watched = list(base.watched)
        self.negatives = list(base.negatives)
        self.quick = list(base.quick)
        self.moments = list(base.moments)
        self.rates = list(base.rates)
        self.past = list(base.past)
        self.burn = base.burn

    def frozen(self) -> Baseline:
        return Baseline(
            since=self.base.since,
            share_since=self.base.share_since,
            hour=self.hour,
            exposure=tuple(self.exposure),
            stories=tuple(self.stories),
            watched=tuple(self.watched),
            negatives=tuple(self.negatives),
            quick=(self.quick[0], self.quick[1], self.quick[2], self.quick[3]),
            moments=tuple(self.moments),
            rates=tuple(self.rates),
            past=tuple(self.past),
            burn=self.burn,
        )

    def predict(self, hour: int) -> tuple[float, float, float, float]:
        """Expected stories and negatives of an hour: with the quick levels, then without them."""
        c = self.config
        cell = c.cell(hour)
        phi = dispersions(c, self.moments)[1]
        level = (c.level_shape + sum(self.stories)) / (c.level_shape / c.prior_rate + sum(self.exposure))
        stories = self._rate(cell, self.stories, self.exposure, level, phi, 0)
        # Of a series without history the share is known better than the rate: the rate of negatives follows from it.
        prior = level * c.prior_share
        level = (c.level_shape + sum(self.negatives)) / (c.level_shape / prior + sum(self.watched))
        negatives = self._rate(cell, self.negatives, self.watched, level, phi, WEEK)
        quick, w = self.quick, c.quick_weight
        now = stories * min(4.0, max(0.25, (w + quick[0]) / (w + quick[1])))
        now_x = negatives * min(4.0, max(0.25, (w + quick[2]) / (w + quick[3])))
        return now, min(now_x, c.share_limit * now), stories, negatives

    def _rate(
        self, cell: int, counts: Sequence[float], exposure: Sequence[float], level: float, phi: float, offset: int
    ) -> float:
        c = self.config
        group = group_of(cell)
        group_shape = cell_shape = 1.0
        if self.shape is not None:
            group_shape = max(0.02, sum(self.shape[offset + i] for i in _CELLS[group]) / len(_CELLS[group]))
            cell_shape = max(0.02, self.shape[offset + cell]) / group_shape
        base = level * group_shape
        d = 1.0 + phi * base
        where = _SLICES[group]
        rate = (c.group_shape + sum(counts[where]) / d) / (c.group_shape / base + sum(exposure[where]) / d)
        rate *= cell_shape
        d = 1.0 + phi * rate
        return (c.cell_shape + counts[cell] / d) / (c.cell_shape / rate + exposure[cell] / d)

    def learn(self, buckets: Sequence[tuple[float, float]], per_hour: int, new: tuple[float, float]) -> None:
        """Learns the hour that is over from its non-empty buckets (stories, negatives) and predicts the next. ``new``
        are those that belong to no incident that is over."""
        c = self.config
        hour = self.hour
        cell = c.cell(hour)
        stories, negatives = self.rates[-1]
        self._accumulate(new, stories, negatives)
        _, _, slow_v, slow_x = self.predict(hour)
        phi = dispersions(c, self.moments)
        seen_v = sum(v for v, _ in buckets)
        seen_x = sum(x for _, x in buckets)
        if hour - self.base.since >= c.learn_hours:
            seen_v = min(seen_v, stories + c.clip * math.sqrt(stories + phi[1] * stories**2) + 1.0)
            if hour - self.base.share_since >= c.dispersion_hours:
                self._disperse(buckets, stories, negatives, phi, per_hour)
            seen_x = min(seen_x, negatives + c.clip * math.sqrt(negatives + phi[1] * negatives**2) + 1.0)
        self.exposure[cell] += 1.0
        self.stories[cell] += seen_v
        self.watched[cell] += 1.0
        self.negatives[cell] += seen_x
        keep = 0.5 ** (1.0 / c.quick_half_life)
        d = 1.0 + phi[1] * slow_v
        e = 1.0 + phi[1] * slow_x
        quick = self.quick
        quick[0] = quick[0] * keep + seen_v / d
        quick[1] = quick[1] * keep + slow_v / d
        quick[2] = quick[2] * keep + seen_x / e
        quick[3] = quick[3] * keep + slow_x / e
        self.hour = hour + 1
        if hour_of_week(self.hour) == 0:
            self.forget(0.5 ** (1.0 / c.half_life))
        self.rates.append(self.predict(self.hour)[:2])
        del self.rates[: -LONGEST - 1]

    def _accumulate(self, new: tuple[float, float], stories: float, negatives: float) -> None:
        start, seen_v, seen_x, mean_v, mean_x, value = self.burn
        value += new[1] * _LOG_RATIO - (_CUMULATIVE_RATIO - 1.0) * negatives
        if value <= 0.0 or (start >= 0 and self.hour - start >= _CUMULATIVE_HOURS):
            self.burn = _NO_BURN
        else:
            start = self.hour if start < 0 else start
            self.burn = (start, seen_v + new[0], seen_x + new[1], mean_v + stories, mean_x + negatives, value)

    def _disperse(
        self,
        buckets: Sequence[tuple[float, float]],
        stories: float,
        negatives: float,
        phi: Sequence[float],
        per_hour: int,
    ) -> None:
        seen_v = sum(v for v, _ in buckets)
        seen_x = min(sum(x for _, x in buckets), negatives + 3.0 * math.sqrt(negatives + phi[1] * negatives**2) + 1.0)
        mean = negatives / per_hour
        top = mean + 4.0 * math.sqrt(mean + phi[0] * mean**2) + 1.0
        spread = sum((min(x, top) - mean) ** 2 for _, x in buckets) + (per_hour - len(buckets)) * mean**2
        moments = self.moments
        self._moment(0, spread, negatives, per_hour * mean**2)
        self._moment(1, (seen_x - negatives) ** 2, negatives, negatives**2)
        self.past.append((seen_x, negatives))
        del self.past[:-LONGEST]
        for scale, hours in enumerate(SCALES):
            if hours > 1 and len(self.past) >= hours:
                x, m = sum(p[0] for p in self.past[-hours:]), sum(p[1] for p in self.past[-hours:])
                # The windows overlap, so each of them carries a part of the information only.
                self._moment(scale, (x - m) ** 2 / hours, m / hours, m**2 / hours)
        if seen_v >= 2.0:
            share = min(0.95, negatives / stories)
            noise = share * (1.0 - share)
            random = seen_v * noise * thinning(quantum(self.config, moments), share)
            moments[-2] += min((seen_x - share * seen_v) ** 2, 16.0 * seen_v * noise) - random
            moments[-1] += seen_v * (seen_v - 1.0) * noise

    def _moment(self, window: int, square: float, mean: float, mean_square: float) -> None:
        self.moments[3 * window] += square
        self.moments[3 * window + 1] += mean
        self.moments[3 * window + 2] += mean_square

    def forget(self, keep: float) -> None:
        for values in (self.exposure, self.stories, self.watched, self.negatives, self.moments):
            values[:] = [value * keep for value in values]


def learn(
    config: BaselineConfig,
    base: Baseline,
    upto: int,
    buckets: Mapping[int, Sequence[tuple[float, float]]],
    *,
    per_hour: int,
    shape: Sequence[float] | None = None,
    settled: Mapping[int, tuple[float, float]] | None = None,
) -> Baseline:
    """Learns every hour before ``upto``; hours that ``buckets`` does not name were empty.

    ``per_hour`` buckets make an hour; ``settled`` are the stories and negatives of an hour that an incident counted
    which is over: they are learned, but burn no more.
    """
    learner = _Learner(config, base, shape)
    while learner.hour < upto:
        rows = buckets.get(learner.hour, ())
        old = settled.get(learner.hour, (0.0, 0.0)) if settled else (0.0, 0.0)
        learner.learn(rows, per_hour, (sum(v for v, _ in rows) - old[0], sum(x for _, x in rows) - old[1]))
    return learner.frozen()


def skip(config: BaselineConfig, base: Baseline, upto: int, shape: Sequence[float] | None = None) -> Baseline:
    """Goes on at ``upto`` without learning the hours between: nobody watched."""
    if upto <= base.hour:
        return base
    learner = _Learner(config, base, shape)
    weeks = (upto + _THURSDAY) // WEEK - (base.hour + _THURSDAY) // WEEK
    if weeks:
        learner.forget(0.5 ** (weeks / config.half_life))
    learner.hour = upto
    learner.quick = [0.0, 0.0, 0.0, 0.0]
    learner.past = []
    learner.burn = _NO_BURN
    learner.rates = [learner.predict(upto)[:2]]
    return learner.frozen()


def forecast(config: BaselineConfig, base: Baseline, hour: int) -> tuple[float, float]:
    """Expected stories and negatives of a later hour, from what is known now."""
    return _Learner(config, base, None).predict(hour)[:2]


def shape_of(config: BaselineConfig, base: Baseline) -> tuple[float, ...]:
    """The weekly shape of a series: expected stories per hour of the week relative to their mean, then negatives."""
    learner = _Learner(replace(config, holidays=()), base, None)
    start = base.hour - hour_of_week(base.hour)
    rates = [learner.predict(start + cell)[2:] for cell in range(WEEK)]
    stories, negatives = sum(v for v, _ in rates) / WEEK, sum(x for _, x in rates) / WEEK
    return (*(v / stories for v, _ in rates), *(x / negatives for _, x in rates))


def forget_share(config: BaselineConfig, base: Baseline) -> Baseline:
    """The baseline after a change of model: story counts stay, what is known of negatives becomes a weak prior."""
    keep = min(1.0, config.share_weight / max(1.0, sum(base.stories)))
    return replace(
        base,
        share_since=base.hour,
        watched=tuple(value * keep for value in base.watched),
        negatives=tuple(value * keep for value in base.negatives),
        quick=(base.quick[0], base.quick[1], 0.0, 0.0),
        moments=(0.0,) * len(base.moments),
        past=(),
        burn=_NO_BURN,
    )


def extinguish(base: Baseline) -> Baseline:
    """The cumulative sum begins anew: an incident that counted it is over."""
    return replace(base, burn=_NO_BURN)


_SCALARS = ("since", "share_since", "hour")
_VECTORS = ("exposure", "stories", "watched", "negatives", "quick", "moments")


def to_doc(base: Baseline) -> dict[str, Any]:
    """A JSON object; floats survive exactly."""
    doc: dict[str, Any] = {name: getattr(base, name) for name in _SCALARS}
    doc.update({name: list(getattr(base, name)) for name in _VECTORS})
    doc["rates"] = [list(pair) for pair in base.rates]
    doc["past"] = [list(item) for item in base.past]
    doc["burn"] = list(base.burn)
    return doc


def from_doc(doc: Mapping[str, Any]) -> Baseline:
    """The inverse of :func:`to_doc`. Raises CodecError.

    A document without ``burn`` is of a version that counted uncertain stories as partly negative: its stories stay, its
    negatives become a weak prior, as after a change of model.
    """
    try:
        fields: dict[str, Any] = {name: int(doc[name]) for name in _SCALARS}
        fields.update({name: tuple(float(value) for value in doc[name]) for name in _VECTORS})
        fields["rates"] = tuple((float(a), float(b)) for a, b in doc["rates"])
        fields["past"] = tuple((float(a), float(b)) for a, b in doc["past"])
        if "burn" not in doc:
            fields["moments"] = (0.0,) * _MOMENTS
            return forget_share(BaselineConfig(), Baseline(**fields))
        start, *sums = doc["burn"]
        fields["burn"] = (int(start), *(float(value) for value in sums))
        complete = len(fields["burn"]) == len(_NO_BURN) and len(fields["moments"]) == _MOMENTS
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"A stored baseline is incomplete: {error}.") from error
    if not complete:
        raise CodecError("A stored baseline has another number of time scales.")
    return Baseline(**fields)
