"""Sweeps and comparisons: other constants, judged by labels, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from news import MONDAY, background, burst

from alerts.backtest import Summary, run_pipeline
from alerts.config import PipelineConfig
from alerts.pipeline import DetectPipeline
from alerts.trials import Label, compare, judge, read_labels
from alerts.trials_report import sweep_csv
from alerts.tuning import assignment, combinations, names, tuned
from monitor.cli.trials import Trials
from monitor.core.errors import ConfigError, UsageError
from monitor.core.types import Scope, ScoredArticle, SeriesKey

NOON = MONDAY + timedelta(days=3, hours=12)
ENERGY = SeriesKey(scope=Scope.TOPIC, value="energy")


def world() -> list[ScoredArticle]:
    items = [*background(MONDAY, 4), *burst(NOON, 20, 60, topic="energy")]
    return sorted(items, key=lambda item: item.article.published_at)


@pytest.fixture(scope="module")
def runs() -> tuple[DetectPipeline, Summary, Summary]:
    strict = tuned(PipelineConfig(), {"incidents.open_q": "1e-9"})
    pipeline = DetectPipeline(persist=False, alerting=False)
    return (
        pipeline,
        run_pipeline(world(), pipeline),
        run_pipeline(world(), DetectPipeline(strict, persist=False, alerting=False)),
    )


class TestConstants:
    def test_they_are_set_by_name(self) -> None:
        config = tuned(
            PipelineConfig(),
            {
                "incidents.open_q": "0.1",
                "detect.detector.baseline.half_life": "4",
                "silence.enabled": "false",
                "incidents.cool_down": "3h",
                "detector.min_stories": "5",
                "detect.bucket_minutes": "10",
            },
        )
        assert (config.incidents.open_q, config.detector.baseline.half_life) == (0.1, 4.0)
        assert config.silence.enabled is False
        assert config.incidents.cool_down == timedelta(hours=3)
        assert config.detector.min_stories == 5
        assert config.detector.width == config.detector.windows[0] == timedelta(minutes=10)
        assert tuned(PipelineConfig(), {}) == PipelineConfig()

    def test_every_name_can_be_set(self) -> None:
        for name in names():
            value: object = PipelineConfig()
            for part in name.split("."):
                value = getattr(value, part)
            text = f"{value.total_seconds()}s" if isinstance(value, timedelta) else str(value)
            assert tuned(PipelineConfig(), {name: text}) == PipelineConfig(), name

    @pytest.mark.parametrize(
        ("name", "value", "what"),
        [
            ("incidents.open_p", "1", "open_q"),
            ("detector", "1", "no constant"),
            ("detector.windows", "1", "no constant"),
            ("incidents.open_q.x", "1", "no constant"),
            ("incidents.open_q", "many", "a number"),
            ("detector.min_stories", "2.5", "whole"),
            ("silence.enabled", "yes", "true or false"),
            ("incidents.cool_down", "soon", "a time"),
        ],
    )
    def test_what_is_none_is_refused(self, name: str, value: str, what: str) -> None:
        with pytest.raises(ConfigError) as caught:
            tuned(PipelineConfig(), {name: value})
        assert what in f"{caught.value.message} {caught.value.hint}"

    def test_combinations(self) -> None:
        assert combinations(["a=1,2", "b=x"]) == [{"a": "1", "b": "x"}, {"a": "2", "b": "x"}]
        assert assignment("a = 1, 2") == ("a", ("1", "2"))
        for wrong in (["a"], ["a="], ["a=1", "a=2"], ["a=" + ",".join(map(str, range(101)))]):
            with pytest.raises(ConfigError):
                combinations(wrong)


class TestLabels:
    def test_a_sweep_is_judged(self, runs: tuple[DetectPipeline, Summary, Summary]) -> None:
        labels = [
            Label(at=NOON, until=NOON + timedelta(hours=2), key=ENERGY, name="levy"),
            Label(at=MONDAY, until=MONDAY + timedelta(hours=2), name="nothing"),
        ]
        outcome = judge({}, runs[1].incidents, runs[1].weeks, labels)
        assert (outcome.caught, outcome.labels, outcome.missed) == (1, 2, ("nothing",))
        assert outcome.false_alarms == outcome.incidents - 1
        assert outcome.delay is not None
        assert 0 < outcome.delay <= 30
        strict = judge({}, runs[2].incidents, runs[2].weeks, labels)
        assert strict.incidents <= outcome.incidents
        plain = judge({"x": "1"}, runs[1].incidents, runs[1].weeks, None)
        assert plain.false_alarms is None
        assert sweep_csv([plain]).splitlines()[0] == "x,incidents,per week,critical,warning,info"

    @pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
    def test_they_are_read(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if name.endswith("csv"):
            path.write_text("at,until,scope,value,name\n2024-01-04T12:00:00Z,,topic,energy,levy\n")
        else:
            path.write_text('\n{"at": "2024-01-04T12:00:00Z", "scope": "topic", "value": "energy", "name": "levy"}\n')
        assert read_labels(path) == (Label(at=NOON, until=NOON + timedelta(days=1), key=ENERGY, name="levy"),)

    @pytest.mark.parametrize(
        "line", ["{", '{"until": 1}', '{"at": "2024"}', '["at"]', '{"at": "2024-01-04T12:00:00Z", "scope": "x"}']
    )
    def test_a_wrong_one_is_named_with_its_line(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "l.jsonl"
        path.write_text(f"\n{line}\n")
        with pytest.raises(UsageError, match=r"l\.jsonl, line 2"):
            read_labels(path)


class TestCompare:
    def test_a_run_equals_itself(self, runs: tuple[DetectPipeline, Summary, Summary]) -> None:
        found = compare(runs[1].incidents, runs[1].incidents)
        assert len(found.both) == len(runs[1].incidents) > 0
        assert not found.only_a
        assert not found.only_b
        assert found.delay == 0.0

    def test_what_is_later_or_missing_is_said(self, runs: tuple[DetectPipeline, Summary, Summary]) -> None:
        incidents = list(runs[1].incidents)
        late = [replace(i, opened_at=i.opened_at + timedelta(minutes=20)) for i in incidents]
        found = compare(incidents, late)
        assert {match.delay for match in found.both} == {20.0}
        assert compare(incidents, []).only_a == tuple(incidents)
        assert compare([], incidents).only_b == tuple(incidents)
        far = [replace(i, id="far", opened_at=i.opened_at + timedelta(days=9), resolved_at=None,
                       updated_at=i.opened_at + timedelta(days=9)) for i in incidents]  # fmt: skip
        assert not compare(incidents, far).both


class TestFiles:
    def test_sweep_and_compare_write_their_files(
        self, tmp_path: Path, runs: tuple[DetectPipeline, Summary, Summary]
    ) -> None:
        labels = tmp_path / "labels.jsonl"
        labels.write_text(
            '{"at": "2024-01-04T12:00:00Z", "name": "<levy>"}\n{"at": "2024-01-01T12:00:00Z", "name": "<no>"}\n'
        )
        trials = Trials(
            PipelineConfig(), {}, ["detect.incidents.open_q=0.02,1e-9"], "incidents.open_q=1e-9", labels, None
        )
        assert trials.wanted

        def again() -> Iterator[ScoredArticle]:
            yield from world()

        lines = list(trials.run(again, runs[1], runs[0], tmp_path, "A <test>", lambda _: None))
        assert "open_q" in lines[0]
        sweep = json.loads((tmp_path / "sweep.json").read_text())
        assert [row["settings"]["detect.incidents.open_q"] for row in sweep["outcomes"]] == ["0.02", "1e-9"]
        assert sweep["outcomes"][0]["incidents"] == sum(i.kind == "surge" for i in runs[1].incidents)
        assert sweep["outcomes"][0]["caught"] == 1
        assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 3
        doc = json.loads((tmp_path / "compare.json").read_text())
        assert len(doc["both"]) + len(doc["only_a"]) == len(runs[1].incidents)
        assert doc["b"] == {"incidents.open_q": "1e-9"}
        for name in ("sweep.html", "compare.html"):
            page = (tmp_path / name).read_text()
            assert "<test>" not in page
            assert "<no>" not in page
            assert page.rstrip().endswith("</html>")

    def test_wrong_wishes_are_refused_before_anything_runs(self, tmp_path: Path) -> None:
        for sweep, other in (
            (["incidents.nothing=1"], None),
            ([], "incidents.nothing=1"),
            ([], str(tmp_path / "no.toml")),
        ):
            with pytest.raises((ConfigError, UsageError)):
                Trials(PipelineConfig(), {}, sweep, other, None, None)
