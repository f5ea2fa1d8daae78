"""What ``riskwire evaluate`` makes of a file: figures, slices, comparison, report, and what it says of bad input."""

import json
from pathlib import Path

import pytest
import typer
from fake_engine import FakeEngine, by_words
from typer.testing import CliRunner

from monitor.cli.evaluate import evaluate as command
from monitor.core.errors import ArtefactMissingError, TrainError, UsageError
from monitor.train.evaluate import evaluate, evaluate_file
from monitor.train.evaluation.compare import read_verdicts, write_predictions
from monitor.train.evaluation.page import render
from monitor.train.evaluation.sets import read_set

ROWS = """text,label,source,desk
Profit up at Acme,positive,wire,a
Loss at Borealis,negative,wire,a
Meeting on Monday,neutral,blog,b
<x-y onclick=1> record,negative,blog,b
北辰公司亏损,negative,wire,c
北辰公司盈利,positive,,c
Profit up at Acme!,positive,wire,d
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(ROWS, "utf-8")
    return path


def test_every_figure_is_there_and_the_old_ones_are_what_they_were(data: Path) -> None:
    found = evaluate(FakeEngine(), task="sentiment", path=data, resamples=200)
    figures = found.figures
    small = evaluate_file(FakeEngine(), task="sentiment", path=data)
    assert {key: figures[key] for key in small} == small
    assert list(small) == ["task", "model", "n", "accuracy", "macro_f1", "weighted_f1", "ece", "per_class"]
    assert {
        "file", "notes", "intervals", "bootstrap", "brier", "confidence", "reliability", "abstention", "confusion",
        "slices", "errors",
    } <= set(figures)  # fmt: skip
    assert figures["accuracy"] == pytest.approx(6 / 7)
    assert figures["confusion"]["table"] == [[2, 0, 1], [0, 1, 0], [0, 0, 3]]
    assert json.loads(json.dumps(figures)) == figures


def test_slices_come_from_the_columns_or_are_worked_out(data: Path) -> None:
    figures = evaluate(
        FakeEngine(), task="sentiment", path=data, group_by=("source", "lang", "length", "desk"), resamples=100
    ).figures
    cut = figures["slices"]
    assert {row["value"]: row["n"] for row in cut["source"]["parts"]} == {"wire": 4, "blog": 2, "(empty)": 1}
    assert cut["lang"]["from"] == "guessed from the text"
    assert {row["value"]: row["n"] for row in cut["lang"]["parts"]} == {"en": 5, "zh": 2}
    assert cut["length"]["parts"][0]["value"] == "1-40"
    assert [row["value"] for row in cut["desk"]["parts"]] == ["a", "b", "c", "d"]
    blog = next(row for row in cut["source"]["parts"] if row["value"] == "blog")
    assert blog["accuracy"] == 0.5
    assert blog["interval"][0] < 0.5 < blog["interval"][1]


def test_a_language_column_is_taken_before_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label,lang\nProfit,positive,de\nLoss,negative,de\n", "utf-8")
    cut = evaluate(FakeEngine(), task="sentiment", path=path, resamples=100).figures["slices"]
    assert cut["lang"] == {"from": "column", "parts": cut["lang"]["parts"]}
    assert [row["value"] for row in cut["lang"]["parts"]] == ["de"]
    assert "source" not in cut


def test_a_column_with_very_many_values_is_put_together(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label,id\n" + "".join(f"Profit {i},positive,{i}\n" for i in range(90)), "utf-8")
    parts = evaluate(FakeEngine(), task="sentiment", path=path, group_by=("id",), resamples=100).figures["slices"]["id"]
    assert len(parts["parts"]) == 41
    assert parts["parts"][-1] == parts["parts"][-1] | {"value": "(others)", "n": 50}


def test_repeats_conflicts_and_rare_classes_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\nProfit up,positive\nPROFIT UP.,negative\nProfit up https://t.co/x,positive\n", "utf-8")
    found = read_set(FakeEngine(), task="sentiment", path=path)
    assert found.groups.tolist() == [0, 0, 0]
    assert len(found.notes) == 4
    assert "No example of neutral" in found.notes[0]
    assert "Only one example of negative" in found.notes[1]
    assert "2 rows repeat a text" in found.notes[2]
    assert "rows 2 and 3" in found.notes[3]


def test_rows_of_a_cluster_are_resampled_together(data: Path) -> None:
    assert read_set(FakeEngine(), task="sentiment", path=data, cluster="desk").groups.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert read_set(FakeEngine(), task="sentiment", path=data).groups.tolist() == [0, 1, 2, 3, 4, 5, 0]
    with pytest.raises(UsageError, match=r"no column 'story'.*source, desk"):
        read_set(FakeEngine(), task="sentiment", path=data, cluster="story")


def test_an_unknown_column_to_group_by_lists_those_there_are(data: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'country'.*source, desk, lang, length"):
        evaluate(FakeEngine(), task="sentiment", path=data, group_by=("country",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label\n", "there are no rows"),
        (b"", "there are no rows"),
        (b"text,label\nProfit,rising\n", "row 2, column 'label': unknown label 'rising'"),
        (
            b"headline,label\nProfit,positive\n",
            "row 2: column 'text' is missing. Columns found: headline, label",
        ),
        ("text,label\nVerlust für Müller,negative\n".encode("latin-1"), "not UTF-8"),
        ("text,label\nProfit,positive\n".encode("utf-16"), "not UTF-8"),
        (b"text,label\nProfit, again,positive\n", "more cells than columns"),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(TrainError) as caught:
        evaluate(FakeEngine(), task="sentiment", path=path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_another_model_is_compared_by_the_names_of_its_labels(data: Path) -> None:
    turned = FakeEngine(
        lambda text: tuple(reversed(by_words(text))), tasks={"sentiment": ("positive", "neutral", "negative")}
    )
    row = evaluate(FakeEngine(), task="sentiment", path=data, other=turned, resamples=100).figures["comparison"]
    assert row["agreement"] == 1.0
    assert (row["only_this_right"], row["only_other_right"], row["p_mid"]) == (0, 0, 1.0)

    never = FakeEngine(lambda _: (0.1, 0.8, 0.1), name="never")
    row = evaluate(FakeEngine(), task="sentiment", path=data, other=never, resamples=300).figures["comparison"]
    assert row["with"].startswith("never@")
    assert (row["both_right"], row["only_this_right"], row["only_other_right"], row["both_wrong"]) == (1, 5, 0, 1)
    assert row["difference"] == pytest.approx(5 / 7)
    assert row["p_exact"] == pytest.approx(2 / 32)
    assert row["interval"][0] <= row["difference"] <= row["interval"][1]


def test_a_model_with_other_labels_cannot_be_compared(data: Path) -> None:
    for tasks, said in (
        ({"sentiment": ("bear", "mid", "bull")}, "other labels"),
        ({"topic": ("a", "b", "c")}, "no task"),
    ):
        with pytest.raises(UsageError, match=said):
            evaluate(FakeEngine(), task="sentiment", path=data, other=FakeEngine(tasks=tasks), resamples=100)


def test_predictions_written_can_be_compared_with(data: Path, tmp_path: Path) -> None:
    found = evaluate(FakeEngine(), task="sentiment", path=data, resamples=100)
    target = tmp_path / "out" / "predictions.csv"
    write_predictions(target, found.data, found.probabilities)
    assert read_verdicts(target, found.data).tolist() == found.probabilities.argmax(axis=1).tolist()
    row = evaluate(FakeEngine(), task="sentiment", path=data, other=target, resamples=100).figures["comparison"]
    assert (row["with"], row["agreement"], row["p_exact"]) == ("predictions.csv", 1.0, 1.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("predicted\nnegative\n", "has 1 predictions"),
        ("label\n" + "negative\n" * 7, "column 'predicted' is missing"),
        ("predicted\n" + "up\n" * 7, "none of the predictions is a label"),
        ("text,predicted\n" + "Other,negative\n" * 7, "row 2: its text is not that of"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(data: Path, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(TrainError, match=said):
        evaluate(FakeEngine(), task="sentiment", path=data, other=path)


def test_the_page_is_one_file_and_escapes_what_it_shows(data: Path) -> None:
    never = FakeEngine(lambda _: (0.1, 0.8, 0.1), name="<b>never")
    page = render(evaluate(FakeEngine(), task="sentiment", path=data, other=never, resamples=100).figures)
    assert "<script" not in page
    assert "&lt;x-y onclick=1&gt; record" in page
    assert "&lt;b&gt;never" in page
    assert page.count("<svg") == page.count("</svg>") >= 2
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page
    assert "http://" not in page
    assert "https://" not in page


def _run(*arguments: object) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output, result.exception


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to evaluate on"),
        (("data.csv",), "Which task"),
        (("--task", "topic"), "no texts for task 'topic'"),
        (("--suite", "kindness"), "no suite 'kindness'"),
        (("data.csv", "--task", "topic", "--floors", "f.json"), "belong to a suite"),
    ],
)
def test_what_does_not_go_together_is_said_before_a_model_is_loaded(arguments: tuple[str, ...], said: str) -> None:
    _, _, error = _run(*arguments)
    assert isinstance(error, UsageError)
    assert said in str(error)


def test_the_command_writes_json_html_and_predictions(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.model.engines.choose_engine", lambda *_, **__: FakeEngine())
    report, page, out = tmp_path / "r" / "report.json", tmp_path / "r" / "report.html", tmp_path / "p.csv"
    code, output, error = _run(
        data, "--task", "sentiment", "--report", report, "--html", page, "--predictions", out, "--compare", "packaged",
        "--resamples", 100, "--group-by", "desk",
    )  # fmt: skip
    assert (code, error) == (0, None), output
    figures = json.loads(report.read_text("utf-8"))
    assert {"task", "n", "accuracy", "macro_f1", "weighted_f1", "ece", "per_class", "comparison"} <= set(figures)
    assert list(figures["slices"]) == ["desk"]
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert len(out.read_text("utf-8").splitlines()) == 8
    code, _, _ = _run(data, "--task", "sentiment", "--report", page, "--resamples", 100)
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_is_said(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.model.engines.choose_engine", lambda *_, **__: FakeEngine())
    _, _, error = _run(data, "--task", "sentiment", "--report", data / "below" / "r.json", "--resamples", 100)
    assert isinstance(error, UsageError)
    assert "cannot be written" in str(error)


def test_a_model_to_compare_with_that_is_not_there_is_said(data: Path) -> None:
    _, _, error = _run(data, "--task", "sentiment", "--model", "nowhere")
    assert isinstance(error, ArtefactMissingError)
