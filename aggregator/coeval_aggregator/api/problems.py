"""Errors as RFC 9457 says: `application/problem+json`, with the field named."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from coeval.errors import BadConfig
from coeval_aggregator.store.errors import StoreUnavailable, StoreUnusable

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "the parameter that is wrong"},
    },
    "required": ["type", "title", "status", "detail"],
}
HTTP_ADVICE = {
    404: "no such route; /openapi.json lists them",
    405: "the API only tells: ask with GET",
}
RESPONSES: dict[int | str, dict[str, object]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
    for status in (400, 404, 503)
}


class Problem(Exception):
    """Something is wrong with a request."""

    def __init__(self, status: int, detail: str, *, field: str | None = None) -> None:
        """Say what.

        Args:
            status: of HTTP.
            detail: what is wrong, with what was expected and what came.
            field: the parameter that is wrong.
        """
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field


def to_response(problem: Problem) -> JSONResponse:
    """A problem as the client gets it."""
    told: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.field is not None:
        told["field"] = problem.field
    headers = {"Retry-After": "5"} if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse(told, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Let every error of an application be a problem."""

    @app.exception_handler(Problem)
    async def _ours(_request: Request, exc: Problem) -> JSONResponse:
        return to_response(exc)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        field = str(first["loc"][-1])
        return to_response(
            Problem(400, f"{field}: {first['msg']}, got {first.get('input')!r:.80}", field=field)
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        advice = HTTP_ADVICE.get(exc.status_code, str(exc.detail))
        return to_response(Problem(exc.status_code, f"{request.url.path}: {advice}"))

    @app.exception_handler(StoreUnavailable)
    async def _away(_request: Request, exc: StoreUnavailable) -> JSONResponse:
        return to_response(Problem(503, str(exc)))

    @app.exception_handler(StoreUnusable)
    async def _unusable(_request: Request, exc: StoreUnusable) -> JSONResponse:
        return to_response(Problem(503, str(exc)))

    @app.exception_handler(BadConfig)
    async def _bad(_request: Request, exc: BadConfig) -> JSONResponse:
        return to_response(Problem(400, str(exc)))

    @app.exception_handler(Exception)
    async def _defect(request: Request, exc: Exception) -> JSONResponse:
        logger.error("request failed path=%s", request.url.path, exc_info=exc)
        return to_response(Problem(500, "a defect of the aggregator; its log says more"))
