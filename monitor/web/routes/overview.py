"""The overview and single series: counts over time with what the detector expects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from monitor.core.codec import time_to_str
from monitor.core.errors import CodecError
from monitor.core.types import BreakdownQuery, BreakdownRow, Scope, SeriesKey, SeriesQuery, TrendPoint
from monitor.web import names, schemas
from monitor.web.access import Viewer
from monitor.web.bands import band_of
from monitor.web.context import Context, WebContext
from monitor.web.problems import Problem
from monitor.web.routes.sources import failing
from monitor.web.schemas import Moment

router = APIRouter(prefix="/api/v1", tags=["series"])
_INCIDENTS = 50
_ENTITIES = 20
_STEPS = 2_000
_HOUR = timedelta(hours=1)
_WORST = {"critical": 2, "warning": 1, "info": 0}


def _step(hours: int) -> timedelta:
    return _HOUR if hours <= 48 else 3 * _HOUR if hours <= 168 else 12 * _HOUR


def _whole(now: datetime, step: float) -> datetime:
    """The end of the step of the clock that ``now`` lies in."""
    return datetime.fromtimestamp(-(-now.timestamp() // step) * step, now.tzinfo)


def _cells(steps: Sequence[tuple[int, float]]) -> list[tuple[int, float, float | None]]:
    return [(n, round(x, 3), round(x / n, 4) if n else None) for n, x in steps]


@router.get("/overview")
async def overview(_: Viewer, context: Context, hours: Annotated[int, Query(ge=1, le=720)] = 24) -> schemas.Overview:
    """Topics by time, open incidents, who is in the news, and how the sources do."""
    step = _step(hours)
    # Steps end at whole steps of the clock, so that cells do not change their meaning from one look to the next.
    now = context.clock.now()
    until = _whole(now, step.total_seconds())
    count = -(-timedelta(hours=hours) // step)
    since = until - count * step

    async def broken(scope: Scope, start: datetime, end: datetime, width: timedelta) -> Sequence[BreakdownRow]:
        asked = BreakdownQuery(scope=scope, since=start, until=end, width=width)
        return await context.fresh.get(asked, lambda: context.store.breakdown(asked))

    topics, entities, sources, before = await asyncio.gather(
        broken(Scope.TOPIC, since, until, step),
        broken(Scope.ENTITY, since, until, until - since),
        broken(Scope.SOURCE, since, until, until - since),
        broken(Scope.TOPIC, since - (until - since), since, until - since),
    )
    incidents, shown, bad = await asyncio.gather(context.live.incidents.all(), names.of(context), failing(context))
    starts = [since + index * step for index in range(count)]
    open_ones = [view for view in incidents if view["state"] != "resolved"]
    begin = time_to_str(since)
    recent = [view for view in incidents if view["state"] == "resolved" and (view["resolved_at"] or "") >= begin]
    sums = [(sum(r.steps[i][0] for r in topics), sum(r.steps[i][1] for r in topics)) for i in range(count)]
    return schemas.Overview(
        hours=hours,
        step=int(step.total_seconds()),
        since=begin,
        until=time_to_str(until),
        starts=[time_to_str(start) for start in starts],
        topics=await _topics(context, topics, open_ones, count),
        totals=schemas.Totals(
            articles=sum(row.articles for row in topics),
            negatives=round(sum(row.expected_negatives for row in topics), 3),
            sources=len(sources),
            cells=_cells(sums),
            previous=schemas.Previous(
                articles=sum(row.articles for row in before),
                negatives=round(sum(row.expected_negatives for row in before), 3),
            ),
        ),
        incidents=[schemas.IncidentSummary(**view) for view in open_ones[:_INCIDENTS]],
        recent=[schemas.IncidentSummary(**view) for view in recent[:_INCIDENTS]],
        entities=[
            schemas.EntityCount(
                id=row.value, name=shown("entity", row.value), articles=row.articles,
                negatives=round(row.expected_negatives, 3),
            )
            for row in entities[:_ENTITIES]
        ],
        sources=schemas.SourceCounts(
            total=len(context.sources), failing=bad,
            silent=sum(view["kind"] == "silence" and view["scope"] == "source" for view in open_ones),
        ),
    )  # fmt: skip


async def _topics(
    context: WebContext, rows: Sequence[BreakdownRow], open_ones: Sequence[Mapping[str, Any]], count: int
) -> list[schemas.TopicRow]:
    """The model's topics in its order, empty ones too, then others that the store has."""
    facts = await context.facts()
    found = {row.value: row for row in rows}
    labels = list(facts.tasks.get("topic", ()))
    result = []
    for label in [*labels, *(value for value in found if value not in labels)]:
        row = found.get(label)
        mine = [view for view in open_ones if view["scope"] == "topic" and view["value"] == label]
        worst = max(mine, key=lambda view: _WORST.get(str(view["severity"]), 0), default=None)
        result.append(
            schemas.TopicRow(
                id=label,
                name=facts.display("topic", label),
                name_zh=facts.display("topic", label, "zh"),
                articles=row.articles if row else 0,
                negatives=round(row.expected_negatives, 3) if row else 0.0,
                cells=_cells(row.steps if row else [(0, 0.0)] * count),
                incident=reference(worst),
            )
        )
    return result


def reference(view: Mapping[str, Any] | None) -> schemas.IncidentRef | None:
    """An incident as other things point to it."""
    if view is None:
        return None
    return schemas.IncidentRef(id=view["id"], severity=view["severity"], state=view["state"])


@router.get("/series", response_model_by_alias=True)
async def series(
    _: Viewer,
    context: Context,
    scope: Literal["topic", "entity", "source", "all"] = "all",
    value: Annotated[str, Query(max_length=200)] = "*",
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
    step: Annotated[int, Query(ge=60, le=604_800, description="Seconds.")] = 3600,
) -> schemas.Series:
    """Article counts over time, and what the detector expects of its last 24 hours."""
    end = until or _whole(context.clock.now(), step)
    start = since or end - timedelta(days=1)
    width = timedelta(seconds=step)
    if end <= start or (end - start) / width > _STEPS:
        raise Problem(422, f"'from' must be before 'to', with at most {_STEPS} steps between them.")
    key = SeriesKey(scope=Scope(scope), value="*" if scope == "all" else value)
    asked = SeriesQuery(key=key, since=start, until=end, width=width)
    points = await context.fresh.get(asked, lambda: context.store.series(asked))
    band = await _band(context, key)
    shown = await names.of(context)

    def near(moment: datetime) -> TrendPoint | None:
        if step != 3600 or band is None:
            return None
        best = min(band, key=lambda point: abs(point.start - moment))
        return best if abs(best.start - moment) <= _HOUR / 2 else None

    rows = []
    for point in points:
        hour = near(point.start)
        rows.append(
            schemas.SeriesPoint(
                start=time_to_str(point.start), articles=point.articles, negatives=round(point.expected_negatives, 3),
                sources=point.sources, stories=hour.observed if hour else None,
                expected=hour.expected if hour else None, low=hour.low if hour else None,
                high=hour.high if hour else None,
            )
        )  # fmt: skip
    return schemas.Series(
        scope=scope, value=key.value, name=shown(scope, key.value), since=time_to_str(start), to=time_to_str(end),
        step=step, points=rows, band=_shown(band),
    )  # fmt: skip


async def _band(context: WebContext, key: SeriesKey) -> Sequence[TrendPoint] | None:
    if key.scope is Scope.SOURCE:
        return None
    try:
        return await band_of(context.state, key, context.options.bucket_minutes)
    except CodecError:  # written by another version: the detector, which owns it, says so
        return None


def _shown(band: Sequence[TrendPoint] | None) -> schemas.Band | None:
    if band is None:
        return None
    points = [
        schemas.BandPoint(start=time_to_str(p.start), observed=p.observed, expected=p.expected, low=p.low, high=p.high)
        for p in band
    ]
    return schemas.Band(step=3600, unit="negative stories", points=points)
