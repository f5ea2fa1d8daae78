"""From scored articles to incidents: the one code path for live running, replay and backtest.

``feed`` puts articles into open buckets, ``advance`` closes buckets up to a watermark and says what changed. Nothing
here reads a clock or does I/O. The caller commits ``Step.changes``, its outbox rows and its tail cursor in one
transaction; after a crash ``restore`` and feeding again from that cursor gives identical results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alerts import fdr
from alerts.audit import Recorder
from alerts.commands import Command
from alerts.config import PipelineConfig
from alerts.detector import SurgeState
from alerts.documents import INCIDENT, KINDS, Docs, Journal, load_docs
from alerts.drives import Drives, Row, drive_of
from alerts.incidents import Candidate, IncidentBook
from alerts.pairs import Pairs
from alerts.reason import with_words
from alerts.rules.engine import RuleSet
from alerts.rules.watch import RULE, RuleWatch
from alerts.series import OpenBuckets, effective_time
from alerts.silence import SilenceWatch
from alerts.states import SeriesStates
from alerts.trend import trend_of
from monitor.core.codec import incident_from_dict
from monitor.core.errors import CodecError
from monitor.core.types import Bucket, Change, Finding, Incident, IncidentState, Scope, ScoredArticle, SeriesKey

__all__ = ["INCIDENT", "KINDS", "DetectPipeline", "PipelineConfig", "Point", "Step", "load_docs", "with_words"]

_DAY = timedelta(days=1)


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
    closed_until: datetime | None = None
    """The end of the newest closed bucket."""
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
        rules: RuleSet | None = None,
    ) -> None:
        self.config = config or PipelineConfig()
        self.alerting = alerting
        self.states = SeriesStates(self.config)
        self.buckets = OpenBuckets()
        self.drives = Drives(self.config)
        self.pairs = Pairs(self.config.pairs, self.config.series, self.config.detector.width)
        self.rules = RuleWatch(rules)
        self.book = IncidentBook(self.config.incidents, names={**(display_names or {}), **self.rules.names})
        self.silence = SilenceWatch(self.config.silence, width=self.config.detector.width)
        self.silence.names = self.book.names
        self._journal = Journal(
            states=self.states,
            buckets=self.buckets,
            drives=self.drives,
            book=self.book,
            silence=self.silence,
            pairs=self.pairs,
        )
        self._recorder = Recorder(self.config, self.states, self.book, self.silence) if persist else None
        self._acted: dict[str, Incident] = {}
        self._points_wanted = points
        self._points: list[Point] = []
        self._counts: dict[str, int] = {}

    def restore(self, docs: Docs) -> None:
        """Takes up where the documents were written; call it once, before anything is fed. Raises CodecError."""
        self._journal.restore(docs)
        incidents = {name: incident_from_dict(doc) for name, doc in docs.get(INCIDENT, ())}
        self.rules.restore(docs.get(RULE, ()), incidents)

    # -- feeding ---------------------------------------------------------------------------------------------------

    @property
    def watermark(self) -> datetime | None:
        """End of the last closed bucket."""
        return None if self.buckets.closed is None else self.states.detector.start_of(self.buckets.closed + 1)

    def due(self, watermark: datetime) -> bool:
        """Whether ``advance`` would close a bucket."""
        if self.buckets.closed is None:
            return bool(self.buckets.open) and min(self.buckets.open) <= self._last(watermark)
        return self._last(watermark) > self.buckets.closed

    def _last(self, watermark: datetime) -> int:
        """The last bucket that a watermark closes."""
        return self.states.detector.index_of(watermark - self.config.grace) - 1

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
        if self.drives.knows(article.id):
            self._count("duplicates")
            return
        belongs = index = self.states.detector.index_of(at)
        if self.buckets.closed is not None and index <= self.buckets.closed:
            index = self.buckets.closed + 1
            self._count("late")
        found = self.rules.match(item)
        pairs = self.pairs.names(item)
        member = self.drives.take(item, at, belongs, (*found, *self.pairs.keys(pairs)))
        if pairs and any(key.scope is Scope.ENTITY for key in member.fresh):
            self._count_pairs(item, pairs, index)
        if belongs != index:
            member.at = belongs
        if found:
            member = self.rules.fire(item, member, found, self.drives.stories.heat(member.story))
        self.buckets.add(index, article.id, member)
        scores = item.scored.scores
        clear = bool(scores.topics) and scores.topics[scores.topic] >= self.config.series.topic_threshold
        self.silence.arrive(article.source, index, lang=article.lang, topic=scores.topic if clear else "")
        self._count("articles")

    def _count_pairs(self, item: ScoredArticle, names: tuple[str, ...], index: int) -> None:
        self.pairs.count(item, names, index, self.book.held)
        for key in sorted(self.pairs.begun):
            self.states.begin(key, index)
        for key in sorted(self.pairs.dropped):
            self.states.drop(key)
        self.pairs.begun.clear()
        self.pairs.dropped.clear()

    def _watched(self, key: SeriesKey, index: int) -> bool:
        """Whether a series is watched in bucket ``index``: pairs come and go while their buckets are open."""
        if key.scope is not Scope.PAIR:
            return True
        state = self.states.get(key)
        return state is not None and state.index < index

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1

    # -- closing ---------------------------------------------------------------------------------------------------

    def advance(self, watermark: datetime) -> Step:
        """Closes every bucket whose end is at least ``grace`` before ``watermark``."""
        last = self._last(watermark)
        buckets = self.buckets
        # Not before the first bucket can close: until then an earlier one may still come, whatever arrived first.
        if buckets.closed is None and buckets.open and min(buckets.open) <= last:
            buckets.closed = min(buckets.open) - 1
            self.states.origin = buckets.closed + 1
        told, self._acted = self._acted, {}
        closed = 0
        while buckets.closed is not None and buckets.closed < last:
            index = self._next(buckets.closed, last)
            for incident in self._close(index):
                told[incident.id] = incident
            closed += index - buckets.closed
            buckets.closed = index
        for before, after in self.silence.wake(watermark):
            told[after.id] = after
            if self._recorder is not None:
                self._recorder.woken(before, watermark, after)
        ruled, merged = self._ruled(watermark)
        told.update(ruled)
        if buckets.closed is not None:
            self.drives.prune(buckets.closed, self.states.detector.start_of(buckets.closed + 1))
        for track in self.book.open.values():
            if track.incident.id in told:  # it may have gained related series since
                told[track.incident.id] = track.incident
        self._journal.incidents.update(told)
        # What a rule's incident gained since it was told of, within this step, belongs into the same commit.
        self._journal.incidents.update(merged)
        incidents = tuple(told.values())
        step = Step(
            changes=self._changes(),
            incidents=incidents,
            notify=incidents if self.alerting else (),
            points=tuple(self._points),
            closed=closed,
            closed_until=self.watermark,
            counts=dict(self._counts),
        )
        self._journal.done()
        self._points.clear()
        self._counts.clear()
        return step

    def _ruled(self, watermark: datetime) -> tuple[Mapping[str, Incident], Mapping[str, Incident]]:
        """What rules did since the last step: the incidents that people are told of, and all as they are now."""
        self.rules.settle(watermark)
        told, changed, notes = self.rules.take()
        if self._recorder is not None:
            for doc, after in notes:
                self._recorder.rule(doc, after)
        return told, changed

    def _changes(self) -> tuple[Change, ...]:
        if self._recorder is None:
            return ()
        return (*self._journal.changes(), *self.rules.changes(), *self._recorder.changes())

    def _next(self, closed: int, last: int) -> int:
        """The next bucket that needs work; empty ones between are caught up later, by series."""
        filled = min((index for index in self.buckets.open if index <= last), default=last)
        if self.book.open:
            return closed + 1
        width, heard = self.config.detector.width, self.states.heard
        hour = int(timedelta(hours=1) / width)
        if heard is not None and (closed - heard) * width > 4 * _DAY:
            return max(closed + 1, filled)
        return min(max(closed + 1, filled), (closed + 1) // hour * hour + hour - 1, last)

    def _close(self, index: int) -> list[Incident]:
        detector, book, states = self.states.detector, self.book, self.states
        at, start = detector.start_of(index + 1), detector.start_of(index)
        before = self._recorder.before() if self._recorder is not None else None
        silent = self._recorder.silent() if self._recorder is not None else {}
        for key in self.rules.begin(start):
            states.begin(key, index)
        content = self.buckets.take(index)
        buckets: dict[SeriesKey, Bucket] = {}
        late: dict[SeriesKey, tuple[tuple[int, int, float], ...]] = {}
        if content is not None:
            late = content.late()
            buckets = content.buckets(start, self.config.detector.width)
            buckets = {key: bucket for key, bucket in buckets.items() if self._watched(key, index)}
            states.hear(index, content)
        findings: dict[SeriesKey, tuple[Finding, ...]] = {}
        for key in sorted({*buckets, *book.open}):
            bucket = buckets.get(key)
            stories = bucket.stories if bucket else 0
            negatives = bucket.expected_negatives if bucket else 0.0
            past = late.get(key, ())
            v, x = stories - sum(row[1] for row in past), max(0.0, negatives - sum(row[2] for row in past))
            state = states.advance(key, index, v, x, past)
            if stories or key in book.open:
                findings[key] = detector.assess(state, key)
            if bucket is not None and self._points_wanted:
                self._points.append(self._point(state, bucket))
        tested = self._tested(findings, buckets)
        narrow = sum(key.scope is Scope.PAIR for key in findings)
        candidates, rows = self._judge(tested, len(findings), narrow, index)
        sources = self.silence.active_sources(index)
        told = book.offer(candidates, at, start, sources) if candidates else []
        told += book.settle({key: self._goes_on(key, findings.get(key, ())) for key in book.open}, at)
        if self._recorder is not None and before is not None:
            p_values = {key: finding.p_value for key, finding in tested.items()}
            self._recorder.tick(
                index,
                before,
                told,
                p_values=p_values,
                tests=len(findings),
                narrow_tests=narrow,
                rows=rows,
                active_sources=sources,
            )
        for incident in told:
            self._journal.tracks.add(incident.key)
            if incident.state is IncidentState.RESOLVED:
                states.settle((incident.key, *incident.related))
        self._journal.tracks.update(book.open)
        quiet = self.silence.close(index)
        if self._recorder is not None:
            self._recorder.silences(index, silent, quiet)
        return told + quiet

    def _tested(
        self, findings: Mapping[SeriesKey, tuple[Finding, ...]], buckets: Mapping[SeriesKey, Bucket]
    ) -> dict[SeriesKey, Finding]:
        """The best finding of each series that brought something."""
        best: dict[SeriesKey, Finding] = {}
        for key, found in findings.items():
            finding = self.states.detector.best(found)
            if finding is not None and key in buckets:
                best[key] = finding
        return best

    def _judge(
        self, best: Mapping[SeriesKey, Finding], tests: int, narrow: int, index: int
    ) -> tuple[list[Candidate], dict[SeriesKey, list[Row]]]:
        """The series that surge enough, or have an incident open, and the stories of their windows."""
        p_values = {key: finding.p_value for key, finding in best.items()}
        q = fdr.q_by_family(p_values, lambda key: key.scope is Scope.PAIR, tests=tests, narrow_tests=narrow)
        candidates: list[Candidate] = []
        rows: dict[SeriesKey, list[Row]] = {}
        for key, finding in best.items():
            if key not in self.book.open and not self.book.wants(finding, q[key]):
                continue
            stories = self.drives.rows(finding, index, self.states[key].floor)
            drive = drive_of(stories, self.config.driving)
            if drive is None:
                continue
            finding = replace(finding, sources=len(drive.sources))
            rows[key] = stories
            trend = trend_of(self.states.detector, self.states[key])
            candidates.append(Candidate(finding=finding, q=q[key], drive=drive, model=self.states.model, trend=trend))
        return candidates, rows

    def _goes_on(self, key: SeriesKey, findings: Sequence[Finding]) -> bool:
        longest = self.book.hold_windows(key)
        return any(f.p_value <= self.config.incidents.hold_p for f in findings if f.window <= longest)

    def _point(self, state: SurgeState, bucket: Bucket) -> Point:
        assert state.base is not None
        detector = self.states.detector
        _, expected = detector.expected(state)
        hourly = state.base.rates[-1][1]
        phi = detector.dispersion(state)
        return Point(bucket=bucket, expected=expected, spread=float((hourly + phi * hourly**2) ** 0.5))

    # -- people --------------------------------------------------------------------------------------------------------

    def command(self, doc: Mapping[str, Any]) -> str:
        """Does what people ask (:class:`alerts.commands.Command`); it is part of the next step. Returns why not, or
        "" when it is done."""
        try:
            command = Command.from_doc(doc)
        except CodecError as error:
            return error.message
        before = next((item for item in self.open_incidents() if item.id == command.incident), None)
        if before is None:
            return f"The incident {command.incident} is not open."
        done = self.book.command(command)
        if done is not None:
            self._journal.tracks.add(done.key)
            if done.state is IncidentState.RESOLVED:
                self.states.settle((done.key, *done.related))
        else:
            done = self.silence.command(command) or self.rules.command(command)
        assert done is not None
        self._journal.incidents[done.id] = self._acted[done.id] = done
        if self._recorder is not None:
            self._recorder.command(before, command, done)
        return ""

    def open_incidents(self) -> tuple[Incident, ...]:
        """All incidents that are not resolved."""
        silent = [s.incident for _, s in sorted(self.silence.sources.items()) if s.incident is not None]
        return (*(self.book.open[key].incident for key in sorted(self.book.open)), *silent, *self.rules.open)
