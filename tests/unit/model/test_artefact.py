import hashlib
import json
from pathlib import Path

import pytest

from monitor.core.errors import ArtefactMismatchError, ArtefactMissingError, ArtefactVersionError
from monitor.model import artefact as artefacts
from monitor.model.artefact import Artefact, locate, verify, write_sums
from monitor.model.engines import choose_engine

FILES = (*artefacts.REQUIRED, artefacts.SAFETENSORS)


def test_the_id_is_name_and_hash_of_the_hashes(tiny: Artefact) -> None:
    digest = hashlib.sha256((tiny.path / "SHA256SUMS").read_bytes()).hexdigest()
    assert tiny.id == f"tiny@{digest[:12]}"
    assert set(verify(tiny.path)) == set(FILES)


@pytest.mark.parametrize("name", [*FILES, artefacts.SUMS])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtefactMissingError, match=name) as caught:
        Artefact.load(copy)
    assert caught.value.hint


@pytest.mark.parametrize("name", [name for name in FILES if name != artefacts.CONFIG])
def test_one_changed_byte_is_refused(copy: Path, name: str) -> None:
    raw = bytearray((copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(ArtefactMismatchError, match=f"{name}.*hash differs"):
        Artefact.load(copy)


def _change_config(folder: Path, **changes: object) -> None:
    file = folder / artefacts.CONFIG
    data = json.loads(file.read_text("utf-8"))
    data.update(changes)
    file.write_text(json.dumps({k: v for k, v in data.items() if v is not None}), "utf-8")
    write_sums(folder)


def test_a_changed_config_without_new_hashes_is_refused(copy: Path) -> None:
    file = copy / artefacts.CONFIG
    file.write_text(file.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(ArtefactMismatchError, match="hash differs"):
        Artefact.load(copy)


@pytest.mark.parametrize(("version", "hint"), [(2, "Upgrade"), (0, "riskwire train"), (None, "riskwire train")])
def test_another_format_version_is_refused(copy: Path, version: int | None, hint: str) -> None:
    _change_config(copy, format=version)
    with pytest.raises(ArtefactVersionError, match=r"reads format 1") as caught:
        Artefact.load(copy)
    assert hint in caught.value.hint


@pytest.mark.parametrize("key", ["tasks", "preprocessing", "encoder", "name", "pad_id"])
def test_an_incomplete_config_is_refused(copy: Path, key: str) -> None:
    _change_config(copy, **{key: None})
    with pytest.raises(ArtefactMismatchError, match="incomplete"):
        Artefact.load(copy)


def test_a_label_list_that_does_not_fit_the_graph_is_refused(copy: Path) -> None:
    tasks = json.loads((copy / artefacts.CONFIG).read_text("utf-8"))["tasks"]
    tasks["topic"]["labels"].append("sports")
    _change_config(copy, tasks=tasks)
    with pytest.raises(ArtefactMismatchError, match="task 'topic'"):
        choose_engine(Artefact.load(copy), "onnx")


def test_files_that_are_no_model_or_tokenizer_are_refused(copy: Path) -> None:
    (copy / artefacts.ONNX).write_bytes(b"not a graph")
    write_sums(copy)
    with pytest.raises(ArtefactMismatchError, match="cannot be loaded"):
        choose_engine(Artefact.load(copy), "onnx")
    (copy / artefacts.TOKENIZER).write_text("{}", "utf-8")
    write_sums(copy)
    with pytest.raises(ArtefactMismatchError, match="no tokenizer"):
        choose_engine(Artefact.load(copy), "onnx")


def test_sums_that_name_other_places_are_refused(copy: Path) -> None:
    sums = copy / artefacts.SUMS
    sums.write_text(sums.read_text("utf-8") + f"{'0' * 64}  ../../etc/passwd\n", "utf-8")
    with pytest.raises(ArtefactMismatchError, match="hash  file"):
        Artefact.load(copy)


def test_weights_slipped_in_beside_the_sums_are_refused(copy: Path) -> None:
    sums = copy / artefacts.SUMS
    lines = [line for line in sums.read_text("utf-8").splitlines(keepends=True) if artefacts.SAFETENSORS not in line]
    sums.write_text("".join(lines), "utf-8")
    with pytest.raises(ArtefactMismatchError, match="not listed"):
        Artefact.load(copy)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(ArtefactMissingError, match="no model artefact at"):
        Artefact.load(tmp_path / "none")
    assert locate(tmp_path) == tmp_path


def test_display_names_fall_back_to_english_and_to_the_id(tiny: Artefact) -> None:
    topic = tiny.tasks["topic"]
    assert topic.display("energy_oil", "zh") == "能源与石油"
    assert topic.display("energy_oil", "fr") == "Energy and oil"
    assert topic.display("unknown") == "unknown"
