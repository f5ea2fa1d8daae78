"""Models for these tests: the tiny trained one, and light ones that have everything but weights that run."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_model

from monitor.model.artefact import CARD, CONFIG, METRICS, ONNX, TOKENIZER, Artefact, write_sums
from monitor.train.sections import Names

TOPICS = {
    "earnings": Names(en="Earnings", zh="业绩"),
    "energy_oil": Names(en="Energy and oil", zh="能源与石油"),
    "fed_central_banks": Names(en="Fed and central banks", zh="美联储与央行"),
}
MOODS = {
    "negative": Names(en="Negative", zh="负面"),
    "neutral": Names(en="Neutral", zh="中性"),
    "positive": Names(en="Positive", zh="正面"),
}


@pytest.fixture(scope="session")
def tiny() -> Artefact:
    """A model trained in seconds."""
    for name in ("torch", "transformers", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name} (the train extra)")
    return Artefact.load(tiny_model.artefact())


def write_light(folder: Path, note: str = "") -> Path:
    """A folder that verifies: labels, names, a tokenizer of a few words; its graph is none."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    words = ["<unk>", "acme", "sinks", "fed", "meets", "oil", "rises", "on", "the", "a"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / TOKENIZER))
    tasks = {
        name: {"labels": list(labels), "names": {k: v.model_dump() for k, v in labels.items()}, "temperature": 1.0}
        for name, labels in (("topic", TOPICS), ("sentiment", MOODS))
    }
    config = {
        "format": 1, "name": "light", "description": note, "languages": ["en", "zh"],
        "preprocessing": {"max_tokens": 48}, "pad_id": 0, "pooling": "mean", "encoder": {}, "tasks": tasks,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
    (folder / METRICS).write_text(json.dumps({"seed": 3, "test": {}}), "utf-8")
    (folder / CARD).write_text("A light one.", "utf-8")
    (folder / ONNX).write_bytes(b"no graph")
    write_sums(folder)
    return folder


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A model that verifies but does not run."""
    return Artefact.load(write_light(tmp_path_factory.mktemp("light") / "model"))


@pytest.fixture
def twin(tmp_path: Path) -> Callable[[str], Path]:
    """Makes light models that differ in nothing but their id."""
    return lambda note: write_light(tmp_path / "twins" / note, note)
