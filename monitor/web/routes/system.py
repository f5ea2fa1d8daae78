"""Liveness, readiness, metrics, and the stream of live events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from monitor.web.access import Anyone, Viewer
from monitor.web.context import Context
from monitor.web.live import Event
from monitor.web.problems import RETRY_SECONDS, Problem

router = APIRouter(tags=["system"])


@router.get("/healthz", responses={503: {"description": "A part makes no progress."}})
async def healthz(context: Context) -> JSONResponse:
    """200 while every part makes progress. Open to everybody: it tells names of parts only."""
    stale = context.health.stale()
    if stale:
        return JSONResponse({"status": "stalled", "parts": stale}, status_code=503)
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "No work is taken (yet, or any more)."}})
async def readyz(context: Context) -> JSONResponse:
    """200 while work is taken. Open to everybody."""
    return JSONResponse({"ready": context.health.ready}, status_code=200 if context.health.ready else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(_: Anyone, context: Context) -> Response:
    """Prometheus text format. With tokens configured it takes any of them."""
    return Response(context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    "/api/v1/live", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}}
)  # fmt: skip
async def live(
    principal: Viewer,
    context: Context,
    request: Request,
    topic: Annotated[str, Query(max_length=200)] = "",
    entity: Annotated[str, Query(max_length=200)] = "",
    negative: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)] = 0.0,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> StreamingResponse:
    """Server-sent events: ``hello``, ``article``, ``incident``, ``dropped`` (how many events were left out)."""
    if context.live.full:
        raise Problem(503, "Too many streams are open.", headers={"Retry-After": str(RETRY_SECONDS)})

    def wanted(event: Event) -> bool:
        return event.kind != "article" or _matches(event.data, topic, entity, negative)

    stream = context.live.stream(wanted, last_event_id, {"role": principal.role.value})
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _matches(article: Mapping[str, Any], topic: str, entity: str, negative: float) -> bool:
    if topic and article["topic"] != topic:
        return False
    if entity and all(mention["id"] != entity for mention in article["entities"]):
        return False
    return bool(article["negative"] >= negative)
