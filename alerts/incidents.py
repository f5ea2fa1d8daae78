"""The life of incidents, pure: open, update when people should see it, resolve with hysteresis, cool down.

Series that surge on the same stories are one incident. Who acknowledged or snoozed is respected; every snooze ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.commands import Command, act, awake
from alerts.past import PastIncidents, count_words
from alerts.reason import Drive, pick, similar_sentence, surge_reason
from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ids import digest
from monitor.core.types import Finding, Incident, IncidentState, Scope, SeriesKey, Severity, TrendPoint

_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentConfig:
    """When an incident opens, changes and ends."""

    open_q: float = 0.02
    """False discovery rate over all series of a tick up to which an incident opens."""
    hold_p: float = 1e-2
    """p-value up to which an open incident goes on."""
    min_ratio: float = 2.0
    """Observed over expected, at least."""
    min_sources: int = 2
    """Distinct sources of the driving stories; fewer when fewer sources are active at all."""
    resolve_after: timedelta = timedelta(hours=1)
    cool_down: timedelta = timedelta(hours=2)
    update_every: timedelta = timedelta(minutes=15)
    growth: float = 1.5
    overlap: float = 0.5
    """Share of the smaller set of driving stories that makes two surges one."""
    overlap_all: float = 0.3
    """Share of all driving stories that another series must explain to be one with the surge of everything."""
    warning_q: float = 1e-3
    critical_q: float = 1e-6
    critical_ratio: float = 3.0
    critical_observed: float = 8.0
    keep_articles: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A series that surges enough to open an incident, or has one open."""

    finding: Finding
    q: float
    drive: Drive
    model: str = ""
    trend: tuple[TrendPoint, ...] = ()


@dataclass(slots=True)
class Track:
    """What the lifecycle remembers of an open incident beside the incident itself."""

    incident: Incident
    window: timedelta
    told_at: datetime
    told_excess: float
    told_stories: int
    stories: frozenset[str]
    """Driving stories seen so far."""
    calm_since: datetime | None = None
    words: dict[str, int] = field(default_factory=dict)
    """In how many driving stories each word was (:func:`alerts.past.count_words`)."""

    def take(self, drive: Drive) -> None:
        """Notes driving stories, each once."""
        new = [item for item in drive.stories if item.story_id not in self.stories]
        if new:
            self.words = count_words(self.words, new)
            self.stories = self.stories | drive.story_ids

    def to_doc(self) -> dict[str, Any]:
        """A JSON object; the incident itself is stored under its own kind."""
        return {
            "incident": self.incident.id,
            "window": self.window.total_seconds(),
            "told_at": time_to_str(self.told_at),
            "told_excess": self.told_excess,
            "told_stories": self.told_stories,
            "stories": sorted(self.stories),
            "calm_since": time_to_str(self.calm_since) if self.calm_since else None,
            "words": dict(sorted(self.words.items())),
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any], incident: Incident) -> Track:
        """The inverse of :meth:`to_doc`. Raises CodecError."""
        try:
            calm = doc["calm_since"]
            return cls(
                incident=incident,
                window=timedelta(seconds=doc["window"]),
                told_at=time_from_str(doc["told_at"]),
                told_excess=float(doc["told_excess"]),
                told_stories=int(doc["told_stories"]),
                stories=frozenset(doc["stories"]),
                calm_since=time_from_str(calm) if calm else None,
                words={str(word): int(count) for word, count in doc.get("words", {}).items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored incident track is incomplete: {error}.") from error


def severity_of(config: IncidentConfig, finding: Finding, q: float) -> Severity:
    """By effect and q-value."""
    ratio = finding.observed / max(finding.expected, 0.1)
    if q <= config.critical_q and ratio >= config.critical_ratio and finding.observed >= config.critical_observed:
        return Severity.CRITICAL
    return Severity.WARNING if q <= config.warning_q else Severity.INFO


class IncidentBook:
    """The open incidents and the rules by which they change. Deterministic; time comes in with every call."""

    def __init__(self, config: IncidentConfig | None = None, *, names: Mapping[SeriesKey, str] | None = None) -> None:
        self.config = config or IncidentConfig()
        self.names: Mapping[SeriesKey, str] = names or {}
        self.open: dict[SeriesKey, Track] = {}
        self.cooling: dict[SeriesKey, datetime] = {}
        self.past = PastIncidents()

    def title(self, key: SeriesKey) -> str:
        """Display name of a series."""
        if key in self.names:
            return self.names[key]
        if key.scope is Scope.PAIR:
            topic, _, entity = key.value.partition("/")
            parts = SeriesKey(scope=Scope.ENTITY, value=entity), SeriesKey(scope=Scope.TOPIC, value=topic)
            return ": ".join(self.title(part) for part in parts)
        return "All news" if key.scope is Scope.ALL else key.value

    def held(self, key: SeriesKey) -> bool:
        """Whether the series has an open incident or is part of one."""
        return key in self.open or any(key in track.incident.related for track in self.open.values())

    def wants(self, finding: Finding, q: float) -> bool:
        """Whether a finding is strong enough to open an incident, sources aside."""
        return q <= self.config.open_q and finding.observed >= self.config.min_ratio * finding.expected

    def offer(
        self, candidates: Sequence[Candidate], at: datetime, bucket: datetime, active_sources: int
    ) -> list[Incident]:
        """Opens and updates incidents with the candidates of the tick that closed ``bucket``; returns those to tell."""
        need = min(self.config.min_sources, max(1, active_sources))
        told: list[Incident] = []
        ranked = sorted(candidates, key=lambda c: (c.finding.key.scope is Scope.ALL, c.q, str(c.finding.key)))
        for candidate in ranked:
            key = candidate.finding.key
            if key in self.open:
                incident = self._update(self.open[key], candidate, at)
                if incident is not None:
                    told.append(incident)
                continue
            if not self.wants(candidate.finding, candidate.q) or len(candidate.drive.sources) < need:
                continue
            if not candidate.drive.stories:
                continue
            host = self._host(candidate)
            if host is not None:
                incident = self._join(host, candidate, at)
                if incident is not None:
                    told.append(incident)
                continue
            until = self.cooling.get(key)
            if until is not None and at < until and candidate.q > self.config.open_q * 1e-3:
                continue
            self.cooling.pop(key, None)
            told.append(self._open(candidate, at, bucket))
        return told

    def _open(self, candidate: Candidate, at: datetime, bucket: datetime) -> Incident:
        finding, drive = candidate.finding, candidate.drive
        words = count_words({}, drive.stories)
        similar = self.past.like((finding.key,), words)
        incident = Incident(
            id=digest("incident", str(finding.key), time_to_str(bucket)),
            key=finding.key,
            state=IncidentState.OPEN,
            severity=severity_of(self.config, finding, candidate.q),
            observed=finding.observed,
            expected=finding.expected,
            low=finding.low,
            high=finding.high,
            p_value=finding.p_value,
            q_value=candidate.q,
            opened_at=at,
            updated_at=at,
            title=self.title(finding.key),
            reason=surge_reason(finding, candidate.q, drive) + similar_sentence(similar),
            stories=drive.new,
            articles=tuple(item.article_id for item in drive.stories)[-self.config.keep_articles :],
            sources=drive.sources,
            entities=_entities(drive),
            evidence=pick(drive.stories),
            model=candidate.model,
            trend=candidate.trend,
            similar=similar,
        )
        self.open[finding.key] = Track(
            incident=incident,
            window=finding.window,
            told_at=at,
            told_excess=finding.observed - finding.expected,
            told_stories=len(drive.stories),
            stories=drive.story_ids,
            words=words,
        )
        return incident

    def _update(self, track: Track, candidate: Candidate, at: datetime) -> Incident | None:
        config, finding, drive, old = self.config, candidate.finding, candidate.drive, track.incident
        track.take(drive)
        severity = severity_of(config, finding, candidate.q)
        worse = _RANK[severity] > _RANK[old.severity]
        # Windows differ in length: what grows is the excess, and only while it is out of the ordinary.
        excess = finding.observed - finding.expected
        unusual = finding.p_value <= config.hold_p
        grown = unusual and excess >= config.growth * track.told_excess
        fresh = unusual and len(track.stories) >= track.told_stories + max(
            3.0, (config.growth - 1) * track.told_stories
        )
        if old.state is IncidentState.SNOOZED or (old.state is IncidentState.ACKNOWLEDGED and not worse):
            return None
        if not worse and not ((grown or fresh) and at - track.told_at >= config.update_every):
            return None
        similar = self.past.like((old.key, *old.related), track.words)
        known = dict.fromkeys((*old.articles, *(item.article_id for item in drive.stories)))
        stronger = worse or grown or finding.p_value <= old.p_value
        incident = replace(
            old,
            severity=severity if worse else old.severity,
            updated_at=at,
            reason=surge_reason(finding, candidate.q, drive) + similar_sentence(similar),
            similar=similar,
            stories=max(old.stories, drive.new),
            articles=tuple(known)[-config.keep_articles :],
            sources=tuple(sorted({*old.sources, *drive.sources})),
            entities=_entities(drive) or old.entities,
            evidence=pick(drive.stories) or old.evidence,
            trend=candidate.trend,
            revision=old.revision + 1,
        )
        if stronger:
            incident = replace(
                incident,
                observed=finding.observed,
                expected=finding.expected,
                low=finding.low,
                high=finding.high,
                p_value=finding.p_value,
                q_value=candidate.q,
            )
        track.incident = incident
        track.told_at, track.told_excess, track.told_stories = at, excess, len(track.stories)
        return incident

    def _host(self, candidate: Candidate) -> Track | None:
        """The open incident that a surge is part of: one that shares its stories, or the surge of everything."""
        mine, scope = candidate.drive.story_ids, candidate.finding.key.scope
        if scope is Scope.ALL:
            need, told = self.config.overlap_all, frozenset[str]().union(*(t.stories for t in self.open.values()))
            if len(mine & told) >= self.config.overlap * max(1, len(mine)):
                need = 0.0  # what is open explains it together
            shares = {key: len(mine & track.stories) / max(1, len(mine)) for key, track in self.open.items()}
        else:
            need = self.config.overlap
            shares = {
                key: len(mine & track.stories) / max(1, min(len(mine), len(track.stories)))
                for key, track in self.open.items()
                if key.scope is not Scope.ALL
            }
            whole = next((track for key, track in self.open.items() if key.scope is Scope.ALL), None)
            if whole is not None and self._swallows(whole, candidate):
                return whole
        best = max(shares, key=lambda key: (shares[key], str(key)), default=None)
        return self.open[best] if best is not None and shares[best] > 0 and shares[best] >= need else None

    def _swallows(self, whole: Track, candidate: Candidate) -> bool:
        """Whether the surge of everything covers a narrower one: when the narrower explains much of it, and a topic
        (or an entity within one) that would be no more than information. An entity or a worse topic stands alone."""
        mine = candidate.drive.story_ids
        common = len(mine & whole.stories)
        if common >= self.config.overlap_all * max(1, len(whole.stories)):
            return True
        mild = severity_of(self.config, candidate.finding, candidate.q) is Severity.INFO
        narrow = candidate.finding.key.scope in (Scope.TOPIC, Scope.PAIR)
        return mild and narrow and common >= self.config.overlap * max(1, len(mine))

    def _join(self, host: Track, candidate: Candidate, at: datetime) -> Incident | None:
        """Notes that another series surges on the same stories; told when worse, or when it names whom it concerns."""
        old = host.incident
        key = candidate.finding.key
        title = old.title
        if key not in old.related:
            related = tuple(sorted((*old.related, key)))
            host.incident = old = replace(old, related=related, title=self._joint_title(old.key, related))
        host.take(candidate.drive)
        severity = severity_of(self.config, candidate.finding, candidate.q)
        worse = _RANK[severity] > _RANK[old.severity]
        renamed = old.title != title and old.state is IncidentState.OPEN
        if not (worse or renamed) or old.state is IncidentState.SNOOZED:
            return None
        severity = severity if worse else old.severity
        host.incident = replace(old, severity=severity, updated_at=at, revision=old.revision + 1)
        host.told_at = at
        return host.incident

    def _joint_title(self, key: SeriesKey, related: Sequence[SeriesKey]) -> str:
        """The title of an incident whose series is broader than what joined it: "all news: Some Bank"."""
        if key.scope in (Scope.ENTITY, Scope.PAIR):
            return self.title(key)
        narrower = [other for other in related if other.scope is Scope.ENTITY]
        if not narrower and key.scope is Scope.ALL:
            narrower = [other for other in related if other.scope is Scope.TOPIC]
        names = ", ".join(self.title(other) for other in narrower[:3])
        return f"{self.title(key)}: {names}" if names else self.title(key)

    def settle(self, active: Mapping[SeriesKey, bool], at: datetime) -> list[Incident]:
        """Ends snoozes that are due and resolves incidents that have been calm long enough; returns those to tell.

        ``active`` says for each open series whether its surge goes on.
        """
        told: list[Incident] = []
        for key, track in list(self.open.items()):
            if active.get(key, False):
                track.calm_since = None
            elif track.calm_since is None:
                track.calm_since = at
            old = track.incident
            if track.calm_since is not None and at - track.calm_since >= self.config.resolve_after:
                reason = f"{old.reason} Over: nothing out of the ordinary since {track.calm_since:%Y-%m-%d %H:%M} UTC."
                track.incident = replace(
                    old,
                    state=IncidentState.RESOLVED,
                    resolved_at=at,
                    updated_at=at,
                    snoozed_until=None,
                    reason=reason,
                    revision=old.revision + 1,
                )
                told.append(track.incident)
                self._end(track, at)
            elif old.state is IncidentState.SNOOZED and old.snoozed_until is not None and at >= old.snoozed_until:
                track.incident = awake(old, at)
                told.append(track.incident)
        for key in [key for key, until in self.cooling.items() if until <= at]:
            del self.cooling[key]
        return told

    def command(self, command: Command) -> Incident | None:
        """Does what people ask; the incident as it is then, or None when no such one is open here."""
        track = next((track for track in self.open.values() if track.incident.id == command.incident), None)
        if track is None:
            return None
        track.incident = act(track.incident, command)
        if track.incident.state is IncidentState.RESOLVED:
            self._end(track, command.at)
        return track.incident

    def _end(self, track: Track, at: datetime) -> None:
        """Its series, and those that joined it, cool down."""
        del self.open[track.incident.key]
        self.past.add(track.incident, track.words)
        for key in (track.incident.key, *track.incident.related):
            self.cooling[key] = at + self.config.cool_down

    def hold_windows(self, key: SeriesKey) -> timedelta:
        """Longest window whose p-value keeps the incident of ``key`` open: one hour, or that of its opening."""
        return max(_HOUR, self.open[key].window)


def _entities(drive: Drive) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for item in drive.stories:
        for name in item.entities:
            counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))[:12]
