"""The surge detector of one series: monotone, exact over gaps and restarts, deaf to volume, never blind to a flood."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from news import MONDAY

from alerts.baseline import fresh, hour_of_week, learn, quantum, shape_of, skip
from alerts.detector import DetectorConfig, SurgeDetector, SurgeState
from alerts.fdr import q_values
from monitor.core.codec import dumps, loads
from monitor.core.errors import CodecError, ConfigError
from monitor.core.types import Bucket, Finding, Scope, SeriesKey

KEY = SeriesKey(scope=Scope.TOPIC, value="macro")
DETECTOR = SurgeDetector()
START = DETECTOR.index_of(MONDAY)
DAY = 288


def bucket(index: int, stories: int = 0, negatives: float = 0.0) -> Bucket:
    return Bucket(
        key=KEY,
        start=DETECTOR.start_of(index),
        width=DETECTOR.config.width,
        stories=stories,
        articles=stories,
        expected_negatives=negatives,
    )


def trained(days: int, *, rate: float = 0.5, share: float = 0.3, seed: int = 1) -> SurgeState:
    """A state after ordinary days: stories come one by one at ``rate`` per bucket."""
    rng = random.Random(seed)
    state = DETECTOR.begin(START)
    for index in range(START, START + days * DAY):
        stories = sum(rng.random() < rate / 4 for _ in range(4))
        if stories:
            state = DETECTOR.advance(state, index, stories, float(sum(rng.random() < share for _ in range(stories))))
    return DETECTOR.advance(state, START + days * DAY - 1, 0, 0.0) if state.index < START + days * DAY - 1 else state


ORDINARY = trained(10)
QUIET = trained(10, rate=0.002)


def probe(state: SurgeState, stories: int, negatives: float) -> Finding | None:
    return DETECTOR.step(state, bucket(state.index + 1, stories, negatives))[1]


@given(
    stories=st.integers(4, 60),
    low=st.floats(0, 60),
    more=st.floats(0.01, 20),
    state=st.sampled_from([ORDINARY, QUIET, trained(3)]),
)
@settings(max_examples=150, deadline=None)
def test_more_negatives_never_give_a_larger_p(stories: int, low: float, more: float, state: SurgeState) -> None:
    few, many = min(low, stories), min(low + more, stories)
    p_few, p_many = probe(state, stories, few), probe(state, stories, many)
    if p_few is not None:
        assert p_many is not None
        assert p_many.p_value <= p_few.p_value * (1 + 1e-9)


@given(stories=st.integers(4, 60), negatives=st.integers(4, 60), extra=st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_a_further_negative_story_never_gives_a_larger_p(stories: int, negatives: int, extra: int) -> None:
    negatives = min(stories, negatives)
    first = probe(ORDINARY, stories, float(negatives))
    more = probe(ORDINARY, stories + extra, float(negatives + extra))
    if first is not None:
        assert more is not None
        assert more.p_value <= first.p_value * (1 + 1e-9)


@given(
    rows=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6), st.floats(0, 6)), min_size=1, max_size=40),
    start=st.sampled_from([DETECTOR.begin(START), ORDINARY]),
)
@settings(max_examples=60, deadline=None)
def test_skipped_buckets_are_empty_ones_and_a_restart_changes_nothing(
    rows: list[tuple[int, int, float]], start: SurgeState
) -> None:
    skipping = stepping = start
    index = start.index
    for gap, stories, negatives in rows:
        for empty in range(index + 1, index + gap):
            stepping, found = DETECTOR.step(stepping, bucket(empty))
            assert found is None
        index += gap
        quick, slow = DETECTOR.to_docs(skipping)
        skipping = DETECTOR.from_docs(loads(dumps(quick)), loads(dumps(slow)))
        skipping, one = DETECTOR.step(skipping, bucket(index, stories, negatives))
        stepping, other = DETECTOR.step(stepping, bucket(index, stories, negatives))
        assert one == other
        assert skipping == stepping


def test_a_flood_is_found_in_its_first_bucket() -> None:
    finding = probe(ORDINARY, 12, 11.0)
    assert finding is not None
    assert finding.p_value < 1e-7
    assert finding.window == timedelta(minutes=5)
    assert finding.low <= finding.expected <= finding.high < finding.observed


def test_volume_alone_is_not_a_surge() -> None:
    finding = probe(ORDINARY, 60, 18.0)
    assert finding is None or finding.p_value > 0.01


def test_a_quiet_series_neither_alarms_on_two_nor_is_blind_to_twenty() -> None:
    calm = DETECTOR.advance(QUIET, QUIET.index + DAY, 0, 0.0)
    assert probe(calm, 2, 2.0) is None
    finding = probe(QUIET, 20, 19.0)
    assert finding is not None
    assert finding.p_value < 1e-8


def test_a_slow_burn_shows_in_the_long_window() -> None:
    state, best = ORDINARY, 1.0
    for _ in range(72):
        state, finding = DETECTOR.step(state, bucket(state.index + 1, 1, 0.8))
        if finding is not None and finding.p_value < best:
            best, window = finding.p_value, finding.window
    assert best < 1e-3
    assert window >= timedelta(hours=6)


def test_a_burn_of_days_shows_in_the_cumulative_sum() -> None:
    """Far more than usual for three days: no fixed window reaches so far, the sum's own does."""
    rng = random.Random(11)
    state, windows = trained(21, seed=3), set[timedelta]()
    for index in range(state.index + 1, state.index + 3 * DAY):
        stories = sum(rng.random() < 0.125 for _ in range(4)) + (rng.random() < 0.3)
        if stories:
            negatives = min(stories, sum(rng.random() < 0.3 for _ in range(stories)) + (rng.random() < 0.3))
            state = DETECTOR.advance(state, index, stories, float(negatives))
            windows |= {f.window for f in DETECTOR.assess(state, KEY) if f.p_value < 1e-3}
    assert max(windows) > timedelta(days=1)
    assert state.base is not None
    assert DETECTOR.settle(state).base != state.base
    assert max((f.window for f in DETECTOR.assess(DETECTOR.settle(state), KEY)), default=timedelta(0)) == timedelta(0)


def test_what_comes_late_is_counted_where_it_belongs() -> None:
    """Three hours of ordinary news handed in at once are no surge; a surge among them is still seen."""
    start = ORDINARY.index + 1
    down = DETECTOR.advance(ORDINARY, start + 36, 0, 0.0)
    ordinary = [(start + n, 1, 0.3) for n in range(0, 36, 2)]
    state = DETECTOR.advance(down, start + 37, 1, 0.3, ordinary)
    assert all(f.p_value > 1e-3 for f in DETECTOR.assess(state, KEY))
    heap = DETECTOR.best(DETECTOR.assess(DETECTOR.advance(down, start + 37, 19, 5.7), KEY))
    assert heap is not None
    surge = DETECTOR.advance(down, start + 37, 1, 0.3, [*ordinary, (start + 20, 24, 22.0)])
    best = DETECTOR.best(DETECTOR.assess(surge, KEY))
    assert best is not None
    assert best.p_value < 1e-3
    assert best.window >= timedelta(hours=2)
    again = DETECTOR.from_docs(*(loads(dumps(doc)) for doc in DETECTOR.to_docs(surge)))
    assert again == surge
    # They are learned, in the hour in which they came.
    later = DETECTOR.advance(state, start + 60, 0, 0.0)
    assert state.owed[0] > 0
    assert later.owed == (0.0, 0.0)
    assert later.base is not None
    assert down.base is not None
    assert sum(later.base.stories) > sum(down.base.stories) + 10


def test_windows_are_counted_as_if_one_by_one() -> None:
    """What one pass over the buckets gives is what each window holds and is expected to hold by itself."""
    state = ORDINARY
    rng = random.Random(9)
    for index in range(state.index + 1, state.index + 500):
        if rng.random() < 0.3:
            state = DETECTOR.advance(state, index, 2, 1.5)
    seen = list(DETECTOR.windows(state))
    fixed = [row for row in seen if row[0] <= DAY]
    assert len(fixed) >= 6
    for size, v, x, mean_v, mean_x in fixed:
        inside = [row for row in state.recent if row[0] > state.index - size]
        assert (v, x) == (sum(row[1] for row in inside), sum(row[2] for row in inside))
        assert (mean_v, mean_x) == pytest.approx(DETECTOR.expected(state, size))


def test_dispersion_is_known_at_every_scale() -> None:
    values = [DETECTOR.dispersion(ORDINARY, size) for size in (1, 2, 12, 40, 72, 100, 288, 900)]
    assert min(values) > 0
    assert values[-1] == values[-2]


def test_a_state_of_an_older_version_keeps_its_stories() -> None:
    quick, slow = DETECTOR.to_docs(ORDINARY)
    assert slow is not None
    del slow["burn"]
    slow["moments"] = slow["moments"][:11]
    slow["rates"] = slow["rates"][-7:]
    state = DETECTOR.from_docs(quick, slow)
    assert state.base is not None
    assert ORDINARY.base is not None
    assert state.base.stories == ORDINARY.base.stories
    assert sum(state.base.negatives) < sum(ORDINARY.base.negatives)
    assert not DETECTOR.ready(DETECTOR.advance(state, state.index + 1, 9, 9.0))
    for broken in ({**slow, "burn": [1.0]}, {**slow, "burn": [0, 0.0, 0.0, 0.0, 0.0, 0.0]}):
        with pytest.raises(CodecError):
            DETECTOR.from_docs(quick, broken)


def test_nothing_is_tested_before_the_warm_up() -> None:
    state = trained(1)
    assert probe(state, 40, 40.0) is None
    assert probe(trained(3), 40, 40.0) is not None


def test_p_values_are_not_too_small_on_ordinary_days() -> None:
    """Of the tests on 18 ordinary days after ten of learning, at most a hundredth may fall below one hundredth."""
    rng = random.Random(7)
    state, below, tests = trained(10, seed=7), 0, 0
    for index in range(state.index + 1, state.index + 18 * DAY):
        stories = sum(rng.random() < 0.125 for _ in range(4))
        if stories:
            tests += 1
            negatives = float(sum(rng.random() < 0.3 for _ in range(stories)))
            state, finding = DETECTOR.step(state, bucket(index, stories, negatives))
            below += finding is not None and finding.p_value < 0.01
    assert tests > 1500
    assert below / tests <= 0.01


def test_a_daily_rhythm_is_learned() -> None:
    state = DETECTOR.begin(START)
    for index in range(START, START + 14 * DAY):
        if 9 * 12 <= index % DAY < 17 * 12:
            state = DETECTOR.advance(state, index, 2, 1.0)
    noon = DETECTOR.advance(state, START + 14 * DAY + 12 * 12, 0, 0.0)
    night = DETECTOR.advance(state, START + 15 * DAY + 2, 0, 0.0)
    assert DETECTOR.expected(noon, 12)[1] > 6
    assert DETECTOR.expected(night, 12)[1] < 1.5


def test_an_outbreak_does_not_become_the_norm() -> None:
    before = DETECTOR.expected(ORDINARY, 12)[1]
    state = ORDINARY
    for index in range(state.index + 1, state.index + 1 + 72):
        state = DETECTOR.advance(state, index, 20, 18.0)
    later = DETECTOR.advance(state, state.index + 7 * DAY, 0, 0.0)
    assert DETECTOR.expected(later, 12)[1] < 3 * before


def test_the_past_fades() -> None:
    busy = trained(14, rate=2.0)
    calm = busy
    for day in range(1, 8 * 7):
        calm = DETECTOR.advance(calm, busy.index + day * DAY, 1, 0.0)
    assert DETECTOR.expected(calm, 12)[1] < DETECTOR.expected(busy, 12)[1] / 4


def test_time_that_nobody_watched_is_not_learned() -> None:
    later = START + 100 * DAY
    resumed = DETECTOR.advance(DETECTOR.resume(ORDINARY, later), later, 0, 0.0)
    empty = DETECTOR.advance(ORDINARY, later, 0, 0.0)
    usual = DETECTOR.expected(ORDINARY, 12)[1]
    assert DETECTOR.expected(resumed, 12)[1] > usual / 3
    assert DETECTOR.expected(empty, 12)[1] < usual / 3


def test_another_model_is_learned_before_it_may_alarm() -> None:
    old = DETECTOR.relearn(DETECTOR.begin(START), "m1")
    assert (old.model, DETECTOR.relearn(old, "m1")) == ("m1", old)
    state = DETECTOR.relearn(ORDINARY, "m2")
    assert probe(state, 30, 30.0) is None
    # The new model calls everything negative twice as often: after its day of learning that is ordinary.
    rng = random.Random(3)
    for index in range(state.index + 1, state.index + 3 * DAY):
        stories = sum(rng.random() < 0.125 for _ in range(4))
        if stories:
            state, finding = DETECTOR.step(state, bucket(index, stories, 0.6 * stories))
            assert finding is None or finding.p_value > 1e-4
    assert probe(state, 30, 30.0) is not None


def test_what_an_incident_counted_does_not_open_the_next() -> None:
    state, finding = DETECTOR.step(ORDINARY, bucket(ORDINARY.index + 1, 12, 12.0))
    assert finding is not None
    settled = DETECTOR.settle(state)
    assert probe(settled, 1, 1.0) is None
    assert probe(state, 1, 1.0) is not None


def test_soft_probabilities_have_a_small_quantum() -> None:
    rng = random.Random(5)
    state = DETECTOR.begin(START)
    for index in range(START, START + 21 * DAY):
        stories = sum(rng.random() < 0.25 for _ in range(4))
        if stories:
            state = DETECTOR.advance(state, index, stories, 0.25 * stories)
    assert state.base is not None
    assert quantum(DETECTOR.config.baseline, state.base.moments) < 0.6


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="not after"):
        DETECTOR.step(ORDINARY, bucket(ORDINARY.index, 1, 1.0))


def test_an_initial_state_takes_any_bucket() -> None:
    state, finding = DETECTOR.step(DETECTOR.initial(), bucket(START, 5, 5.0))
    assert finding is None
    assert state.index == START
    quick, slow = DETECTOR.to_docs(DETECTOR.initial())
    assert DETECTOR.from_docs(quick, slow) == DETECTOR.initial()


@pytest.mark.parametrize("field", ["index", "recent", "model"])
def test_a_damaged_state_is_refused(field: str) -> None:
    quick, slow = DETECTOR.to_docs(ORDINARY)
    del quick[field]
    with pytest.raises(CodecError):
        DETECTOR.from_docs(quick, slow)


@pytest.mark.parametrize("minutes", [0, -5, 7, 60, 90])
def test_a_width_that_does_not_divide_the_hour_is_refused(minutes: int) -> None:
    with pytest.raises(ConfigError, match="width"):
        DetectorConfig(width=timedelta(minutes=minutes))


@pytest.mark.parametrize("minutes", [1, 2, 3, 5, 10, 15, 20, 30])
def test_every_other_width_works(minutes: int) -> None:
    detector = SurgeDetector(DetectorConfig(width=timedelta(minutes=minutes)))
    state = detector.begin(detector.index_of(MONDAY))
    for n in range(200):
        state = detector.advance(state, state.index + 1, n % 3, 0.5 * (n % 3))
    assert detector.expected(state, 1)[0] > 0


def test_the_week_begins_on_monday() -> None:
    assert hour_of_week(int(MONDAY.timestamp()) // 3600) == 0


def test_a_borrowed_shape_helps_a_series_without_history() -> None:
    config = DETECTOR.config.baseline
    base = fresh(config, int(MONDAY.timestamp()) // 3600)
    hours = {base.hour + h: [(10.0, 5.0)] * 6 for h in range(24 * 21) if h % 24 == 9}
    base = learn(config, base, base.hour + 24 * 21, hours, per_hour=12)
    shape = shape_of(config, base)
    assert len(shape) == 336
    assert shape[9] > 5 * shape[3]
    lent = fresh(config, base.hour + 9, shape)
    plain = fresh(config, base.hour + 9)
    assert lent.rates[-1][0] > 2 * plain.rates[-1][0]


def test_skipping_back_is_no_skip() -> None:
    assert ORDINARY.base is not None
    assert skip(DETECTOR.config.baseline, ORDINARY.base, ORDINARY.base.hour) is ORDINARY.base


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=12), st.integers(0, 40))
def test_benjamini_hochberg(p_values: dict[str, float], tests: int) -> None:
    q = q_values(p_values, tests)
    count = max(tests, len(p_values))
    for level in (0.01, 0.05, 0.3):
        ranked = sorted(p_values.values())
        passing = [p for rank, p in enumerate(ranked, 1) if p * count / rank <= level]
        accepted = {key for key, p in p_values.items() if passing and p <= max(passing)}
        assert {key for key, value in q.items() if value <= level} == accepted
    assert all(q[key] >= p * (1 - 1e-12) for key, p in p_values.items())
