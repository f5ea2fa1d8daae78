"""The sources and how they do, the watchlist, and the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from monitor.core.codec import time_to_str
from monitor.core.types import SENTIMENTS, BreakdownQuery, BreakdownRow, Scope, SearchQuery
from monitor.web import schemas
from monitor.web.access import Viewer
from monitor.web.context import Context, WebContext

router = APIRouter(prefix="/api/v1", tags=["configuration"])
HEALTH = "source_health"
DRIFT = ("drift", "last")
_DAY = timedelta(days=1)
_MOST = 2_000


async def _health(context: WebContext) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    after = ""
    while rows := await context.state.list(HEALTH, after=after, limit=500):
        found |= dict(rows)
        after = rows[-1][0]
        if len(rows) < 500 or len(found) >= _MOST:
            break
    return found


async def failing(context: WebContext) -> int:
    """How many configured sources fail."""
    health = await _health(context)
    return sum(bool(health.get(name, {}).get("failures")) for name, _ in context.sources)


async def _last_day(context: WebContext, scope: Scope) -> dict[str, BreakdownRow]:
    minute = context.clock.now().replace(second=0, microsecond=0)
    asked = BreakdownQuery(scope=scope, since=minute - _DAY, until=minute + timedelta(minutes=10), width=2 * _DAY)
    rows = await context.fresh.get(asked, lambda: context.store.breakdown(asked))
    return {row.value: row for row in rows}


@router.get("/sources")
async def sources(_: Viewer, context: Context) -> schemas.Sources:
    """Every configured source, and every other that brought something within a day."""
    health, counts = await _health(context), await _last_day(context, Scope.SOURCE)
    silent = {
        view["value"]: view
        for view in await context.live.incidents.all()
        if view["scope"] == "source" and view["state"] != "resolved"
    }
    kinds = dict(context.sources)
    names = list(dict.fromkeys([*kinds, *health, *counts]))[:_MOST]
    rows = []
    for name in names:
        known, count = health.get(name, {}), counts.get(name)
        last = None
        if count is not None or name in health:
            page = await context.store.search(
                SearchQuery(source=name, limit=1, since=context.clock.now() - _DAY if count else None)
            )
            last = page.items[0].article.published_at if page.items else None
        view = silent.get(name)
        rows.append(
            schemas.Source(
                name=name,
                kind=kinds.get(name),
                configured=name in kinds,
                state=_state(known, kinds.get(name), seen=count is not None),
                failures=int(known.get("failures", 0)),
                articles=int(known.get("articles", 0)),
                ok_at=known.get("ok_at"),
                error_at=known.get("error_at"),
                error_code=str(known.get("error_code", "")),
                error=str(known.get("error", "")),
                next_at=known.get("next_at"),
                articles_24h=count.articles if count else 0,
                last_published_at=time_to_str(last) if last else None,
                incident=schemas.IncidentRef(id=view["id"], severity=view["severity"], state=view["state"])
                if view
                else None,
            )
        )
    return schemas.Sources(sources=rows)


def _state(known: Mapping[str, Any], kind: str | None, *, seen: bool) -> Any:
    if known.get("failures"):
        return "failing"
    if known.get("ok_at"):
        return "ok"
    if kind == "push":
        return "listening"
    if kind is None:
        return "ok" if seen else "unknown"
    return "waiting"


@router.get("/watchlist")
async def watchlist(
    _: Viewer,
    context: Context,
    q: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 500,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> schemas.Watchlist:
    """Whom articles are searched for, with what the last day said of them."""
    entities = await context.watchlist()
    word = q.strip().casefold()
    found = [
        entity
        for entity in entities
        if not word
        or any(
            word in text.casefold()
            for text in (entity.id, entity.name, entity.name_zh, *entity.aliases, *entity.aliases_zh, *entity.tickers)
        )
    ]
    counts = await _last_day(context, Scope.ENTITY)
    rows = []
    for entity in found[offset : offset + limit]:
        count = counts.get(entity.id)
        rows.append(
            schemas.Watched(
                id=entity.id, name=entity.name, name_zh=entity.name_zh, kind=entity.kind, country=entity.country,
                tickers=list(entity.tickers), aliases=list(entity.aliases), aliases_zh=list(entity.aliases_zh),
                articles_24h=count.articles if count else 0,
                negatives_24h=round(count.expected_negatives, 3) if count else 0.0,
            )
        )  # fmt: skip
    return schemas.Watchlist(total=len(found), entities=rows)


@router.get("/topics")
async def topics(_: Viewer, context: Context) -> schemas.Topics:
    """The model's labels with their display names."""
    facts = await context.facts()
    return schemas.Topics(
        topics=_labels(facts.display, facts.tasks.get("topic", ()), "topic"),
        sentiments=list(SENTIMENTS),
        languages=list(facts.languages),
        model=facts.id,
    )


@router.get("/model")
async def model(_: Viewer, context: Context) -> schemas.Model:
    """The model card, what was measured when it was made, and whether the news drifts away from it."""
    facts = await context.facts()
    drift = await context.state.get(*DRIFT)
    tested = facts.metrics.get("test", {})
    parameters = facts.metrics.get("parameters")
    return schemas.Model(
        id=facts.id,
        name=facts.name,
        packaged=facts.packaged,
        languages=list(facts.languages),
        tasks={
            task: schemas.Task(
                labels=_labels(facts.display, labels, task), metrics=dict(tested.get(task, {}).get("(all)", {}))
            )
            for task, labels in facts.tasks.items()
        },
        metrics=dict(facts.metrics),
        card=facts.card,
        drift=dict(drift) if drift else None,
        parameters=parameters if isinstance(parameters, int) else None,
        bytes=facts.size,
    )


def _labels(display: Any, labels: Sequence[str], task: str) -> list[schemas.Label]:
    return [schemas.Label(id=label, name=display(task, label), name_zh=display(task, label, "zh")) for label in labels]
