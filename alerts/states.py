"""The surge state of every series, and what the whole stream tells them: outages, the model, the shape of the week."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from alerts.baseline import shape_of
from alerts.config import PipelineConfig
from alerts.detector import SurgeDetector, SurgeState
from alerts.series import ALL, OpenBucket
from monitor.core.types import SeriesKey

__all__ = ["SeriesStates"]

_DAY = timedelta(days=1)
_MODEL_STREAK = 20


class SeriesStates:
    """One surge state for each series that ever had a story; caught up lazily, when its series is touched."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.origin: int | None = None
        """The first bucket ever closed: before it nobody watched."""
        self.heard: int | None = None
        """The last bucket that held anything."""
        self.model = ""
        """The model whose scores the baselines are of."""
        self.changed: set[SeriesKey] = set()
        """Series whose state changed since it was last written."""
        self.learned: set[SeriesKey] = set()
        """Series whose baseline changed since it was last written."""
        self.dropped: set[SeriesKey] = set()
        """Series that are watched no more, since it was last written."""
        self._states: dict[SeriesKey, SurgeState] = {}
        self._outages: list[tuple[int, int]] = []
        self._streak: tuple[str, int] = ("", 0)
        self._set_shape(None)

    def __getitem__(self, key: SeriesKey) -> SurgeState:
        return self._states[key]

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: SeriesKey) -> SurgeState | None:
        """The state of a series; None when it never had a story."""
        return self._states.get(key)

    # -- the whole stream ------------------------------------------------------------------------------------------

    def hear(self, index: int, content: OpenBucket) -> None:
        """A bucket with articles closes; to be called before its series advance."""
        self._note_outage(index)
        self._note_model(content)
        self._note_day(index)

    def _note_outage(self, index: int) -> None:
        if self.heard is not None and (index - self.heard) * self.config.detector.width > self.config.outage_after:
            self._outages = [*self._outages[-15:], (self.heard, index)]
        self.heard = index

    def _note_model(self, content: OpenBucket) -> None:
        """Another model counts once that many articles in a row came from it: mixed workers do not flap."""
        name, run = self._streak
        for member in content.members.values():
            run = run + 1 if member.model == name else 1
            name = member.model
            if run >= _MODEL_STREAK or not self._states:
                self.model = name
        self._streak = (name, run)

    def _note_day(self, index: int) -> None:
        """Once a day the weekly shape of everything is lent to the other series."""
        day = int(_DAY / self.config.detector.width)
        state = self._states.get(ALL)
        if state is None or state.base is None or index // day == state.index // day:
            return
        if sum(state.base.exposure) >= 7 * 24:
            self._set_shape(shape_of(self.config.detector.baseline, state.base))

    def _set_shape(self, shape: Sequence[float] | None) -> None:
        self._shape = tuple(shape) if shape is not None else None
        self.detector = SurgeDetector(self.config.detector, shape=self._shape)
        self.plain = SurgeDetector(self.config.detector)

    # -- one series ------------------------------------------------------------------------------------------------

    def advance(
        self,
        key: SeriesKey,
        index: int,
        stories: int,
        negatives: float,
        late: Sequence[tuple[int, int, float]] = (),
    ) -> SurgeState:
        """The series' state once bucket ``index`` is closed with so many new stories, ``negatives`` of them negative
        in expectation; the empty buckets before it are caught up. ``late`` are (bucket, stories, negatives) of earlier
        buckets that came only now."""
        detector = self.plain if key == ALL else self.detector
        old = self._states.get(key)
        state = old
        if state is None:
            back = index - int(self.config.look_back / self.config.detector.width)
            origin = index if self.origin is None else self.origin
            state = detector.begin(max(origin, back), self.model)
        if state.model != self.model:
            state = detector.relearn(state, self.model)
        for begin, end in self._outages:
            if state.index < end - 1 and begin < end - 1:
                if state.index < begin:
                    state = detector.advance(state, begin, 0, 0.0)
                state = detector.resume(state, end)
        state = detector.advance(state, index, stories, negatives, late)
        self._states[key] = state
        self.changed.add(key)
        if old is None or state.base is not old.base:
            self.learned.add(key)
        return state

    def begin(self, key: SeriesKey, index: int) -> None:
        """Watches a series from bucket ``index`` on, as if nothing were known of it and nothing had been looked for
        before."""
        self._states[key] = self.detector.begin(index, self.model)
        self.changed.add(key)
        self.learned.add(key)
        self.dropped.discard(key)

    def drop(self, key: SeriesKey) -> None:
        """Watches a series no more."""
        if self._states.pop(key, None) is not None:
            self.changed.discard(key)
            self.learned.discard(key)
            self.dropped.add(key)

    def settle(self, keys: Iterable[SeriesKey]) -> None:
        """Their incident is over: what it held counts as seen."""
        for key in keys:
            if key in self._states:
                self._states[key] = self.detector.settle(self._states[key])
                self.changed.add(key)

    # -- documents -------------------------------------------------------------------------------------------------

    def to_docs(self, key: SeriesKey) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The state of a series and its baseline, as JSON objects."""
        return self.detector.to_docs(self._states[key])

    def to_meta(self) -> dict[str, Any]:
        """What the whole stream told, as a JSON object."""
        return {
            "origin": self.origin,
            "heard": self.heard,
            "outages": [list(pair) for pair in self._outages],
            "model": self.model,
            "streak": list(self._streak),
            "shape": list(self._shape) if self._shape else None,
        }

    def load(
        self, meta: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]], bases: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """The inverse of :meth:`to_meta` and :meth:`to_docs`. Raises CodecError, KeyError, TypeError, ValueError."""
        self.origin, self.heard = meta["origin"], meta["heard"]
        self._outages = [(int(a), int(b)) for a, b in meta["outages"]]
        self.model = meta["model"]
        self._streak = (str(meta["streak"][0]), int(meta["streak"][1]))
        self._set_shape(meta["shape"])
        for name, quick in states.items():
            self._states[SeriesKey.parse(name)] = self.detector.from_docs(quick, bases.get(name))
