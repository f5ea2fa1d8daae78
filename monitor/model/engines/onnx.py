"""The default engine: ONNX on the CPU through onnxruntime, int8 or the same numbers in float32 arithmetic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from monitor.core.errors import ArtefactMismatchError, ModelInputError
from monitor.model.artefact import Artefact
from monitor.model.engines.base import Logits, TokenEngine, pad

Arithmetic = Literal["int8", "fp32"]

_SLOW_FUSIONS = ("SkipLayerNormFusion",)
"""onnxruntime's joint kernel of addition and layer norm takes several times as long on the CPU as the two by themselves
(1.32: 6 µs a token of width 384 against less than 1)."""


class OnnxEngine(TokenEngine):
    """Runs ``model.int8.onnx``. ``threads`` defaults to the CPUs that this process may use.

    ``arithmetic`` "fp32" multiplies the same rounded numbers as floats: for machines where int8 is slower, and as the
    reference that int8 is checked against. It differs from "int8" only in graphs of quantise/dequantise pairs.
    """

    name = "onnx"

    def __init__(self, artefact: Artefact, *, threads: int | None = None, arithmetic: Arithmetic = "int8") -> None:
        super().__init__(artefact)
        import onnxruntime as ort

        self.arithmetic = arithmetic
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        options.inter_op_num_threads = 1
        # Idle threads sleep: the process polls feeds and writes to disk beside the model.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if arithmetic == "fp32":
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(artefact.onnx),
                sess_options=options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(_SLOW_FUSIONS),
            )
        except Exception as error:
            raise ArtefactMismatchError(
                f"{artefact.onnx} cannot be loaded: {str(error).splitlines()[0]}",
                hint="Upgrade onnxruntime, or make the artefact again with `riskwire train`.",
            ) from error
        outputs = {item.name: item.shape for item in self._session.get_outputs()}
        self._outputs = {task: f"logits_{task}" for task in artefact.tasks}
        for task, spec in artefact.tasks.items():
            if self._outputs[task] not in outputs or outputs[self._outputs[task]][-1] != len(spec.labels):
                raise ArtefactMismatchError(
                    f"{artefact.onnx} has no output for the {len(spec.labels)} labels of task '{task}'.",
                    hint="Make the artefact again with `riskwire train`.",
                )

    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        """See :meth:`TokenEngine.logits`."""
        ids, mask = pad(batch, self.artefact.pad_id)
        try:
            values = self._session.run(list(self._outputs.values()), {"input_ids": ids, "attention_mask": mask})
        except Exception as error:
            raise ModelInputError(f"The model cannot take this batch: {str(error).splitlines()[0]}") from error
        return {task: np.asarray(rows, dtype=np.float32) for task, rows in zip(self._outputs, values, strict=True)}


def available_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
