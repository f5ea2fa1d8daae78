"""Trackers get the figures; a package that is not there is said; the recipe's page names every key."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from trainer_tools import same_weights, tiny_config, tiny_trainer  # noqa: E402

from monitor.core.errors import ConfigError  # noqa: E402
from monitor.train import sections  # noqa: E402
from monitor.train.config import TrainConfig  # noqa: E402
from monitor.train.trackers import trackers_of  # noqa: E402


class _Kept:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.rows.append((step, dict(figures)))

    def close(self) -> None:
        self.rows.append((-1, {}))


def test_a_tracker_and_a_bar_get_every_figure_and_change_nothing() -> None:
    kept, steps = _Kept(), []
    told = tiny_trainer(
        tiny_config(),
        trackers=[kept],
        on_step=lambda *figures: steps.append(figures),
        evaluate=lambda: {"topic/topic/accuracy": 0.5},
    )
    told.run()
    plain = tiny_trainer(tiny_config())
    plain.run()
    assert same_weights(told.network, plain.network)
    assert [step for step, *_ in steps] == list(range(1, told.total + 1))
    epochs = [(step, row) for step, row in kept.rows if "epoch" in row]
    assert [row["topic/topic/accuracy"] for _, row in epochs] == [0.5, 0.5]
    assert epochs[-1][0] == told.total
    assert any("train/loss" in row for _, row in kept.rows)


def test_a_tracker_whose_package_is_missing_is_a_config_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert trackers_of(tiny_config(), tmp_path) == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for tracking, package in (({"tensorboard": True}, "tensorboard"), ({"wandb": "news"}, "wandb")):
        config = TrainConfig.model_validate(tiny_config().model_dump() | {"tracking": tracking})
        with pytest.raises(ConfigError, match=f"pip install {package}"):
            trackers_of(config, tmp_path)


def test_tensorboard_gets_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = TrainConfig.model_validate(tiny_config().model_dump() | {"tracking": {"tensorboard": True}})
    (tracker,) = trackers_of(config, tmp_path)
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert [file for file in (tmp_path / "tensorboard").iterdir() if b"loss" in file.read_bytes()]


def test_every_key_of_a_recipe_says_what_it_means() -> None:
    models = [m for m in vars(sections).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    keys = [
        (m.__name__, key, field.description) for m in (*models, TrainConfig) for key, field in m.model_fields.items()
    ]
    assert len(keys) > 90
    assert [(name, key) for name, key, said in keys if not said and name != "Names"] == []
