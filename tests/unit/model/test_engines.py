import json
import logging
from pathlib import Path

import numpy as np
import pytest

from monitor.core.errors import ArtefactMismatchError, ConfigError, ModelError, ModelInputError
from monitor.core.ports import Engine
from monitor.model import artefact as artefacts
from monitor.model import engines
from monitor.model.artefact import Artefact, write_sums
from monitor.model.engines import choice, choose_engine
from monitor.model.engines.base import TokenEngine, check_tasks, pad
from monitor.model.engines.onnx import OnnxEngine

TEXTS = [
    "Acme plunges after fraud probe 12",
    "江海 大涨 利润 增长",
    "Borealis schedules its annual meeting",
    "Fed rate decision",
    "crude oil supply and OPEC output quota, gas pipeline flows, all of it at once",
]


@pytest.fixture(scope="module")
def onnx(tiny: Artefact) -> TokenEngine:
    return choose_engine(tiny, "onnx", threads=1)


def _rows(engine: TokenEngine) -> dict[str, np.ndarray]:
    prepared = [engine.artefact.preprocessing.text(text) for text in TEXTS]
    return engine.predict_tasks(prepared)


def test_auto_measures_the_cpu_where_there_is_no_gpu(
    tiny: Artefact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "_cuda", lambda: False)
    kept = tmp_path / "engines.json"
    assert choose_engine(tiny, cache=kept).name in ("onnx", "openvino")
    (name,) = json.loads(kept.read_text("utf-8")).values()
    assert name in choice.candidates(tiny, None)


def test_auto_is_torch_where_torch_sees_a_gpu(tiny: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_cuda", lambda: True)
    assert choose_engine(tiny).name == "torch"


def test_unknown_and_missing_engines_are_clear_errors(tiny: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="auto, onnx, openvino, torch"):
        choose_engine(tiny, "tensorflow")
    monkeypatch.setattr(engines, "_torch_installed", lambda: False)
    with pytest.raises(ModelError, match=r"riskwire\[gpu\]"):
        choose_engine(tiny, "torch")


def test_scores_are_probabilities_by_label(onnx: TokenEngine) -> None:
    engine: Engine = onnx
    scores = engine.predict(TEXTS)
    assert len(scores) == len(TEXTS)
    for item in scores:
        assert sum(item.topics.values()) == pytest.approx(1.0)
        assert sum(item.sentiments.values()) == pytest.approx(1.0)
        assert list(item.sentiments) == ["negative", "neutral", "positive"]
    assert scores[0].sentiment == "negative"
    assert scores[1].sentiment == "positive"
    assert scores[3].topic == "fed_central_banks"
    assert scores[4].topic == "energy_oil"


def test_torch_with_float_weights_agrees_with_the_int8_graph(tiny: Artefact, onnx: TokenEngine) -> None:
    floats = _rows(choose_engine(tiny, "torch", threads=1))
    for task, rows in _rows(onnx).items():
        assert np.abs(rows - floats[task]).max() < 0.08  # int8 noise in so small a network
        assert (rows.argmax(1) == floats[task].argmax(1)).all()


def test_torch_takes_its_weights_from_the_graph_when_there_are_no_others(copy: Path) -> None:
    with_floats = _rows(choose_engine(Artefact.load(copy), "torch", threads=1))
    (copy / artefacts.SAFETENSORS).unlink()
    write_sums(copy)
    from_int8 = _rows(choose_engine(Artefact.load(copy), "torch", threads=1))
    for task, rows in from_int8.items():
        assert np.abs(rows - with_floats[task]).max() < 0.05
        assert not np.array_equal(rows, with_floats[task])  # they are other weights


def test_the_shipped_model_gives_the_same_in_torch(shipped: Artefact) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    texts = [
        "Shares of the bank sink 12% after it reports a loss",
        "央行宣布降息25个基点",
        "Oil rises as OPEC cuts output",
    ]
    one = choose_engine(shipped, "onnx").predict_tasks(texts)
    two = choose_engine(shipped, "torch").predict_tasks(texts)
    for task, rows in one.items():
        assert np.abs(rows - two[task]).max() < 0.1
        assert (rows.argmax(1) == two[task].argmax(1)).all()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_without_padding_torch_computes_what_it_computes_with_it(tiny: Artefact, pooling: str) -> None:
    from dataclasses import replace

    from monitor.model.engines.torch import TorchEngine

    engine = TorchEngine(replace(tiny, pooling=pooling), threads=1, device="cpu")
    assert engine.packs
    ids = [*engine.tokens(TEXTS), [0], [0, 5, 2]]
    for batch in (ids, ids[:1], [ids[1], ids[1]]):
        packed = engine.logits(batch)
        engine.packs = False
        padded = engine.logits(batch)
        engine.packs = True
        for task, rows in padded.items():
            assert np.abs(rows - packed[task]).max() < 1e-4


def test_a_graph_without_parameter_names_cannot_feed_torch(copy: Path) -> None:
    import onnx as onnx_format

    graph = onnx_format.load(str(copy / artefacts.ONNX))
    del graph.metadata_props[:]
    onnx_format.save(graph, str(copy / artefacts.ONNX))
    (copy / artefacts.SAFETENSORS).unlink()
    write_sums(copy)
    with pytest.raises(ArtefactMismatchError, match="does not name its parameters"):
        choose_engine(Artefact.load(copy), "torch")


def test_a_batch_too_large_for_the_gpu_is_halved(tiny: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from monitor.model.engines.torch import TorchEngine

    engine = TorchEngine(tiny, threads=1)
    whole, forward, sizes = _rows(engine), engine._forward, []

    def small_memory(batch: list[list[int]]) -> dict[str, np.ndarray]:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("no memory")
        return forward(batch)

    monkeypatch.setattr(engine, "_forward", small_memory)
    for task, rows in _rows(engine).items():
        assert np.abs(rows - whole[task]).max() < 1e-4
    assert max(sizes) == len(TEXTS)

    def no_memory(batch: list[list[int]]) -> dict[str, np.ndarray]:
        raise torch.cuda.OutOfMemoryError("no memory")

    monkeypatch.setattr(engine, "_forward", no_memory)
    with pytest.raises(ModelError, match="too little free memory"):
        _rows(engine)


def test_texts_with_nothing_to_read_are_refused_and_odd_ones_answered(onnx: TokenEngine) -> None:
    for text in ("", " \n\t", "\x00\x00"):
        with pytest.raises(ModelInputError):
            onnx.predict([text])
    odd = [
        "📉",
        "https://example.com/a",
        "a" * 1_000_000,
        "涨" * 1_000_000,
        "\x00A\x00",
        "Ünïcödé ﷽ ١٢٣ ชิ้น",
        "\ud800 half",
        "﷽" * 500,
        "." * 5000,
    ]
    assert len(onnx.predict(odd)) == len(odd)


def test_a_text_scores_the_same_alone_and_in_any_company(onnx: TokenEngine) -> None:
    ids = onnx.tokens(TEXTS)
    together = onnx.probabilities(ids)
    for number, row in enumerate(ids):
        alone = onnx.probabilities([row])
        for task, rows in alone.items():
            assert np.abs(rows[0] - together[task][number]).max() < 1e-5


def test_float_arithmetic_on_the_int8_graph_gives_the_same(tiny: Artefact, onnx: TokenEngine) -> None:
    floats = _rows(OnnxEngine(tiny, threads=1, arithmetic="fp32"))
    for task, rows in _rows(onnx).items():
        assert np.abs(rows - floats[task]).max() < 0.02


def test_openvino_runs_the_same_file(tiny: Artefact, onnx: TokenEngine) -> None:
    pytest.importorskip("openvino")
    engine = choose_engine(tiny, "openvino", threads=1)
    for task, rows in _rows(onnx).items():
        assert np.abs(rows - _rows(engine)[task]).max() < 0.03
    ids = engine.tokens(TEXTS)
    together = engine.probabilities(ids)
    for number, row in enumerate(ids):
        for task, rows in engine.probabilities([row]).items():
            assert np.abs(rows[0] - together[task][number]).max() < 1e-3
    with pytest.raises(ModelInputError, match="outside its vocabulary"):
        engine.logits([[10**6]])


def test_token_ids_that_the_model_has_not_are_an_input_error(onnx: TokenEngine) -> None:
    logging.getLogger("onnxruntime").setLevel(logging.CRITICAL)
    with pytest.raises(ModelInputError):
        onnx.logits([[10**6]])
    with pytest.raises(ModelInputError):
        pad([], 0)
    with pytest.raises(ModelInputError):
        pad([[1], []], 0)


def test_a_model_without_the_two_tasks_cannot_score_news(tiny: Artefact) -> None:
    from dataclasses import replace

    check_tasks(tiny)
    with pytest.raises(ArtefactMismatchError, match="no task sentiment"):
        check_tasks(replace(tiny, tasks={"topic": tiny.tasks["topic"]}))
    mood = replace(tiny.tasks["sentiment"], labels=("bad", "good"))
    with pytest.raises(ArtefactMismatchError, match="labels are others"):
        check_tasks(replace(tiny, tasks={**tiny.tasks, "sentiment": mood}))
