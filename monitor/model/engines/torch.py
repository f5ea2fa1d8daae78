"""The torch engine: CUDA with bf16 where there is one, the same code on the CPU in float32. Without padding for BERT
encoders (:mod:`monitor.model.engines.packed`), padded to the batch's longest text for others.

Weights come from ``model.safetensors`` when the artefact carries it; otherwise the int8 weights of the ONNX graph are
taken back to floats, so that a small artefact serves both engines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.core.errors import ArtefactMismatchError, ModelError
from monitor.model import network as networks
from monitor.model.artefact import Artefact
from monitor.model.engines import packed
from monitor.model.engines.base import Logits, TokenEngine, check, pad

PARAMETERS_KEY = "riskwire.parameters"
"""Metadata of the graph: parameter name → [initializer, kind] or [initializer, kind, factors of its rows], kind being
``as_is`` or ``transposed``."""


GPU_TOKEN_BUDGET = 32_768
"""Tokens in a batch on a GPU, which a small encoder leaves idle otherwise. Not measured: an estimate."""


class TorchEngine(TokenEngine):
    """Runs the network in torch. ``device`` defaults to CUDA when there is one."""

    name = "torch"

    def __init__(self, artefact: Artefact, *, threads: int | None = None, device: str | None = None) -> None:
        super().__init__(artefact)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if threads and self.device.type == "cpu":
            torch.set_num_threads(threads)
        sizes = {task: len(spec.labels) for task, spec in artefact.tasks.items()}
        self._network = networks.build(artefact.encoder, tasks=sizes, pooling=artefact.pooling)
        weights = read_safetensors(artefact.safetensors) if artefact.safetensors else dequantised(artefact.onnx)
        try:
            self._network.load_state_dict(weights)
        except RuntimeError as error:
            raise ArtefactMismatchError(
                f"The weights of {artefact.id} do not fit its config.json: {str(error).splitlines()[-1].strip()}",
                hint="Make the artefact again with `riskwire train`.",
            ) from error
        self._network.to(self.device).eval()
        self.packs = packed.fits(self._network)
        if self.device.type == "cuda":
            self.token_budget = GPU_TOKEN_BUDGET

    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        """See :meth:`TokenEngine.logits`. A batch too large for the GPU's memory is halved and tried again."""
        check(batch)
        try:
            return self._forward(batch)
        except torch.cuda.OutOfMemoryError as error:
            if len(batch) == 1:
                raise ModelError(
                    "The GPU has too little free memory for one text.", hint="Force model.engine = 'onnx'."
                ) from error
        torch.cuda.empty_cache()
        half = len(batch) // 2
        first, second = self.logits(batch[:half]), self.logits(batch[half:])
        return {task: np.concatenate([first[task], second[task]]) for task in first}

    def _forward(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        on_gpu = self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=on_gpu):
            if self.packs:
                outputs = packed.forward(self._network, batch, self.device)
            else:
                ids, mask = pad(batch, self.artefact.pad_id)
                outputs = self._network(torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device))
        return {
            task: np.asarray(values.float().cpu().numpy(), dtype=np.float32)
            for task, values in zip(self.artefact.tasks, outputs, strict=True)
        }


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The weights by name. Raises ArtefactMismatchError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ArtefactMismatchError(f"{path} cannot be read: {error}.") from error


def dequantised(path: Path) -> dict[str, torch.Tensor]:
    """Float weights out of an int8 graph, by the parameter names of the network.

    Raises ModelError when the ``onnx`` package is not installed, ArtefactMismatchError when the graph does not say
    which initializer is which parameter.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ModelError(
            "The torch engine reads this artefact through onnx.", hint="pip install 'riskwire[gpu]'"
        ) from error
    graph = onnx.load(str(path))
    metadata = {item.key: item.value for item in graph.metadata_props}
    if PARAMETERS_KEY not in metadata:
        raise ArtefactMismatchError(
            f"{path} does not name its parameters.", hint="Make the artefact again, with model.safetensors."
        )
    stored = {item.name: numpy_helper.to_array(item) for item in graph.graph.initializer}
    mapping: Mapping[str, Any] = json.loads(metadata[PARAMETERS_KEY])
    weights: dict[str, torch.Tensor] = {}
    for parameter, (initializer, kind, *inverse) in mapping.items():
        value = _floats(stored, initializer, path)
        if inverse:  # spread of the activations that was moved into the rows
            value = value * stored[inverse[0]][:, None]
        weights[parameter] = torch.from_numpy(np.ascontiguousarray(value.T if kind == "transposed" else value))
    return weights


def _floats(stored: Mapping[str, NDArray[Any]], name: str, path: Path) -> NDArray[np.float32]:
    """A float initializer, or ``(quantized - zero_point) * scale``, the scale by column or by row."""
    if name in stored:
        return np.array(stored[name], dtype=np.float32)
    parts = (f"{name}_quantized", f"{name}_scale", f"{name}_zero_point")
    if any(part not in stored for part in parts):
        raise ArtefactMismatchError(f"{path} has no weights named {name}.")
    quantized, scale, zero = (stored[part].astype(np.float32) for part in parts)
    return np.asarray((quantized - zero) * scale, dtype=np.float32)
