"""The model artefact: one folder that carries weights, tokenizer, labels, preprocessing, calibration and hashes.

config.json      format version, tasks, labels, display names, preprocessing, calibration, encoder shape
tokenizer.json   the fast tokenizer
model.int8.onnx  what runs on the CPU
model.safetensors  optional: float weights for the torch engine
metrics.json, MODEL_CARD.md   how good it is, and on what
SHA256SUMS       of all of them; its own hash names the artefact
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.core.errors import ArtefactMismatchError, ArtefactMissingError, ArtefactVersionError
from monitor.model.calibration import Calibration
from monitor.model.preprocess import Preprocessing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT = 1
CONFIG, TOKENIZER, ONNX = "config.json", "tokenizer.json", "model.int8.onnx"
SAFETENSORS, METRICS, CARD, SUMS = "model.safetensors", "metrics.json", "MODEL_CARD.md", "SHA256SUMS"
REQUIRED = (CONFIG, TOKENIZER, ONNX, METRICS, CARD)
_RETRAIN = "Reinstall Riskwire, or make the artefact again with `riskwire train`."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One head: labels in the order of its outputs, display names by label and language, and its calibration."""

    labels: tuple[str, ...]
    names: Mapping[str, Mapping[str, str]]
    calibration: Calibration

    def display(self, label: str, lang: str = "en") -> str:
        """How people see a label; English when the language has no name for it, the id when English has none."""
        names = self.names.get(label, {})
        return names.get(lang) or names.get("en") or label


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A verified artefact. ``id`` is its name and the first 12 hex digits of the hash of its hashes."""

    path: Path
    id: str
    name: str
    tasks: Mapping[str, TaskSpec]
    preprocessing: Preprocessing
    pad_id: int
    pooling: str
    encoder: Mapping[str, Any]
    languages: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> Artefact:
        """Reads and verifies the folder: every file present, every hash right, a known format version.

        Raises ArtefactMissingError, ArtefactMismatchError or ArtefactVersionError.
        """
        if not path.is_dir():
            raise ArtefactMissingError(f"There is no model artefact at {path}.", hint=_RETRAIN)
        sums = _read(path / SUMS)
        data = _json(path / CONFIG)
        version = data.get("format")
        if version != FORMAT:
            # Before the hashes: a newer format may list other files.
            raise ArtefactVersionError(
                f"{path} has artefact format {version!r}; this Riskwire reads format {FORMAT}.",
                hint="Upgrade Riskwire." if isinstance(version, int) and version > FORMAT else _RETRAIN,
            )
        verify(path, sums)
        try:
            tasks = {
                name: TaskSpec(
                    labels=tuple(task["labels"]),
                    names={label: dict(names) for label, names in task["names"].items()},
                    calibration=Calibration.from_dict(task, labels=task["labels"], task=name),
                )
                for name, task in data["tasks"].items()
            }
            name, pooling, encoder = str(data["name"]), str(data["pooling"]), dict(data["encoder"])
            steps, pad = dict(data["preprocessing"]), int(data["pad_id"])
            languages = tuple(data["languages"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtefactMismatchError(f"{path / CONFIG} is incomplete: {error!r}.", hint=_RETRAIN) from error
        for task_name, task in tasks.items():
            if len(set(task.labels)) < 2 or len(set(task.labels)) != len(task.labels):
                raise ArtefactMismatchError(
                    f"{path / CONFIG}: task '{task_name}' has no sound label list.", hint=_RETRAIN
                )
        return cls(
            path=path,
            id=f"{name}@{hashlib.sha256(sums).hexdigest()[:12]}",
            name=name,
            tasks=tasks,
            preprocessing=Preprocessing.from_dict(steps),
            pad_id=pad,
            pooling=pooling,
            encoder=encoder,
            languages=languages,
        )

    @property
    def onnx(self) -> Path:
        """The int8 graph."""
        return self.path / ONNX

    @property
    def safetensors(self) -> Path | None:
        """The float weights, when the artefact carries them."""
        file = self.path / SAFETENSORS
        return file if file.exists() else None

    def metrics(self) -> dict[str, Any]:
        """What was measured when it was made."""
        return _json(self.path / METRICS)

    def card(self) -> str:
        """The model card, Markdown."""
        return _read(self.path / CARD).decode("utf-8")

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, cutting at the artefact's ``max_tokens``, not padding. Raises ArtefactMismatchError."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(_read(self.path / TOKENIZER).decode("utf-8"))
        except Exception as error:
            raise ArtefactMismatchError(f"{self.path / TOKENIZER} is no tokenizer: {error}.", hint=_RETRAIN) from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.preprocessing.max_tokens)
        return tokenizer

    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.path.iterdir())


def packaged() -> Path:
    """The folder of the model that came with Riskwire. Raises ArtefactMissingError."""
    home = Path(__file__).parent / "packaged"
    found = sorted(child for child in home.glob("*") if (child / SUMS).is_file())
    if not found:
        raise ArtefactMissingError(
            f"No packaged model in {home}.",
            hint="Reinstall Riskwire, or name a model of your own in the configuration.",
        )
    return found[0]


def locate(model: str | Path | None) -> Path:
    """The folder of a model by path; the packaged one for None, "" and "packaged"."""
    return packaged() if model is None or str(model) in ("", "packaged") else Path(model)


def verify(path: Path, sums: bytes | None = None) -> list[str]:
    """Checks every hash in SHA256SUMS and that no file is missing from it; returns the names checked.

    Raises ArtefactMissingError or ArtefactMismatchError.
    """
    raw = _read(path / SUMS) if sums is None else sums
    listed: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).name != name:
            raise ArtefactMismatchError(
                f"{path / SUMS} has a line that is not 'hash  file': {line[:80]!r}.", hint=_RETRAIN
            )
        listed[name] = digest
    for name in REQUIRED:
        if name not in listed:
            raise ArtefactMismatchError(f"{path / SUMS} does not list {name}.", hint=_RETRAIN)
    if (path / SAFETENSORS).exists() and SAFETENSORS not in listed:
        raise ArtefactMismatchError(f"{path / SAFETENSORS} is not listed in {SUMS}.", hint="Remove it; " + _RETRAIN)
    for name, digest in listed.items():
        if _hash(path / name) != digest:
            raise ArtefactMismatchError(
                f"{path / name} is not the file that {SUMS} names (hash differs).", hint=_RETRAIN
            )
    return list(listed)


def write_sums(path: Path) -> None:
    """Writes SHA256SUMS over all other files of the folder."""
    names = sorted(file.name for file in path.iterdir() if file.is_file() and file.name != SUMS)
    (path / SUMS).write_text("".join(f"{_hash(path / name)}  {name}\n" for name in names), "utf-8")


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtefactMissingError(f"{path} is missing or unreadable ({error.strerror}).", hint=_RETRAIN) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactMissingError(f"{path} is missing or unreadable ({error.strerror}).", hint=_RETRAIN) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise ArtefactMismatchError(f"{path} is not JSON: {error}.", hint=_RETRAIN) from error
    if not isinstance(data, dict):
        raise ArtefactMismatchError(f"{path} is not a JSON object.", hint=_RETRAIN)
    return data
