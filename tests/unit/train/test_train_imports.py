"""The core install has no torch: what it uses may not import torch, not even where torch is installed."""

import subprocess
import sys

CODE = """
import sys
import monitor.cli.evaluate, monitor.cli.model, monitor.cli.train
import monitor.model.engines, monitor.model.engines.onnx, monitor.model.scorer, monitor.train.evaluate
bad = {"torch", "transformers", "onnx", "sklearn", "safetensors"} & set(sys.modules)
assert not bad, bad
"""


def test_scoring_and_evaluating_need_none_of_the_training_packages() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
