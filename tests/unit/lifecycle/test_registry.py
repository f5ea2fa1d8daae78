"""Which model is set: installed by hash, a pointer with history, back to the former, never to a damaged one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor import app
from monitor.config import ModelSection, Settings
from monitor.core.errors import ArtefactMissingError, ModelError, UsageError
from monitor.model.artefact import Artefact
from monitor.model.registry import POINTER, ModelRegistry

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
Twin = Callable[[str], Path]


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "data")


def test_nothing_is_set_at_first_and_nothing_written(registry: ModelRegistry) -> None:
    assert registry.current() is None
    assert registry.current_path() is None
    assert registry.shadow() is None
    assert not registry.folder.exists()
    with pytest.raises(UsageError, match="no former model"):
        registry.rollback()


def test_set_copies_and_points_and_rollback_goes_back(registry: ModelRegistry, twin: Twin) -> None:
    first, second = twin("one"), twin("two")
    registry.set(str(first), now=NOW, why="better")
    registry.set(str(second), now=NOW + timedelta(hours=1))
    ids = [Artefact.load(first).id, Artefact.load(second).id]
    assert [item.model for item in registry.history()] == ids
    assert registry.history()[0].why == "better"
    path = registry.current_path()
    assert path is not None
    assert path.parent == registry.folder
    assert Artefact.load(path).id == ids[1]
    assert registry.rollback() == (ids[1], ids[0])
    assert registry.current_path() == registry.folder / ids[0]
    assert registry.rollback()[1] == "packaged"
    assert registry.current_path() is None
    # What was once installed can be set by its id, or the beginning of it, when that is unique.
    assert registry.set(ids[1], now=NOW).model == ids[1]
    with pytest.raises(UsageError, match="Several models"):
        registry.path_of("light@")


def test_only_listed_files_are_taken_along(registry: ModelRegistry, twin: Twin) -> None:
    folder = twin("one")
    (folder / "notes.txt").write_text("private", "utf-8")
    registry.set(str(folder), now=NOW)
    path = registry.current_path()
    assert path is not None
    assert not (path / "notes.txt").exists()


def test_what_does_not_verify_is_not_set(registry: ModelRegistry, twin: Twin) -> None:
    folder = twin("one")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match="hash differs"):
        registry.set(str(folder), now=NOW)
    assert registry.current() is None
    with pytest.raises(UsageError, match="no folder and no model"):
        registry.set("nothing@012345678901", now=NOW)
    with pytest.raises(UsageError, match="set already"):
        registry.set("packaged", now=NOW)


def test_rollback_to_a_damaged_model_is_refused_and_changes_nothing(registry: ModelRegistry, twin: Twin) -> None:
    first, second = twin("one"), twin("two")
    registry.set(str(first), now=NOW)
    registry.set(str(second), now=NOW)
    before = registry.history()
    (registry.folder / before[0].model / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError):
        registry.rollback()
    assert registry.history() == before
    assert next(item.fault for item in registry.installed() if item.model == before[0].model)
    # Setting the folder again mends the copy.
    registry.set(str(first), now=NOW)
    assert Artefact.load(registry.folder / before[0].model).id == before[0].model


def test_a_model_that_is_gone_is_named_with_the_way_out(registry: ModelRegistry, twin: Twin) -> None:
    registry.set(str(twin("one")), now=NOW)
    path = registry.current_path()
    assert path is not None
    path.rename(registry.folder / "elsewhere")
    with pytest.raises(ArtefactMissingError, match="riskwire model rollback"):
        registry.current_path()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "history": []}', '{"format": 1, "history": [3]}'])
def test_a_damaged_pointer_is_an_error_that_says_what_to_do(registry: ModelRegistry, text: str) -> None:
    registry.folder.mkdir(parents=True)
    (registry.folder / POINTER).write_text(text, "utf-8")
    with pytest.raises(ModelError, match="model set"):
        registry.current_path()


def test_the_configuration_goes_before_the_pointer(tmp_path: Path, registry: ModelRegistry, twin: Twin) -> None:
    folder = twin("one")
    registry.set(str(folder), now=NOW)
    settings = Settings(data_dir=tmp_path / "data")
    assert app.model_path(settings) == registry.current_path()
    assert app.load_artefact(app.model_path(settings)).id == Artefact.load(folder).id
    own = settings.model_copy(update={"model": ModelSection(path=twin("two"))})
    assert app.model_path(own) == own.model.path


def test_a_shadow_is_another_model_for_some_time(registry: ModelRegistry, twin: Twin) -> None:
    first, second = twin("one"), twin("two")
    registry.set(str(first), now=NOW)
    with pytest.raises(UsageError, match="another one"):
        registry.set_shadow(str(first), since=NOW, until=NOW + timedelta(days=1), share=0.5)
    with pytest.raises(UsageError, match="share"):
        registry.set_shadow(str(second), since=NOW, until=NOW + timedelta(days=1), share=0)
    with pytest.raises(UsageError, match="some time"):
        registry.set_shadow(str(second), since=NOW, until=NOW, share=0.5)
    shadow = registry.set_shadow(str(second), since=NOW, until=NOW + timedelta(days=1), share=0.5)
    assert registry.shadow() == shadow
    assert shadow.model == Artefact.load(second).id
    assert registry.clear_shadow()
    assert not registry.clear_shadow()
