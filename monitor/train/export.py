"""From the trained network to a graph: ONNX with free batch and sequence axes, then int8 weights."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.core.errors import TrainError
from monitor.model.engines.torch import PARAMETERS_KEY
from monitor.model.network import MultiTaskNetwork
from monitor.train.int8_embeddings import quantize_embeddings
from monitor.train.static_int8 import answers, difference, quantize_static

OPSET = 20
"""The first with ``Gelu`` as one operator."""
_TOLERANCE = 2e-3
STATIC_MOST = 0.03
"""Mean largest movement of a text's probabilities that int8 may cause before the slower way is tried."""


def export_float(network: MultiTaskNetwork, path: Path, *, max_tokens: int) -> None:
    """Writes the network as a float32 graph with inputs ``input_ids`` and ``attention_mask`` [batch, sequence] and an
    output ``logits_<task>`` per head, and checks it against torch. Raises TrainError when they differ."""
    network = copy.deepcopy(network).cpu().float().eval()
    # Plain attention: the fused one is exported with a guard against rows without any token (IsNaN, Where), which
    # costs the CPU 15 % and guards against what cannot happen: every text has its first token.
    network.encoder.set_attn_implementation("eager")  # type: ignore[operator]
    ids = torch.randint(3, 60, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    axes = {0: torch.export.Dim("batch", min=1, max=65536), 1: torch.export.Dim("sequence", min=2, max=max_tokens)}
    quiet = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
            program = torch.onnx.export(
                network,
                (ids, mask),
                dynamo=True,
                input_names=["input_ids", "attention_mask"],
                output_names=[f"logits_{task}" for task in network.heads],
                dynamic_shapes=(axes, axes),
                opset_version=OPSET,
                optimize=True,
                verbose=False,
            )
            assert program is not None
            program.save(str(path))
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
    graph = onnx.load(str(path))
    _name_parameters(graph, network)
    _strip(graph)
    onnx.save(graph, str(path))
    _check(network, path)


def _strip(graph: Any) -> None:
    """Removes what the exporter notes of the machine it ran on: stack traces with paths, by node and value."""
    graph.doc_string = graph.graph.doc_string = ""
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for item in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]


def _name_parameters(graph: Any, network: MultiTaskNetwork) -> None:
    """Records which initializer holds which parameter: the exporter renames those that it transposes, and joins equal
    ones. The torch engine reads an artefact without float weights by this table."""
    stored = {item.name: numpy_helper.to_array(item) for item in graph.graph.initializer}
    by_content = {(value.shape, value.tobytes()): name for name, value in stored.items() if value.dtype == np.float32}
    table: dict[str, tuple[str, str]] = {}
    for name, tensor in network.state_dict().items():
        value = tensor.numpy()
        if value.dtype != np.float32:
            continue
        flipped = np.ascontiguousarray(value.T)
        if (value.shape, value.tobytes()) in by_content:
            table[name] = (by_content[value.shape, value.tobytes()], "as_is")
        elif (flipped.shape, flipped.tobytes()) in by_content:
            table[name] = (by_content[flipped.shape, flipped.tobytes()], "transposed")
        else:
            raise TrainError(f"The exported graph has lost the parameter {name}.", hint="Report this with the recipe.")
    helper.set_model_props(graph, {PARAMETERS_KEY: json.dumps(table)})


def _check(network: MultiTaskNetwork, path: Path) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    for batch, length in ((1, 2), (3, 9), (5, 31)):
        ids = torch.randint(3, 60, (batch, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, max(1, length // 2) :] = 0
        with torch.inference_mode():
            wanted = network(ids, mask)
        got = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        worst = max(float(np.abs(w.numpy() - g).max()) for w, g in zip(wanted, got, strict=True))
        if not worst < _TOLERANCE:
            raise TrainError(
                f"The exported graph differs from the network by {worst:.2g} for {batch} x {length} tokens."
            )


def quantize_best(
    source: Path, target: Path, *, ids: Sequence[Sequence[int]], threads: int | None = None
) -> dict[str, float | str]:
    """Writes the float graph ``source`` as int8 to ``target``: with constant scales of activations where they keep the
    answers, which run up to 1.5 times as fast, else with scales per token. Returns what was chosen and the figures.

    ``ids``: token ids of some hundred training texts. Constant scales are taken when probabilities move by at most
    :data:`STATIC_MOST` on texts that set no range, or no more than 1.5 times as far as with scales per token.
    """
    chosen = quantize_static(source, target, ids=ids, threads=threads)
    figures: dict[str, float | str] = {"activations": "static", "migration": chosen.migration, "moved": chosen.error}
    if chosen.error <= STATIC_MOST:
        return figures
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        other = Path(scratch) / target.name
        quantize(source, other)
        held = list(ids[::4])
        moved = difference(
            answers(other.read_bytes(), held, threads=threads), answers(source.read_bytes(), held, threads=threads)
        )
        if chosen.error > 1.5 * moved:
            other.replace(target)
            return {"activations": "per token", "moved": moved, "moved_static": chosen.error}
    return figures | {"moved_per_token": moved}


def quantize(source: Path, target: Path, *, reduce_range: bool = True) -> None:
    """Writes ``source`` with int8 weights: matrices per output channel, the word embeddings per row; activations are
    quantised as they come, each token by itself, so that a text's scores do not depend on the texts beside it.

    ``reduce_range`` keeps weights to 7 bits: the 16-bit sums of CPUs without VNNI would else saturate (onnxruntime
    docs, "Quantize ONNX models", on U8S8 with AVX2 and AVX512).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises pre-processing on the root logger
    heads = [node.name for node in onnx.load(str(source)).graph.node if node.op_type == "Gemm"]
    try:
        quantize_dynamic(
            str(source),
            str(target),
            # The heads are a thousandth of the arithmetic and hold the verdict: they stay as they are.
            nodes_to_exclude=[name + suffix for name in heads for suffix in ("", "_MatMul")],
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logger.setLevel(level)
    graph = onnx.load(str(target))
    quantize_embeddings(graph)
    _quantize_tokens_alone(graph)
    _follow_transposed(graph)
    onnx.checker.check_model(graph, full_check=False)
    onnx.save(graph, str(target))


def _quantize_tokens_alone(graph: Any) -> None:
    """Replaces ``DynamicQuantizeLinear``, which finds one scale for the whole batch, by a symmetric scale per token.

    One scale per batch makes a text's probabilities depend on its neighbours (by up to 0.18 on the packaged model) and
    lets one outlier take the precision of all. uint8 = floor(x / scale + 128.5) with zero point 128.
    """
    constants: dict[str, NDArray[Any]] = {
        "token_axis": np.array([-1], dtype=np.int64),
        "token_steps": np.array(127.0, dtype=np.float32),
        "token_least": np.array(1e-9, dtype=np.float32),
        "token_middle": np.array(128.5, dtype=np.float32),
        "token_zero_point": np.array(128, dtype=np.uint8),
    }
    graph.graph.initializer.extend([numpy_helper.from_array(value, name) for name, value in constants.items()])
    dynamic = [node for node in graph.graph.node if node.op_type == "DynamicQuantizeLinear"]
    scales = {node.output[1] for node in dynamic}
    zero_points = {node.output[2] for node in dynamic}
    products = {
        node.output[0]: (node.input[0], node.input[1])
        for node in graph.graph.node
        if node.op_type == "Mul" and node.input[0] in scales
    }
    nodes: list[Any] = []
    for node in graph.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            nodes.extend(_token_nodes(node.input[0], node.output[0], node.output[1]))
        elif node.output[0] in products:
            continue
        elif node.op_type == "Mul" and node.input[1] in products:
            # Channels first, tokens second: the other way round onnxruntime 1.32 fuses both scales into one kernel
            # (MatMulIntegerToFloat) that takes a single scale for all tokens, and computes something else.
            token_scale, channel_scale = products[node.input[1]]
            out = node.output[0]
            nodes.append(helper.make_node("Mul", [node.input[0], channel_scale], [f"{out}_channels"]))
            nodes.append(helper.make_node("Mul", [f"{out}_channels", token_scale], [out]))
        else:
            for place, name in enumerate(node.input):
                if name in zero_points:
                    node.input[place] = "token_zero_point"
            nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _token_nodes(source: str, quantized: str, scale: str) -> list[Any]:
    def name(part: str) -> str:
        return f"{quantized}_{part}"

    return [
        helper.make_node("Abs", [source], [name("abs")]),
        helper.make_node("ReduceMax", [name("abs"), "token_axis"], [name("max")], keepdims=1),
        helper.make_node("Max", [name("max"), "token_least"], [name("top")]),
        helper.make_node("Div", [name("top"), "token_steps"], [scale]),
        helper.make_node("Div", ["token_steps", name("top")], [name("inverse")]),
        helper.make_node("Mul", [source, name("inverse")], [name("steps")]),
        helper.make_node("Add", [name("steps"), "token_middle"], [name("shifted")]),
        helper.make_node("Cast", [name("shifted")], [quantized], to=TensorProto.UINT8),
    ]


def _follow_transposed(graph: Any) -> None:
    """Mends the table of parameters where the quantiser turned ``Gemm`` into ``MatMul`` and its weight around."""
    stored = {item.name for item in graph.graph.initializer}
    props = {item.key: item.value for item in graph.metadata_props}
    table = json.loads(props[PARAMETERS_KEY])
    for parameter, (name, kind) in table.items():
        if name not in stored and f"{name}_Transposed" in stored:
            table[parameter] = (f"{name}_Transposed", "transposed" if kind == "as_is" else "as_is")
    helper.set_model_props(graph, props | {PARAMETERS_KEY: json.dumps(table)})
