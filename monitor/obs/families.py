"""How a metric is declared: name, kind, unit, help and labels whose values are bounded.

A label is *closed* (its values are listed; any other becomes ``other``) or *open* (names that operators choose, such as
sources), and then at most ``limit`` of them are told apart. Whatever code passes, a metric never has more series than
:attr:`Spec.bound`: an unbounded label is how a monitored program takes its monitoring down.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]
MetricT = TypeVar("MetricT", bound=Counter | Gauge | Histogram)

PREFIX = "riskwire_"
OTHER = "other"
"""The label value in place of one that is not listed, or one too many."""
CHILDREN_LIMIT = 20_000
"""The most label combinations that any metric may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label: closed with ``values``, or open with at most ``limit`` different ones."""

    name: str
    values: tuple[str, ...] = ()
    limit: int = 0
    help: str = ""

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.limit):
            raise ValueError(f"label {self.name}: either its values or a limit")

    @property
    def bound(self) -> int:
        """The most different values, ``other`` among them."""
        return len({*self.values, OTHER}) if self.values else self.limit + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One entry of the catalogue."""

    attribute: str
    """Its name in the code: ``Metrics().attribute``."""
    name: str
    """As Prometheus shows it, without ``_bucket``, ``_sum`` and ``_count`` of histograms."""
    kind: Kind
    unit: str
    """seconds, records, articles, tokens, ratio, bool, timestamp …"""
    help: str
    labels: tuple[Label, ...]
    buckets: tuple[float, ...]
    role: str
    """Whose process sets it: ingest, score, detect, notify, web, or all."""
    cap: int

    @property
    def bound(self) -> int:
        """The most label combinations."""
        product = 1
        for label in self.labels:
            product *= label.bound
        return min(product, self.cap + 1)

    @property
    def series(self) -> tuple[str, ...]:
        """The names that queries may use."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


class Family(Generic[MetricT]):
    """A metric with labels; :meth:`labels` gives the child to count with."""

    def __init__(self, spec: Spec, metric: MetricT) -> None:
        self._spec = spec
        self._metric = metric
        self._closed = [frozenset(label.values) for label in spec.labels]
        self._seen: list[set[str]] = [set() for _ in spec.labels]
        self._children: dict[tuple[str, ...], MetricT] = {}
        if spec.kind == "counter" and all(self._closed):
            # A counter that appears with its first event has no increase by it, and no alert would see the first one.
            for values in itertools.product(*(label.values for label in spec.labels)):
                self.labels(*values)

    def labels(self, *values: str) -> MetricT:
        """The child of these label values, in the declared order."""
        found = self._children.get(values)
        if found is not None:
            return found
        if len(values) != len(self._spec.labels):
            raise ValueError(f"{self._spec.name} has {len(self._spec.labels)} labels, got {len(values)} values")
        kept = tuple(self._admit(place, value) for place, value in enumerate(values))
        if kept not in self._children and len(self._children) >= self._spec.cap:
            kept = tuple(OTHER if not closed else value for closed, value in zip(self._closed, kept, strict=True))
        child = self._children.get(kept)
        if child is None:
            child = self._children[kept] = cast("MetricT", self._metric.labels(*kept))
        return child

    def _admit(self, place: int, value: str) -> str:
        label, seen = self._spec.labels[place], self._seen[place]
        if label.values:
            return value if value in self._closed[place] else OTHER
        if value not in seen:
            if len(seen) >= label.limit:
                return OTHER
            seen.add(value)
        return value

    def remove(self, *values: str) -> None:
        """Forgets a child, so that it is shown no more. Raises KeyError when it was never used."""
        del self._children[values]
        self._metric.remove(*values)
        if len(values) == 1 and not self._spec.labels[0].values:
            self._seen[0].discard(values[0])

    def clear(self) -> None:
        """Forgets all children."""
        for values in list(self._children):
            self.remove(*values)


class _Declared(Generic[MetricT]):
    """What stands in the class body of a catalogue; :class:`Plain` and :class:`Labelled` say what instances get."""

    kind: Kind

    def __init__(
        self,
        metric: type[MetricT],
        text: str,
        *,
        unit: str,
        role: str,
        labels: Sequence[Label] = (),
        buckets: Sequence[float] = (),
        name: str = "",
        cap: int = CHILDREN_LIMIT,
    ) -> None:
        self._metric = metric
        self._given: dict[str, Any] = {
            "help": text, "unit": unit, "role": role, "labels": tuple(labels), "buckets": tuple(buckets), "cap": cap,
        }  # fmt: skip
        self._name = name
        self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        kind: Kind = "counter" if self._metric is Counter else "gauge" if self._metric is Gauge else "histogram"
        shown = PREFIX + (self._name or name) + ("_total" if kind == "counter" else "")
        self.spec = Spec(attribute=name, name=shown, kind=kind, **self._given)

    def make(self, registry: CollectorRegistry) -> MetricT:
        """The Prometheus metric, registered."""
        spec = self.spec
        more: dict[str, Any] = {"buckets": spec.buckets} if spec.kind == "histogram" else {}
        name = spec.name.removesuffix("_total") if spec.kind == "counter" else spec.name
        return self._metric(name, spec.help, [label.name for label in spec.labels], registry=registry, **more)


class Plain(_Declared[MetricT]):
    """Declares a metric without labels."""

    def __get__(self, instance: Made, owner: type) -> MetricT:
        return cast("MetricT", instance.made[self.attribute])

    def instance(self, registry: CollectorRegistry) -> MetricT:
        """What an instance of the catalogue gets."""
        return self.make(registry)


class Labelled(_Declared[MetricT]):
    """Declares a metric with labels."""

    def __get__(self, instance: Made, owner: type) -> Family[MetricT]:
        return cast("Family[MetricT]", instance.made[self.attribute])

    def instance(self, registry: CollectorRegistry) -> Family[MetricT]:
        """What an instance of the catalogue gets."""
        return Family(self.spec, self.make(registry))


class Made:
    """An instance of a catalogue: what its declarations became."""

    made: Mapping[str, object]


def declared(catalogue: type) -> tuple[Plain[Any] | Labelled[Any], ...]:
    """The declarations in the body of a class, in their order."""
    return tuple(item for item in vars(catalogue).values() if isinstance(item, Plain | Labelled))
