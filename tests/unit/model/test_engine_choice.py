"""Which engine is taken: measured once, checked, remembered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from monitor.core.errors import ModelError
from monitor.model.engines import choice
from monitor.model.engines.base import TokenEngine


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """Takes ``seconds`` a batch and answers ``answer`` to everything."""

    artefact = SimpleNamespace(preprocessing=SimpleNamespace(text=str))

    def __init__(self, clock: Clock, seconds: float, answer: Sequence[float] = (0.8, 0.2)) -> None:
        self.clock, self.seconds, self.answer, self.closed = clock, seconds, answer, False

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1]] * len(texts)

    def logits(self, ids: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        self.clock.now += self.seconds
        return {"mood": np.tile(self.answer, (len(ids), 1))}

    probabilities = logits

    def close(self) -> None:
        self.closed = True


def _measure(clock: Clock, **engines: Fake) -> choice.Measured:
    return choice.measure({name.replace("_", " "): lambda e=e: e for name, e in engines.items()}, now=clock)  # type: ignore[misc]


def test_the_fastest_wins_and_all_are_closed() -> None:
    clock = Clock()
    engines = {"onnx_int8": Fake(clock, 0.4), "onnx_fp32": Fake(clock, 0.1), "openvino_int8": Fake(clock, 0.2)}
    found = _measure(clock, **engines)
    assert found.name == "onnx fp32"
    assert found.speeds["onnx int8"] == pytest.approx(len(choice.PROBES) / 0.4)
    assert all(engine.closed for engine in engines.values())


def test_a_small_gain_does_not_move_it_from_the_usual_engine() -> None:
    clock = Clock()
    assert _measure(clock, onnx_int8=Fake(clock, 0.100), onnx_fp32=Fake(clock, 0.099)).name == "onnx int8"


def test_a_fast_engine_that_answers_otherwise_is_refused() -> None:
    clock = Clock()
    found = _measure(clock, onnx_int8=Fake(clock, 0.1, (0.4, 0.6)), onnx_fp32=Fake(clock, 0.5))
    assert found.name == "onnx fp32"
    assert found.speeds["onnx int8"] == 0
    clock = Clock()
    close = _measure(clock, onnx_int8=Fake(clock, 0.1, (0.79, 0.21)), onnx_fp32=Fake(clock, 0.5))
    assert close.name == "onnx int8"


def test_measuring_ends_after_its_time() -> None:
    clock = Clock()
    _measure(clock, onnx_int8=Fake(clock, 10.0))
    assert clock.now == 20.0  # the warm-up and one round


def _broken() -> TokenEngine:
    raise ModelError("no such instruction")


def test_what_does_not_run_is_passed_over_until_nothing_is_left() -> None:
    clock = Clock()
    found = choice.measure({"onnx int8": _broken, "onnx fp32": lambda: Fake(clock, 0.1)}, now=clock)  # type: ignore[dict-item,return-value]
    assert found.name == "onnx fp32"
    with pytest.raises(ModelError, match="no such instruction"):
        choice.measure({"onnx int8": _broken}, now=clock)


def test_a_choice_is_remembered_and_a_damaged_or_unwritable_memory_only_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, built = Clock(), []

    def build(name: str, seconds: float) -> choice.Build:
        def make() -> TokenEngine:
            built.append(name)
            return Fake(clock, seconds)  # type: ignore[return-value]

        return make

    monkeypatch.setattr(
        choice, "candidates", lambda _a, _t: {"onnx int8": build("a", 0.5), "onnx fp32": build("b", 0.1)}
    )
    monkeypatch.setattr(choice, "fingerprint", lambda _a, _t: "this machine")
    monkeypatch.setattr(choice.time, "perf_counter", clock)
    monkeypatch.setattr(choice.measure, "__kwdefaults__", {"now": clock})
    artefact = SimpleNamespace(id="m@1")
    kept = tmp_path / "deep" / "engines.json"
    choice.fastest(artefact, cache=kept)  # type: ignore[arg-type]
    assert built == ["a", "b", "b"]
    assert json.loads(kept.read_text("utf-8")) == {"this machine": "onnx fp32"}
    built.clear()
    choice.fastest(artefact, cache=kept)  # type: ignore[arg-type]
    assert built == ["b"]
    kept.write_text("[1", "utf-8")
    built.clear()
    choice.fastest(artefact, cache=kept)  # type: ignore[arg-type]
    assert built == ["a", "b", "b"]
    blocked = tmp_path / "file"
    blocked.write_text("", "utf-8")
    choice.fastest(artefact, cache=blocked / "engines.json")  # type: ignore[arg-type]


def test_the_file_is_below_the_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choice.cache_file() == tmp_path / "riskwire" / "engines.json"
