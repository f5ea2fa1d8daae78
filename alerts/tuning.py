"""Constants of the detection by name, so that they can be tried: ``incidents.open_q``, ``detector.baseline.half_life``.

A name is the path of a field of :class:`alerts.config.PipelineConfig`, with or without ``detect.`` before it;
``detect.bucket_minutes`` is the width of the buckets as the configuration file has it.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from alerts.config import PipelineConfig
from monitor.core.errors import ConfigError

__all__ = ["Settings", "assignment", "combinations", "names", "tuned"]

Settings = Mapping[str, str]
"""Values by name, as they are written."""
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)\Z")


def names(config: object | None = None, prefix: str = "") -> Iterator[str]:
    """All names that can be set."""
    config = PipelineConfig() if config is None else config
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from names(value, f"{prefix}{field.name}.")
        elif not isinstance(value, tuple):
            yield f"{prefix}{field.name}"


def tuned(config: PipelineConfig, settings: Settings) -> PipelineConfig:
    """The configuration with other constants. Raises ConfigError when a name or a value is none."""
    for name, text in settings.items():
        path = name.removeprefix("detect.")
        if path == "bucket_minutes":
            path, text = "detector.width", f"{text}m"
        config = _with(config, path.split("."), text, name)
    return config


def _with(config: Any, path: Sequence[str], text: str, name: str) -> Any:
    fields = {field.name for field in dataclasses.fields(config)}
    value = getattr(config, path[0]) if path[0] in fields else None
    if value is None or isinstance(value, tuple) or dataclasses.is_dataclass(value) != (len(path) > 1):
        near = difflib.get_close_matches(name.removeprefix("detect."), list(names()), n=3, cutoff=0.4)
        raise ConfigError(
            f"'{name}' is no constant of the detector.",
            hint=f"Did you mean {' or '.join(near)}?" if near else "docs/detector.md lists them.",
        )
    if len(path) > 1:
        return dataclasses.replace(config, **{path[0]: _with(value, path[1:], text, name)})
    changed: dict[str, Any] = {path[0]: _value(value, text.strip(), name)}
    if path[0] == "width":
        changed["windows"] = ()  # they follow from the width
    return dataclasses.replace(config, **changed)


def _value(now: object, text: str, name: str) -> object:
    kind = "a number"
    if isinstance(now, bool):
        kind = "true or false"
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif isinstance(now, timedelta):
        kind = "a time such as 90s, 15m, 2h or 3d"
        if match := _DURATION.match(text):
            return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    else:
        kind = "a whole number" if isinstance(now, int) else kind
        try:
            return type(now)(text)  # type: ignore[call-arg]
        except ValueError:
            pass
    raise ConfigError(f"'{name}' must be {kind}, got '{text}'.", hint=f"Its present value is {now}.")


def assignment(text: str) -> tuple[str, tuple[str, ...]]:
    """``name=value,value`` as a name and its values. Raises ConfigError."""
    name, sign, values = text.partition("=")
    found = tuple(dict.fromkeys(value.strip() for value in values.split(",") if value.strip()))
    if not sign or not name.strip() or not found:
        raise ConfigError(f"'{text}' names no constant with its values.", hint="Write incidents.open_q=0.01,0.02.")
    return name.strip(), found


def combinations(sweeps: Sequence[str], limit: int = 100) -> list[dict[str, str]]:
    """Every combination of the values of several assignments, in order. Raises ConfigError when there are too many."""
    named = [assignment(text) for text in sweeps]
    count = 1
    for _, values in named:
        count *= len(values)
    if count > limit:
        raise ConfigError(f"These are {count} combinations; at most {limit} are run.", hint="Sweep fewer values.")
    if len({name for name, _ in named}) < len(named):
        raise ConfigError("A constant is swept twice.", hint="Give all its values in one --sweep.")
    return [
        dict(zip((name for name, _ in named), chosen, strict=True))
        for chosen in itertools.product(*(values for _, values in named))
    ]
