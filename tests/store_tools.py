"""Articles for stores, and what a store answers, read whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.core.ports import Store
from monitor.core.types import SENTIMENTS, Article, EntityMention, Scored, ScoredArticle, Scores, SearchQuery

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOPICS = ("macro", "banks", "energy")


def scored(
    number: int,
    title: str = "",
    *,
    body: str = "",
    topic: str = "macro",
    negative: float = 0.5,
    sentiment: str = "",
    entities: tuple[str, ...] = (),
    **fields: object,
) -> ScoredArticle:
    """An article of its own minute; the other fields of Article can be given as well."""
    article = Article(
        **{  # type: ignore[arg-type]
            "id": f"a{number}",
            "source": f"s{number % 3}",
            "title": title or f"Headline {number}",
            "body": body,
            "published_at": NOW + timedelta(minutes=number),
            "fetched_at": NOW + timedelta(minutes=number, seconds=5),
            "lang": "en",
        }
        | fields
    )
    rest = 1.0 - negative
    sentiments = {"negative": negative, "neutral": rest * 0.6, "positive": rest * 0.4}
    if sentiment:
        sentiments = {name: 0.8 if name == sentiment else 0.1 for name in SENTIMENTS}
    topics = {name: 0.7 if name == topic else 0.1 for name in (*TOPICS, topic)}
    return ScoredArticle(
        article=article,
        scored=Scored(
            article_id=article.id,
            model="model-1",
            scores=Scores(topics=topics, sentiments=sentiments),
            entities=tuple(EntityMention(id=e, name=e.title(), start=0, end=len(e)) for e in entities),
            story_signature=f"sig{number}",
            scored_at=NOW + timedelta(hours=2),
        ),
    )


async def found(store: Store, **query: Any) -> list[str]:
    """The ids that a search finds, all of them on one page."""
    page = await store.search(SearchQuery(limit=1000, **query))
    assert page.total == len(page.items)
    return [item.article.id for item in page.items]


async def whole_tail(store: Store, after: str = "", limit: int = 100) -> list[ScoredArticle]:
    """Everything after a position, page by page."""
    items: list[ScoredArticle] = []
    while (page := await store.tail(after, limit)).items:
        items += page.items
        after = page.position
    return items
