"""The parts of the pipeline: what every series is told, which stories are new where, what is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from news import MONDAY, scored

from alerts.config import PipelineConfig
from alerts.detector import SurgeDetector
from alerts.drives import Drives
from alerts.pipeline import DetectPipeline
from alerts.series import ALL, Member, OpenBucket
from alerts.states import SeriesStates
from monitor.core.types import Delete, Finding, Put, Scope, SeriesKey

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CONFIG = PipelineConfig()
FIRST = SurgeDetector(CONFIG.detector).index_of(MONDAY)
ENERGY = SeriesKey(scope=Scope.TOPIC, value="energy")


def bucket(index: int, *models: str) -> OpenBucket:
    members = {
        f"{index}-{n}": Member(story=f"s{index}-{n}", source="wire", model=model, negative=0.1, fresh=(ALL,), again=())
        for n, model in enumerate(models)
    }
    return OpenBucket(index=index, members=members)


def finding(hours: int) -> Finding:
    return Finding(
        key=ENERGY, at=MONDAY, window=hours * HOUR, observed=9, expected=1, low=0, high=3, p_value=1e-9, stories=9
    )


class TestSeriesStates:
    def test_another_model_counts_after_twenty_articles_in_a_row(self) -> None:
        states = SeriesStates(CONFIG)
        states.hear(FIRST, bucket(FIRST, "m1"))
        states.advance(ALL, FIRST, 1, 0.1)
        states.hear(FIRST + 1, bucket(FIRST + 1, *["m2"] * 19, "m1", *["m2"] * 12))
        assert states.model == "m1"
        states.hear(FIRST + 2, bucket(FIRST + 2, *["m2"] * 7))
        assert states.model == "m1"
        states.hear(FIRST + 3, bucket(FIRST + 3, "m2"))
        assert states.model == "m2"
        assert states.advance(ALL, FIRST + 3, 1, 0.1).model == "m2"

    def test_the_time_of_an_outage_is_not_learned(self) -> None:
        watched = {}
        for gap in (timedelta(hours=11), timedelta(hours=13)):
            states = SeriesStates(CONFIG)
            states.hear(FIRST, bucket(FIRST, "m1"))
            states.advance(ALL, FIRST, 1, 0.1)
            end = FIRST + gap // CONFIG.detector.width
            states.hear(end, bucket(end, "m1"))
            base = states.advance(ALL, end, 1, 0.1).base
            assert base is not None
            watched[gap] = sum(base.exposure)
        assert watched[timedelta(hours=11)] == pytest.approx(11, abs=0.1)
        assert watched[timedelta(hours=13)] <= 1

    def test_it_comes_back_as_it_was_written(self) -> None:
        states = SeriesStates(CONFIG)
        states.origin = FIRST
        for index in (FIRST, FIRST + 400, FIRST + 401):
            states.hear(index, bucket(index, "m1"))
            states.advance(ALL, index, 1, 0.1)
        again = SeriesStates(CONFIG)
        quick, slow = states.to_docs(ALL)
        assert slow is not None
        again.load(states.to_meta(), {str(ALL): quick}, {str(ALL): slow})
        assert again.to_meta() == states.to_meta()
        assert again[ALL] == states[ALL]
        assert states.changed == states.learned == {ALL}
        assert not again.changed


class TestDrives:
    def test_a_story_is_new_once_in_a_series_and_the_negative_ones_drive(self) -> None:
        drives = Drives(CONFIG)
        bad = scored("bad", MONDAY, negative=0.9, topic="energy")
        copy = scored("copy", MONDAY, negative=0.9, topic="energy", title=bad.article.title, source="paper")
        mild = scored("mild", MONDAY, negative=0.2, topic="energy")
        assert ENERGY in drives.take(bad, MONDAY, FIRST).fresh
        assert ENERGY in drives.take(copy, MONDAY, FIRST).again
        assert drives.drive(finding(1), FIRST, FIRST - 1) is not None
        drives.take(mild, MONDAY, FIRST + 1)
        drive = drives.drive(finding(1), FIRST + 1, FIRST - 1)
        assert drive is not None
        assert [item.article_id for item in drive.stories] == ["abad"]
        assert (drive.new, drive.reprints, drive.sources) == (2, 1, ("paper", "wire"))
        assert drives.drive(finding(1), FIRST + 1, FIRST) is None  # the floor leaves only the mild one
        assert drives.drive(finding(1), FIRST + 12, FIRST - 1) is None  # and the window none

    def test_a_story_that_was_forgotten_is_new_when_it_comes_back(self) -> None:
        pipeline = DetectPipeline()
        item = scored("one", MONDAY, negative=0.9, topic="energy")
        pipeline.feed([item])
        written = pipeline.advance(MONDAY + HOUR).changes
        (story,) = [change.key for change in written if isinstance(change, Put) and change.kind == "detect.story"]
        later = MONDAY + 3 * DAY
        dropped = pipeline.advance(later).changes
        assert Delete(kind="detect.story", key=story) in dropped
        pipeline.feed([replace(item, article=replace(item.article, published_at=later, fetched_at=later))])
        index = pipeline.states.detector.index_of(later)
        (member,) = pipeline.buckets.open[index].members.values()
        assert ENERGY in member.fresh
        assert not member.again
