"""Where the figures of a run go besides the terminal: TensorBoard, Weights & Biases, or what else fills the port."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from monitor.core.errors import ConfigError
from monitor.train.config import TrainConfig


class Tracker(Protocol):
    """Takes figures. Must not change anything of the run, random state included."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after optimiser step ``step``; steps never fall within one run."""

    def close(self) -> None:
        """No more figures will come; everything is written on return."""


class TensorBoard:
    """Event files in a folder."""

    def __init__(self, folder: Path) -> None:
        _need("tensorboard", "tracking.tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """One scalar a figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; it takes its login from where that package keeps it."""

    def __init__(self, project: str, config: TrainConfig, folder: Path) -> None:
        _need("wandb", "tracking.wandb")
        import wandb

        settings: dict[str, Any] = config.model_dump(mode="json")
        self._run: Any = wandb.init(project=project, name=config.name, config=settings, dir=str(folder))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """All figures at once."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def _need(package: str, key: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"key '{key}': the package '{package}' is not installed.", hint=f"pip install {package}")


def trackers_of(config: TrainConfig, out: Path) -> list[Tracker]:
    """The trackers that the recipe asks for. Raises ConfigError when a package is missing."""
    found: list[Tracker] = []
    if config.tracking.tensorboard:
        found.append(TensorBoard(out / "tensorboard"))
    if config.tracking.wandb:
        found.append(Wandb(config.tracking.wandb, config, out))
    return found
