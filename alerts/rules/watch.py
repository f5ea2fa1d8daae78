"""What rules do with the stories that they match: incidents at once, and series of their own. Pure, as the pipeline is.

An article is looked at once, when it is fed. A story counts for a rule once, by its first article that matches; the
pipeline remembers that with the story, so that it holds over a restart. Time is when articles were fetched, and an
incident that has been quiet long enough ended then, whenever that is noticed: how articles are divided into steps
changes nothing of what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.commands import Command, act, awake
from alerts.reason import moment
from alerts.rules import life
from alerts.rules.engine import Match, RuleSet
from alerts.series import Member
from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.types import Change, Delete, Incident, IncidentState, Put, ScoredArticle, SeriesKey

RULE = "detect.rule"
"""Kind of the documents in which the state of the rules is kept."""
UPDATE_EVERY = timedelta(minutes=15)
"""People are told of further stories of an open incident at most so often."""

_GONE = "Over: the rule opens no incidents any more."

Note = tuple[Mapping[str, Any], Incident]
"""What a change was made from, and the incident after it: for the audit."""


@dataclass(slots=True)
class Track:
    """What is remembered of a rule. ``query``: the digest of what it asked."""

    query: str
    opened: datetime | None = None
    last: datetime | None = None
    """When a story matched last."""
    told_at: datetime | None = None
    untold: int = 0
    """Stories since people were told."""
    held: int = 0
    """Stories that matched while it cooled down."""
    incident: Incident | None = None

    def to_doc(self) -> dict[str, Any]:
        """A JSON object; the incident itself is stored under its own kind."""
        return {
            "query": self.query,
            "opened": time_to_str(self.opened) if self.opened else "",
            "last": time_to_str(self.last) if self.last else "",
            "told_at": time_to_str(self.told_at) if self.told_at else "",
            "untold": self.untold,
            "held": self.held,
            "incident": self.incident.id if self.incident else "",
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any], incident: Incident | None) -> Track:
        """The inverse of :meth:`to_doc`. Raises CodecError."""
        if doc.get("incident") and incident is None:
            raise CodecError(f"A stored rule state names the incident {doc['incident']}, which is missing.")
        try:
            opened, last, told_at = (
                time_from_str(doc[name]) if doc[name] else None for name in ("opened", "last", "told_at")
            )
            return cls(
                query=str(doc["query"]),
                opened=opened,
                last=last,
                told_at=told_at,
                untold=int(doc["untold"]),
                held=int(doc["held"]),
                incident=incident,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"A stored rule state is incomplete: {error}.") from error


class RuleWatch:
    """The rules at work. Deterministic; time comes in with the articles and the watermark."""

    def __init__(self, rules: RuleSet | None = None) -> None:
        self.rules = rules or RuleSet()
        self.tracks: dict[str, Track] = {}
        self._gone: set[str] = set()
        """Names whose state is there, but whose rule opens no incidents (any more)."""
        self._new_series = [rule for rule in self.rules.rules if not rule.at_once]
        self._by_name = {rule.name: rule for rule in self.rules.rules if rule.at_once}
        self._at_once = {rule.key for rule in self._by_name.values()}
        self._changed: set[str] = set()
        self._incidents: dict[str, Incident] = {}
        self._told: dict[str, Incident] = {}
        self._notes: list[Note] = []
        self.observer: Callable[[ScoredArticle, Match, str, bool], None] = lambda _item, _match, _story, _fresh: None
        """Is told of every match with its story and whether it is the story's first."""

    @property
    def names(self) -> dict[SeriesKey, str]:
        """What people are shown for the rules' series."""
        return {rule.key: rule.shown for rule in self.rules.rules}

    # -- stories -----------------------------------------------------------------------------------------------------

    def match(self, item: ScoredArticle) -> dict[SeriesKey, Match]:
        """The rules that are true of an article, by their series."""
        return {match.rule.key: match for match in self.rules.match(item)}

    def fire(self, item: ScoredArticle, member: Member, found: Mapping[SeriesKey, Match], heat: int = 1) -> Member:
        """Opens and evolves incidents with an article whose story is ``member.story``; returns the member with the
        series in which it is counted, without the rules that act at once."""
        for key, match in found.items():
            fresh = key in member.fresh
            self.observer(item, match, member.story, fresh)
            if fresh and key in self._at_once:
                self._story(match, item, member.story, heat)
        if not self._at_once.isdisjoint(found):
            member = replace(
                member,
                fresh=tuple(key for key in member.fresh if key not in self._at_once),
                again=tuple(key for key in member.again if key not in self._at_once),
            )
        return member

    def _story(self, match: Match, item: ScoredArticle, story: str, heat: int) -> None:
        rule = match.rule
        track = self.tracks.setdefault(rule.name, Track(query=rule.digest))
        at = max(item.article.fetched_at, item.article.published_at)
        if track.last is not None:
            at = max(at, track.last)
            self._end_if_quiet(rule.name, track, at, rule.quiet)
        self._changed.add(rule.name)
        track.last = at
        if track.incident is not None:
            one = life.opened(match, item, story, at=at, heat=heat)
            tell = (
                track.incident.state is IncidentState.OPEN
                and track.told_at is not None
                and at - track.told_at >= UPDATE_EVERY
            )
            after = life.merged(track.incident, one, tell=tell)
            self._note(track, life.story_doc(track.incident, one, tell=tell), after, tell=tell)
            track.untold += 0 if tell else 1
            if tell:
                track.told_at, track.untold = at, 0
        elif track.opened is not None and at < track.opened + rule.cool_down:
            track.held += 1
        else:
            one = life.opened(match, item, story, at=at, heat=heat, held=track.held)
            track.opened = track.told_at = at
            track.untold = track.held = 0
            self._note(track, life.story_doc(None, one, tell=True), one, tell=True)

    # -- time --------------------------------------------------------------------------------------------------------

    def settle(self, watermark: datetime) -> None:
        """Everything fetched before ``watermark`` was fed: ends what has been quiet long enough and snoozes that are
        over, and tells of what has come since."""
        for name in sorted(name for name, track in self.tracks.items() if track.incident is not None):
            track = self.tracks[name]
            rule = self._by_name.get(name)
            if rule is None:
                self._end(name, track, watermark, _GONE)
                continue
            self._end_if_quiet(name, track, watermark, rule.quiet)
            old = track.incident
            if old is None:
                continue
            if old.state is IncidentState.SNOOZED and old.snoozed_until is not None and watermark >= old.snoozed_until:
                at = old.snoozed_until
                self._note(track, life.awake_doc(old, at), awake(old, at), tell=True)
                track.told_at, track.untold = at, 0
                self._changed.add(name)
            elif (
                track.untold
                and old.state is IncidentState.OPEN
                and track.told_at is not None
                and watermark - track.told_at >= UPDATE_EVERY
            ):
                self._note(track, life.told_doc(old), life.told(old), tell=True)
                track.told_at, track.untold = watermark, 0
                self._changed.add(name)
        for name in sorted(self._gone):
            self.tracks.pop(name, None)
            self._changed.add(name)
        self._gone.clear()

    def _end_if_quiet(self, name: str, track: Track, at: datetime, quiet: timedelta) -> None:
        if track.incident is None or track.last is None or at < track.last + quiet:
            return
        self._end(name, track, track.last + quiet, f"Over: no further story since {moment(track.last)}.")

    def _end(self, name: str, track: Track, at: datetime, why: str) -> None:
        old = track.incident
        assert old is not None
        self._note(track, life.ended_doc(old, at, why), life.ended(old, at, why), tell=True)
        track.incident = None
        track.untold = 0
        self._changed.add(name)

    def _note(self, track: Track, doc: Mapping[str, Any], after: Incident, *, tell: bool) -> None:
        track.incident = after
        self._incidents[after.id] = after
        self._notes.append((doc, after))
        if tell:
            self._told[after.id] = after

    # -- people ------------------------------------------------------------------------------------------------------

    @property
    def open(self) -> tuple[Incident, ...]:
        """The incidents that are not resolved."""
        return tuple(t.incident for _, t in sorted(self.tracks.items()) if t.incident is not None)

    def command(self, command: Command) -> Incident | None:
        """Does what people ask; the incident as it is then, or None when no such one is open here."""
        for name, track in self.tracks.items():
            if track.incident is None or track.incident.id != command.incident:
                continue
            done = track.incident = act(track.incident, command)
            if done.state is IncidentState.RESOLVED:
                track.incident = None
                track.untold = 0
            self._incidents.pop(done.id, None)
            self._told.pop(done.id, None)
            self._changed.add(name)
            return done
        return None

    # -- series ------------------------------------------------------------------------------------------------------

    def begin(self, at: datetime) -> tuple[SeriesKey, ...]:
        """The series that are to be watched from ``at`` on as if nothing were known of them: of rules that are new, or
        ask something else than before. Given once."""
        begun, self._new_series = self._new_series, []
        for rule in begun:
            former = self.tracks.get(rule.name)
            if former is not None and former.incident is not None:
                self._end(rule.name, former, at, _GONE)
            self._gone.discard(rule.name)
            self.tracks[rule.name] = Track(query=rule.digest)
            self._changed.add(rule.name)
        return tuple(sorted(rule.key for rule in begun))

    # -- documents ---------------------------------------------------------------------------------------------------

    def take(self) -> tuple[dict[str, Incident], dict[str, Incident], list[Note]]:
        """Since the last time: incidents that people are told of, all incidents to write, what they were made from."""
        taken = self._told, self._incidents, self._notes
        self._told, self._incidents, self._notes = {}, {}, []
        return taken

    def changes(self) -> list[Change]:
        """The documents of the rules whose state changed; given once."""
        found: list[Change] = []
        for name in sorted(self._changed):
            track = self.tracks.get(name)
            found.append(
                Delete(kind=RULE, key=name) if track is None else Put(kind=RULE, key=name, value=track.to_doc())
            )
        self._changed.clear()
        return found

    def restore(self, docs: Iterable[tuple[str, Mapping[str, Any]]], incidents: Mapping[str, Incident]) -> None:
        """Takes up what :meth:`changes` wrote, whatever the rules were then. Raises CodecError."""
        series = {rule.name: rule for rule in self._new_series}
        for name, doc in docs:
            track = Track.from_doc(doc, incidents.get(str(doc.get("incident"))))
            if name in series and track.incident is None:
                if series[name].digest == track.query:
                    self.tracks[name] = track
                    self._new_series.remove(series[name])
                continue
            self.tracks[name] = track
            if name not in self._by_name:
                self._gone.add(name)
