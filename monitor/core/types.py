"""The values that travel through Riskwire: frozen, slotted, keyword-only, with aware UTC times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

SENTIMENTS = ("negative", "neutral", "positive")
"""The sentiment labels, in the order in which every table and file shows them."""

UNCERTAIN = "uncertain"
"""The verdict in place of a topic or sentiment of which the model is less sure than the user asked for."""

JSON = object
"""A JSON value: None, bool, int, float, str, list or dict of such."""


class Scope(StrEnum):
    """What a series is about. ``SOURCE`` and ``LANGUAGE`` are watched for silence, ``TOPIC`` for both, the others for
    surges; ``RULE``: what a user's rule matches; ``PAIR``: an entity within a topic, ``topic/entity``."""

    TOPIC = "topic"
    ENTITY = "entity"
    ALL = "all"
    SOURCE = "source"
    RULE = "rule"
    PAIR = "pair"
    LANGUAGE = "language"


class IncidentState(StrEnum):
    """Where an incident stands in its life."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How bad an incident is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the model says of one text: calibrated probabilities by label, each mapping sums to 1."""

    topics: Mapping[str, float]
    sentiments: Mapping[str, float]

    @property
    def topic(self) -> str:
        """The most probable topic id."""
        return max(self.topics, key=lambda name: self.topics[name])

    @property
    def sentiment(self) -> str:
        """The most probable sentiment."""
        return max(self.sentiments, key=lambda name: self.sentiments[name])

    @property
    def negative(self) -> float:
        """The probability that the text reads negative."""
        return self.sentiments.get("negative", 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """One news item as a source gave it.

    ``id`` comes from :func:`monitor.core.ids.article_id` and stays the same over re-fetches. ``lang`` is a BCP 47
    primary tag (``en``, ``zh``) or ``und``. ``scores`` is set when the item arrived already scored; the model is
    then skipped. ``meta`` holds what the connector wants to keep (guid, feed url, date flags …).
    """

    id: str
    source: str
    title: str
    published_at: datetime
    fetched_at: datetime
    url: str = ""
    body: str = ""
    lang: str = "und"
    scores: Scores | None = None
    model: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Title and body as one text: what entities are looked up in."""
        return f"{self.title}\n{self.body}" if self.body else self.title


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityMention:
    """A watch-listed entity found in an article; ``start``/``end`` are character offsets into ``Article.text``."""

    id: str
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the score step adds to an article. ``model`` is the artefact's id (name and content hash).

    ``doubts`` names what is uncertain of it: ``topic`` or ``sentiment`` when that verdict is less sure than the user
    asked for, ``language`` when the model does not support the text's language. The scores are there all the same.
    """

    article_id: str
    model: str
    scores: Scores
    entities: tuple[EntityMention, ...] = ()
    story_signature: str = ""
    scored_at: datetime
    doubts: tuple[str, ...] = ()

    def verdict(self, task: str) -> str:
        """The topic or the sentiment, or ``uncertain`` when it is in doubt. ``task``: ``topic`` or ``sentiment``."""
        if task in self.doubts:
            return UNCERTAIN
        return self.scores.topic if task == "topic" else self.scores.sentiment


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredArticle:
    """An article with its scores: the unit that a store keeps."""

    article: Article
    scored: Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A cluster of near-duplicate articles. ``heat`` is the number of its articles."""

    id: str
    title: str
    lang: str
    first_seen: datetime
    last_seen: datetime
    heat: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SeriesKey:
    """Names one watched series, e.g. (topic, ``fed_central_banks``) or (all, ``*``)."""

    scope: Scope
    value: str

    def __str__(self) -> str:
        return f"{self.scope.value}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> SeriesKey:
        """The inverse of ``str``. Raises ValueError on an unknown scope."""
        scope, _, value = text.partition(":")
        return cls(scope=Scope(scope), value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Counts of one series over [start, start + width). Stories, not articles, are what surges are counted in."""

    key: SeriesKey
    start: datetime
    width: timedelta
    stories: int = 0
    articles: int = 0
    sources: int = 0
    expected_negatives: float = 0.0
    """Sum over the bucket's stories of the calibrated probability that the story is negative."""

    @property
    def end(self) -> datetime:
        """The first instant after the bucket."""
        return self.start + self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector says of one series at one closed bucket: observed against expected over ``window``."""

    key: SeriesKey
    at: datetime
    window: timedelta
    observed: float
    expected: float
    low: float
    high: float
    p_value: float
    stories: int = 0
    sources: int = 0
    detector: str = "surge"


@dataclass(frozen=True, slots=True, kw_only=True)
class WordWeight:
    """How much a word moved a verdict: positive weights speak for the label, in probability units."""

    word: str
    weight: float
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One driving article of an incident."""

    article_id: str
    story_id: str
    title: str
    source: str
    url: str
    published_at: datetime
    heat: int
    negative: float
    lang: str = "und"
    topic: str = ""
    entities: tuple[str, ...] = ()
    words: tuple[WordWeight, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One entry of an incident's history: who did what, when, and why."""

    at: datetime
    by: str
    what: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One hour of what led to an incident: negative stories seen and expected, and the band they usually keep to."""

    start: datetime
    observed: float
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarIncident:
    """An incident of the past that one looks like: when it was, how it ended, and what both speak of."""

    id: str
    key: SeriesKey
    title: str
    opened_at: datetime
    resolved_at: datetime
    severity: Severity
    similarity: float
    """Share of the words of the smaller vocabulary that both have, 0 to 1."""
    words: tuple[str, ...]
    """Words that both have, those of most stories first."""
    ended: str
    """How it ended: ``by itself``, or by whom and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A surge (or a silence) that people are told about, from opening to resolve."""

    id: str
    key: SeriesKey
    state: IncidentState
    severity: Severity
    observed: float
    expected: float
    low: float
    high: float
    p_value: float
    q_value: float
    opened_at: datetime
    updated_at: datetime
    resolved_at: datetime | None = None
    snoozed_until: datetime | None = None
    kind: str = "surge"
    """``surge``, ``silence``, or ``rule``: opened at once by a user's rule."""
    title: str = ""
    """The series' display name."""
    reason: str = ""
    stories: int = 0
    articles: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    related: tuple[SeriesKey, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    model: str = ""
    revision: int = 1
    """Grows with every change that people should see; notifications are keyed by (id, revision)."""
    history: tuple[Action, ...] = ()
    """What people did about it, oldest first; the last 50."""
    trend: tuple[TrendPoint, ...] = ()
    """The hours before its last change, oldest first."""
    similar: tuple[SimilarIncident, ...] = ()
    """Incidents of the past that it looks like, most similar first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a notifier needs to edit its earlier message (Slack: channel and ts). Must survive restarts."""

    notifier: str
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a source stands, opaque to everyone but the source. Must be JSON."""

    data: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One poll's result: new or changed articles, the next cursor, and when the source may be asked again.

    ``counts`` are named tallies for health and metrics, e.g. ``{"entries": 30, "date_missing": 2}``.
    """

    articles: Sequence[Article]
    cursor: Cursor
    not_before: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One message for the bus. Records with equal keys keep their order; ``timestamp`` is set by the publisher."""

    key: str
    value: bytes
    timestamp: datetime
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A record as read from the bus, with its place."""

    topic: str
    partition: int
    offset: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a consumer group is behind: records published but not committed, and the oldest one's timestamp."""

    count: int
    oldest: datetime | None = None
    ends: Mapping[int, int] = field(default_factory=dict, compare=False)
    """By partition the offset that its next record will get, as far as the bus tells."""


class PutOutcome(StrEnum):
    """What became of one item of a put."""

    OK = "ok"
    RETRY = "retry"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutResult:
    """Outcome of one item, with the reason when it is not ok."""

    article_id: str
    outcome: PutOutcome
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutReport:
    """Outcomes in the order of the items."""

    results: tuple[PutResult, ...]

    @property
    def ok(self) -> bool:
        """True when every item was stored."""
        return all(result.outcome is PutOutcome.OK for result in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class TailPage:
    """Stored articles in arrival order and the position after the last of them (pass it back to go on)."""

    items: tuple[ScoredArticle, ...]
    position: str
    behind: float = 0.0
    """Real seconds: what was put within the last so many of them may not be among what is given yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """What people search for; unset fields do not restrict. ``text`` matches title and body, all words required."""

    text: str = ""
    topic: str = ""
    sentiment: str = ""
    entity: str = ""
    source: str = ""
    lang: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """Hits, newest first, and how many there are in all."""

    items: tuple[ScoredArticle, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """Asks for article counts of one series over [since, until) in steps of ``width``."""

    key: SeriesKey
    since: datetime
    until: datetime
    width: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPoint:
    """Articles of one step: how many, how many are expected to be negative, from how many sources."""

    start: datetime
    articles: int
    expected_negatives: float
    sources: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """How the matches of a search are spread: value → count, most frequent first. ``total`` counts all matches;
    ``sampled``: the counts are of the newest ones only."""

    total: int
    topics: Mapping[str, int]
    sentiments: Mapping[str, int]
    sources: Mapping[str, int]
    languages: Mapping[str, int]
    entities: Mapping[str, int]
    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownQuery:
    """Asks for article counts of every topic, entity or source over [since, until) in steps of ``width``."""

    scope: Scope
    since: datetime
    until: datetime
    width: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownRow:
    """One value of a breakdown. ``steps`` are (articles, how many are expected to be negative), one for each step."""

    value: str
    articles: int
    expected_negatives: float
    steps: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A change to the state store: set the document ``key`` of ``kind``."""

    kind: str
    key: str
    value: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """A change to the state store: remove the document ``key`` of ``kind`` (absent is fine)."""

    kind: str
    key: str


Change = Put | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """A condition of a change to the state store: the document ``key`` of ``kind`` equals ``value`` (None: absent)."""

    kind: str
    key: str
    value: Mapping[str, JSON] | None
