"""Puts the routes together, with the dashboard's files and what surrounds every request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from monitor.web import problems
from monitor.web.context import WebContext
from monitor.web.guard import Guard
from monitor.web.problems import Problem
from monitor.web.routes import articles, incidents, overview, session, sources, system, working
from monitor.web.schemas import Problem as ProblemSchema

STATIC = Path(__file__).parent / "static"
_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json"}


class _Files(StaticFiles):
    """Files that browsers ask for again each time, and are mostly told 'not modified'."""

    def file_response(self, full_path: Any, *args: Any, **keys: Any) -> Response:
        answer = super().file_response(full_path, *args, **keys)
        answer.headers["Cache-Control"] = "no-cache"
        kind = _TYPES.get(Path(full_path).suffix)
        if kind:
            answer.headers["Content-Type"] = f"{kind}; charset=utf-8"
        return answer

    async def get_response(self, path: str, scope: Scope) -> Response:
        if "\x00" in path:
            raise Problem(404, "There is nothing here.")
        try:
            return await super().get_response(path, scope)
        except (OSError, ValueError):  # names that no file system takes
            raise Problem(404, "There is nothing here.") from None


def create_app(context: WebContext) -> ASGIApp:
    """The whole application as ASGI."""
    app = FastAPI(
        title="Riskwire", version=context.version or "0", openapi_url="/api/openapi.json", docs_url=None,
        redoc_url=None, redirect_slashes=False, responses=_ERRORS,
        description="Financial news, scored and searched; incidents with their evidence. Errors are problem+json.",
    )  # fmt: skip
    app.state.context = context
    problems.install(app)
    for room in (system, session, overview, sources, working, articles, incidents):
        app.include_router(room.router)
    static = context.options.static or STATIC
    if static.is_dir():
        app.mount("/static", _Files(directory=static), name="static")

    @app.get("/{path:path}", include_in_schema=False)
    async def page(request: Request, path: str) -> Response:
        """The dashboard finds its pages by itself."""
        index = static / "index.html"
        if path.split("/", 1)[0] in ("api", "static") or not index.is_file():
            raise Problem(404, "There is nothing here.")
        return FileResponse(index, headers={"Cache-Control": "no-cache"})

    _describe(app)
    wrapped: ASGIApp = Guard(app, context)
    if context.options.cors_origins:
        wrapped = CORSMiddleware(
            wrapped, allow_origins=list(context.options.cors_origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"], max_age=600,
        )  # fmt: skip
    return wrapped


def _describe(app: FastAPI) -> None:
    """Adds to the OpenAPI document what routes do not say: the logins, the problem, an article that comes in."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            parts = schema.setdefault("components", {})
            parts.setdefault("schemas", {}).update(
                Problem=ProblemSchema.model_json_schema(), NewArticle=working.NEW_ARTICLE
            )
            parts["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "riskwire_session"},
            }
            schema["security"] = [{"bearer": []}, {"session": []}, {}]
            for methods in schema["paths"].values():
                for operation in methods.values():
                    # FastAPI announces its own form of 422; ours is the problem of 'default'.
                    operation["responses"].pop("422", None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
