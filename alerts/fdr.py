"""False discovery rate over all series of one tick (Benjamini & Hochberg 1995)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


def q_values(p_values: Mapping[KeyT, float], tests: int | None = None) -> dict[KeyT, float]:
    """Adjusted p-values: the smallest false discovery rate at which each hypothesis is still rejected.

    ``tests`` is the number of hypotheses when it is more than those named; the others count as p = 1.
    """
    count = max(len(p_values), tests or 0)
    result: dict[KeyT, float] = {}
    lowest = 1.0
    ranked = sorted(p_values.items(), key=lambda item: (item[1], str(item[0])))
    for rank in range(len(ranked), 0, -1):
        key, p = ranked[rank - 1]
        lowest = min(lowest, p * count / rank)
        result[key] = lowest
    return result


def q_by_family(
    p_values: Mapping[KeyT, float], narrow: Callable[[KeyT], bool], *, tests: int, narrow_tests: int
) -> dict[KeyT, float]:
    """Adjusted p-values of two families: the ``narrow`` hypotheses are parts of others, and must not dilute them.

    The others are adjusted among themselves, as if the narrow ones were not looked at; the narrow ones among all, so
    that whoever looks closer pays for it. ``tests`` counts all hypotheses, ``narrow_tests`` the narrow ones.
    """
    wide = q_values({key: p for key, p in p_values.items() if not narrow(key)}, tests=tests - narrow_tests)
    if len(wide) == len(p_values):
        return wide
    return q_values(p_values, tests=tests) | wide
