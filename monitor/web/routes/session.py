"""Who am I, login and logout of the dashboard."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from monitor.web.access import COOKIE, SESSION_SECONDS, guard
from monitor.web.context import Context
from monitor.web.problems import Problem
from monitor.web.schemas import Login, Me

router = APIRouter(tags=["session"])


@router.get("/api/v1/me")
async def me(request: Request, context: Context) -> Me:
    """Who the caller is, also when it is nobody yet."""
    principal = request.state.principal
    return Me(
        login_required=principal is None,
        role=principal.role.value if principal else None,
        name=principal.name if principal else None,
        roles=sorted(principal.roles) if principal else [],
        version=context.version,
    )


@router.post("/login", status_code=204, response_class=Response)
async def login(given: Login, request: Request, context: Context) -> Response:
    """Changes a token for a cookie that scripts cannot read and other sites' requests do not carry."""
    guard(request)
    answer = Response(status_code=204)
    if not context.access.required:
        return answer
    address = request.client.host if request.client else "unknown"
    if wait := context.logins.take(address):
        raise Problem(429, "Too many logins; wait a little.", headers={"Retry-After": str(int(wait + 0.999))})
    principal = context.access.by_token(given.token)
    if principal is None:
        raise Problem(401, "There is no such token.")
    answer.set_cookie(
        COOKIE,
        context.access.session(principal, context.clock.now().timestamp()),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout", status_code=204, response_class=Response)
async def logout(request: Request) -> Response:
    """Forgets the cookie."""
    guard(request)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer
