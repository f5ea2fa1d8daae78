"""The limit: a CUSUM that is told what no detector knows.

Page's cumulative sum of log-likelihood ratios (1954; optimal in Lorden's sense, Moustakides 1986) of a negative
binomial with the true seasonal rate against the same plus the burst. It is told the rate and the dispersion of every
series in hindsight, and the size and length of the burst; its threshold is set for each size and length by itself. It
knows no more than the expected negative stories per bucket, and its rate follows hour of day, weekend and a level over
a week.
"""

from __future__ import annotations

import numpy as np
from contenders import LEAST, Matrix, rolled
from worlds import DAY, WEEK, World


def truth_of(world: World, x: Matrix) -> tuple[Matrix, Matrix]:
    """Rate per bucket and dispersion (variance = m + phi m²) of every series, in hindsight."""
    hours = (world.first + np.arange(world.buckets)) // (DAY // 24)
    week_hour = (hours + 72) % 168
    group = week_hour % 24 + np.where(week_hour >= 120, 24, 0)
    profile = np.zeros((len(x), 48))
    whole = x[list(world.keys).index("all:*")]
    common = np.array([whole[group == g].mean() for g in range(48)]) / whole.mean()
    for g in range(48):
        here = group == g
        level = x.mean(axis=1)
        # A series' own daily shape, as far as it has stories: ten of them are worth the common one.
        profile[:, g] = (10.0 * common[g] + x[:, here].sum(axis=1)) / (10.0 + level * here.sum())
    rate = level[:, None] * profile[:, group]
    # The slow level: stories seen over expected within a week around, worth what they are.
    kernel = WEEK
    seen, meant = _around(x, kernel), _around(rate, kernel)
    rate = np.maximum(rate * (5.0 + seen) / (5.0 + meant), 1e-6)
    size = DAY // 24
    count = x.shape[1] // size
    by_hour = x[:, : count * size].reshape(len(x), count, size).sum(axis=2)
    m = rate[:, : count * size].reshape(len(x), count, size).sum(axis=2)
    cut = np.minimum(by_hour, m + 4.0 * np.sqrt(m + 0.2 * m**2) + 1.0)
    phi = (5.0 * 0.2 + ((cut - m) ** 2 - m).sum(axis=1)) / (5.0 + (m**2).sum(axis=1))
    return rate, np.clip(phi, 0.02, 2.0)[:, None]


def _around(x: Matrix, size: int) -> Matrix:
    total = np.cumsum(np.concatenate([np.zeros((len(x), 1)), x], axis=1), axis=1)
    n = x.shape[1]
    low = np.maximum(0, np.arange(n) - size // 2)
    high = np.minimum(n, np.arange(n) + size // 2 + 1)
    return np.asarray(total[:, high] - total[:, low])


def cusum(x: Matrix, rate: Matrix, phi: Matrix, excess: float, window: int) -> Matrix:
    """The CUSUM for ``excess`` more negative stories a bucket; the floor of the others over the burst's length."""
    r = 1.0 / phi
    step = x * np.log((rate + excess) * (r + rate) / (rate * (r + rate + excess)))
    step += r * np.log((r + rate) / (r + rate + excess))
    total = np.cumsum(step, axis=1)
    low = np.minimum(np.minimum.accumulate(total, axis=1), 0.0)
    before = np.concatenate([np.zeros((len(x), 1)), low[:, :-1]], axis=1)
    score = np.maximum(total - before, 0.0)
    return np.where(rolled(x, max(window, 1)) >= LEAST, score, -np.inf)
