from pathlib import Path

import pytest
from tiny_model import RECIPE

from monitor.core.errors import ConfigError
from monitor.train.config import label_id, load_config


def _write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("Fed | Central Banks", "fed_central_banks"),
        ("M&A | Investments", "m_a_investments"),
        ("Gold | Metals | Materials", "gold_metals_materials"),
        ("IPO", "ipo"),
    ],
)
def test_label_ids_are_the_labels_lower_cased_with_single_underscores(label: str, wanted: str) -> None:
    assert label_id(label) == wanted
    assert label_id(wanted) == wanted


def test_the_packaged_recipe_is_sound_and_names_every_label_in_both_languages() -> None:
    import monitor.train

    config = load_config(Path(next(iter(monitor.train.__path__))) / "recipes" / "packaged.toml")
    assert len(config.tasks["topic"].labels) == 20
    assert list(config.tasks["sentiment"].labels) == ["negative", "neutral", "positive"]
    for task in config.tasks.values():
        assert all(names.en and names.zh for names in task.labels.values())


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("epochs = 8", 'epochs = "eight"'), "fit.epochs"),
        (("epochs = 8", "epochs = 0"), "fit.epochs"),
        (("epochs = 8", "epoch = 8"), "fit.epoch"),
        (('name = "tiny"', 'name = "../tiny"'), "name"),
        (('labels = { topic = "label" }', 'labels = { theme = "label" }'), "data.0.labels.theme"),
        (("energy_oil =", "Energy_Oil ="), "tasks.topic.labels"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(tmp_path: Path, change: tuple[str, str], key: str) -> None:
    assert change[0] in RECIPE
    path = _write(tmp_path, RECIPE.replace(*change))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert f"'{key}'" in str(caught.value)


def test_a_missing_file_and_broken_toml_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(_write(tmp_path, "name = "))


def test_the_fingerprint_follows_the_recipe(tmp_path: Path) -> None:
    one = load_config(_write(tmp_path, RECIPE)).fingerprint()
    assert load_config(_write(tmp_path, RECIPE)).fingerprint() == one
    assert load_config(_write(tmp_path, RECIPE.replace("seed = 3", "seed = 4"))).fingerprint() != one
