"""The watchdog: a source that is silent against its own expected rate is an incident of its own.

What is counted per source are *active buckets* (buckets in which it brought anything), because a poll brings many items
at once. The probability of the present gap is the product over blocks of six hours of P(0) of a negative binomial,
``(1 + phi * m) ** (-1 / phi)``, with ``m`` from the source's seasonal baseline. Hours in which all other sources are
quieter than usual count for less, so that a holiday is not taken for a broken feed; when everything is silent, the
pseudo-source ``*`` speaks up instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.baseline import BaselineConfig, forecast
from alerts.commands import Command, act, awake
from alerts.detector import DetectorConfig, SurgeDetector, SurgeState
from alerts.reason import silence_reason
from monitor.core.codec import time_to_str
from monitor.core.errors import CodecError
from monitor.core.ids import digest
from monitor.core.types import Incident, IncidentState, Scope, SeriesKey, Severity

EVERYTHING = "*"
_BLOCK = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceConfig:
    """When a source counts as silent."""

    enabled: bool = True
    threshold: float = 1e-5
    """Probability of the gap, times the number of watched sources, below which it is an incident."""
    min_history: timedelta = timedelta(days=3)
    min_active: int = 30
    """Active buckets that a source must have shown."""
    min_gap: timedelta = timedelta(hours=1)
    forget_after: timedelta = timedelta(days=60)
    limit: int = 5_000
    """Most sources watched."""


@dataclass(slots=True)
class SourceState:
    """One source: its seasonal state, when it last brought something, and how unlikely the gap since then is."""

    surge: SurgeState
    last: int
    active: int = 0
    log_p: float = 0.0
    block: float = 0.0
    block_hours: int = 0
    gap: float = 0.0
    incident: Incident | None = None
    heard: set[int] = field(default_factory=set)
    """Buckets not closed yet in which it brought something."""


class SilenceWatch:
    """Keeps a seasonal arrival rate per source. Deterministic; driven by closed buckets."""

    def __init__(self, config: SilenceConfig | None = None, *, width: timedelta = timedelta(minutes=5)) -> None:
        self.config = config or SilenceConfig()
        self.detector = SurgeDetector(
            DetectorConfig(
                width=width,
                windows=(width, timedelta(hours=1), timedelta(hours=_BLOCK)),
                # Active buckets are at most one per bucket: they vary less than stories do.
                baseline=BaselineConfig(prior_share=1.0, share_limit=1.0, prior_rate=0.5, dispersion=(0.05,) * 4),
            )
        )
        self._per_hour = int(timedelta(hours=1) / width)
        self.sources: dict[str, SourceState] = {}
        self.changed: set[str] = set()
        self.learned: set[str] = set()
        self.dropped: set[str] = set()

    def arrive(self, source: str, index: int) -> None:
        """Notes that ``source`` brought something in bucket ``index``, which is still open."""
        names = (source, EVERYTHING)
        for name in names:
            state = self.sources.get(name)
            if state is None:
                if len(self.sources) >= self.config.limit:
                    continue
                state = self.sources[name] = SourceState(surge=self.detector.begin(index), last=index)
                self.learned.add(name)
            elif state.active == 0 and index <= state.surge.index:
                # A first poll brings its newest items first: the watch begins with the oldest of them.
                state.surge, state.last = self.detector.begin(index), index
            if index not in state.heard:
                state.heard.add(index)
                self.changed.add(name)

    def active_sources(self, index: int, within: timedelta = timedelta(days=7)) -> int:
        """How many sources there are to speak of: those that brought something lately, by weight (the inverse of
        Simpson's index of their active buckets). A wire and a video desk that adds a story now and then are one: to
        wait for the second would be to wait for hours."""
        oldest = index - int(within / self.detector.config.width)
        active = [s.active for name, s in self.sources.items() if name != EVERYTHING and s.last > oldest and s.active]
        return round(sum(active) ** 2 / sum(a * a for a in active)) if active else 0

    def close(self, index: int) -> list[Incident]:
        """Closes bucket ``index``; returns the silence incidents that open or end with it."""
        told: list[Incident] = []
        for name in sorted(name for name in self.changed if index in self.sources[name].heard):
            state = self.sources[name]
            state.heard.discard(index)
            if state.incident is not None:
                told.append(self.over(state.incident, index, spoke=True))
                state.incident = None
                state.surge = self.detector.resume(state.surge, index)
            self._advance(name, state, index)
            state.last = index
            state.active += 1
            state.log_p = state.block = state.gap = 0.0
            state.block_hours = 0
        if (index + 1) % self._per_hour == 0:
            told += self._hour(index)
        return told

    def over(self, incident: Incident, index: int, *, spoke: bool) -> Incident:
        """The silence after bucket ``index`` ended it: its source spoke, or is not watched any more."""
        at = self.detector.start_of(index + 1)
        why = f"It speaks again since {at:%Y-%m-%d %H:%M} UTC." if spoke else "It is not watched any more."
        return replace(
            incident,
            state=IncidentState.RESOLVED,
            resolved_at=at,
            updated_at=at,
            snoozed_until=None,
            reason=f"{incident.reason} {why}",
            revision=incident.revision + 1,
        )

    def _advance(self, name: str, state: SourceState, index: int) -> None:
        base = state.surge.base
        state.surge = self.detector.advance(state.surge, index, 1, 1.0)
        if state.surge.base is not base:
            self.learned.add(name)
        self.changed.add(name)

    def _hour(self, index: int) -> list[Incident]:
        """Looks at every source at the end of an hour."""
        first = index - self._per_hour + 1
        rates: dict[str, float] = {}
        seen: dict[str, int] = {}
        told: list[Incident] = []
        for name in sorted(self.sources):
            state = self.sources[name]
            if (index - state.last) * self.detector.config.width > self.config.forget_after and name != EVERYTHING:
                if state.incident is not None:
                    told.append(self.over(state.incident, index, spoke=False))
                del self.sources[name]
                self.changed.discard(name)
                self.learned.discard(name)
                self.dropped.add(name)
                continue
            if state.incident is not None:
                continue
            # A gap is not learned before it is over: it would make itself look usual.
            assert state.surge.base is not None
            rates[name] = forecast(self.detector.config.baseline, state.surge.base, index // self._per_hour)[1]
            if name != EVERYTHING:
                seen[name] = sum(1 for item in state.surge.recent if item[0] >= first)
        total, expected = sum(seen.values()), sum(rates[name] for name in seen)
        for name, rate in rates.items():
            state = self.sources[name]
            quiet = 1.0
            if name != EVERYTHING:
                others, usual = total - seen[name], expected - rates[name]
                quiet = min(1.0, (others + 2.0) / (usual + 2.0))
            part = min(1.0, (index - max(state.last, first - 1)) / self._per_hour)
            if part <= 0.0:
                continue
            incident = self._gap(name, state, rate * part * quiet, index, len(rates))
            if incident is not None:
                told.append(incident)
        return told

    def opening(self, name: str, index: int, watched: int) -> Incident | None:
        """The incident that the gap of a source opens as it stands, of ``watched`` sources; None: it opens none."""
        return self._gap(name, self.sources[name], 0.0, index, watched)

    def command(self, command: Command) -> Incident | None:
        """Does what people ask; the incident as it is then, or None when no such one is open here. After one is
        resolved by hand, its gap counts anew."""
        for name, state in self.sources.items():
            if state.incident is None or state.incident.id != command.incident:
                continue
            done = state.incident = act(state.incident, command)
            if done.state is IncidentState.RESOLVED:
                state.incident = None
                state.log_p = state.block = state.gap = 0.0
                state.block_hours = 0
            self.changed.add(name)
            return done
        return None

    def wake(self, at: datetime) -> list[tuple[Incident, Incident]]:
        """Ends the snoozes that are over at ``at``: each incident before and after."""
        woken: list[tuple[Incident, Incident]] = []
        for name, state in sorted(self.sources.items()):
            old = state.incident
            if old is None or old.state is not IncidentState.SNOOZED or old.snoozed_until is None:
                continue
            if at >= old.snoozed_until:
                state.incident = awake(old, at)
                self.changed.add(name)
                woken.append((old, state.incident))
        return woken

    def _gap(self, name: str, state: SourceState, mean: float, index: int, watched: int) -> Incident | None:
        config, detector = self.config, self.detector
        base = state.surge.base
        assert base is not None
        phi = max(detector.dispersion(state.surge, 1), detector.dispersion(state.surge, 2)) + 1.0 / (1.0 + state.active)
        self.changed.add(name)
        state.gap += mean
        state.block += mean
        state.block_hours += 1
        log_p = state.log_p - math.log1p(phi * state.block) / phi
        if state.block_hours >= _BLOCK:
            state.log_p, state.block, state.block_hours = log_p, 0.0, 0
        since = detector.start_of(state.last + 1)
        at = detector.start_of(index + 1)
        if (
            not config.enabled
            or at - since < config.min_gap
            or state.active < config.min_active
            or (base.hour - base.since) * timedelta(hours=1) < config.min_history
            or (name == EVERYTHING and len(self.sources) < 3)
        ):
            return None
        probability = min(1.0, math.exp(log_p))
        adjusted = min(1.0, probability * max(1, watched))
        if adjusted > config.threshold:
            return None
        everything = name == EVERYTHING
        state.incident = Incident(
            id=digest("silence", name, time_to_str(at)),
            key=SeriesKey(scope=Scope.SOURCE, value=name),
            kind="silence",
            state=IncidentState.OPEN,
            severity=Severity.CRITICAL if everything else Severity.WARNING,
            observed=0.0,
            expected=state.gap,
            low=0.0,
            high=0.0,
            p_value=max(probability, 1e-300),
            q_value=max(adjusted, 1e-300),
            opened_at=at,
            updated_at=at,
            title="All sources" if everything else name,
            reason=silence_reason(since, at, state.gap, probability, everything=everything),
            sources=() if everything else (name,),
        )
        return state.incident

    def to_docs(self, name: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """JSON documents of a source: the quick part and the seasonal one."""
        state = self.sources[name]
        quick, slow = self.detector.to_docs(state.surge)
        quick.update(
            last=state.last,
            active=state.active,
            log_p=state.log_p,
            block=state.block,
            block_hours=state.block_hours,
            gap=state.gap,
            incident=state.incident.id if state.incident else "",
            heard=sorted(state.heard),
        )
        return quick, slow

    def load(
        self, name: str, quick: Mapping[str, Any], slow: Mapping[str, Any] | None, incident: Incident | None
    ) -> None:
        """The inverse of :meth:`to_docs`. Raises CodecError."""
        try:
            self.sources[name] = SourceState(
                surge=self.detector.from_docs(quick, slow),
                last=int(quick["last"]),
                active=int(quick["active"]),
                log_p=float(quick["log_p"]),
                block=float(quick["block"]),
                block_hours=int(quick["block_hours"]),
                gap=float(quick["gap"]),
                incident=incident,
                heard={int(index) for index in quick["heard"]},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored source state is incomplete: {error}.") from error
