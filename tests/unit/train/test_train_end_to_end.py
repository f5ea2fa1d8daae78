"""The whole way of a recipe: data, fit, int8, calibration, card; then evaluated and scored as users do."""

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
import tiny_model

from monitor.cli.evaluate import evaluate
from monitor.cli.model import model as model_app
from monitor.cli.train import require_extra
from monitor.cli.train import train as train_command
from monitor.core.errors import TrainError, UsageError
from monitor.model.artefact import Artefact
from monitor.model.engines import choose_engine
from monitor.train.evaluate import evaluate_file


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return Artefact.load(tiny_model.artefact())


def _app(command: object) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]
    return app


def test_it_has_learned_what_it_was_shown(artefact: Artefact) -> None:
    figures = artefact.metrics()["test"]
    assert figures["sentiment"]["sentiment"]["accuracy"] > 0.7
    assert figures["topic"]["topic"]["accuracy"] > 0.7
    for sources in figures.values():
        for source, row in sources.items():
            assert 0 <= row["ece"] <= 1
            assert source == "(all)" or row["tfidf_linear_svm"]["accuracy"] > 0.4
            assert abs(row["float32"]["accuracy"] - row["accuracy"]) <= 0.1


def test_the_card_holds_the_measured_figures(artefact: Artefact) -> None:
    card = artefact.card()
    for task, sources in artefact.metrics()["test"].items():
        for source, row in sources.items():
            assert f"| {task} | {source} | {row['n']} | {100 * row['accuracy']:.2f} |" in card


def test_nothing_of_the_machine_it_was_made_on_is_in_it(artefact: Artefact) -> None:
    for file in artefact.path.iterdir():
        content = file.read_bytes()
        for trace in (b"site-packages", b"network.py", str(Path.cwd()).encode(), str(artefact.path.parent).encode()):
            assert trace not in content, file


def test_no_checkpoint_or_scratch_is_left_in_the_artefact(artefact: Artefact) -> None:
    assert sorted(file.name for file in artefact.path.iterdir()) == [
        "MODEL_CARD.md", "SHA256SUMS", "config.json", "metrics.json", "model.int8.onnx", "model.safetensors",
        "tokenizer.json",
    ]  # fmt: skip
    assert sorted(file.name for file in artefact.path.parent.iterdir()) == ["checkpoint.pt", "tiny"]


def test_evaluate_writes_a_report_with_every_figure(artefact: Artefact, tmp_path: Path) -> None:
    data, report = tmp_path / "data.csv", tmp_path / "out" / "report.json"
    data.write_text("text,label\nAcme surges to a record high,positive\nAcme warns of heavy losses,negative\n", "utf-8")
    result = CliRunner().invoke(
        _app(evaluate), ["--task", "sentiment", str(data), "--model", str(artefact.path), "--report", str(report)]
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(report.read_text("utf-8"))
    assert {"task", "n", "accuracy", "macro_f1", "weighted_f1", "ece", "per_class"} <= set(figures)
    assert (figures["task"], figures["n"], figures["model"]) == ("sentiment", 2, artefact.id)
    assert figures["decided"]["labels"] == ["negative", "positive"]
    assert figures["per_class"]["negative"]["support"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label\nSomething,bullish\n", "row 2, column 'label': unknown label 'bullish'"),
        ("text,mood\nSomething,positive\n", "row 2: column 'label' is missing"),
        ("text,label\n,positive\n", "row 2, column 'text': there is no text"),
        ("text,label\n", "there are no rows"),
    ],
)
def test_bad_evaluation_data_is_named(artefact: Artefact, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(TrainError) as caught:
        evaluate_file(choose_engine(artefact, "onnx"), task="sentiment", path=path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_row_of_nothing_but_a_link_counts(artefact: Artefact, tmp_path: Path) -> None:
    path = tmp_path / "link.csv"
    path.write_text("text,label\nhttps://t.co/abc,neutral\nAcme surges to a record high,positive\n", "utf-8")
    assert evaluate_file(choose_engine(artefact, "onnx"), task="sentiment", path=path)["n"] == 2


def test_an_unknown_task_lists_those_there_are(artefact: Artefact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Its tasks: topic, sentiment"):
        evaluate_file(choose_engine(artefact, "onnx"), task="mood", path=tmp_path / "none.csv")


def test_model_show_and_verify(artefact: Artefact) -> None:
    shown = CliRunner().invoke(model_app, ["show", str(artefact.path), "--json"])
    facts = json.loads(shown.output)
    assert facts["id"] == artefact.id
    assert facts["tasks"]["topic"]["labels"]["energy_oil"] == {"en": "Energy and oil", "zh": "能源与石油"}
    assert "Energy and oil" in CliRunner().invoke(model_app, ["show", str(artefact.path)]).output
    assert CliRunner().invoke(model_app, ["show", str(artefact.path), "--card"]).output.startswith("# tiny")
    assert artefact.id in CliRunner().invoke(model_app, ["verify", str(artefact.path)]).output


def test_without_the_extra_train_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(UsageError, match=r"torch.*pip install 'riskwire\[train\]'"):
        require_extra()


def test_the_train_command_resumes_a_finished_run_and_exports_again(tmp_path: Path) -> None:
    where = tiny_model.folder()
    shutil.copy(tiny_model.artefact().parent / "checkpoint.pt", tmp_path)
    result = CliRunner().invoke(
        _app(train_command),
        [
            str(where / "recipe.toml"), "--encoder", str(where / "encoder"), "--out", str(tmp_path), "--resume",
            "--no-safetensors", "--evaluate-also", f"sentiment={where / 'sentiment.csv'}", "--threads", "1",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    again = Artefact.load(tmp_path / "tiny")
    assert again.safetensors is None
    assert [row["epoch"] for row in again.metrics()["fit"]["epochs"]] == list(range(1, 9))
    assert again.metrics()["also"][0]["file"] == "sentiment.csv"
    assert "sentiment.csv" in again.card()
