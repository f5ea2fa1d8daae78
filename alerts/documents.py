"""The documents in which the pipeline's memory is kept, so that a restart goes on where the last commit was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from alerts.drives import Drives
from alerts.incidents import IncidentBook, Track
from alerts.pairs import Pairs
from alerts.rules.watch import RULE
from alerts.series import OpenBuckets
from alerts.silence import SilenceWatch
from alerts.states import SeriesStates
from monitor.core.codec import incident_from_dict, incident_to_dict, time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ports import StateStore
from monitor.core.types import Change, Delete, Incident, Put, SeriesKey

__all__ = ["INCIDENT", "KINDS", "Docs", "Journal", "load_docs"]

META = "detect.meta"
SERIES = "detect.series"
BASELINE = "detect.baseline"
BUCKET = "detect.bucket"
STORY = "detect.story"
SOURCE = "detect.source"
SOURCE_BASELINE = "detect.source_baseline"
TRACK = "detect.track"
PAIR = "detect.pair"
PAST = "detect.past"
INCIDENT = "incident"
KINDS = (META, SERIES, BASELINE, BUCKET, STORY, SOURCE, SOURCE_BASELINE, TRACK, PAIR, PAST, RULE)
"""Kinds of document that ``restore`` reads in full; of ``incident`` it reads the open ones only."""

Docs = Mapping[str, Iterable[tuple[str, Mapping[str, Any]]]]
"""Documents by kind."""
_Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]

_VERSION = 1


class Journal:
    """Writes what changed in the parts of a pipeline since the last step, and fills them again."""

    def __init__(
        self,
        *,
        states: SeriesStates,
        buckets: OpenBuckets,
        drives: Drives,
        book: IncidentBook,
        silence: SilenceWatch,
        pairs: Pairs,
    ) -> None:
        self.states, self.buckets, self.drives, self.book, self.silence = states, buckets, drives, book, silence
        self.pairs = pairs
        self.tracks: set[SeriesKey] = set()
        """Series whose incident may have changed, or is over."""
        self.incidents: dict[str, Incident] = {}
        """Incidents to write, by id."""
        self._meta: Mapping[str, Any] | None = None
        self._written: dict[SeriesKey, tuple[Mapping[str, Any], Incident]] = {}

    # -- writing ---------------------------------------------------------------------------------------------------

    def changes(self) -> tuple[Change, ...]:
        """What is to be written; :meth:`done` comes after it."""
        return (
            *self._of_series(), *self._of_buckets(), *self._of_stories(), *self._of_sources(), *self._of_tracks(),
            *self._of_pairs(), *self._of_past(), *self._of_incidents(), *self._of_meta(),
        )  # fmt: skip

    def done(self) -> None:
        """Nothing is changed any more: the step is given away, or its documents are not wanted."""
        self.drives.written()
        for marks in (self.states.changed, self.states.learned, self.states.dropped, self.buckets.changed, self.tracks):
            marks.clear()
        self.pairs.changed.clear()
        self.book.past.changed.clear()
        self.incidents.clear()
        for names in (self.silence.learned, self.silence.dropped):
            names.clear()
        self.silence.changed = {name for name in self.silence.changed if self.silence.sources[name].heard}

    def _of_series(self) -> Iterator[Change]:
        for key in sorted(self.states.changed | self.states.learned):
            quick, slow = self.states.to_docs(key)
            yield Put(kind=SERIES, key=str(key), value=quick)
            if slow is not None and key in self.states.learned:
                yield Put(kind=BASELINE, key=str(key), value=slow)

        for key in sorted(self.states.dropped):
            yield Delete(kind=SERIES, key=str(key))
            yield Delete(kind=BASELINE, key=str(key))

    def _of_pairs(self) -> Iterator[Change]:
        for name in sorted(self.pairs.changed):
            doc = self.pairs.to_doc(name)
            yield Delete(kind=PAIR, key=name) if doc is None else Put(kind=PAIR, key=name, value=doc)

    def _of_past(self) -> Iterator[Change]:
        for name in sorted(self.book.past.changed):
            past = self.book.past.items.get(name)
            yield Delete(kind=PAST, key=name) if past is None else Put(kind=PAST, key=name, value=past.to_doc())

    def _of_buckets(self) -> Iterator[Change]:
        for index in sorted(self.buckets.changed):
            bucket, name = self.buckets.open.get(index), f"{index:012d}"
            yield Put(kind=BUCKET, key=name, value=bucket.to_doc()) if bucket else Delete(kind=BUCKET, key=name)

    def _of_stories(self) -> Iterator[Change]:
        for story in sorted(self.drives.stories.changed):
            doc = self.drives.to_doc(story)
            yield Delete(kind=STORY, key=story) if doc is None else Put(kind=STORY, key=story, value=doc)

    def _of_sources(self) -> Iterator[Change]:
        silence = self.silence
        for name in sorted(silence.changed | silence.learned):
            quick, slow = silence.to_docs(name)
            yield Put(kind=SOURCE, key=name, value=quick)
            if slow is not None and name in silence.learned:
                yield Put(kind=SOURCE_BASELINE, key=name, value=slow)
        for name in sorted(silence.dropped):
            yield Delete(kind=SOURCE, key=name)
            yield Delete(kind=SOURCE_BASELINE, key=name)

    def _of_tracks(self) -> Iterator[Change]:
        for key in sorted(self.tracks):
            track, name = self.book.open.get(key), str(key)
            if track is None:
                self._written.pop(key, None)
                yield Delete(kind=TRACK, key=name)
                continue
            now, before = (track.to_doc(), track.incident), self._written.get(key)
            if now != before:
                self._written[key] = now
                yield Put(kind=TRACK, key=name, value=now[0])
                if before is None or before[1] != now[1]:
                    self.incidents[track.incident.id] = track.incident

    def _of_incidents(self) -> Iterator[Change]:
        for name in sorted(self.incidents):
            yield Put(kind=INCIDENT, key=name, value=incident_to_dict(self.incidents[name]))

    def _of_meta(self) -> Iterator[Change]:
        meta = {
            "version": _VERSION,
            "width": self.states.config.detector.width.total_seconds(),
            "closed": self.buckets.closed,
            **self.states.to_meta(),
            "cooling": {str(key): time_to_str(until) for key, until in self.book.cooling.items()},
        }
        if meta != self._meta:
            self._meta = meta
            yield Put(kind=META, key="pipeline", value=meta)

    # -- reading ---------------------------------------------------------------------------------------------------

    def restore(self, docs: Docs) -> None:
        """Fills the parts, which must be new. Raises CodecError."""
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

    def _restore(self, meta: Mapping[str, Any], tables: _Tables) -> None:
        if meta["version"] != _VERSION or meta["width"] != self.states.config.detector.width.total_seconds():
            raise ValueError("it was written with another format or bucket width")
        self._meta = meta
        self.states.load(meta, tables[SERIES], tables[BASELINE])
        self.buckets.load(meta["closed"], tables[BUCKET])
        self.drives.load(tables[STORY], self.buckets.closed or 0)
        self.pairs.load(tables[PAIR])
        self.book.past.load(list(tables[PAST].values()))
        self.book.cooling = {SeriesKey.parse(key): time_from_str(until) for key, until in meta["cooling"].items()}
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
    """Reads from a state store what :meth:`Journal.restore` needs."""
    docs: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for kind in KINDS:
        rows: list[tuple[str, Mapping[str, Any]]] = []
        after = ""
        while page := await state.list(kind, after=after, limit=1000):
            rows += page
            after = page[-1][0]
        docs[kind] = rows
    wanted = {str(doc["incident"]) for kind in (TRACK, SOURCE, RULE) for _, doc in docs[kind] if doc.get("incident")}
    found = [(name, await state.get(INCIDENT, name)) for name in sorted(wanted)]
    docs[INCIDENT] = [(name, doc) for name, doc in found if doc is not None]
    return docs
