"""Static int8: a float graph in, a graph of standard quantise/dequantise pairs out that onnxruntime and OpenVINO run as
int8 products.

Scales of activations are constants found on texts (calibration), so that a text scores the same alone and in any batch,
as with scales per token, but without the passes over memory that find those. A few channels of an encoder are tens of
times larger than the rest; one scale for all would leave the rest a handful of steps. Their size is moved into the
weights beforehand: ``x W = (x / s) (diag(s) W)``, ``s_j = max|x_j|^a / max|W_j|^(1-a)`` (SmoothQuant, Xiao et al. 2023,
eq. 4).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.core.errors import TrainError
from monitor.model.engines.torch import PARAMETERS_KEY
from monitor.train.int8_embeddings import quantize_embeddings

Floats = NDArray[np.float32]
MIGRATIONS = (0.75, 0.85)
"""How much of an activation's spread moves into the weights, 0 none, 1 all: these are tried. Below, one channel spoils
the rest (at 0.5 a third of the packaged model's topics changed); above, the weights suffer as much."""
_LEAST = 1e-3


@dataclass(slots=True, kw_only=True)
class ChannelRange:
    """Smallest and largest value of every channel of one activation over the calibration texts."""

    low: Floats
    high: Floats

    def widen(self, values: Floats) -> None:
        """Takes ``values`` [..., channels] in."""
        rows = values.reshape(-1, values.shape[-1])
        np.minimum(self.low, rows.min(axis=0), out=self.low)
        np.maximum(self.high, rows.max(axis=0), out=self.high)


def products(graph: Any) -> dict[str, list[Any]]:
    """The matrix products with constant weights, by the name of their activation."""
    weights = {
        item.name for item in graph.graph.initializer if item.data_type == TensorProto.FLOAT and len(item.dims) == 2
    }
    found: dict[str, list[Any]] = defaultdict(list)
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and node.input[0] not in weights:
            found[node.input[0]].append(node)
    return dict(found)


def calibrate(
    source: Path, ids: Sequence[Sequence[int]], *, token_budget: int = 1024, threads: int | None = None
) -> dict[str, ChannelRange]:
    """Activation → range of its channels, over ``ids``. Texts of equal length go together, so that no padding counts.

    Raises TrainError when there are no texts.
    """
    import onnxruntime as ort

    if not ids:
        raise TrainError("Static int8 needs texts to calibrate on.", hint="Give it some of the training texts.")
    graph = onnx.load(str(source))
    names = list(products(graph))
    graph.graph.output.extend([helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names])
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges: dict[str, ChannelRange] = {}
    by_length: dict[int, list[Sequence[int]]] = defaultdict(list)
    for row in ids:
        by_length[len(row)].append(row)
    for length, rows in sorted(by_length.items()):
        step = max(1, token_budget // length)
        for start in range(0, len(rows), step):
            tokens = np.asarray(rows[start : start + step], dtype=np.int64)
            values = session.run(names, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})
            for name, value in zip(names, values, strict=True):
                width = value.shape[-1]
                if name not in ranges:
                    ranges[name] = ChannelRange(
                        low=np.zeros(width, dtype=np.float32), high=np.zeros(width, dtype=np.float32)
                    )
                ranges[name].widen(value)
    return ranges


def quantize_static(
    source: Path,
    target: Path,
    *,
    ids: Sequence[Sequence[int]],
    reduce_range: bool = True,
    threads: int | None = None,
) -> Rounding:
    """Writes the float graph ``source`` as static int8 to ``target``; returns how far its answers moved.

    ``ids`` are token ids of some hundred texts of the kind that the model will read: three quarters set the ranges, on
    the rest the best of :data:`MIGRATIONS` is chosen. Raises TrainError when there are fewer than 8.
    """
    if len(ids) < 8:
        raise TrainError("Static int8 needs at least 8 texts to calibrate on.", hint="Give it training texts.")
    fit, held = [row for i, row in enumerate(ids) if i % 4], list(ids[::4])
    ranges = calibrate(source, fit, threads=threads)
    best: Rounding | None = None
    kept = b""
    wanted = answers(source.read_bytes(), held, threads=threads)
    for migration in MIGRATIONS:
        graph = onnx.load(str(source))
        faster_gelu(graph)
        insert(graph, ranges, reduce_range=reduce_range, migration=migration)
        quantize_embeddings(graph)
        content = graph.SerializeToString()
        error = difference(answers(content, held, threads=threads), wanted)
        if best is None or error < best.error:
            best, kept = Rounding(migration=migration, error=error), content
    assert best is not None
    onnx.checker.check_model(onnx.load_from_string(kept), full_check=False)
    target.write_bytes(kept)
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """The migration chosen, and by how much probabilities moved on texts that set no range (mean over texts of the
    largest absolute difference, worst task)."""

    migration: float
    error: float


def answers(graph: bytes, ids: Sequence[Sequence[int]], *, threads: int | None = None) -> list[NDArray[np.float64]]:
    """Uncalibrated probabilities of every head, each text by itself."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    heads: list[list[NDArray[np.float64]]] = [[] for _ in session.get_outputs()]
    for row in ids:
        tokens = np.asarray([row], dtype=np.int64)
        for head, logits in zip(
            heads, session.run(None, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}), strict=True
        ):
            powers = np.exp(logits[0].astype(np.float64) - logits[0].max())
            head.append(powers / powers.sum())
    return [np.stack(rows) for rows in heads]


def difference(one: Sequence[NDArray[np.float64]], other: Sequence[NDArray[np.float64]]) -> float:
    """Mean over texts of the largest absolute difference of a probability; of the worst head."""
    return max(float(np.abs(a - b).max(axis=1).mean()) for a, b in zip(one, other, strict=True))


def divisors(span: ChannelRange, weights: Sequence[Floats], *, migration: float) -> Floats:
    """What each channel of an activation is divided by; geometric mean 1. ``weights`` [channels, outputs] share it."""
    size = np.maximum(np.maximum(-span.low, span.high), _LEAST)
    rows = np.maximum(np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0), 1e-5)
    s = size**migration / rows ** (1.0 - migration)
    return np.asarray(s / np.exp(np.log(s).mean()), dtype=np.float32)


def insert(graph: Any, ranges: Mapping[str, ChannelRange], *, migration: float, reduce_range: bool = True) -> None:
    """Puts quantise/dequantise pairs before every product in ``graph`` and int8 weights, one scale a column, behind it.

    ``reduce_range`` keeps weights to 7 bits, see :func:`monitor.train.export.quantize`.
    """
    stored = {item.name: item for item in graph.graph.initializer}
    sites = products(graph)
    new: dict[str, NDArray[Any]] = {}
    before: dict[str, list[Any]] = {}
    inverse: dict[str, str] = {}
    for site, (activation, users) in enumerate(sites.items()):
        weights = {node.input[1]: np.array(numpy_helper.to_array(stored[node.input[1]])) for node in users}
        span = ranges[activation]
        s = divisors(span, list(weights.values()), migration=migration)
        low, high = min(0.0, float((span.low / s).min())), max(0.0, float((span.high / s).max()))
        scale = max((high - low) / 255.0, 1e-9)
        name = f"act{site}"
        new[f"{name}_inverse"] = (1.0 / s).astype(np.float32)
        new[f"{name}_scale"] = np.array(scale, dtype=np.float32)
        new[f"{name}_zero"] = np.array(np.clip(round(-low / scale), 0, 255), dtype=np.uint8)
        grid = [f"{name}_scale", f"{name}_zero"]
        lines = [
            helper.make_node("Mul", [activation, f"{name}_inverse"], [f"{name}_level"], name=f"{name}_level"),
            helper.make_node("QuantizeLinear", [f"{name}_level", *grid], [f"{name}_u8"], name=f"{name}_quantize"),
        ]
        for number, node in enumerate(users):
            weight, out = node.input[1], f"{name}_{number}"
            int8, columns = columns_to_int8(weights[weight] * s[:, None], top=63 if reduce_range else 127)
            new |= {
                f"{weight}_quantized": int8,
                f"{weight}_scale": columns,
                f"{weight}_zero_point": np.zeros(len(columns), dtype=np.int8),
            }
            inverse[weight] = f"{name}_inverse"
            parts = [f"{weight}_quantized", f"{weight}_scale", f"{weight}_zero_point"]
            # A pair of its own for every product: that is the form which the runtimes look for.
            lines += [
                helper.make_node("DequantizeLinear", [f"{name}_u8", *grid], [f"{out}_in"], name=f"{out}_dequantize"),
                helper.make_node("DequantizeLinear", parts, [f"{out}_weight"], name=f"{out}_weights", axis=1),
            ]
            node.input[0], node.input[1] = f"{out}_in", f"{out}_weight"
        before[users[0].output[0]] = lines
    nodes: list[Any] = []
    for node in graph.graph.node:
        nodes += before.get(node.output[0], [])
        nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend([numpy_helper.from_array(value, name) for name, value in new.items()])
    _note_divisors(graph, inverse)
    _drop_unused(graph)


def columns_to_int8(weight: Floats, *, top: int) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric int8 columns and their scales [columns], to ±``top``: ``weight ≈ int8 * scale``."""
    scale = np.abs(weight).max(axis=0) / top
    scale[scale == 0] = 1.0
    return np.clip(np.rint(weight / scale), -top, top).astype(np.int8), scale.astype(np.float32)


def faster_gelu(graph: Any) -> int:
    """Lets ``Gelu`` be computed through tanh (within 5e-4 of the exact one, less than rounding); returns how many."""
    count = 0
    for node in graph.graph.node:
        if node.op_type == "Gelu" and node.domain == "":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("approximate", "tanh"))
            count += 1
    return count


def _note_divisors(graph: Any, inverse: Mapping[str, str]) -> None:
    """Third column of the table of parameters: what the torch engine multiplies a weight's rows by to have it back."""
    props = {item.key: item.value for item in graph.metadata_props}
    if PARAMETERS_KEY not in props:
        return
    table = {
        parameter: [name, kind, *([inverse[name]] if name in inverse else [])]
        for parameter, (name, kind, *_) in json.loads(props[PARAMETERS_KEY]).items()
    }
    helper.set_model_props(graph, props | {PARAMETERS_KEY: json.dumps(table)})


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.graph.node for name in node.input}
    kept = [item for item in graph.graph.initializer if item.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
