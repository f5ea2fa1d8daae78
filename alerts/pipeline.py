"""From scored articles to incidents: the one code path for live running, replay and backtest.

``feed`` puts articles into open buckets, ``advance`` closes buckets up to a watermark and says what changed. Nothing
here reads a clock or does I/O. The caller commits ``Step.changes``, its outbox rows and its tail cursor in one
transaction; after a crash ``restore`` and feeding again from that cursor gives identical results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alerts import fdr
from alerts.baseline import shape_of
from alerts.detector import DetectorConfig, SurgeDetector, SurgeState
from alerts.incidents import Candidate, IncidentBook, IncidentConfig, Track, acknowledged, snoozed
from alerts.reason import Drive, with_words
from alerts.series import ALL, Member, OpenBucket, SeriesConfig, effective_time, keys_of
from alerts.silence import SilenceConfig, SilenceWatch
from alerts.stories import StoryIndex
from monitor.core.codec import incident_from_dict, incident_to_dict, time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ports import StateStore
from monitor.core.types import (
    Bucket,
    Change,
    Delete,
    Evidence,
    Finding,
    Incident,
    IncidentState,
    Put,
    ScoredArticle,
    SeriesKey,
)

__all__ = ["INCIDENT", "KINDS", "DetectPipeline", "PipelineConfig", "Point", "Step", "load_docs", "with_words"]

META = "detect.meta"
SERIES = "detect.series"
BASELINE = "detect.baseline"
BUCKET = "detect.bucket"
STORY = "detect.story"
SOURCE = "detect.source"
SOURCE_BASELINE = "detect.source_baseline"
TRACK = "detect.track"
INCIDENT = "incident"
KINDS = (META, SERIES, BASELINE, BUCKET, STORY, SOURCE, SOURCE_BASELINE, TRACK)
"""Kinds of document that ``restore`` reads in full; of ``incident`` it reads the open ones only."""

_DAY = timedelta(days=1)
_MODEL_STREAK = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Everything that shapes detection. The defaults are explained in docs/detector.md."""

    series: SeriesConfig = field(default_factory=SeriesConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    incidents: IncidentConfig = field(default_factory=IncidentConfig)
    silence: SilenceConfig = field(default_factory=SilenceConfig)
    grace: timedelta = timedelta(seconds=60)
    """A bucket closes when the watermark is this far past its end."""
    story_window: timedelta = timedelta(hours=48)
    story_threshold: float = 0.6
    story_limit: int = 100_000
    driving: float = 0.5
    """Probability of being negative from which a story counts as driving."""
    outage_after: timedelta = timedelta(hours=12)
    """When nothing at all came for so long, nobody watched: the baselines do not learn that time."""
    look_back: timedelta = timedelta(days=28)
    """A series seen for the first time is taken to have been empty for at most so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One closed bucket of one series with what was expected of it."""

    bucket: Bucket
    expected: float
    """Negative stories expected."""
    spread: float
    """Standard deviation of what an hour brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an ``advance`` did."""

    changes: Sequence[Change] = ()
    """State documents to write, in one transaction."""
    incidents: Sequence[Incident] = ()
    """Incidents with a new revision: opened, updated or resolved."""
    notify: Sequence[Incident] = ()
    """Those people should be told of: all of them, or none when the pipeline does not alert."""
    points: Sequence[Point] = ()
    closed: int = 0
    """Buckets closed."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Since the last step: articles, duplicates, backfills, late."""


class DetectPipeline:
    """See the module. ``display_names`` are shown instead of topic and entity ids.

    ``alerting`` fills ``Step.notify``, ``points`` fills ``Step.points`` (for charts), ``persist`` fills
    ``Step.changes``; a backtest needs no changes.
    """

    def __init__(
        self,
        config: PipelineConfig | None = None,
        *,
        display_names: Mapping[SeriesKey, str] | None = None,
        alerting: bool = True,
        points: bool = False,
        persist: bool = True,
    ) -> None:
        self.config = config or PipelineConfig()
        self.alerting = alerting
        self.book = IncidentBook(self.config.incidents, names=display_names)
        self.silence = SilenceWatch(self.config.silence, width=self.config.detector.width)
        self.stories = StoryIndex(
            window=self.config.story_window,
            threshold=self.config.story_threshold,
            limit=self.config.story_limit,
        )
        self._points_wanted = points
        self._persist = persist
        self._set_shape(None)
        self._states: dict[SeriesKey, SurgeState] = {}
        self._open: dict[int, OpenBucket] = {}
        self._counted: dict[str, dict[SeriesKey, tuple[int, float]]] = {}
        self._leads: dict[str, Evidence] = {}
        self._recent: dict[SeriesKey, deque[tuple[int, str, float]]] = {}
        self._origin: int | None = None
        self._closed: int | None = None
        self._heard: int | None = None
        self._outages: list[tuple[int, int]] = []
        self._model = ""
        self._streak: tuple[str, int] = ("", 0)
        self._counts: dict[str, int] = {}
        self._dirty_series: set[SeriesKey] = set()
        self._dirty_base: set[SeriesKey] = set()
        self._dirty_buckets: set[int] = set()
        self._dirty_tracks: set[SeriesKey] = set()
        self._dirty_incidents: dict[str, Incident] = {}
        self._meta: Mapping[str, Any] | None = None
        self._written: dict[SeriesKey, tuple[Mapping[str, Any], Incident]] = {}
        self._points: list[Point] = []

    # -- feeding ---------------------------------------------------------------------------------------------------

    @property
    def watermark(self) -> datetime | None:
        """End of the last closed bucket."""
        return None if self._closed is None else self.detector.start_of(self._closed + 1)

    def due(self, watermark: datetime) -> bool:
        """Whether ``advance`` would close a bucket."""
        if self._closed is None:
            return bool(self._open)
        return self.detector.index_of(watermark - self.config.grace) - 1 > self._closed

    def feed(self, items: Sequence[ScoredArticle]) -> None:
        """Takes stored articles in arrival order. An article id seen before changes nothing."""
        for item in items:
            self._feed(item)

    def _feed(self, item: ScoredArticle) -> None:
        article = item.article
        at = effective_time(article, self.config.series)
        if at is None:
            self._count("backfills")
            return
        if self.stories.story_of(article.id) is not None:
            self._count("duplicates")
            return
        index = self.detector.index_of(at)
        if self._closed is not None and index <= self._closed:
            index = self._closed + 1
            self._count("late")
        story, _ = self.stories.assign(article, at, item.scored.story_signature)
        negative = item.scored.scores.negative
        if story not in self._leads:
            self._leads[story] = Evidence(
                article_id=article.id,
                story_id=story,
                title=article.title,
                source=article.source,
                url=article.url,
                published_at=article.published_at,
                heat=1,
                negative=negative,
                lang=article.lang,
                topic=item.scored.scores.topic if item.scored.scores.topics else "",
                entities=tuple(dict.fromkeys(e.name for e in item.scored.entities)),
            )
        counted = self._counted.setdefault(story, {})
        keys = keys_of(item, self.config.series)
        fresh = tuple(key for key in keys if key not in counted)
        for key in fresh:
            counted[key] = (index, negative)
            self._recent.setdefault(key, deque()).append((index, story, negative))
        bucket = self._open.setdefault(index, OpenBucket(index=index))
        bucket.members[article.id] = Member(
            story=story,
            source=article.source,
            model=item.scored.model,
            negative=negative,
            fresh=fresh,
            again=tuple(key for key in keys if key not in fresh),
        )
        self._dirty_buckets.add(index)
        self.silence.arrive(article.source, index)
        self._count("articles")

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1

    # -- closing ---------------------------------------------------------------------------------------------------

    def advance(self, watermark: datetime) -> Step:
        """Closes every bucket whose end is at least ``grace`` before ``watermark``."""
        last = self.detector.index_of(watermark - self.config.grace) - 1
        if self._closed is None and self._open:
            self._closed = min(self._open) - 1
            self._origin = self._closed + 1
        told: dict[str, Incident] = {}
        closed = 0
        while self._closed is not None and self._closed < last:
            index = self._next(self._closed, last)
            for incident in self._close(index):
                told[incident.id] = incident
            closed += index - self._closed
            self._closed = index
        self._prune()
        for track in self.book.open.values():
            if track.incident.id in told:  # it may have gained related series since
                told[track.incident.id] = track.incident
        self._dirty_incidents.update(told)
        incidents = tuple(told.values())
        step = Step(
            changes=self._changes(),
            incidents=incidents,
            notify=incidents if self.alerting else (),
            points=tuple(self._points),
            closed=closed,
            counts=dict(self._counts),
        )
        self._points.clear()
        self._counts.clear()
        return step

    def _next(self, closed: int, last: int) -> int:
        """The next bucket that needs work; empty ones between are caught up later, by series."""
        filled = min((index for index in self._open if index <= last), default=last)
        if self.book.open:
            return closed + 1
        hour = int(timedelta(hours=1) / self.config.detector.width)
        width = self.config.detector.width
        if self._heard is not None and (closed - self._heard) * width > 4 * _DAY:
            return max(closed + 1, filled)
        return min(max(closed + 1, filled), (closed + 1) // hour * hour + hour - 1, last)

    def _close(self, index: int) -> list[Incident]:
        detector, book = self.detector, self.book
        at, start = detector.start_of(index + 1), detector.start_of(index)
        content = self._open.pop(index, None)
        buckets: dict[SeriesKey, Bucket] = {}
        if content is not None:
            self._dirty_buckets.add(index)
            buckets = content.buckets(start, self.config.detector.width)
            self._note_outage(index)
            self._note_model(content)
            self._note_day(index)
        findings: dict[SeriesKey, tuple[Finding, ...]] = {}
        for key in sorted({*buckets, *book.open}):
            bucket = buckets.get(key)
            stories = bucket.stories if bucket else 0
            state = self._advance(key, index, stories, bucket.expected_negatives if bucket else 0.0)
            if stories or key in book.open:
                findings[key] = detector.assess(state, key)
            if bucket is not None and self._points_wanted:
                self._points.append(self._point(state, bucket))
        told = self._judge(findings, buckets, index, at, start)
        told += book.settle({key: self._goes_on(key, findings.get(key, ())) for key in book.open}, at)
        for incident in told:
            self._dirty_tracks.add(incident.key)
            if incident.state is IncidentState.RESOLVED:
                for key in (incident.key, *incident.related):
                    if key in self._states:
                        self._states[key] = detector.settle(self._states[key])
                        self._dirty_series.add(key)
        self._dirty_tracks.update(book.open)
        return told + self.silence.close(index)

    def _advance(self, key: SeriesKey, index: int, stories: int, negatives: float) -> SurgeState:
        detector = self._detector_of(key)
        old = self._states.get(key)
        state = old
        if state is None:
            back = index - int(self.config.look_back / self.config.detector.width)
            origin = index if self._origin is None else self._origin
            state = detector.begin(max(origin, back), self._model)
        if state.model != self._model:
            state = detector.relearn(state, self._model)
        for begin, end in self._outages:
            if state.index < end - 1 and begin < end - 1:
                if state.index < begin:
                    state = detector.advance(state, begin, 0, 0.0)
                state = detector.resume(state, end)
        state = detector.advance(state, index, stories, negatives)
        self._states[key] = state
        self._dirty_series.add(key)
        if old is None or state.base is not old.base:
            self._dirty_base.add(key)
        return state

    def _judge(
        self,
        findings: Mapping[SeriesKey, tuple[Finding, ...]],
        buckets: Mapping[SeriesKey, Bucket],
        index: int,
        at: datetime,
        start: datetime,
    ) -> list[Incident]:
        best: dict[SeriesKey, Finding] = {}
        for key, found in findings.items():
            finding = self.detector.best(found)
            if finding is not None and key in buckets:
                best[key] = finding
        if not best:
            return []
        q = fdr.q_values({key: finding.p_value for key, finding in best.items()}, tests=len(findings))
        candidates: list[Candidate] = []
        for key, finding in best.items():
            if key not in self.book.open and not self.book.wants(finding, q[key]):
                continue
            drive = self._drive(key, finding, index)
            if drive is None:
                continue
            finding = replace(finding, sources=len(drive.sources))
            candidates.append(Candidate(finding=finding, q=q[key], drive=drive, model=self._model))
        if not candidates:
            return []
        return self.book.offer(candidates, at, start, self.silence.active_sources(index))

    def _goes_on(self, key: SeriesKey, findings: Sequence[Finding]) -> bool:
        longest = self.book.hold_windows(key)
        return any(f.p_value <= self.config.incidents.hold_p for f in findings if f.window <= longest)

    def _drive(self, key: SeriesKey, finding: Finding, index: int) -> Drive | None:
        oldest = index - int(finding.window / self.config.detector.width)
        oldest = max(oldest, self._states[key].floor)
        stories: list[Evidence] = []
        new = reprints = 0
        first: datetime | None = None
        sources: set[str] = set()
        rows = sorted({row for row in self._recent.get(key, ()) if oldest < row[0] <= index})
        for _, story_id, negative in rows:
            lead = self._leads.get(story_id)
            story = self.stories.story(story_id)
            if lead is None or story is None:
                continue
            new += 1
            reprints += story.heat - 1
            if negative < self.config.driving:
                continue
            sources.update(story.sources)
            first = story.first_seen if first is None else min(first, story.first_seen)
            stories.append(replace(lead, heat=story.heat, negative=negative))
        if first is None:
            return None
        stories.sort(key=lambda e: (e.published_at, e.article_id))
        return Drive(stories=tuple(stories), new=new, reprints=reprints, sources=tuple(sorted(sources)), first=first)

    def _point(self, state: SurgeState, bucket: Bucket) -> Point:
        assert state.base is not None
        _, expected = self.detector.expected(state)
        hourly = state.base.rates[-1][1]
        phi = self.detector.dispersion(state)
        return Point(bucket=bucket, expected=expected, spread=float((hourly + phi * hourly**2) ** 0.5))

    # -- what the whole stream tells -----------------------------------------------------------------------------------

    def _note_outage(self, index: int) -> None:
        if self._heard is not None and (index - self._heard) * self.config.detector.width > self.config.outage_after:
            self._outages = [*self._outages[-15:], (self._heard, index)]
        self._heard = index

    def _note_model(self, content: OpenBucket) -> None:
        """Another model counts once that many articles in a row came from it: mixed workers do not flap."""
        name, run = self._streak
        for member in content.members.values():
            run = run + 1 if member.model == name else 1
            name = member.model
            if run >= _MODEL_STREAK or not self._states:
                self._model = name
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
        self._plain = SurgeDetector(self.config.detector)

    def _detector_of(self, key: SeriesKey) -> SurgeDetector:
        return self._plain if key == ALL else self.detector

    # -- people --------------------------------------------------------------------------------------------------------

    def acknowledge(self, incident_id: str) -> Incident | None:
        """Somebody took it; the change is part of the next step. None when no such incident is open."""
        return self._replace(incident_id, acknowledged)

    def snooze(self, incident_id: str, until: datetime) -> Incident | None:
        """Nothing but its end is told before ``until``. None when no such incident is open."""
        return self._replace(incident_id, lambda incident: snoozed(incident, until))

    def _replace(self, incident_id: str, change: Any) -> Incident | None:
        for key, track in self.book.open.items():
            if track.incident.id == incident_id:
                track.incident = change(track.incident)
                self._dirty_tracks.add(key)
                self._dirty_incidents[incident_id] = track.incident
                return track.incident
        for name, state in self.silence.sources.items():
            if state.incident is not None and state.incident.id == incident_id:
                state.incident = change(state.incident)
                self.silence.changed.add(name)
                self._dirty_incidents[incident_id] = state.incident
                return state.incident
        return None

    def open_incidents(self) -> tuple[Incident, ...]:
        """All incidents that are not resolved."""
        silent = [s.incident for _, s in sorted(self.silence.sources.items()) if s.incident is not None]
        return (*(self.book.open[key].incident for key in sorted(self.book.open)), *silent)

    # -- persistence ---------------------------------------------------------------------------------------------------

    def _prune(self) -> None:
        if self._closed is None:
            return
        oldest = self._closed - int(self.config.detector.windows[-1] / self.config.detector.width)
        for key in [key for key, rows in self._recent.items() if rows and min(rows[0][0], rows[-1][0]) <= oldest]:
            kept = deque(row for row in self._recent[key] if row[0] > oldest)
            if kept:
                self._recent[key] = kept
            else:
                del self._recent[key]
        self.stories.expire(self.detector.start_of(self._closed + 1))

    def _changes(self) -> tuple[Change, ...]:
        changes = tuple(self._documents()) if self._persist else ()
        for story in [story for story in self.stories.changed if story not in self.stories]:
            self._counted.pop(story, None)
            self._leads.pop(story, None)
        for dirty in (self._dirty_series, self._dirty_base, self._dirty_buckets, self._dirty_tracks):
            dirty.clear()
        self._dirty_incidents.clear()
        for dirty_names in (self.stories.changed, self.silence.learned, self.silence.dropped):
            dirty_names.clear()
        self.silence.changed = {name for name in self.silence.changed if self.silence.sources[name].heard}
        return changes

    def _documents(self) -> list[Change]:
        changes: list[Change] = []
        for key in sorted(self._dirty_series | self._dirty_base):
            quick, slow = self.detector.to_docs(self._states[key])
            changes.append(Put(kind=SERIES, key=str(key), value=quick))
            if slow is not None and key in self._dirty_base:
                changes.append(Put(kind=BASELINE, key=str(key), value=slow))
        for index in sorted(self._dirty_buckets):
            bucket = self._open.get(index)
            name = f"{index:012d}"
            changes.append(
                Put(kind=BUCKET, key=name, value=bucket.to_doc()) if bucket else Delete(kind=BUCKET, key=name)
            )
        for story in sorted(self.stories.changed):
            doc = self.stories.to_doc(story)
            if doc is None:
                changes.append(Delete(kind=STORY, key=story))
            else:
                doc["lead"] = _lead_to_doc(self._leads[story])
                doc["series"] = {str(key): list(value) for key, value in self._counted[story].items()}
                changes.append(Put(kind=STORY, key=story, value=doc))
        for name in sorted(self.silence.changed | self.silence.learned):
            quick, slow = self.silence.to_docs(name)
            changes.append(Put(kind=SOURCE, key=name, value=quick))
            if slow is not None and name in self.silence.learned:
                changes.append(Put(kind=SOURCE_BASELINE, key=name, value=slow))
        for name in sorted(self.silence.dropped):
            changes += [Delete(kind=SOURCE, key=name), Delete(kind=SOURCE_BASELINE, key=name)]
        for key in sorted(self._dirty_tracks):
            track = self.book.open.get(key)
            name = str(key)
            if track is None:
                self._written.pop(key, None)
                changes.append(Delete(kind=TRACK, key=name))
                continue
            now = (track.to_doc(), track.incident)
            before = self._written.get(key)
            if now != before:
                self._written[key] = now
                changes.append(Put(kind=TRACK, key=name, value=now[0]))
                if before is None or before[1] != now[1]:
                    self._dirty_incidents[track.incident.id] = track.incident
        for name in sorted(self._dirty_incidents):
            changes.append(Put(kind=INCIDENT, key=name, value=incident_to_dict(self._dirty_incidents[name])))
        meta = self._meta_doc()
        if meta != self._meta:
            self._meta = meta
            changes.append(Put(kind=META, key="pipeline", value=meta))
        return changes

    def _meta_doc(self) -> dict[str, Any]:
        return {
            "version": 1,
            "width": self.config.detector.width.total_seconds(),
            "origin": self._origin,
            "closed": self._closed,
            "heard": self._heard,
            "outages": [list(pair) for pair in self._outages],
            "model": self._model,
            "streak": list(self._streak),
            "shape": list(self._shape) if self._shape else None,
            "cooling": {str(key): time_to_str(until) for key, until in self.book.cooling.items()},
        }

    def restore(self, docs: Mapping[str, Iterable[tuple[str, Mapping[str, Any]]]]) -> None:
        """Takes up where the documents were written; call it once, before anything is fed. Raises CodecError."""
        tables = {kind: dict(docs.get(kind, ())) for kind in (*KINDS, INCIDENT)}
        meta = tables[META].get("pipeline")
        if meta is None:
            return
        try:
            self._restore(meta, tables)
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(
                f"The stored detector state cannot be read: {error}.",
                hint="Delete the detect.* documents to start anew.",
            ) from error

    def _restore(self, meta: Mapping[str, Any], tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        if meta["version"] != 1 or meta["width"] != self.config.detector.width.total_seconds():
            raise ValueError("it was written with another format or bucket width")
        self._meta = meta
        self._origin, self._closed, self._heard = meta["origin"], meta["closed"], meta["heard"]
        self._outages = [(int(a), int(b)) for a, b in meta["outages"]]
        self._model = meta["model"]
        self._streak = (str(meta["streak"][0]), int(meta["streak"][1]))
        self._set_shape(meta["shape"])
        self.book.cooling = {SeriesKey.parse(key): time_from_str(until) for key, until in meta["cooling"].items()}
        for name, quick in tables[SERIES].items():
            self._states[SeriesKey.parse(name)] = self.detector.from_docs(quick, tables[BASELINE].get(name))
        for name, doc in tables[BUCKET].items():
            self._open[int(name)] = OpenBucket.from_doc(int(name), doc)
        self.stories.load(tables[STORY].items())
        oldest = (self._closed or 0) - int(self.config.detector.windows[-1] / self.config.detector.width)
        for story, doc in tables[STORY].items():
            self._leads[story] = _lead_from_doc(story, doc)
            counted = self._counted[story] = {
                SeriesKey.parse(key): (int(index), float(negative)) for key, (index, negative) in doc["series"].items()
            }
            for series, (index, negative) in counted.items():
                if index > oldest:
                    self._recent.setdefault(series, deque()).append((index, story, negative))
        for rows in self._recent.values():
            ordered = sorted(rows)
            rows.clear()
            rows.extend(ordered)
        incidents = {name: incident_from_dict(doc) for name, doc in tables[INCIDENT].items()}
        for name, doc in tables[TRACK].items():
            incident = incidents.get(doc["incident"])
            if incident is None:
                raise ValueError(f"incident {doc['incident']} is missing")
            key = SeriesKey.parse(name)
            self.book.open[key] = Track.from_doc(doc, incident)
            self._written[key] = (doc, incident)
        for name, doc in tables[SOURCE].items():
            self.silence.load(name, doc, tables[SOURCE_BASELINE].get(name), incidents.get(doc["incident"]))
        self.silence.changed = {name for name, state in self.silence.sources.items() if state.heard}


async def load_docs(state: StateStore) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """Reads from a state store what :meth:`DetectPipeline.restore` needs."""
    docs: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for kind in KINDS:
        rows: list[tuple[str, Mapping[str, Any]]] = []
        after = ""
        while page := await state.list(kind, after=after, limit=1000):
            rows += page
            after = page[-1][0]
        docs[kind] = rows
    wanted = {str(doc["incident"]) for kind in (TRACK, SOURCE) for _, doc in docs[kind] if doc.get("incident")}
    found = [(name, await state.get(INCIDENT, name)) for name in sorted(wanted)]
    docs[INCIDENT] = [(name, doc) for name, doc in found if doc is not None]
    return docs


def _lead_to_doc(lead: Evidence) -> dict[str, Any]:
    return {
        "article": lead.article_id,
        "title": lead.title,
        "source": lead.source,
        "url": lead.url,
        "published": time_to_str(lead.published_at),
        "negative": lead.negative,
        "lang": lead.lang,
        "topic": lead.topic,
        "entities": list(lead.entities),
    }


def _lead_from_doc(story: str, doc: Mapping[str, Any]) -> Evidence:
    lead = doc["lead"]
    return Evidence(
        article_id=lead["article"],
        story_id=story,
        title=lead["title"],
        source=lead["source"],
        url=lead["url"],
        published_at=time_from_str(lead["published"]),
        heat=int(doc["heat"]),
        negative=float(lead["negative"]),
        lang=lead["lang"],
        topic=lead["topic"],
        entities=tuple(lead["entities"]),
    )
