"""Search, facets, single articles and why they were read as they were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from monitor.core.codec import BODY_LIMIT
from monitor.core.types import ScoredArticle, SearchQuery
from monitor.db.values import from_micros, to_micros
from monitor.web import names, schemas
from monitor.web.access import Viewer
from monitor.web.context import Context
from monitor.web.problems import Problem
from monitor.web.schemas import Moment
from monitor.web.views import article_view, whole_article_view, word_view

router = APIRouter(prefix="/api/v1", tags=["articles"])
_DEEPEST = 100_000
_FACET_VALUES = 20
Name = Annotated[str, Query(max_length=200)]


def _query(
    q: Annotated[str, Query(max_length=1_000, description="All words are required; Chinese by substring.")] = "",
    topic: Name = "",
    sentiment: Literal["", "negative", "neutral", "positive"] = "",
    entity: Name = "",
    source: Name = "",
    lang: Annotated[str, Query(max_length=20)] = "",
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
) -> SearchQuery:
    return SearchQuery(
        text=q, topic=topic, sentiment=sentiment, entity=entity, source=source, lang=lang, since=since, until=until
    )


Search = Annotated[SearchQuery, Depends(_query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a page begins: at articles published at ``at`` (microseconds) without the first ``skip`` of that moment.
    New articles do not shift it. ``total`` is what the first page said."""

    at: int
    skip: int
    total: int

    def __str__(self) -> str:
        return f"{self.at}.{self.skip}.{self.total}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The inverse of ``str``. Raises Problem."""
        parts = text.split(".")
        try:
            at, skip, total = (int(part) for part in parts)
            from_micros(at + 1)
            given = cls(at=at, skip=skip, total=total)
        except (ValueError, OverflowError):
            given = None
        if given is None or not 0 <= given.skip <= _DEEPEST or given.total < 0:
            raise Problem(422, "'cursor' is none that this server gave.")
        return given


@router.get("/articles")
async def articles(
    _: Viewer,
    context: Context,
    query: Search,
    cursor: Annotated[str, Query(max_length=80)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> schemas.Articles:
    """Search; the newest first."""
    place = Cursor.parse(cursor) if cursor else None
    until, skip = query.until, 0
    if place is not None:
        end = from_micros(place.at) + timedelta(microseconds=1)
        until, skip = (min(until, end) if until else end), place.skip
    asked = SearchQuery(
        text=query.text, topic=query.topic, sentiment=query.sentiment, entity=query.entity, source=query.source,
        lang=query.lang, since=query.since, until=until, limit=limit, offset=skip,
    )  # fmt: skip
    page = await context.store.search(asked)
    total = page.total if place is None else place.total
    following = None
    if skip + len(page.items) < page.total and page.items:
        following = str(_after(page.items, place, total))
    items = [schemas.Article(**article_view(item)) for item in page.items]
    return schemas.Articles(items=items, total=total, total_is_exact=True, next=following)


def _after(items: tuple[ScoredArticle, ...], place: Cursor | None, total: int) -> Cursor:
    last = items[-1].article.published_at
    same = sum(item.article.published_at == last for item in items)
    at = to_micros(last)
    if place is not None and place.at == at:  # a moment with more articles than a page holds
        same += place.skip
    return Cursor(at=at, skip=same, total=total)


@router.get("/facets")
async def facets(_: Viewer, context: Context, query: Search) -> schemas.Facets:
    """How the matches of a search are spread."""
    found = await context.fresh.get(query, lambda: context.store.facets(query))
    shown = await names.of(context)

    def rows(counts: dict[str, int], scope: str = "") -> list[schemas.Facet]:
        pairs = list(counts.items())[:_FACET_VALUES]
        return [schemas.Facet(value=value, count=count, name=shown(scope, value)) for value, count in pairs]

    return schemas.Facets(
        total=found.total,
        topics=rows(dict(found.topics), "topic"),
        sentiments=rows(dict(found.sentiments)),
        sources=rows(dict(found.sources)),
        languages=rows(dict(found.languages)),
        entities=rows(dict(found.entities), "entity"),
        sampled=found.sampled,
    )


async def _one(context: Context, article_id: str) -> ScoredArticle:
    item = await context.store.article(article_id) if len(article_id) <= 1_000 else None
    if item is None:
        raise Problem(404, f"There is no article '{article_id[:100]}'.")
    return item


@router.get("/articles/{article_id:path}/explanation")
async def explanation(
    _: Viewer,
    context: Context,
    article_id: str,
    task: Literal["sentiment", "topic"] = "sentiment",
    label: Annotated[str, Query(max_length=100, description="The most probable one when empty.")] = "",
) -> schemas.Explanation:
    """The words that moved a verdict, with signed weights in probability."""
    item = await _one(context, article_id)
    if item.article.scores is not None:
        raise Problem(409, "This article came scored by somebody else: there is nothing to explain it with.")
    chosen = label or (item.scored.scores.topic if task == "topic" else item.scored.scores.sentiment)
    model = await context.model()
    (found,) = await model.explain_articles([item.article], [{task: chosen}])
    words = [schemas.Word(**word_view(word)) for word in found[task].words]
    text = item.article.text[: BODY_LIMIT + 3_000]
    return schemas.Explanation(id=item.article.id, task=task, label=chosen, text=text, words=words)


@router.get("/articles/{article_id:path}")
async def article(_: Viewer, context: Context, article_id: str) -> schemas.WholeArticle:
    """One article with all that is stored of it."""
    return schemas.WholeArticle(**whole_article_view(await _one(context, article_id)))
