"""The OpenVINO engine: the same int8 graph, run by Intel's library. Optional (`riskwire[openvino]`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.core.errors import ArtefactMismatchError, ModelError, ModelInputError
from monitor.model.artefact import Artefact
from monitor.model.engines.base import Logits, TokenEngine, pad
from monitor.model.engines.onnx import available_cpus


class OpenVinoEngine(TokenEngine):
    """Runs ``model.int8.onnx`` through OpenVINO. ``threads`` defaults to the CPUs that this process may use."""

    name = "openvino"

    def __init__(self, artefact: Artefact, *, threads: int | None = None) -> None:
        super().__init__(artefact)
        try:
            import openvino
        except ImportError as error:
            raise ModelError(
                "The openvino engine is not installed.", hint="pip install 'riskwire[openvino]'"
            ) from error
        settings = {
            "INFERENCE_NUM_THREADS": threads or available_cpus(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the process does other things on these cores
        }
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(str(artefact.onnx)), "CPU", settings)
        except Exception as error:
            raise ArtefactMismatchError(
                f"{artefact.onnx} cannot be loaded by OpenVINO: {str(error).splitlines()[0]}",
                hint="Use model.engine = 'onnx'.",
            ) from error
        known = {name for output in compiled.outputs for name in output.get_names()}
        missing = [task for task in artefact.tasks if f"logits_{task}" not in known]
        if missing:
            raise ArtefactMismatchError(
                f"{artefact.onnx} has no output for task '{missing[0]}'.",
                hint="Make the artefact again with `riskwire train`.",
            )
        self._rows = int(artefact.encoder.get("vocab_size", 2**31))
        self._request = compiled.create_infer_request()

    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        """See :meth:`TokenEngine.logits`."""
        ids, mask = pad(batch, self.artefact.pad_id)
        if ids.min() < 0 or ids.max() >= self._rows:  # OpenVINO reads past the table instead of refusing
            raise ModelInputError("The model cannot take this batch: a token id is outside its vocabulary.")
        try:
            self._request.infer({"input_ids": ids, "attention_mask": mask})
        except Exception as error:
            raise ModelInputError(f"The model cannot take this batch: {str(error).splitlines()[0]}") from error
        # The request's own memory is written over by the next batch.
        return {
            task: np.array(self._request.get_tensor(f"logits_{task}").data, dtype=np.float32)
            for task in self.artefact.tasks
        }
