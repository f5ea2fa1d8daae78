"""Which engine and which arithmetic is fastest on this machine: measured once, checked for quality, remembered.

int8 is several times faster than float32 on CPUs with dot-product instructions (AVX512-VNNI, AVX-VNNI, ARM dotprod) and
may be slower without; kernels for old CPUs may also saturate. So the candidates run a handful of texts at the first
start, and what does not agree with the same graph in float32 arithmetic is not taken, however fast.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.core.errors import ModelError, ModelInputError
from monitor.model.artefact import Artefact
from monitor.model.engines.base import Probabilities, TokenEngine

_log = logging.getLogger("riskwire.model")

PROBES = (
    "Shares of the bank sink 12% after it reports a surprise loss",
    "Acme beats quarterly estimates and raises its dividend",
    "Central bank holds rates and says inflation is easing",
    "Oil rises as producers cut output",
    "Regulator fines the lender $45 million over money-laundering controls",
    "Northwind to hold its annual general meeting on 14 May",
    "Chipmaker recalls a product after reports of fires; analysts lower targets",
    "Borealis names a new chief financial officer",
    "央行宣布降息25个基点",
    "江海银行股价大跌,不良贷款率上升",
    "公司发布半年报,净利润同比增长32%",
    "监管部门对该交易所展开调查",
    "US dollar little changed before jobs data",
    "Gold slips from a record as yields climb, traders await minutes of the last meeting and a speech on Friday",
    "IPO priced at the top of its range",
    "Merger talks end without a deal",
)
"""What candidates are measured and compared on. Ours, of many lengths, both languages."""

LEAST_AGREEMENT = 0.9
"""Part of the probes' verdicts that must be those of float32 arithmetic."""
MOST_DIFFERENCE = 0.05
"""Mean absolute difference of their probabilities, of the worst task, that is let pass."""
_ROUNDS, _SECONDS = 3, 1.5
_GAIN = 1.05
"""A later candidate must be this much faster: small differences are noise."""

Build = Callable[[], TokenEngine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a start found: the name of the fastest sound candidate and headlines/s of each (0: failed the check)."""

    name: str
    speeds: Mapping[str, float]


def candidates(artefact: Artefact, threads: int | None) -> dict[str, Build]:
    """What can run this artefact on this machine's CPU, the usual one first. OpenVINO is not among them: it comes to
    the same speed in over twice the memory, so whoever wants it names it."""
    from monitor.model.engines.onnx import OnnxEngine

    found: dict[str, Build] = {"onnx int8": lambda: OnnxEngine(artefact, threads=threads)}
    if b"DequantizeLinear" in artefact.onnx.read_bytes():
        found["onnx fp32"] = lambda: OnnxEngine(artefact, threads=threads, arithmetic="fp32")
    return found


def fastest(artefact: Artefact, *, threads: int | None = None, cache: Path | None = None) -> TokenEngine:
    """The engine to use on this CPU. Measures at the first start with this model, CPU and libraries (some seconds), and
    remembers the result in ``cache`` (default: :func:`cache_file`). Raises ModelError when none can run."""
    choices = candidates(artefact, threads)
    if len(choices) == 1:
        return next(iter(choices.values()))()
    file = cache or cache_file()
    key = fingerprint(artefact, threads)
    known = _remembered(file).get(key)
    if known in choices:
        try:
            return choices[known]()
        except ModelError as error:
            _log.warning("%s no longer runs here (%s): measuring again", known, error)
    result = measure(choices)
    _log.info(
        "%s: %s is the fastest engine here (%s headlines/s)",
        artefact.id,
        result.name,
        ", ".join(f"{name} {speed:,.0f}" if speed else f"{name} refused" for name, speed in result.speeds.items()),
    )
    _remember(file, key, result.name)
    return choices[result.name]()


def measure(choices: Mapping[str, Build], *, now: Callable[[], float] = time.perf_counter) -> Measured:
    """Runs every candidate on the probes. Raises ModelError when none runs."""
    speeds: dict[str, float] = {}
    answers: dict[str, Probabilities] = {}
    failures: list[str] = []
    for name, build in choices.items():
        try:
            engine = build()
            ids = engine.tokens([engine.artefact.preprocessing.text(text) for text in PROBES])
            answers[name] = engine.probabilities(ids)  # also warms up
            best, began = float("inf"), now()
            for _ in range(_ROUNDS):
                start = now()
                engine.logits(ids)
                best = min(best, now() - start)
                if now() - began > _SECONDS:
                    break
            engine.close()
        except (ModelError, ModelInputError) as error:
            failures.append(f"{name}: {error}")
            continue
        speeds[name] = len(PROBES) / max(best, 1e-9)
    if not speeds:
        raise ModelError("No engine can run the model on this machine: " + "; ".join(failures))
    reference = answers.get("onnx fp32")
    chosen = ""
    for name in speeds:
        if reference is not None and not agrees(answers[name], reference):
            _log.warning("%s does not agree with float32 arithmetic on this machine: not used", name)
            speeds[name] = 0.0
        elif not chosen or speeds[name] > speeds[chosen] * _GAIN:
            chosen = name
    return Measured(name=chosen, speeds=speeds)


def agrees(rows: Probabilities, reference: Probabilities) -> bool:
    """True when verdicts and probabilities are as good as the same."""
    return all(
        bool((rows[task].argmax(1) == wanted.argmax(1)).mean() >= LEAST_AGREEMENT)
        and bool(np.abs(rows[task] - wanted).mean(axis=0).max() <= MOST_DIFFERENCE)
        for task, wanted in reference.items()
    )


def cache_file() -> Path:
    """Where choices are kept: ``$XDG_CACHE_HOME`` (default ``~/.cache``) ``/riskwire/engines.json``."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(home) if home else Path.home() / ".cache"
    except RuntimeError:  # no home: a bare container
        base = Path(tempfile.gettempdir())
    return base / "riskwire" / "engines.json"


def fingerprint(artefact: Artefact, threads: int | None) -> str:
    """Of everything a choice depends on: model, CPU, threads, libraries."""
    versions = []
    for package in ("onnxruntime",):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    parts = [artefact.id, _cpu(), str(threads or os.cpu_count()), *versions]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = {
        line.split(":")[0].strip(): line for line in lines if line.startswith(("model name", "flags", "Features"))
    }
    return platform.machine() + "".join(sorted(wanted.values()))


def _remembered(file: Path) -> dict[str, str]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}


def _remember(file: Path, key: str, name: str) -> None:
    part = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(_remembered(file) | {key: name}, indent=1) + "\n", "utf-8")
        part.replace(file)
    except OSError as error:  # a read-only home: measured again at the next start
        _log.debug("the choice of engine is not kept: %s", error)
