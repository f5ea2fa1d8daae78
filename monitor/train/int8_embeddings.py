"""The table of word embeddings, half of a small encoder's weights, as int8 rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def rows_to_int8(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 rows and their scales [rows, 1]: ``row ≈ int8 * scale``."""
    scale = np.abs(table).max(axis=1, keepdims=True) / 127.0
    scale[scale == 0] = 1.0
    return np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


def quantize_embeddings(graph: Any) -> None:
    """Replaces ``Gather`` from a large float table by ``Cast(Gather(int8)) * Gather(scale)``: exact per row, small, and
    only the rows that occur are converted."""
    initializers = {item.name: item for item in graph.graph.initializer}
    nodes: list[Any] = []
    replaced: set[str] = set()
    for node in graph.graph.node:
        table = initializers.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT or len(table.dims) != 2 or table.dims[0] < 2048:
            nodes.append(node)
            continue
        name, indices, out = node.input[0], node.input[1], node.output[0]
        if name not in replaced:
            int8, scale = rows_to_int8(numpy_helper.to_array(table))
            graph.graph.initializer.extend([
                numpy_helper.from_array(int8, f"{name}_quantized"),
                numpy_helper.from_array(scale, f"{name}_scale"),
                numpy_helper.from_array(np.zeros(1, dtype=np.int8), f"{name}_zero_point"),
            ])  # fmt: skip
            replaced.add(name)
        nodes.extend([
            helper.make_node("Gather", [f"{name}_quantized", indices], [f"{out}_int8"], name=f"{out}_rows"),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_float"], name=f"{out}_cast", to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_scale", indices], [f"{out}_scales"], name=f"{out}_scale_rows"),
            helper.make_node("Mul", [f"{out}_float", f"{out}_scales"], [out], name=f"{out}_dequantized"),
        ])  # fmt: skip
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    # The zero point is used by no node, but is part of what the torch engine reads.
    used = {name for node in nodes for name in node.input} | {f"{name}_zero_point" for name in replaced}
    kept = [item for item in graph.graph.initializer if item.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
