"""What users would pick instead, vectorised: matrices of series × five-minute buckets in, scores of the same shape out.

All get the same series as our detector (expected negative stories), the same floor on what may alarm at all, and their
constants are tuned on the same half (:mod:`tuning`). A score says how alarming the bucket's end is; -inf: not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import betainc, gammaln
from worlds import DAY, WEEK

Matrix = NDArray[np.float64]
Score = Callable[..., Matrix]
LEAST = 2.2
"""Expected negative stories that a window must hold to alarm, for every contender as for ours."""


def rolled(x: Matrix, size: int) -> Matrix:
    """Sum of the last ``size`` buckets, of fewer at the beginning."""
    total = np.cumsum(x, axis=1)
    result = total.copy()
    result[:, size:] -= total[:, :-size]
    return np.maximum(result, 0.0)


def lagged(x: Matrix, by: int) -> Matrix:
    """The matrix ``by`` buckets ago; zero before its beginning."""
    if by == 0:
        return x
    result = np.zeros_like(x)
    if by < x.shape[1]:
        result[:, by:] = x[:, :-by]
    return result


def moments(x: Matrix, span: int, lag: int) -> tuple[Matrix, Matrix]:
    """Mean and variance over the ``span`` buckets that end ``lag`` buckets ago, over fewer at the beginning."""
    count = np.clip(np.arange(x.shape[1]) + 1 - lag, 1, span)
    mean = lagged(rolled(x, span), lag) / count
    square = lagged(rolled(x**2, span), lag) / count
    return mean, np.maximum(square - mean**2, 0.0)


def gated(score: Matrix, count: Matrix) -> Matrix:
    """Nothing is said of a window with less than the least."""
    return np.where(count >= LEAST, score, -np.inf)


def spike(x: Matrix, *, window: int, floor: float) -> Matrix:
    """ElastAlert's spike rule: the last timeframe over the one before it (``spike_height``, ``threshold_cur``;
    elastalert ``ruletypes.py``, SpikeRule). ``floor`` stands in for an empty reference window, in which the original
    says nothing."""
    now = rolled(x, window)
    return gated(now / np.maximum(lagged(now, window), floor), now)


def z_score(x: Matrix, *, window: int, span: int, floor: float) -> Matrix:
    """How many standard deviations the window's sum lies above the mean of such sums over ``span`` before it."""
    now = rolled(x, window)
    mean, variance = moments(now, span, window)
    return gated((now - mean) / np.sqrt(variance + floor**2), now)


def ewma(x: Matrix, *, weight: float, span: int, floor: float) -> Matrix:
    """The EWMA chart (Roberts 1959; limits of Lucas & Saccucci 1990): an exponentially weighted mean against the mean
    and variance over ``span`` before it."""
    now = np.asarray(lfilter([weight], [1.0, weight - 1.0], x, axis=1))
    lag = int(3.0 / weight)
    mean, variance = moments(x, span, min(lag, span))
    sigma = np.sqrt((variance + floor**2 / DAY) * weight / (2.0 - weight))
    return gated((now - mean) / sigma, rolled(x, lag))


def ears(x: Matrix, *, method: str, window: int, period: int, floor: float) -> Matrix:
    """EARS C1, C2 and C3 (Hutwagner et al. 2003; Fricker et al. 2008): the window against the mean and standard
    deviation of seven earlier ones, ``period`` apart; C2 leaves out the two latest, C3 sums what C2 had above one over
    three windows."""
    now = rolled(x, window)
    guard = 0 if method == "C1" else 2
    earlier = [lagged(now, (guard + k) * period) for k in range(1, 8)]
    mean = sum(earlier) / 7.0
    variance = sum((e - mean) ** 2 for e in earlier) / 6.0
    score = (now - mean) / np.sqrt(variance + floor**2)
    if method == "C3":
        score = sum(np.maximum(0.0, lagged(score, k * period) - (1.0 if k else 0.0)) for k in range(3))
    return gated(score, now)


def farrington(x: Matrix, *, window: int, period: int, back: int, where: NDArray[np.bool_] | None = None) -> Matrix:
    """Farrington flexible (Noufaily et al. 2013, as in R's ``surveillance``): a quasi-Poisson level over the same time
    of earlier periods and its two neighbours, past outbreaks down-weighted by Anscombe residuals above 2.58, and the
    upper tail of the negative binomial. No trend: weeks of history do not carry one."""
    now = rolled(x, window)
    near = max(1, window // 2)
    result = np.full_like(now, -np.inf)
    row, column = np.nonzero((now >= LEAST) if where is None else (now >= LEAST) & where)
    lags = [k * period + j for k in range(1, back + 1) for j in (-near, 0, near) if k * period + j >= window]
    y = np.stack([_at(now, row, column, lag) for lag in lags])
    known = np.stack([(column - lag >= window).astype(np.float64) for lag in lags])
    w = known
    for _ in range(2):
        total = np.maximum(w.sum(axis=0), 1e-9)
        mu = np.maximum((w * y).sum(axis=0) / total, 0.02)
        phi = np.maximum((w * (y - mu) ** 2).sum(axis=0) / (mu * np.maximum(total - 1.0, 1.0)), 1.0)
        anscombe = 1.5 * (np.maximum(y, 0.0) ** (2 / 3) - mu ** (2 / 3)) / (np.sqrt(phi) * mu ** (1 / 6))
        w = known * np.where(anscombe > 2.58, 1.0 / np.maximum(anscombe, 1e-9) ** 2, 1.0)
    phi = np.maximum(phi, 1.05) + phi / total  # the level's own uncertainty
    tail = betainc(now[row, column], mu / (phi - 1.0), 1.0 - 1.0 / phi)
    result[row, column] = -np.log(np.maximum(tail, 1e-300))
    return result


def seasonal_esd(x: Matrix, *, window: int, span: int, floor: float, where: NDArray[np.bool_] | None = None) -> Matrix:
    """Twitter's seasonal-hybrid ESD (Hochenbaum et al. 2017): the median of the same time of day is taken off, then the
    residual is weighed by median and median absolute deviation over ``span``. The ranks of the generalised ESD test
    only matter for several anomalies at once; the statistic is the first one's."""
    now = rolled(x, window)
    result = np.full_like(now, -np.inf)
    row, column = np.nonzero((now >= LEAST) if where is None else (now >= LEAST) & where)
    days = [k * DAY for k in range(8)]
    steps = [0, *range(window, span, max(window, span // 24))]
    # The season of an earlier residual is that of the days around it: one median of the same time of day for all.
    values = np.stack([[_at(now, row, column, step + day) for day in days] for step in steps])
    residual = values[:, 0] - np.median(values, axis=1)
    middle = np.median(residual[1:], axis=0)
    mad = 1.4826 * np.median(np.abs(residual[1:] - middle), axis=0)
    result[row, column] = (residual[0] - middle) / (mad + floor)
    return result


def _at(x: Matrix, row: NDArray[np.intp], column: NDArray[np.intp], lag: int) -> NDArray[np.float64]:
    return np.where(column >= lag, x[row, np.maximum(column - lag, 0)], 0.0)


def change_point(x: Matrix, *, hazard: float, runs: int, strength: float) -> Matrix:
    """Bayesian online change points (Adams & MacKay 2007), Poisson counts with a gamma prior on the rate. Run lengths
    are kept up to ``runs`` buckets; the last one stands for all longer ones, its sums forgotten with a half-life of a
    week. The score is the log-odds that a run is short and its rate above the long one's."""
    rows, length = x.shape
    keep = 0.5 ** (1.0 / WEEK)
    alpha = np.full((rows, runs), strength)
    mean = np.maximum(x[:, :WEEK].mean(axis=1), 1e-4)[:, None]
    beta = np.broadcast_to(strength / mean, (rows, runs)).copy()
    first_alpha, first_beta = alpha[:, 0].copy(), beta[:, 0].copy()
    p = np.zeros((rows, runs))
    p[:, -1] = 1.0
    result = np.full(x.shape, -np.inf)
    recent = rolled(x, runs)
    for t in range(length):
        value = x[:, t]
        log_like = alpha * np.log(beta / (beta + 1.0))
        some = np.flatnonzero(value > 0.0)
        if len(some):
            v = value[some, None]
            log_like[some] += gammaln(alpha[some] + v) - gammaln(alpha[some]) - v * np.log1p(beta[some])
        joint = p * np.exp(log_like - log_like.max(axis=1, keepdims=True))
        joint /= joint.sum(axis=1, keepdims=True)
        alpha += value[:, None]
        beta += 1.0
        # Runs grow by one bucket; the two longest merge into the last.
        p[:, 1:-1] = joint[:, :-2]
        p[:, -1] = joint[:, -2] + joint[:, -1]
        p[:, 1:] *= 1.0 - hazard
        p[:, 0] = hazard
        alpha[:, 1:-1] = alpha[:, :-2]
        beta[:, 1:-1] = beta[:, :-2]
        alpha[:, -1] = strength + (alpha[:, -1] - strength) * keep
        beta[:, -1] = strength / mean[:, 0] + (beta[:, -1] - strength / mean[:, 0]) * keep
        alpha[:, 0], beta[:, 0] = first_alpha, first_beta
        if (recent[:, t] >= LEAST).any():
            rate = alpha / beta
            up = np.where(rate[:, :-1] > 1.5 * rate[:, -1:], p[:, :-1], 0.0)[:, 1:].sum(axis=1)
            result[:, t] = np.log(up + 1e-30) - np.log(np.maximum(1.0 - up, 1e-15))
    return gated(result, recent)


def page_hinkley(x: Matrix, *, bin: int, delta: float) -> Matrix:  # noqa: A002
    """river's ``PageHinkley`` (Page 1954) on counts per ``bin`` buckets in units of their standard deviation so far;
    the score is the statistic that it compares with its threshold."""
    from river.drift import PageHinkley

    counts = _binned(x, bin)
    scaled = counts / np.sqrt(moments(counts, WEEK // bin, 1)[1] + 0.05)
    result = np.full(x.shape, -np.inf)
    for row, values in enumerate(scaled):
        detector = PageHinkley(min_instances=30, delta=delta, threshold=np.inf, alpha=1.0 - 1e-4 * bin, mode="up")
        for number, value in enumerate(values.tolist()):
            detector.update(value)
            result[row, (number + 1) * bin - 1] = detector._sum_increase - detector._min_increase
    return gated(result, rolled(x, DAY))


def adwin(x: Matrix, *, bin: int, delta: float) -> Matrix:  # noqa: A002
    """river's ``ADWIN`` (Bifet & Gavaldà 2007) on counts per ``bin`` buckets; when it cuts its window and the mean has
    grown, the score is the growth in standard deviations."""
    from river.drift import ADWIN

    counts = _binned(x, bin)
    sigma = np.sqrt(moments(counts, WEEK // bin, 1)[1] + 0.05)
    result = np.full(x.shape, -np.inf)
    for row, values in enumerate(counts):
        detector = ADWIN(delta=delta, clock=1)
        for number, value in enumerate(values.tolist()):
            before = detector.estimation
            detector.update(value)
            if detector.drift_detected and detector.estimation > before:
                result[row, (number + 1) * bin - 1] = (detector.estimation - before) / sigma[row, number]
    return gated(result, rolled(x, DAY))


def _binned(x: Matrix, size: int) -> Matrix:
    count = x.shape[1] // size
    return x[:, : count * size].reshape(len(x), count, size).sum(axis=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A method with the constants it may be tuned over."""

    name: str
    score: Score
    grid: tuple[Mapping[str, Any], ...]
    reach: int | None = None
    """Buckets before a burst that its score depends on, when it is slow and they are few; None: all of them."""
    needs: str = field(default="")
    """A package it needs."""


def _grid(**choices: tuple[Any, ...]) -> tuple[Mapping[str, Any], ...]:
    made: list[dict[str, Any]] = [{}]
    for name, values in choices.items():
        made = [{**row, name: value} for row in made for value in values]
    return tuple(made)


H, D6 = 12, 72
CONTENDERS = (
    Contender(name="spike rule (ElastAlert)", score=spike, grid=_grid(window=(H, D6, DAY), floor=(0.3, 1.0))),
    Contender(name="z-score", score=z_score, grid=_grid(window=(H, D6, DAY), span=(7 * DAY,), floor=(0.3, 1.0))),
    Contender(name="EWMA", score=ewma, grid=_grid(weight=(0.15, 0.03, 0.01), span=(7 * DAY,), floor=(0.3, 1.0))),
    Contender(
        name="EARS C1",
        score=ears,
        grid=_grid(method=("C1",), window=(H, D6, DAY), period=(DAY,), floor=(0.5, 1.0)),
    ),
    Contender(
        name="EARS C2",
        score=ears,
        grid=_grid(method=("C2",), window=(H, D6, DAY), period=(DAY,), floor=(0.5, 1.0)),
    ),
    Contender(
        name="EARS C3",
        score=ears,
        grid=_grid(method=("C3",), window=(H, D6, DAY), period=(DAY,), floor=(0.5, 1.0)),
    ),
    Contender(
        name="Farrington flexible",
        score=farrington,
        grid=(
            *_grid(window=(H, D6, DAY), period=(DAY,), back=(7,)),
            *_grid(window=(H, D6), period=(WEEK,), back=(4,)),
        ),
    ),
    Contender(
        name="seasonal-hybrid ESD", score=seasonal_esd, grid=_grid(window=(H, D6), span=(7 * DAY,), floor=(0.5, 1.0))
    ),
    Contender(
        name="Bayesian change point",
        score=change_point,
        grid=_grid(hazard=(1e-3, 1e-5), runs=(48,), strength=(0.5,)),
        reach=2 * DAY,
    ),
    Contender(
        name="river PageHinkley",
        score=page_hinkley,
        grid=_grid(bin=(1, H), delta=(0.05,)),
        reach=7 * DAY,
        needs="river",
    ),
    Contender(
        name="river ADWIN", score=adwin, grid=_grid(bin=(1, H), delta=(0.002, 1e-6)), reach=7 * DAY, needs="river"
    ),
)
