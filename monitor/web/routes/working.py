"""What the API does with texts: scores them, or takes them in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request

from monitor.core.codec import article_from_row, encode_article, score_line
from monitor.core.errors import CodecError, RecordError
from monitor.core.text import clean, guess_language
from monitor.core.types import Article, Record, Scored, ScoredArticle
from monitor.services.topics import ARTICLES
from monitor.web import schemas
from monitor.web.access import Pusher, Scoring
from monitor.web.context import Context, Words
from monitor.web.problems import RETRY_SECONDS, Problem
from monitor.web.views import word_view

router = APIRouter(prefix="/api/v1", tags=["work"])
_EXPLAINED = 8
_ITEMS = 1_000
_PIECE = 500
_OLDEST = datetime(1971, 1, 1, tzinfo=UTC)
_FUTURE = timedelta(minutes=5)
_SECONDS = 60.0


@router.post("/score")
async def score(_: Scoring, context: Context, given: schemas.Scoring) -> schemas.ScoredTexts:
    """Topic, sentiment and entities of texts; with ``explain`` the words behind them (at most 8 texts)."""
    if given.explain and len(given.texts) > _EXPLAINED:
        raise Problem(422, f"At most {_EXPLAINED} texts are explained at a time.")
    now = context.clock.now()
    articles = []
    for index, text in enumerate(given.texts):
        title = clean(text if isinstance(text, str) else text.title)
        body = "" if isinstance(text, str) else clean(text.body)
        if not title:
            raise Problem(422, f"texts.{index} holds no text.")
        lang = guess_language(title)
        articles.append(
            Article(
                id=f"text-{index}", source="api", title=title, body=body, lang=lang, published_at=now, fetched_at=now
            )
        )
    model = await context.model()
    try:
        async with asyncio.timeout(_SECONDS):
            results = await model.score(articles)
            whys: list[Mapping[str, Words] | None] = [None] * len(articles)
            if given.explain:
                labels = [{"topic": r.scores.topic, "sentiment": r.scores.sentiment} for r in results]
                whys = list(await model.explain_articles(articles, labels))
    except TimeoutError:
        raise Problem(503, "The model is too busy.", headers={"Retry-After": str(RETRY_SECONDS)}) from None
    items = [_scored(article, result, why) for article, result, why in zip(articles, results, whys, strict=True)]
    return schemas.ScoredTexts(model=model.model, items=items)


def _scored(article: Article, scored: Scored, why: Mapping[str, Words] | None) -> schemas.ScoredText:
    line = score_line(ScoredArticle(article=article, scored=scored))
    explanation = None
    if why is not None:
        explanation = {
            task: schemas.WordsOf(
                label=found.label, text=article.text, words=[schemas.Word(**word_view(word)) for word in found.words]
            )
            for task, found in why.items()
        }
    fields = ("topic", "topics", "sentiment", "sentiments", "entities", "lang")
    return schemas.ScoredText(
        **{name: line[name] for name in fields}, doubts=list(scored.doubts), explanation=explanation
    )


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["articles"],
                    "properties": {
                        "articles": {
                            "type": "array", "minItems": 1, "maxItems": _ITEMS,
                            "items": {"$ref": "#/components/schemas/NewArticle"},
                        }
                    },
                }
            }
        },
    }
}  # fmt: skip
NEW_ARTICLE = {
    "type": "object",
    "required": ["title"],
    "description": "The article JSONL format. The same id, or source and address, replaces the article.",
    "properties": {
        "id": {"type": "string", "maxLength": 500},
        "source": {"type": "string", "maxLength": 100},
        "title": {"type": "string"},
        "body": {"type": "string"},
        "url": {"type": "string", "maxLength": 4000},
        "published_at": {"type": "string", "format": "date-time"},
        "lang": {"type": "string", "maxLength": 20},
    },
}


@router.post("/articles", status_code=202, openapi_extra=_BODY)
async def push(principal: Pusher, context: Context, request: Request) -> schemas.Pushed:
    """Takes articles in, 1,000 at most: one, an array, or ``{"articles": […]}``. They are durable when it answers."""
    if context.bus is None:
        raise Problem(503, "This process takes no articles.", hint="Set [web] push to true.")
    raw = await request.body()
    articles = await asyncio.to_thread(_articles, raw, context.clock.now(), principal.name)
    try:
        async with asyncio.timeout(_SECONDS):
            for start in range(0, len(articles), _PIECE):
                piece = articles[start : start + _PIECE]
                await context.bus.publish(
                    ARTICLES, [Record(key=a.id, value=encode_article(a), timestamp=a.fetched_at) for a in piece]
                )
    except TimeoutError:
        raise Problem(
            503, "The articles could not be stored in time; send them again.",
            headers={"Retry-After": str(RETRY_SECONDS)},
        ) from None  # fmt: skip
    return schemas.Pushed(accepted=len(articles), ids=[article.id for article in articles])


def _articles(raw: bytes, now: datetime, source: str) -> list[Article]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "The body is not JSON in UTF-8.") from error
    rows = data.get("articles", [data]) if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows:
        raise Problem(422, "The body holds no article.")
    if len(rows) > _ITEMS:
        raise Problem(413, f"{len(rows)} articles in one request; {_ITEMS} are allowed.")
    found = []
    for index, row in enumerate(rows):
        try:
            found.append(_article(row, now, source))
        except RecordError as error:
            raise Problem(
                422, f"articles.{index}: {error.message}", hint="Nothing was taken.",
                errors=[{"loc": f"body.articles.{index}", "message": error.message}],
            ) from error  # fmt: skip
    return found


def _article(row: Any, now: datetime, source: str) -> Article:
    if not isinstance(row, dict):
        raise CodecError("An article must be a JSON object.")
    for field, most in (("id", 500), ("source", 100), ("url", 4_000), ("lang", 20)):
        if len(str(row.get(field, ""))) > most:
            raise CodecError(f"'{field}' has more than {most} characters.")
    article = article_from_row(row, now=now, source=source)
    try:
        f"{article.id}{article.source}{article.url}{article.lang}".encode()
    except UnicodeEncodeError:
        raise CodecError("'id', 'source', 'url' and 'lang' must be valid text.") from None
    if not _OLDEST <= article.published_at <= now + _FUTURE:
        raise CodecError("'published_at' lies in the future or too far back.")
    return replace(article, published_at=min(article.published_at, now))
