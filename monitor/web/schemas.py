"""What requests and answers look like: the source of the OpenAPI document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _aware(moment: datetime) -> datetime:
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error
    if not 1900 <= moment.year < 2200:
        raise ValueError("the time must lie in the years 1900 to 2199")
    return moment


Moment = Annotated[datetime, AfterValidator(_aware), Field(examples=["2026-03-02T09:00:00Z"])]
"""ISO 8601; without a zone it is UTC."""


class Problem(BaseModel):
    """RFC 9457. ``errors`` name the wrong parts of the request."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    hint: str | None = None
    errors: list[dict[str, str]] | None = None


class Me(BaseModel):
    login_required: bool
    role: str | None
    name: str | None
    roles: list[str]
    version: str


class Login(BaseModel):
    token: str = Field(min_length=1, max_length=4096)


class Label(BaseModel):
    id: str
    name: str
    name_zh: str


class Topics(BaseModel):
    topics: list[Label]
    sentiments: list[str]
    languages: list[str]
    model: str


class Mention(BaseModel):
    id: str
    name: str
    start: int
    end: int


class Article(BaseModel):
    """Offsets count Unicode code points of title, line break, body."""

    id: str
    source: str
    title: str
    url: str | None = Field(description="Only http and https.")
    lang: str
    published_at: str
    fetched_at: str
    topic: str
    sentiment: str
    negative: float
    entities: list[Mention]
    story: str | None
    model: str


class WholeArticle(Article):
    body: str
    topics: dict[str, float]
    sentiments: dict[str, float]
    doubts: list[str]
    scored_at: str


class Articles(BaseModel):
    items: list[Article]
    total: int
    total_is_exact: bool
    next: str | None = Field(description="Give it back as 'cursor' for the next page.")


class Word(BaseModel):
    word: str
    start: int
    end: int
    weight: float


class Explanation(BaseModel):
    id: str
    task: str
    label: str
    text: str
    words: list[Word]


class Facet(BaseModel):
    value: str
    count: int
    name: str


class Facets(BaseModel):
    total: int
    topics: list[Facet]
    sentiments: list[Facet]
    sources: list[Facet]
    languages: list[Facet]
    entities: list[Facet]
    sampled: bool = Field(description="The counts are of the newest matches only.")


class IncidentRef(BaseModel):
    id: str
    severity: str
    state: str


class IncidentSummary(BaseModel):
    id: str
    scope: str
    value: str
    kind: str
    title: str
    state: str
    severity: str
    observed: float
    expected: float
    low: float
    high: float
    p_value: float
    q_value: float
    opened_at: str
    updated_at: str
    resolved_at: str | None
    snoozed_until: str | None
    stories: int
    sources: list[str]
    reason: str
    revision: int
    headline: str | None


class Incidents(BaseModel):
    items: list[IncidentSummary]
    total: int
    next: str | None


class Evidence(BaseModel):
    article_id: str
    story_id: str
    title: str
    source: str
    url: str | None
    published_at: str
    heat: int
    negative: float
    lang: str
    topic: str
    entities: list[str]
    words: list[Word]


class BandPoint(BaseModel):
    start: str
    observed: float
    expected: float
    low: float
    high: float


class Similar(BaseModel):
    """An incident of the past that one looks like."""

    id: str
    title: str
    opened_at: str
    resolved_at: str
    severity: str
    similarity: float
    words: list[str]
    ended: str


class Incident(IncidentSummary):
    entities: list[str]
    entity_names: dict[str, str]
    related: list[dict[str, str]]
    articles: list[str]
    model: str
    evidence: list[Evidence]
    history: list[dict[str, str]]
    trend: list[BandPoint]
    similar: list[Similar]
    pending: list[dict[str, str | None]] = Field(description="Commands that the detector has not taken yet.")


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str = Field("", max_length=500)


class Snooze(Note):
    minutes: int | None = Field(None, ge=1, le=30 * 24 * 60)
    until: Moment | None = None


class Resolve(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=500)


class Accepted(BaseModel):
    id: str
    verb: str
    at: str
    accepted: bool


class TopicRow(Label):
    articles: int
    negatives: float
    cells: list[tuple[int, float, float | None]] = Field(description="Articles, expected negatives, negative share.")
    incident: IncidentRef | None


class Previous(BaseModel):
    articles: int
    negatives: float


class Totals(BaseModel):
    articles: int
    negatives: float
    sources: int
    cells: list[tuple[int, float, float | None]]
    previous: Previous


class EntityCount(BaseModel):
    id: str
    name: str
    articles: int
    negatives: float


class SourceCounts(BaseModel):
    total: int
    failing: int
    silent: int


class Overview(BaseModel):
    hours: int
    step: int
    since: str
    until: str
    starts: list[str]
    topics: list[TopicRow]
    totals: Totals
    incidents: list[IncidentSummary]
    recent: list[IncidentSummary]
    entities: list[EntityCount]
    sources: SourceCounts


class SeriesPoint(BaseModel):
    start: str
    articles: int
    negatives: float
    sources: int
    stories: float | None
    expected: float | None
    low: float | None
    high: float | None


class Band(BaseModel):
    step: int
    unit: str
    points: list[BandPoint]


class Series(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    scope: str
    value: str
    name: str
    since: str = Field(alias="from")
    to: str
    step: int
    points: list[SeriesPoint]
    band: Band | None = Field(description="What the detector expects of its last 24 hours, in negative stories.")


class Source(BaseModel):
    name: str
    kind: str | None
    configured: bool
    state: Literal["ok", "failing", "waiting", "listening", "unknown"]
    failures: int
    articles: int
    ok_at: str | None
    error_at: str | None
    error_code: str
    error: str
    next_at: str | None
    articles_24h: int
    last_published_at: str | None
    incident: IncidentRef | None


class Sources(BaseModel):
    sources: list[Source]


class Watched(BaseModel):
    id: str
    name: str
    name_zh: str
    kind: str
    country: str
    tickers: list[str]
    aliases: list[str]
    aliases_zh: list[str]
    articles_24h: int
    negatives_24h: float


class Watchlist(BaseModel):
    total: int
    entities: list[Watched]


class Task(BaseModel):
    labels: list[Label]
    metrics: dict[str, Any]


class Model(BaseModel):
    id: str
    name: str
    packaged: bool
    languages: list[str]
    tasks: dict[str, Task]
    metrics: dict[str, Any]
    card: str = Field(description="Markdown.")
    drift: dict[str, Any] | None
    parameters: int | None
    bytes: int


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str = Field(min_length=1, max_length=2_000)
    body: str = Field("", max_length=100_000)


class Scoring(BaseModel):
    model_config = ConfigDict(extra="forbid")
    texts: list[Annotated[str, Field(min_length=1, max_length=100_000)] | Text] = Field(min_length=1, max_length=64)
    explain: bool = False


class WordsOf(BaseModel):
    label: str
    text: str
    words: list[Word]


class ScoredText(BaseModel):
    topic: str
    topics: dict[str, float]
    sentiment: str
    sentiments: dict[str, float]
    entities: list[Mention]
    lang: str
    doubts: list[str]
    explanation: dict[str, WordsOf] | None


class ScoredTexts(BaseModel):
    model: str
    items: list[ScoredText]


class Pushed(BaseModel):
    accepted: int
    ids: list[str]
