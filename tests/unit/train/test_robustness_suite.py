"""The suite itself, how it judges, and the floors; then the packaged model put through it."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import typer
from fake_engine import FakeEngine
from typer.testing import CliRunner

from monitor.cli.evaluate import evaluate as command
from monitor.core.errors import TrainError, UsageError
from monitor.core.text import has_han
from monitor.model.artefact import Artefact, packaged
from monitor.model.engines.onnx import OnnxEngine
from monitor.model.preprocess import group_key
from monitor.train.card import _robustness
from monitor.train.evaluation.page import render
from monitor.train.robustness import files
from monitor.train.robustness.cases import CAPABILITIES, Case, Kind, invariance
from monitor.train.robustness.floors import Floors, below, floors_of, read_floors, write_floors
from monitor.train.robustness.suite import all_cases, run_suite

ROOT = Path(__file__).parents[3]
FLOORS = ROOT / "monitor" / "train" / "robustness" / "data" / "floors.json"


def _mft(text: str, *expected: str) -> Case:
    return Case(id=text, kind=Kind.MFT, capability="negation", lang="en", text=text, expected=expected)


def _dir(better: str, worse: str, margin: float = 0.1) -> Case:
    return Case(id=better, kind=Kind.DIR, capability="figures", lang="en", text=better, other=worse, margin=margin)


def test_there_are_enough_cases_of_every_kind_in_both_languages() -> None:
    cases = all_cases()
    counts = Counter((case.kind, case.lang) for case in cases)
    assert len(cases) >= 900
    assert all(counts[kind, lang] >= 40 for kind in Kind for lang in ("en", "zh"))
    written = list(files.handwritten())
    assert sum(case.capability != "plain_news" for case in written) >= 250
    assert len({case.text for case in written}) == len(written)


def test_every_case_is_sound() -> None:
    cases = all_cases()
    assert len({case.id for case in cases}) == len(cases)
    for case in cases:
        assert case.capability in CAPABILITIES
        assert case.lang in ("en", "zh")
        assert "{" not in case.text or case.capability == "hostile", case.id
        assert bool(case.expected) == (case.kind is Kind.MFT), case.id
        assert bool(case.other) == (case.kind is not Kind.MFT), case.id
        assert case.text != case.other, case.id
        if case.kind is Kind.MFT:
            assert has_han(case.text) == (case.lang == "zh"), case.id
    assert {case.capability for case in cases} == set(CAPABILITIES)


def test_the_suite_is_the_same_in_every_run() -> None:
    again = all_cases.__wrapped__()
    assert again == all_cases()


def test_no_sentence_of_the_suite_is_trained_on() -> None:
    held = {group_key(text): case.id for case in all_cases() for text in (case.text, case.other) if text}
    leaked = []
    for path in sorted((ROOT / "monitor" / "train" / "corpus").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            leaked += [
                f"{path.name}: {row['text']} ({held[group_key(row['text'])]})"
                for row in csv.DictReader(file)
                if group_key(row.get("text") or "") in held
            ]
    assert leaked == []


def test_known_verdicts_and_directions_are_judged() -> None:
    result = run_suite(
        FakeEngine(),
        cases=[
            _mft("fraud found", "negative"),
            _mft("no fraud found", "neutral", "positive"),
            _dir("record profit", "profit"),
            _dir("profit", "record profit"),
            _dir("profit of the year", "profit for the year", margin=-0.1),
        ],
    )
    assert [outcome.passed for outcome in result.outcomes] == [True, False, True, False, True]
    assert result.outcomes[1].reason.startswith("negative (0.")
    assert "in place of neutral or positive" in result.outcomes[1].reason
    assert result.overall().passed == 3
    assert result.rates()["figures"]["en"].part == pytest.approx(2 / 3)
    assert result.by_kind()["mft"].part == 0.5


def test_invariance_holds_the_verdict_and_bounds_the_move() -> None:
    table = {"a": (0.6, 0.3, 0.1), "b": (0.75, 0.2, 0.05), "c": (0.95, 0.05, 0.0), "d": (0.4, 0.5, 0.1)}
    engine = FakeEngine(lambda text: table[text])
    cases = [invariance(after, "slugs", "en", before="a", after=after) for after in "bcd"]
    reasons = [outcome.reason for outcome in run_suite(engine, cases=cases).outcomes]
    assert reasons[0] == ""
    assert reasons[1] == "p(negative) moved by +0.35, more than 0.20"
    assert reasons[2] == "negative became neutral; p(negative) moved by -0.20"


def test_a_model_that_never_decides_passes_invariance_only() -> None:
    kinds = run_suite(FakeEngine(lambda _: (0.2, 0.6, 0.2))).by_kind()
    assert kinds["inv"].part > 0.98  # what cannot be read at all fails for every model
    assert kinds["mft"].part < 0.4
    assert kinds["dir"].part < 0.2


def test_a_text_that_the_model_refuses_fails_alone() -> None:
    result = run_suite(
        FakeEngine(refuses="poison"),
        cases=[_mft("fraud found", "negative"), _mft("poison", "neutral"), _mft("\n" * 20, "neutral")],
    )
    assert [outcome.reason for outcome in result.outcomes] == ["", *["the model could not read the text"] * 2]


def test_a_model_without_a_sentiment_head_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a task 'sentiment'"):
        run_suite(FakeEngine(tasks={"topic": ("a", "b", "c")}))


def test_floors_are_what_was_measured_less_a_margin(tmp_path: Path) -> None:
    good = run_suite(FakeEngine(), cases=[_mft(f"loss {i}", "negative") for i in range(60)])
    floors = floors_of(good)
    assert floors.floors == {"negation": {"en": 57 / 60}}
    write_floors(tmp_path / "new" / "floors.json", floors)
    known = read_floors(tmp_path / "new" / "floors.json")
    assert known.model == good.model
    assert below(good, known) == []
    worse = [_mft(f"loss {i}", "negative" if i >= 4 else "positive") for i in range(60)]
    short = below(run_suite(FakeEngine(), cases=worse), known)
    assert [str(item) for item in short] == ["negation (en): 93.3%, the floor is 95.0%"]
    assert below(run_suite(FakeEngine(), cases=worse[1:]), Floors(model="", floors={"case": {"en": 0.5}}))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": "m", "floors": {"case": 3}}'])
def test_a_file_without_floors_says_how_to_make_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "floors.json"
    path.write_text(content, "utf-8")
    with pytest.raises(TrainError, match="--write-floors"):
        read_floors(path)
    with pytest.raises(TrainError, match="cannot be read"):
        read_floors(tmp_path / "none.json")


def test_the_command_reports_writes_floors_and_holds_a_model_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    app.command()(command)
    floors, report, page = tmp_path / "floors.json", tmp_path / "report.json", tmp_path / "report.html"
    monkeypatch.setattr("monitor.model.engines.choose_engine", lambda *_, **__: FakeEngine())
    arguments = ["--suite", "robustness", "--report", str(report), "--html", str(page)]
    first = CliRunner().invoke(app, [*arguments, "--write-floors", str(floors)])
    assert first.exit_code == 0, first.output
    figures = json.loads(report.read_text("utf-8"))
    assert figures["robustness"]["n"] == len(all_cases())
    assert len(figures["robustness"]["failures"]) == len(all_cases()) - figures["robustness"]["passed"]
    assert CliRunner().invoke(app, [*arguments, "--floors", str(floors)]).exit_code == 0

    monkeypatch.setattr("monitor.model.engines.choose_engine", lambda *_, **__: FakeEngine(lambda _: (0.2, 0.6, 0.2)))
    worse = CliRunner().invoke(app, [*arguments, "--floors", str(floors)])
    assert isinstance(worse.exception, TrainError)
    assert "expectation (zh)" in str(worse.exception)
    assert json.loads(report.read_text("utf-8"))["robustness"]["below_floor"]
    assert page.read_text("utf-8").count("<details>") > 5


def test_hostile_text_does_no_harm_in_the_report() -> None:
    page = render(None, run_suite(FakeEngine(lambda t: (len(t) % 7 + 1, 1, 3))).to_dict())
    assert "<script" not in page
    assert not any(char in page for char in "\u202e\u2067\ud800\x00")
    page.encode("utf-8")


def test_the_model_card_shows_the_summary() -> None:
    summary = run_suite(FakeEngine()).to_dict(failures=False)
    assert "failures" not in summary
    lines = _robustness(summary)
    assert f"{summary['passed']} of {summary['n']} cases pass" in lines[2]
    assert sum(line.startswith("| `") for line in lines) == len(CAPABILITIES)
    assert _robustness(None) == []


@pytest.mark.timeout(300)  # seconds where nothing else runs; machines are shared
def test_the_packaged_model_keeps_what_it_can_do() -> None:
    """Its pass rates, by capability and language, are not below the floors recorded for it.

    After a change of the packaged model, or of the suite: look at the report, then
    ``riskwire evaluate --suite robustness --write-floors monitor/train/robustness/data/floors.json``.
    """
    floors = read_floors(FLOORS)
    engine = OnnxEngine(Artefact.load(packaged()))
    try:
        assert floors.model == engine.model, "the floors are those of another model: write new ones (see above)"
        short = below(run_suite(engine), floors)
    finally:
        engine.close()
    assert [str(item) for item in short] == []
