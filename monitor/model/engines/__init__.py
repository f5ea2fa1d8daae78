"""Engines run the model: ``onnx`` (int8 on the CPU, the default), ``openvino`` (optional) and ``torch`` (CUDA)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from monitor.core.errors import ConfigError, ModelError
from monitor.model.artefact import Artefact
from monitor.model.engines.base import TokenEngine

ENGINES = ("auto", "onnx", "openvino", "torch")
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


def choose_engine(
    artefact: Artefact, name: str = "auto", *, threads: int | None = None, cache: Path | None = None
) -> TokenEngine:
    """The engine called ``name``; ``auto`` is torch where torch sees a CUDA device, else what is fastest on this CPU:
    measured once and remembered in ``cache``, see :mod:`monitor.model.engines.choice`.

    Raises ConfigError on an unknown name, ModelError when the engine is not installed or the artefact does not fit.
    """
    if name not in ENGINES:
        raise ConfigError(f"There is no engine '{name}'.", hint=f"Use one of: {', '.join(ENGINES)}.")
    if name == "torch" or (name == "auto" and _cuda()):
        if not _torch_installed():
            raise ModelError("The torch engine is not installed.", hint="pip install 'riskwire[gpu]'")
        from monitor.model.engines.torch import TorchEngine

        return TorchEngine(artefact, threads=threads)
    if name == "auto":
        from monitor.model.engines.choice import fastest

        return fastest(artefact, threads=threads, cache=cache)
    if name == "openvino":
        from monitor.model.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(artefact, threads=threads)
    from monitor.model.engines.onnx import OnnxEngine

    return OnnxEngine(artefact, threads=threads)


def _torch_installed() -> bool:
    return all(importlib.util.find_spec(package) is not None for package in ("torch", "transformers"))


def _cuda() -> bool:
    """True when torch can use a GPU. torch takes seconds to import, so the device files are looked at first."""
    if not any(Path(file).exists() for file in _GPU_FILES) or not _torch_installed():
        return False
    import torch

    return torch.cuda.is_available()
