"""Retraining on the tiny network, whole: labels in, candidate out, judged, installed or kept out."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
import tiny_model
from typer.testing import CliRunner

from monitor.cli.main import app
from monitor.core.errors import ConfigError, TrainError
from monitor.model.artefact import SAFETENSORS, Artefact, write_sums
from monitor.model.engines.onnx import OnnxEngine
from monitor.model.registry import ModelRegistry
from monitor.train.config import TrainConfig, load_config
from monitor.train.lifecycle.labels import Decided, Label, append
from monitor.train.lifecycle.recipe import HELD, NEW, Plan, derive, write_start

WORDS = tuple(
    f"{name} {word} {number}"
    for number, name in enumerate(tiny_model.NAMES * 6)
    for word in ("holds a call on Monday", "moves its office")
)
"""Texts that the tiny model calls neutral, and that these annotators call negative."""


@pytest.fixture(scope="module")
def recipe() -> TrainConfig:
    return load_config(tiny_model.folder() / "recipe.toml")


def decided(mood: str = "negative") -> list[Decided]:
    return [Decided(text=text, lang="en", labels={"sentiment": mood}) for text in WORDS]


def test_the_derived_recipe_keeps_the_split_and_adds_the_labels(
    tiny: Artefact, recipe: TrainConfig, tmp_path: Path
) -> None:
    plan = Plan(epochs=3, replay=0.5, slower=0.1)
    config = derive(recipe, tiny, decided(), tmp_path, plan)
    assert (config.seed, config.split, config.tasks) == (recipe.seed, recipe.split, recipe.tasks)
    assert [dataset.source for dataset in config.data][-2:] == [NEW, HELD]
    assert [dataset.split for dataset in config.data][-2:] == ["train", "test"]
    assert config.data[0].share == 0.5
    assert config.data[2].share == 0.25
    assert config.fit.learning_rate == pytest.approx(recipe.fit.learning_rate * 0.1)
    texts = {}
    for name in (NEW, HELD):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8") as file:
            texts[name] = {row["text"] for row in csv.DictReader(file)}
    assert texts[NEW] | texts[HELD] == set(WORDS)
    assert not texts[NEW] & texts[HELD]


def test_a_recipe_of_another_model_and_no_labels_are_refused(
    tiny: Artefact, recipe: TrainConfig, tmp_path: Path
) -> None:
    data = recipe.model_dump()
    data["tasks"]["topic"]["labels"].pop("earnings")
    with pytest.raises(ConfigError, match="task 'topic'"):
        derive(TrainConfig.model_validate(data), tiny, decided(), tmp_path, Plan())
    with pytest.raises(TrainError, match="no new labels"):
        derive(recipe, tiny, [], tmp_path, Plan())


def test_training_starts_where_the_present_model_stands(tiny: Artefact, copied: Path, tmp_path: Path) -> None:
    """Also without float weights: the int8 ones, taken back to floats, answer as the int8 graph does."""
    import torch

    from monitor.model import network as networks

    (copied / SAFETENSORS).unlink()
    write_sums(copied)
    small = Artefact.load(copied)
    encoder, start = write_start(small, tmp_path)
    sizes = {name: len(task.labels) for name, task in small.tasks.items()}
    network = networks.from_pretrained(str(encoder), tasks=sizes, pooling=small.pooling).eval()
    network.load_state_dict(torch.load(start, weights_only=True)["network"])
    engine = OnnxEngine(small, threads=1)
    ids = engine.tokens(["Acme plunges after fraud probe"])
    with torch.inference_mode():
        logits = network(torch.tensor(ids), torch.ones(1, len(ids[0]), dtype=torch.long))
    for values, task in zip(logits, small.tasks, strict=True):
        assert torch.allclose(values[0], torch.tensor(engine.logits(ids)[task][0]), atol=0.35)


@pytest.fixture
def copied(tiny: Artefact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))


def _workplace(tmp_path: Path, tiny: Artefact, mood: str) -> Path:
    """A configuration with a data folder in which the tiny model is set and labels lie."""
    data = tmp_path / "data"
    ModelRegistry(data).set(str(tiny.path), now=datetime(2026, 3, 2, tzinfo=UTC))
    labels = [Label(text=text, annotator="ann", at="", sentiment=mood) for text in WORDS]
    append(data / "labels.jsonl", labels, refuse_conflicts=True)
    config = tmp_path / "riskwire.toml"
    config.write_text(f"data_dir = '{data}'\n", "utf-8")
    return config


def _retrain(config: Path, tmp_path: Path, *more: str) -> tuple[int, str, dict[str, object]]:
    result = CliRunner().invoke(
        app,
        ["retrain", "-c", str(config), "--recipe", str(tiny_model.folder() / "recipe.toml"), "--out",
         str(tmp_path / "run"), "--epochs", "4", "--replay", "1", "--slower", "0.5", "--threads", "1", *more],
    )  # fmt: skip
    report = json.loads((tmp_path / "run" / "decision.json").read_text("utf-8"))
    return result.exit_code, result.output, report


def test_what_learns_the_new_and_keeps_the_old_is_set(tiny: Artefact, tmp_path: Path) -> None:
    config = _workplace(tmp_path, tiny, "negative")
    # The bounds on the old data are wide: the tiny sets have some 25 texts, and a tenth of their labels is noise.
    # Twelve passes over the old texts as well, so that they are not half forgotten when the run ends.
    code, output, report = _retrain(config, tmp_path, "--bound", "0.3", "--slice-bound", "0.9", "--epochs", "12")
    assert code == 0, output
    assert report["promote"] is True
    registry = ModelRegistry(tmp_path / "data")
    current = registry.current()
    assert current is not None
    assert current.model == report["candidate"] != tiny.id
    assert "retrained" in current.why
    assert "SIGHUP" in output
    assert registry.rollback() == (current.model, tiny.id)


def test_what_forgets_is_kept_out(tiny: Artefact, tmp_path: Path) -> None:
    """Labels that say nothing new: nothing is better, so nothing is set."""
    config = _workplace(tmp_path, tiny, "neutral")
    code, output, report = _retrain(config, tmp_path)
    assert code == 1
    assert report["promote"] is False
    assert "not" in str(report["reasons"])
    assert "Not promoted" in output
    current = ModelRegistry(tmp_path / "data").current()
    assert current is not None
    assert current.model == tiny.id
