"""Incidents, and what people do about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Body, Query

from alerts.commands import COMMAND, LONGEST_SNOOZE, Command, Verb
from monitor.core.codec import incident_from_dict, time_to_str
from monitor.core.errors import CodecError
from monitor.core.types import Incident, IncidentState
from monitor.web import names, schemas
from monitor.web.access import Operator, Principal, Viewer
from monitor.web.context import Context, WebContext
from monitor.web.incidents import KIND
from monitor.web.problems import Problem
from monitor.web.views import whole_incident_view

_log = structlog.get_logger("web")
router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])
State = Literal["open", "all", "new", "acknowledged", "snoozed", "resolved"]
_COMMANDS = 1_000


@router.get("")
async def incidents(
    _: Viewer,
    context: Context,
    state: Annotated[State, Query(description="open: all that are not resolved; new: nobody has acted.")] = "open",
    scope: Annotated[str, Query(max_length=20)] = "",
    value: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str, Query(max_length=300)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.Incidents:
    """The newest first."""
    wanted = {"new": "open"}.get(state, state)
    found = [
        view
        for view in await context.live.incidents.all()
        if (state == "all" or (view["state"] != "resolved" if state == "open" else view["state"] == wanted))
        and (not scope or view["scope"] == scope)
        and (not value or view["value"] == value)
    ]
    total = len(found)
    if cursor:
        opened, _sep, last = cursor.partition("~")
        found = [view for view in found if (view["opened_at"], view["id"]) < (opened, last)]
    page = found[:limit]
    following = f"{page[-1]['opened_at']}~{page[-1]['id']}" if len(found) > limit else None
    return schemas.Incidents(
        items=[schemas.IncidentSummary(**view) for view in page], total=total, next=following
    )  # fmt: skip


async def _one(context: WebContext, incident_id: str) -> Incident:
    document = await context.state.get(KIND, incident_id) if len(incident_id) <= 200 else None
    if document is None:
        raise Problem(404, f"There is no incident '{incident_id[:100]}'.")
    return incident_from_dict(document)


@router.get("/{incident_id}")
async def incident(_: Viewer, context: Context, incident_id: str) -> schemas.Incident:
    """One incident whole: reason, driving headlines, what people did."""
    found = await _one(context, incident_id)
    pending = []
    for _key, document in await context.state.list(COMMAND, limit=_COMMANDS):
        try:
            command = Command.from_doc(document)
        except CodecError as error:
            _log.warning("command_unreadable", error=str(error))  # the detector says so too, and drops it
            continue
        if command.incident == found.id:
            pending.append(
                {
                    "verb": command.verb.value,
                    "by": command.by,
                    "at": time_to_str(command.at),
                    "until": time_to_str(command.until) if command.until else None,
                    "reason": command.reason,
                }
            )
    shown = await names.of(context)
    return schemas.Incident(**whole_incident_view(found, shown), pending=pending)


async def _give(
    context: WebContext, principal: Principal, incident_id: str, verb: Verb, reason: str, until: schemas.Moment | None
) -> schemas.Accepted:
    found = await _one(context, incident_id)
    if found.state is IncidentState.RESOLVED:
        raise Problem(409, "The incident is resolved already.")
    now = context.clock.now()
    command = Command(incident=found.id, verb=verb, by=principal.name, at=now, until=until, reason=reason)
    await context.state.apply([command.to_put()])
    context.live.incidents.forget()
    _log.info("incident_command", incident=found.id, verb=verb.value, by=principal.name)
    return schemas.Accepted(id=found.id, verb=verb.value, at=time_to_str(now), accepted=True)


@router.post("/{incident_id}/acknowledge", status_code=202)
async def acknowledge(
    principal: Operator, context: Context, incident_id: str, given: Annotated[schemas.Note | None, Body()] = None
) -> schemas.Accepted:
    """Only a rise in severity or its end is told from now on. Done with the detector's next tick."""
    note = given.note if given else ""
    return await _give(context, principal, incident_id, Verb.ACKNOWLEDGE, note, None)


@router.post("/{incident_id}/snooze", status_code=202)
async def snooze(principal: Operator, context: Context, incident_id: str, given: schemas.Snooze) -> schemas.Accepted:
    """Nothing but its end is told until then. Every snooze ends by itself."""
    if (given.minutes is None) == (given.until is None):
        raise Problem(422, "A snooze needs either 'minutes' or 'until'.")
    now = context.clock.now()
    until = given.until if given.until is not None else now + timedelta(minutes=given.minutes or 0)
    if not now < until <= now + LONGEST_SNOOZE:
        raise Problem(422, f"A snooze ends after now and within {LONGEST_SNOOZE.days} days.")
    return await _give(context, principal, incident_id, Verb.SNOOZE, given.note, until)


@router.post("/{incident_id}/resolve", status_code=202)
async def resolve(principal: Operator, context: Context, incident_id: str, given: schemas.Resolve) -> schemas.Accepted:
    """It is over, whatever the series does; its series cool down."""
    if not given.reason.strip():
        raise Problem(422, "A resolve by hand needs a reason.")
    return await _give(context, principal, incident_id, Verb.RESOLVE, given.reason.strip(), None)
