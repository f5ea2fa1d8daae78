"""Model tests run on the packaged model where there is one, and on a tiny one trained on the spot for the rest."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import tiny_model

from monitor.core.errors import ArtefactMissingError
from monitor.model.artefact import Artefact, packaged


@pytest.fixture(scope="session")
def tiny() -> Artefact:
    """A model trained in seconds through the real path; it has float weights beside the int8 graph."""
    for name in ("torch", "transformers", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name} (the train extra)")
    return Artefact.load(tiny_model.artefact())


@pytest.fixture(scope="session")
def shipped() -> Artefact:
    """The packaged model."""
    try:
        return Artefact.load(packaged())
    except ArtefactMissingError:
        pytest.skip("no packaged model in this checkout")


@pytest.fixture
def copy(tiny: Artefact, tmp_path: Path) -> Path:
    """A copy of the tiny artefact that a test may damage."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))
