"""So that an incident can be rebuilt years later: what every change of it was made from, written when it was made.

A record holds the inputs of one decision, as they were then: the series states that were tested, the p-values of the
tick, the stories of the windows with their articles' scores and copies, the incidents that were open, the command that
was given. :func:`rebuild` runs today's code over them; the result must have the digest that was written beside them.
Records are written in the commit of the change itself, so that there is none without the other.

Words are left out: they are the model's explanation of a headline, made after the decision.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args, get_origin, get_type_hints

from alerts import fdr
from alerts.commands import Command, act, awake
from alerts.config import PipelineConfig
from alerts.drives import Row, drive_of
from alerts.incidents import Candidate, IncidentBook, Track
from alerts.past import Past, near
from alerts.rules import life
from alerts.series import ALL
from alerts.silence import SilenceWatch, key_of, name_of
from alerts.states import SeriesStates
from alerts.trend import trend_of
from monitor.core.codec import dumps, incident_from_dict, incident_to_dict, time_from_str, time_to_str
from monitor.core.errors import CodecError
from monitor.core.ports import StateStore
from monitor.core.types import Change, Delete, Finding, Incident, Put, Scope, SeriesKey

AUDIT = "audit"
"""One document for each change of an incident: key ``incident/number``, names the record."""
RECORD = "audit.record"
CONFIG = "audit.config"
_VERSION = 1


@cache
def package() -> str:
    """The version of Riskwire that runs."""
    try:
        return version("riskwire")
    except PackageNotFoundError:
        return "unknown"


def canonical(incident: Incident) -> bytes:
    """The incident as bytes, without the words of its evidence."""
    bare = replace(incident, evidence=tuple(replace(item, words=()) for item in incident.evidence))
    return dumps(incident_to_dict(bare)).encode()


def fingerprint(incident: Incident) -> str:
    """SHA-256 of :func:`canonical`, in hex."""
    return hashlib.sha256(canonical(incident)).hexdigest()


# -- the configuration -----------------------------------------------------------------------------------------------


def config_to_doc(config: object) -> Any:
    """A configuration value as JSON: dataclasses by field, durations in seconds."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: config_to_doc(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, timedelta):
        return config.total_seconds()
    if isinstance(config, tuple | list | frozenset):
        return [config_to_doc(item) for item in config]
    if isinstance(config, Mapping):
        return {str(key): config_to_doc(value) for key, value in config.items()}
    return config


def config_from_doc(kind: Any, doc: Any) -> Any:
    """The inverse of :func:`config_to_doc` for a type. Raises CodecError when a key is not known any more."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        unknown = set(doc) - set(hints)
        if unknown:
            raise CodecError(f"The configuration key '{sorted(unknown)[0]}' is not known to this version.")
        return kind(**{name: config_from_doc(hints[name], value) for name, value in doc.items()})
    if kind is timedelta:
        return timedelta(seconds=doc)
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(config_from_doc(inner, item) for item in doc)
    return doc


def config_put(config: PipelineConfig) -> Put:
    """The configuration under its digest."""
    doc = config_to_doc(config)
    return Put(kind=CONFIG, key=hashlib.sha256(dumps(doc).encode()).hexdigest()[:32], value=doc)


# -- writing ---------------------------------------------------------------------------------------------------------


def pack(doc: Mapping[str, Any]) -> str:
    """JSON, compressed, as text."""
    raw = json.dumps(doc, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b85encode(zlib.compress(raw, 6)).decode()


def unpack(text: str) -> dict[str, Any]:
    """The inverse of :func:`pack`. Raises CodecError."""
    try:
        doc: dict[str, Any] = json.loads(zlib.decompress(base64.b85decode(text)))
    except (ValueError, zlib.error) as error:
        raise CodecError("A stored audit record is damaged.") from error
    return doc


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the book held before a tick: values, or copies of what changes."""

    tracks: Mapping[SeriesKey, Track]
    cooling: Mapping[SeriesKey, datetime]
    past: Sequence[Past]


class Recorder:
    """Collects the records of one step. Nothing here decides anything."""

    def __init__(self, config: PipelineConfig, states: SeriesStates, book: IncidentBook, silence: SilenceWatch) -> None:
        self._config = config_put(config)
        self._known = False
        self._states, self._book, self._silence = states, book, silence
        self._changes: list[Change] = []
        self._numbers: dict[str, int] = {}

    def before(self) -> Before:
        """To be taken before a tick changes anything."""
        tracks = {key: replace(track) for key, track in self._book.open.items()}
        return Before(tracks=tracks, cooling=dict(self._book.cooling), past=tuple(self._book.past.items.values()))

    def tick(
        self,
        index: int,
        before: Before,
        told: Iterable[Incident],
        *,
        p_values: Mapping[SeriesKey, float],
        tests: int,
        narrow_tests: int,
        rows: Mapping[SeriesKey, Sequence[Row]],
        active_sources: int,
    ) -> None:
        """One closed bucket: kept when an incident opened, changed or ended with it."""
        after = {incident.id: incident for incident in told}
        for key, track in self._book.open.items():
            old = before.tracks.get(key)
            if old is None or old.incident is not track.incident:
                after[track.incident.id] = track.incident
        if not after:
            return
        keys = sorted({*rows, *before.tracks})
        named = {*keys, *(key for track in before.tracks.values() for key in track.incident.related)}
        self._add(
            f"tick/{index:012d}",
            after,
            {
                "what": "tick",
                "index": index,
                "model": self._states.model,
                "shape": self._states.to_meta()["shape"],
                "titles": {str(key): self._book.title(key) for key in sorted(named)},
                "active_sources": active_sources,
                "tests": tests,
                "narrow_tests": narrow_tests,
                "past": [past.to_doc() for past in near(before.past, named)],
                "p": {str(key): p for key, p in p_values.items()},
                "series": {str(key): list(self._states.to_docs(key)) for key in keys},
                "rows": {str(key): [row.to_list() for row in found] for key, found in rows.items()},
                "tracks": [
                    [str(key), track.to_doc(), incident_to_dict(track.incident)] for key, track in before.tracks.items()
                ],
                "cooling": {str(key): time_to_str(until) for key, until in before.cooling.items()},
            },
        )

    def silent(self) -> dict[str, Incident]:
        """The open silences, to be taken before a tick changes anything."""
        return {name: state.incident for name, state in self._silence.sources.items() if state.incident is not None}

    def silences(self, index: int, before: Mapping[str, Incident], told: Iterable[Incident]) -> None:
        """Silences that opened with a bucket, or ended."""
        for incident in told:
            name = name_of(incident.key)
            doc: dict[str, Any] = {"what": "silence", "index": index, "source": name}
            if name in before and before[name].id == incident.id:
                doc["before"] = incident_to_dict(before[name])
                doc["spoke"] = name in self._silence.sources
            else:
                # q is p times the number of watched sources.
                doc["watched"] = round(incident.q_value / incident.p_value)
                doc["state"] = list(self._silence.to_docs(name))
                doc["title"] = incident.title
            self._add(f"silence/{incident.id}/{index:012d}", {incident.id: incident}, doc)

    def command(self, before: Incident, command: Command, after: Incident) -> None:
        """What people did."""
        doc = {"what": "command", "before": incident_to_dict(before), "command": command.to_doc()}
        self._add(f"command/{command.to_put().key}", {after.id: after}, doc)

    def woken(self, before: Incident, at: datetime, after: Incident) -> None:
        """The snooze of a silence ended."""
        doc = {"what": "awake", "before": incident_to_dict(before), "at": time_to_str(at)}
        self._add(f"awake/{after.id}/{after.revision:08d}", {after.id: after}, doc)

    def rule(self, doc: Mapping[str, Any], after: Incident) -> None:
        """What a rule did (:mod:`alerts.rules.life`)."""
        key = f"rule/{after.id}/{after.revision:08d}/{after.stories:08d}/{doc['did']}"
        self._add(key, {after.id: after}, doc)

    def _add(self, key: str, after: Mapping[str, Incident], doc: Mapping[str, Any]) -> None:
        if not self._known:
            self._known = True
            self._changes.append(self._config)
        value = {"version": _VERSION, "package": package(), "config": self._config.key, "data": pack(doc)}
        self._changes.append(Put(kind=RECORD, key=key, value=value))
        for incident in after.values():
            # Several changes may leave the revision as it is: what joins an incident need not be told at once.
            number = self._numbers.get(incident.id, 0)
            self._numbers[incident.id] = number + 1
            self._changes.append(
                Put(
                    kind=AUDIT,
                    key=f"{incident.id}/{incident.revision:08d}/{time_to_str(incident.updated_at)}/{number:04d}/{key}",
                    value={
                        "record": key,
                        "revision": incident.revision,
                        "state": incident.state.value,
                        "at": time_to_str(incident.updated_at),
                        "sha256": fingerprint(incident),
                    },
                )
            )

    def changes(self) -> list[Change]:
        """The documents of the step; they are given once."""
        found, self._changes = self._changes, []
        self._numbers.clear()
        return found


# -- rebuilding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a record gives today: the incidents by id, and what does not agree on the way."""

    incidents: Mapping[str, Incident]
    findings: Mapping[SeriesKey, Finding]
    scores: Mapping[str, float]
    """p(negative) by article id, as it was counted."""
    doubts: tuple[str, ...] = ()


def rebuild(doc: Mapping[str, Any], config: PipelineConfig) -> Rebuilt:
    """Runs the code over what a record holds. Raises CodecError when it cannot be read."""
    try:
        what = doc["what"]
        if what == "tick":
            return _tick(doc, config)
        if what == "silence":
            incident = _silence(doc, config)
        elif what == "command":
            incident = act(incident_from_dict(doc["before"]), Command.from_doc(doc["command"]))
        elif what == "awake":
            incident = awake(incident_from_dict(doc["before"]), time_from_str(doc["at"]))
        elif what == life.KIND:
            incident = life.rebuilt(doc)
        else:
            raise CodecError(f"An audit record of the kind '{what}' is not known to this version.")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CodecError(f"A stored audit record is incomplete: {error}.") from error
    return Rebuilt(incidents={incident.id: incident}, findings={}, scores={})


def _tick(doc: Mapping[str, Any], config: PipelineConfig) -> Rebuilt:
    index = int(doc["index"])
    states = SeriesStates(config)
    states.load(
        {"origin": None, "heard": None, "outages": [], "model": doc["model"], "streak": ["", 0], "shape": doc["shape"]},
        {name: quick for name, (quick, _) in doc["series"].items()},
        {name: slow for name, (_, slow) in doc["series"].items()},
    )
    detector = states.detector
    at, start = detector.start_of(index + 1), detector.start_of(index)
    book = IncidentBook(config.incidents, names={SeriesKey.parse(k): title for k, title in doc["titles"].items()})
    for name, track, incident in doc["tracks"]:
        book.open[SeriesKey.parse(name)] = Track.from_doc(track, incident_from_dict(incident))
    book.cooling = {SeriesKey.parse(name): time_from_str(until) for name, until in doc["cooling"].items()}
    book.past.load(doc.get("past", ()))
    before = {key: track.incident for key, track in book.open.items()}

    p_values = {SeriesKey.parse(name): float(p) for name, p in doc["p"].items()}
    q = fdr.q_by_family(
        p_values,
        lambda key: key.scope is Scope.PAIR,
        tests=int(doc["tests"]),
        narrow_tests=int(doc.get("narrow_tests", 0)),
    )
    found = {key: detector.assess(states[key], key) for key in map(SeriesKey.parse, doc["series"])}
    doubts: list[str] = []
    findings: dict[SeriesKey, Finding] = {}
    scores: dict[str, float] = {}
    candidates: list[Candidate] = []
    for name, rows in doc["rows"].items():
        key = SeriesKey.parse(name)
        finding = detector.best(found[key])
        if finding is None or finding.p_value != p_values[key]:
            doubts.append(f"the test of {key} gives another p-value")
            continue
        findings[key] = finding
        stories = [Row.from_list(row) for row in rows]
        scores |= {row.lead.article_id: row.negative for row in stories}
        doubts += _miscounted(key, states[key].recent, stories, finding, index, config)
        drive = drive_of(stories, config.driving)
        if drive is None:
            doubts.append(f"nothing drives {key}")
            continue
        finding = replace(finding, sources=len(drive.sources))
        trend = trend_of(detector, states[key])
        candidates.append(Candidate(finding=finding, q=q[key], drive=drive, model=states.model, trend=trend))
    told = book.offer(candidates, at, start, int(doc["active_sources"])) if candidates else []
    hold = config.incidents.hold_p
    active = {
        key: any(f.p_value <= hold for f in found.get(key, ()) if f.window <= book.hold_windows(key))
        for key in book.open
    }
    told = [*told, *book.settle(active, at)]
    incidents = {incident.id: incident for incident in told}
    for key, track in book.open.items():
        if before.get(key) is not track.incident:
            incidents[track.incident.id] = track.incident
    return Rebuilt(incidents=incidents, findings=findings, scores=scores, doubts=tuple(doubts))


def _miscounted(
    key: SeriesKey,
    recent: Sequence[tuple[int, int, float]],
    rows: Sequence[Row],
    finding: Finding,
    index: int,
    config: PipelineConfig,
) -> list[str]:
    """Whether the counts that were tested are those of the stories."""
    oldest = index - int(finding.window / config.detector.width)
    counts: dict[int, tuple[int, float]] = {}
    for row in rows:
        stories, negatives = counts.get(row.index, (0, 0.0))
        counts[row.index] = (stories + 1, negatives + (row.negative if row.negative >= config.series.abstain else 0.0))
    for at, stories, negatives in recent:
        if oldest < at <= index and at in counts:
            mine = counts[at]
            if mine[0] != stories or abs(mine[1] - negatives) > 1e-6:
                return [
                    f"{key}: {mine[0]} stories ({mine[1]:.3f} negative) are recorded of a bucket in which {stories} "
                    f"({negatives:.3f}) were counted"
                ]
    return []


def _silence(doc: Mapping[str, Any], config: PipelineConfig) -> Incident:
    watch = SilenceWatch(config.silence, width=config.detector.width)
    name, index = str(doc["source"]), int(doc["index"])
    if "before" in doc:
        return watch.over(incident_from_dict(doc["before"]), index, spoke=bool(doc["spoke"]))
    if "title" in doc:
        watch.names = {key_of(name): str(doc["title"])}
    quick, slow = doc["state"]
    # Whether everything is silent is asked of several sources only; which ones does not matter.
    for known in (name, "a", "b", ALL.value):
        watch.load(known, quick, slow, None)
    incident = watch.opening(name, index, int(doc["watched"]))
    if incident is None:
        raise ValueError(f"'{name}' is not silent enough by what is recorded")
    return incident


# -- asking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one change of an incident when it was rebuilt. ``same`` None: it cannot be rebuilt."""

    revision: int
    at: str
    what: str
    sha256: str
    same: bool | None
    notes: tuple[str, ...] = ()
    incident: Incident | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)


async def audit(state: StateStore, incident_id: str) -> list[Verdict]:
    """Rebuilds every recorded change of an incident, oldest first. Raises StorageError."""
    verdicts: list[Verdict] = []
    after, prefix = f"{incident_id}/", f"{incident_id}/"
    while rows := await state.list(AUDIT, after=after, limit=200):
        for key, row in rows:
            if not key.startswith(prefix):
                return verdicts
            after = key
            verdicts.append(await _verdict(state, incident_id, row))
    return verdicts


async def _verdict(state: StateStore, incident_id: str, row: Mapping[str, Any]) -> Verdict:
    revision, at, sha256, name = int(row["revision"]), str(row["at"]), str(row["sha256"]), str(row["record"])
    empty = Verdict(revision=revision, at=at, what=name.partition("/")[0], sha256=sha256, same=None)
    stored = await state.get(RECORD, name)
    if stored is None:
        return replace(empty, notes=("its record is gone: it was older than retention.audit_days",))
    settings = await state.get(CONFIG, str(stored["config"]))
    if settings is None:
        return replace(empty, notes=("the configuration it was made with is gone",))
    notes = []
    if stored["package"] != package():
        notes.append(f"it was made by version {stored['package']}, this is {package()}")
    try:
        doc = unpack(str(stored["data"]))
        rebuilt = rebuild(doc, config_from_doc(PipelineConfig, settings))
    except CodecError as error:
        return replace(empty, notes=(*notes, error.message))
    incident = rebuilt.incidents.get(incident_id)
    notes += rebuilt.doubts
    if incident is None:
        notes.append("what is recorded does not lead to this incident")
    return replace(
        empty,
        same=incident is not None and fingerprint(incident) == sha256,
        notes=tuple(notes),
        incident=incident,
        record={"config": stored["config"], "package": stored["package"], "model": doc.get("model", ""), **doc},
        scores=rebuilt.scores,
    )


async def expire(state: StateStore, before: datetime, *, batch: int = 500) -> int:
    """Drops the records of changes before ``before``; what they decided, and its digest, stay. Returns how many."""
    dropped, after, limit = 0, "", time_to_str(before)
    kept: set[str] = set()
    gone: list[str] = []
    while rows := await state.list(AUDIT, after=after, limit=batch):
        after = rows[-1][0]
        for _, row in rows:
            (gone.append if str(row["at"]) < limit else kept.add)(str(row["record"]))
    for start in range(0, len(names := sorted(set(gone) - kept)), batch):
        part = [name for name in names[start : start + batch] if await state.get(RECORD, name) is not None]
        if part:
            await state.apply([Delete(kind=RECORD, key=name) for name in part])
        dropped += len(part)
    return dropped
