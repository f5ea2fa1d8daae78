"""Every error is a problem document (RFC 9457), whoever found it: a route, the framework, a backend that is away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from monitor.core.errors import (
    ModelError,
    RecordError,
    RiskwireError,
    StorageError,
    UnavailableError,
    UsageError,
)

_log = structlog.get_logger("web")
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5


class Problem(Exception):  # noqa: N818 - carries an answer, not a defect
    """An answer with an error status. ``errors`` say which parts of the request are wrong."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint = status, detail, hint
        self.headers = dict(headers or {})
        self.errors = errors


def encoded(value: object) -> bytes:
    """UTF-8 JSON; half a character, which UTF-8 has no form for, as the escape that JSON has for it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def document(status: int, detail: str, path: str, *, hint: str = "", errors: Sequence[object] = ()) -> bytes:
    """The body of a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
    }
    if hint:
        body["hint"] = hint
    if errors:
        body["errors"] = list(errors)
    return encoded(body)


def _answer(request: Request, problem: Problem) -> Response:
    body = document(
        problem.status, problem.detail, request.url.path, hint=problem.hint, errors=problem.errors
    )  # fmt: skip
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def of_error(error: RiskwireError) -> Problem:
    """What a client is told of an error. What failed inside is for the operator's log."""
    if isinstance(error, UsageError | RecordError):
        return Problem(422, error.message, hint=error.hint)
    if isinstance(error, UnavailableError):
        wait = str(max(RETRY_SECONDS, int(error.retry_after + 0.999)))
        return Problem(503, "A server that this needs is away just now.", headers={"Retry-After": wait})
    if isinstance(error, StorageError | ModelError):
        what = "model" if isinstance(error, ModelError) else "storage"
        return Problem(
            503, f"The {what} cannot be used just now.", headers={"Retry-After": str(RETRY_SECONDS)},
            hint="The log of 'riskwire run' says why; 'riskwire doctor' looks at every part.",
        )  # fmt: skip
    return Problem(500, "This could not be done.", hint="The log of 'riskwire run' says why.")


def install(app: FastAPI) -> None:
    """Lets every error of ``app`` be answered so."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return _answer(request, error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        said = {404: "There is nothing here.", 405: f"{request.method} is not possible here."}
        detail = said.get(error.status_code, str(error.detail))
        return _answer(request, Problem(error.status_code, detail, headers=error.headers))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"loc": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])} for item in error.errors()
        ]
        detail = "; ".join(f"{item['loc']}: {item['message']}" for item in errors[:5])
        return _answer(request, Problem(422, detail[:2_000], errors=errors[:50]))

    @app.exception_handler(RiskwireError)
    async def _ours(request: Request, error: RiskwireError) -> Response:
        problem = of_error(error)
        if problem.status >= 500:
            _log.warning("request_failed", path=request.url.path, status=problem.status, error=str(error))
        return _answer(request, problem)

    @app.exception_handler(Exception)
    async def _broken(request: Request, _: Exception) -> Response:
        return _answer(request, Problem(500, "This could not be done."))  # the guard has it logged
