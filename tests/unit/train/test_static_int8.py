from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from monitor.core.errors import TrainError  # noqa: E402
from monitor.train import static_int8  # noqa: E402
from monitor.train.static_int8 import ChannelRange, answers, columns_to_int8, difference, quantize_static  # noqa: E402

VOCABULARY, WIDTH, LABELS = 50, 16, 3


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Embedding → product with weights → GELU → product → mean → head: with one channel 40 times the others."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    table[:, 3] *= 40
    first = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 4
    first[3] /= 40
    values = {
        "table": table,
        "first": first,
        "second": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32),
        "head": rng.normal(size=(WIDTH, LABELS)).astype(np.float32),
        "bias": np.zeros(LABELS, dtype=np.float32),
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "first"], ["y"]),
        helper.make_node("Gelu", ["y"], ["g"]),
        helper.make_node("MatMul", ["g", "second"], ["z"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["row"]),
        helper.make_node("MatMul", ["row", "z"], ["sum"]),
        helper.make_node("Squeeze", ["sum", "axis"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits_topic"]),
    ]
    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits_topic", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    path = tmp_path / "float.onnx"
    onnx.save(model, str(path))
    return path


def _texts(count: int = 60) -> list[list[int]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, VOCABULARY, size=rng.integers(1, 9)).tolist() for _ in range(count)]


def test_the_answers_stay_and_the_products_are_int8(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    chosen = quantize_static(network, target, ids=_texts(), threads=1)
    assert chosen.migration in static_int8.MIGRATIONS
    fresh = [row[::-1] for row in _texts(30)]
    moved = difference(answers(target.read_bytes(), fresh, threads=1), answers(network.read_bytes(), fresh, threads=1))
    assert moved < 0.1
    stored = {item.name: item.data_type for item in onnx.load(str(target)).graph.initializer}
    assert stored["first_quantized"] == stored["second_quantized"] == TensorProto.INT8
    assert "first" not in stored
    assert stored["head"] == TensorProto.FLOAT


def test_moving_the_spread_into_the_weights_is_what_saves_the_small_channels() -> None:
    span = ChannelRange(low=np.array([-1, -40], np.float32), high=np.array([1, 40], np.float32))
    weight = np.array([[1.0], [0.025]], np.float32)
    s = static_int8.divisors(span, [weight], migration=1.0)
    assert (span.high / s)[0] == pytest.approx((span.high / s)[1])
    none = static_int8.divisors(span, [np.ones((2, 1), np.float32)], migration=0.0)
    assert none == pytest.approx([1.0, 1.0])


def test_columns_come_back_within_half_a_step() -> None:
    weight = np.random.default_rng(3).normal(size=(40, 7)).astype(np.float32)
    weight[:, 2] = 0
    for top in (63, 127):
        int8, scale = columns_to_int8(weight, top=top)
        assert np.abs(int8).max() <= top
        assert (np.abs(int8 * scale - weight) <= scale / 2 + 1e-6).all()


def test_too_few_texts_are_refused(network: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="at least 8 texts"):
        quantize_static(network, tmp_path / "int8.onnx", ids=[[1, 2]])
    with pytest.raises(TrainError, match="needs texts"):
        static_int8.calibrate(network, [])
