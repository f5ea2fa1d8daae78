"""A model is data: weights are safetensors or ONNX, and a pickle in their place is refused without being run."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
from pathlib import Path

import pytest

from monitor.core.errors import ModelError, TrainError, UsageError
from monitor.model import artefact as artefacts
from monitor.model.artefact import Artefact, write_sums
from monitor.model.engines import choose_engine
from monitor.model.registry import ModelRegistry


class _Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> object:
        return (os.mkdir, (self.mark,))


def _payload(tmp_path: Path) -> tuple[bytes, Path]:
    mark = tmp_path / "it-ran"
    raw = pickle.dumps({"weights": _Bomb(mark)}, protocol=2)  # torch's own
    pickle.loads(raw)  # it does run where somebody unpickles
    mark.rmdir()
    return raw, mark


@pytest.fixture(scope="module")
def tiny() -> Path:
    for name in ("torch", "transformers", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    import tiny_model

    return tiny_model.artefact()


@pytest.mark.parametrize(("name", "engine"), [(artefacts.ONNX, "onnx"), (artefacts.SAFETENSORS, "torch")])
def test_a_pickle_in_place_of_the_weights_is_refused_unrun(tiny: Path, tmp_path: Path, name: str, engine: str) -> None:
    raw, mark = _payload(tmp_path)
    copy = tmp_path / "model"
    shutil.copytree(tiny, copy)
    (copy / name).write_bytes(raw)
    write_sums(copy)  # whoever can write weights can write their sums
    with pytest.raises(ModelError):
        choose_engine(Artefact.load(copy), engine).predict(["text"])  # type: ignore[arg-type]
    assert not mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl"])
def test_a_pickle_beside_the_weights_is_never_looked_at(tiny: Path, tmp_path: Path, name: str) -> None:
    raw, mark = _payload(tmp_path)
    copy = tmp_path / "model"
    shutil.copytree(tiny, copy)
    (copy / name).write_bytes(raw)
    choose_engine(Artefact.load(copy), "onnx").predict(["text"])
    assert not mark.exists()


def test_a_checkpoint_that_would_run_something_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from monitor.train import checkpoint

    raw, mark = _payload(tmp_path)
    (tmp_path / "state.pt").write_bytes(raw)
    with pytest.raises(TrainError, match="no checkpoint"):
        checkpoint.read(tmp_path / "state.pt")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../outside@000000000000", "/etc@000000000000", "a/../../b@000000000000"])
def test_a_models_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside@000000000000"
    outside.mkdir()
    with pytest.raises((UsageError, ModelError)):
        ModelRegistry(tmp_path / "data").path_of(name)
