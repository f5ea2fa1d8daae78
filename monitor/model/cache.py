"""A bounded least-recently-used map for results of the model."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class LruCache(Generic[ValueT]):
    """Keeps the ``size`` entries used last; ``size`` 0 keeps none. Not for several threads at once."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError("a cache's size cannot be negative")
        self.size = size
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[str, ValueT] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> ValueT | None:
        """The entry, now the youngest; None when it is not there."""
        try:
            self._entries.move_to_end(key)
        except KeyError:
            self.misses += 1
            return None
        self.hits += 1
        return self._entries[key]

    def put(self, key: str, value: ValueT) -> None:
        """Adds or replaces an entry; the oldest goes when there are too many."""
        if self.size == 0:
            return
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self.size:
            self._entries.popitem(last=False)
