"""An engine that gives way: one thread, of the lowest priority where the system has priorities by thread (Linux)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

from monitor.model.artefact import Artefact
from monitor.model.engines.base import Logits
from monitor.model.engines.onnx import OnnxEngine

_NICE = 19


class QuietEngine(OnnxEngine):
    """The ONNX engine for a model that nobody waits for."""

    name = "onnx, low priority"

    def __init__(self, artefact: Artefact) -> None:
        super().__init__(artefact, threads=1)
        self._lowered: set[int] = set()

    def logits(self, batch: Sequence[Sequence[int]]) -> dict[str, Logits]:
        """See :meth:`TokenEngine.logits`. With one thread, onnxruntime computes in the caller's."""
        self._lower()
        return super().logits(batch)

    def tokens(self, prepared: Sequence[str]) -> list[list[int]]:
        """See :meth:`TokenEngine.tokens`."""
        self._lower()
        return super().tokens(prepared)

    def _lower(self) -> None:
        thread = threading.get_native_id()
        if thread in self._lowered or threading.current_thread() is threading.main_thread():
            return
        self._lowered.add(thread)
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, thread, _NICE)
