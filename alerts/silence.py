"""The watchdog: a source, a language or a topic that is silent against its own expected rate is an incident of its own.

What is counted per source are *active buckets* (buckets in which it brought anything), because a poll brings many items
at once. The probability of the present gap is the product over blocks of six hours of P(0) of a negative binomial,
``(1 + phi * m) ** (-1 / phi)``, with ``m`` from the source's seasonal baseline. Hours in which all other sources are
quieter than usual count for less, so that a holiday is not taken for a broken feed.

One cause is one incident. When everything is silent, the pseudo-source ``*`` speaks up and all others wait; a source
waits for the silence of the language in which it writes, a language for that of the one source that it comes from, and
a topic is silent only when the sources that usually bring it are not. What waited counts anew once what it waited for
is over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
LANGUAGE, TOPIC = "~language:", "~topic:"
"""Beginnings of the names under which languages and topics are watched beside the sources."""
_BLOCK = 6
_PARTS = 60
"""Most languages and topics whose share of a source is known."""
_PARTS_TOTAL = 2_000.0
"""Articles after which the shares of a source are halved, so that they follow it."""


def key_of(name: str) -> SeriesKey:
    """The series of a watched name."""
    for prefix, scope in ((LANGUAGE, Scope.LANGUAGE), (TOPIC, Scope.TOPIC)):
        if name.startswith(prefix):
            return SeriesKey(scope=scope, value=name.removeprefix(prefix))
    return SeriesKey(scope=Scope.SOURCE, value=name[1:] if name.startswith("~~") else name)


def name_of(key: SeriesKey) -> str:
    """The inverse of :func:`key_of`."""
    prefix = {Scope.LANGUAGE: LANGUAGE, Scope.TOPIC: TOPIC}.get(key.scope)
    if prefix is not None:
        return f"{prefix}{key.value}"
    return f"~{key.value}" if key.value.startswith("~") else key.value


SOURCE_KIND = "source"
_ORDER = {EVERYTHING: 0, LANGUAGE: 1, SOURCE_KIND: 2, TOPIC: 3}
_WHAT = {
    EVERYTHING: "No source has brought anything",
    LANGUAGE: "Nothing in the language {} has come",
    SOURCE_KIND: "Nothing has come",
    TOPIC: "Nothing on {} has come, though its sources bring other news,",
}


def _kind(name: str) -> str:
    if name == EVERYTHING:
        return EVERYTHING
    return next((prefix for prefix in (LANGUAGE, TOPIC) if name.startswith(prefix)), SOURCE_KIND)


def _is_source(name: str) -> bool:
    return _kind(name) == SOURCE_KIND


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
    parts: bool = True
    """Watch languages and topics too."""
    parts_history: timedelta = timedelta(days=14)
    """The same as ``min_history`` for languages and topics: a topic's weekend must have been seen twice."""
    covers: float = 0.8
    """Share of a language that one source must bring, or of a source that a language must be, to speak for it."""
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
    parts: dict[str, float] = field(default_factory=dict)
    """Of a source: how many articles of late were in each language and topic."""

    def note(self, names: Sequence[str]) -> None:
        """Counts an article of these languages and topics."""
        for name in names:
            if name in self.parts or len(self.parts) < _PARTS:
                self.parts[name] = self.parts.get(name, 0.0) + 1.0
        if sum(self.parts.values()) > 2.0 * _PARTS_TOTAL:
            self.parts = {name: value / 2 for name, value in self.parts.items() if value >= 1.0}

    def quiet(self) -> None:
        """The gap counts anew."""
        self.log_p = self.block = self.gap = 0.0
        self.block_hours = 0


class SilenceWatch:
    """Keeps a seasonal arrival rate per source. Deterministic; driven by closed buckets."""

    def __init__(self, config: SilenceConfig | None = None, *, width: timedelta = timedelta(minutes=5)) -> None:
        self.config = config or SilenceConfig()
        self.detector = SurgeDetector(
            DetectorConfig(
                width=width,
                windows=(width, timedelta(hours=1), timedelta(hours=_BLOCK)),
                # Active buckets are at most one per bucket: they vary less than stories do.
                # Who never speaks at weekends must be believed after two of them: little weight for the weekdays' rate.
                baseline=BaselineConfig(
                    prior_share=1.0, share_limit=1.0, prior_rate=0.5, group_shape=0.5, dispersion=(0.05,) * 4
                ),
            )
        )
        self._per_hour = int(timedelta(hours=1) / width)
        self.sources: dict[str, SourceState] = {}
        self.changed: set[str] = set()
        self.learned: set[str] = set()
        self.dropped: set[str] = set()
        self.names: Mapping[SeriesKey, str] = {}
        """Display names."""

    def arrive(self, source: str, index: int, *, lang: str = "", topic: str = "") -> None:
        """Notes that ``source`` brought something in bucket ``index``, which is still open."""
        parts: list[str] = []
        if self.config.parts:
            parts += [f"{LANGUAGE}{lang}"] if lang and lang != "und" else []
            parts += [f"{TOPIC}{topic}"] if topic else []
        source = name_of(SeriesKey(scope=Scope.SOURCE, value=source))
        for name in (source, EVERYTHING, *parts):
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
        if parts and source in self.sources:
            self.sources[source].note(parts)
            self.changed.add(source)

    def active_sources(self, index: int, within: timedelta = timedelta(days=7)) -> int:
        """How many sources there are to speak of: those that brought something lately, by weight (the inverse of
        Simpson's index of their active buckets). A wire and a video desk that adds a story now and then are one: to
        wait for the second would be to wait for hours."""
        oldest = index - int(within / self.detector.config.width)
        active = [s.active for name, s in self.sources.items() if _is_source(name) and s.last > oldest and s.active]
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
                self._relieve(name)
                state.surge = self.detector.resume(state.surge, index)
            self._advance(name, state, index)
            state.last = index
            state.active += 1
            state.quiet()
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
        whole = self.sources.get(EVERYTHING)
        if whole is not None and whole.incident is not None:
            return told  # nobody is asked of the others while nothing at all comes
        for name, rate in rates.items():
            state = self.sources[name]
            quiet = 1.0
            if name != EVERYTHING:
                kind = [other for other in seen if other != name and _kind(other) == _kind(name)]
                others, usual = sum(seen[other] for other in kind), sum(rates[other] for other in kind)
                quiet = min(1.0, (others + 2.0) / (usual + 2.0))
            part = min(1.0, (index - max(state.last, first - 1)) / self._per_hour)
            if part > 0.0:
                self._accrue(name, state, rate * part * quiet)
        # The broadest first: what it explains is no incident of its own.
        for name in sorted(rates, key=lambda name: (_ORDER[_kind(name)], name)):
            if self.sources[name].last >= index or self._explained(name, index):
                continue
            incident = self.opening(name, index, len(rates))
            if incident is not None:
                told.append(incident)
                if name == EVERYTHING:
                    break
        return told

    def _explained(self, name: str, index: int) -> bool:
        """Whether the silence of something else explains that of ``name``."""
        kind = _kind(name)
        if kind == SOURCE_KIND:
            parts = self.sources[name].parts
            whole = sum(value for part, value in parts.items() if part.startswith(LANGUAGE))
            silent = sum(
                value
                for part, value in parts.items()
                if part.startswith(LANGUAGE) and part in self.sources and self.sources[part].incident is not None
            )
            return whole > 0.0 and silent >= self.config.covers * whole
        if kind in (LANGUAGE, TOPIC):
            bring = {
                other: state.parts[name]
                for other, state in self.sources.items()
                if state.parts.get(name) and state.active
            }
            total = sum(bring.values())
            if kind == LANGUAGE:
                top = max(bring, key=lambda other: (bring[other], other), default=None)
                return (
                    top is not None and bring[top] >= self.config.covers * total and not self._speaks(top, name, index)
                )
            speaking = sum(value for other, value in bring.items() if self._speaks(other, name, index))
            return speaking < 0.5 * total
        return False

    def _speaks(self, source: str, part: str, index: int) -> bool:
        """Whether a source brought something lately, and since its language or topic fell silent."""
        state, lately = self.sources[source], index - 2 * self._per_hour
        return state.incident is None and state.last > max(self.sources[part].last, lately)

    def _relieve(self, name: str) -> None:
        """The silence of ``name`` is over: what waited for it counts anew."""
        for other, state in self.sources.items():
            waited = name == EVERYTHING or (
                name.startswith(LANGUAGE) and _is_source(other) and state.parts.get(name, 0.0) > 0.0
            )
            if waited and other != name and state.incident is None:
                state.quiet()
                self.changed.add(other)

    def opening(self, name: str, index: int, watched: int) -> Incident | None:
        """The incident that the gap of a source opens as it stands, of ``watched`` names; None: it opens none."""
        config, detector, state = self.config, self.detector, self.sources[name]
        base = state.surge.base
        assert base is not None
        since = detector.start_of(state.last + 1)
        at = detector.start_of(index + 1)
        history = config.parts_history if _kind(name) in (LANGUAGE, TOPIC) else config.min_history
        if (
            not config.enabled
            or at - since < config.min_gap
            or state.active < config.min_active
            or (base.hour - base.since) * timedelta(hours=1) < max(history, config.min_history)
            or (name == EVERYTHING and sum(_is_source(other) for other in self.sources) < 2)
        ):
            return None
        log_p = state.log_p
        if state.block_hours:
            phi = self._phi(state)
            log_p -= math.log1p(phi * state.block) / phi
        probability = min(1.0, math.exp(log_p))
        adjusted = min(1.0, probability * max(1, watched))
        if adjusted > config.threshold:
            return None
        key, everything = key_of(name), name == EVERYTHING
        title = "All sources" if everything else self.names.get(key, key.value)
        state.incident = Incident(
            id=digest("silence", name, time_to_str(at)),
            key=key,
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
            title=title,
            reason=silence_reason(since, at, state.gap, probability, what=_WHAT[_kind(name)].format(title)),
            sources=(key.value,) if _kind(name) == SOURCE_KIND else (),
        )
        self.changed.add(name)
        return state.incident

    def _phi(self, state: SourceState) -> float:
        detector = self.detector
        return max(detector.dispersion(state.surge, 1), detector.dispersion(state.surge, 2)) + 1.0 / (
            1.0 + state.active
        )

    def _accrue(self, name: str, state: SourceState, mean: float) -> None:
        """One more hour, or a part of it, of a gap in which ``mean`` active buckets were expected."""
        self.changed.add(name)
        state.gap += mean
        state.block += mean
        state.block_hours += 1
        if state.block_hours >= _BLOCK:
            phi = self._phi(state)
            state.log_p -= math.log1p(phi * state.block) / phi
            state.block, state.block_hours = 0.0, 0

    def command(self, command: Command) -> Incident | None:
        """Does what people ask; the incident as it is then, or None when no such one is open here. After one is
        resolved by hand, its gap counts anew."""
        for name, state in self.sources.items():
            if state.incident is None or state.incident.id != command.incident:
                continue
            done = state.incident = act(state.incident, command)
            if done.state is IncidentState.RESOLVED:
                state.incident = None
                state.quiet()
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
            parts=dict(sorted(state.parts.items())),
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
                parts={str(part): float(value) for part, value in quick.get("parts", {}).items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored source state is incomplete: {error}.") from error
