"""Disk watermarks: how full a node may be before Elasticsearch places no shards there, moves them away, blocks writes.

Settings and defaults as documented under "Disk-based shard allocation settings"
(https://www.elastic.co/docs/reference/elasticsearch/configuration-reference/cluster-level-shard-allocation-routing-settings).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_PREFIX = "cluster.routing.allocation.disk."
DEFAULTS = {
    "threshold_enabled": "true",
    "watermark.low": "85%",
    "watermark.low.max_headroom": "200gb",
    "watermark.high": "90%",
    "watermark.high.max_headroom": "150gb",
    "watermark.flood_stage": "95%",
    "watermark.flood_stage.max_headroom": "100gb",
}
_UNITS = {unit: 1024**power for power, unit in enumerate(("b", "kb", "mb", "gb", "tb", "pb"))}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?b)", re.IGNORECASE)

Stage = Literal["low", "high", "flood_stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """The settings that count, without their common beginning."""

    settings: Mapping[str, str]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Watermarks:
        """Reads an answer of ``GET /_cluster/settings?include_defaults=true``; what it lacks has its default."""
        told: dict[str, str] = {}
        for kind in ("defaults", "persistent", "transient"):
            for name, value in _flat(answer.get(kind)).items():
                if name.startswith(_PREFIX):
                    told[name.removeprefix(_PREFIX)] = value
        return cls(settings=DEFAULTS | told)

    @property
    def enabled(self) -> bool:
        """Whether the cluster looks at its disks at all."""
        return self.settings["threshold_enabled"].lower() != "false"

    def needed(self, stage: Stage, total: int) -> float:
        """Bytes that must be free of ``total`` for a node to be on the good side of ``stage``; 0 when the setting
        cannot be read."""
        value = self.settings[f"watermark.{stage}"].strip()
        size = _bytes(value)
        if size is not None:
            return size
        try:
            used = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            return 0.0
        headroom = _bytes(self.settings.get(f"watermark.{stage}.max_headroom", ""))
        free = total * (1 - used)
        return free if headroom is None else min(free, headroom)

    def passed(self, free: int, total: int) -> Stage | None:
        """The worst stage that a node has passed."""
        if not self.enabled:
            return None
        stages: tuple[Stage, ...] = ("flood_stage", "high", "low")
        return next((stage for stage in stages if free < self.needed(stage, total)), None)


def _bytes(text: str) -> float | None:
    match = _SIZE.fullmatch(text.strip())
    return float(match[1]) * _UNITS[match[2].lower()] if match else None


def _flat(nested: object, prefix: str = "") -> dict[str, str]:
    """Settings by their full names, whichever way the cluster nests them."""
    if not isinstance(nested, Mapping):
        return {prefix: str(nested)} if prefix else {}
    flat: dict[str, str] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat
