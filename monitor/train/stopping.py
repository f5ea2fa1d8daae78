"""Early stopping: watches figures of the calibration part, remembers the best epoch, says when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.core.errors import ConfigError
from monitor.train.sections import EarlyStopping


class Watch:
    """The mean of the monitored figures over the epochs."""

    def __init__(self, settings: EarlyStopping) -> None:
        self.settings = settings
        self.best = float("-inf")
        self.best_epoch = 0
        self.waited = 0

    def better(self, figures: Mapping[str, float], epoch: int) -> bool:
        """Takes an epoch's figures in; True when they are the best so far. Raises ConfigError when a monitored figure
        is not among them."""
        score = sum(self._value(figures, name) for name in self.settings.monitor) / len(self.settings.monitor)
        if score > self.best + self.settings.min_gain:
            self.best, self.best_epoch, self.waited = score, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def stop(self) -> bool:
        """True when the figures have not improved for ``patience`` epochs."""
        return self.waited >= self.settings.patience

    def _value(self, figures: Mapping[str, float], name: str) -> float:
        if name in figures:
            return figures[name]
        task, _, metric = name.rpartition("/")
        values = [v for key, v in figures.items() if key.startswith(f"{task}/") and key.endswith(f"/{metric}")]
        if not task or not values:
            known = sorted(key for key in figures if key.count("/") == 2)
            raise ConfigError(
                f"key 'early_stopping.monitor': there is no figure '{name}'.",
                hint=f"TASK/METRIC is the mean over data sets; or one of: {', '.join(known) or 'none'}.",
            )
        return sum(values) / len(values)

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], state["waited"]
