"""The detection benchmark's own arithmetic: contenders on simple series, alarms counted, NAB's published scores."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

_FOLDER = Path(__file__).parents[3] / "benchmarks" / "detection"
_NAMES = ("bursts", "contenders", "judge", "nab", "oracle", "tuning", "worlds", "ours")


@pytest.fixture(autouse=True, scope="module")
def folder() -> Iterator[None]:
    """The benchmark's modules are beside its ``__main__``, not in a package."""
    sys.path.insert(0, str(_FOLDER))
    yield
    sys.path.remove(str(_FOLDER))
    for name in _NAMES:
        sys.modules.pop(name, None)


def series(days: int = 10, seed: int = 1) -> np.ndarray:
    """Three series of ordinary counts; the second gets sixty stories in an hour, late on the last day."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(0.05, (3, days * 288)).astype(float)
    x[1, -40:-28] += 5.0
    return x


def test_every_contender_sees_a_flood_and_only_there() -> None:
    from contenders import CONTENDERS

    x = series()
    for contender in CONTENDERS:
        if contender.needs:
            pytest.importorskip(contender.needs)
        for constants in contender.grid:
            score = contender.score(x, **constants)
            assert score.shape == x.shape
            if contender.name == "river ADWIN" and constants["bin"] > 1:
                continue  # three observations tell it nothing
            flood = score[1, -40:].max()
            assert np.isfinite(flood), (contender.name, constants)
            ordinary = max(score[0, 7 * 288 :].max(), score[2, 7 * 288 :].max())
            assert flood > ordinary, (contender.name, constants)


def test_no_contender_knows_the_future() -> None:
    from contenders import CONTENDERS

    x = series()
    changed = x.copy()
    changed[:, -200:] += 1.0
    for contender in CONTENDERS:
        if contender.needs:
            pytest.importorskip(contender.needs)
        constants = contender.grid[0]
        one, other = contender.score(x, **constants), contender.score(changed, **constants)
        assert np.allclose(one[:, :-200], other[:, :-200]), contender.name


def test_methods_that_score_chosen_places_give_the_same_there() -> None:
    from contenders import farrington, seasonal_esd

    x = series()
    where = np.zeros(x.shape, dtype=bool)
    where[1, -50:] = True
    for whole, part in (
        (farrington(x, window=12, period=288, back=7), farrington(x, window=12, period=288, back=7, where=where)),
        (
            seasonal_esd(x, window=12, span=2016, floor=0.5),
            seasonal_esd(x, window=12, span=2016, floor=0.5, where=where),
        ),
    ):
        assert np.array_equal(whole[where], part[where])
        assert np.isinf(part[~where]).all()


def test_spike_is_the_ratio_of_two_windows() -> None:
    from contenders import spike

    x = np.zeros((1, 60))
    x[0, 10:22] = 1.0
    x[0, 22:34] = 3.0
    score = spike(x, window=12, floor=1.0)
    assert score[0, 33] == pytest.approx(3.0)
    assert score[0, 5] == -np.inf


def test_ears_c2_leaves_out_the_latest_two() -> None:
    from contenders import ears

    x = np.zeros((1, 12 * 12))
    x[0, ::12] = 3.0  # one window of twelve buckets holds three
    x[0, 10 * 12 :] += 1.0
    c1 = ears(x, method="C1", window=12, period=12, floor=1.0)[0, -1]
    c2 = ears(x, method="C2", window=12, period=12, floor=1.0)[0, -1]
    assert c2 > c1, "the first window of the surge is in C1's baseline, not in C2's"


def test_the_cusum_grows_under_the_burst_it_was_told_of() -> None:
    from oracle import cusum

    x, rate, phi = series(), np.full((3, 10 * 288), 0.05), np.full((3, 1), 0.2)
    score = cusum(x, rate, phi, 2.5, 12)
    assert score[1, -28] > 20
    assert score[0].max() < 10
    # By hand, one bucket: x log((m+d)(r+m) / (m(r+m+d))) + r log((r+m)/(r+m+d)).
    r, m, d = 5.0, 0.05, 2.5
    hand = 4 * np.log((m + d) * (r + m) / (m * (r + m + d))) + r * np.log((r + m) / (r + m + d))
    one = np.array([[0.0, 4.0]])
    assert cusum(one, np.full((1, 2), m), np.array([[0.2]]), d, 1)[0, 1] == pytest.approx(hand)


def test_an_alarm_without_end_counts_daily() -> None:
    from judge import Background

    rows = np.array([[0, t, 5.0] for t in range(0, 3 * 288, 4)] + [[1, 7, 9.0], [1, 200, 5.0], [2, 1, 1.0]])
    background = Background(rows=rows, key_weeks=50.0)
    assert background.alarms(5.0) == 3 + 1
    assert background.alarms(8.0) == 1
    assert background.rate(8.0) == 2.0
    assert background.threshold(2.0) == 9.0
    assert background.threshold(8.0) == 5.0
    assert background.threshold(0.0) > 9.0


def test_a_burst_is_found_only_where_it_was_quiet_without_it() -> None:
    from bursts import Burst
    from judge import delays_of

    burst = Burst(
        world=0, key=0, kind="quiet", size=3, duration="5 min", start=100, buckets=np.array([100]), p=np.array([0.9])
    )
    calm = np.full(13, -np.inf)
    calm[0] = 9.0
    run = [(100, 9.5), (101, 4.0), (102, 6.0)]
    assert delays_of([burst], [run], [calm], 5.0).tolist() == [15.0]
    assert delays_of([burst], [run], [calm], 9.2).tolist() == [5.0]
    assert np.isinf(delays_of([burst], [run], [calm], 10.0)).all()


def test_nab_scores_as_published() -> None:
    """The sigmoid's values at its published points, a perfect and a silent detector, and a false alarm's weight."""
    from datetime import UTC, datetime, timedelta

    from nab import PROFILES, Labelled, score_file, sigmoid

    assert sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert sigmoid(0.0) == 0.0
    assert sigmoid(3.1) == -1.0
    start = datetime(2020, 1, 1, tzinfo=UTC)
    item = Labelled(
        name="x/y.csv",
        times=tuple(start + n * timedelta(minutes=5) for n in range(200)),
        values=np.zeros(200),
        windows=((100, 119),),
    )
    weights = PROFILES["standard"]
    scores = np.zeros(200)
    assert score_file(item, scores, 0.5, weights) == -1.0
    scores[100] = 1.0
    scores[105] = 1.0
    assert score_file(item, scores, 0.5, weights) == pytest.approx(1.0)
    scores[40] = 1.0
    assert score_file(item, scores, 0.5, weights) == pytest.approx(1.0 - 0.11)
    scores[10] = 1.0  # within the probation
    assert score_file(item, scores, 0.5, weights) == pytest.approx(1.0 - 0.11)


def test_our_detector_runs_bursts_from_where_they_begin() -> None:
    """A burst rerun from the kept state scores as the whole series with the burst in it does."""
    from bursts import DURATIONS, Burst, Field
    from ours import rerun, watch
    from worlds import World

    from alerts.config import PipelineConfig

    rng = np.random.default_rng(4)
    days = 9
    bucket = np.sort(rng.integers(0, days * 288, 600)).astype(np.int32)
    bucket[0] = 0
    world = World(
        name="w",
        first=5_000_000 // 288 * 288,
        buckets=days * 288,
        keys=("all:*",),
        key=np.zeros(600, dtype=np.int32),
        bucket=bucket,
        p=np.where(rng.random(600) < 0.2, 0.8, 0.0),
    )
    v, x = np.zeros((1, world.buckets)), np.zeros((1, world.buckets))
    np.add.at(v[0], bucket, 1.0)
    np.add.at(x[0], bucket, world.p)
    burst = Burst(
        world=0,
        key=0,
        kind="busy",
        size=8,
        duration="1 h",
        start=8 * 288,
        buckets=8 * 288 + np.arange(8),
        p=np.full(8, 0.9),
    )
    assert burst.end == 8 * 288 + DURATIONS["1 h"] + 12
    watched = watch(world, v, x, {(0, burst.start)}, PipelineConfig())
    found = rerun(burst, world, v[0], x[0], watched)
    np.add.at(v[0], burst.buckets, 1.0)
    np.add.at(x[0], burst.buckets, burst.p)
    whole = watch(world, v, x, set(), PipelineConfig()).scores
    same = [(int(b), s) for _, b, s in whole if burst.start <= b < burst.end]
    assert found == same
    assert max(s for _, s in found) > 3
    field = Field(worlds=(world,), stories=(v,), negatives=(x,), masks=(np.ones(world.buckets, dtype=bool),))
    assert field.key_weeks == pytest.approx(days / 7)
