"""One shape for everything that goes wrong: `application/problem+json` of RFC 9457, with a stable `code` for programs."""

import http
import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from dsplatform.core.errors import Conflict, Denied, DsplatformError, Gone, Invalid, NotFound, TooMany, Unavailable
from dsplatform.permissions.model import MissingRight, Unauthenticated
from dsplatform.versioning.merging import Contested, MergeConflict
from dsplatform.versioning.model import NotAsExpected

logger = logging.getLogger(__name__)

STATUS = {
    Unauthenticated: 401,
    Gone: 410,
    NotFound: 404,
    NotAsExpected: 412,
    Conflict: 409,
    Invalid: 422,
    Denied: 403,
    TooMany: 429,
    Unavailable: 503,
}
"""The first kind that an error is decides."""

MEDIA_TYPE = "application/problem+json"

_FRAMEWORK = {
    400: ("bad_request", "the request cannot be read"),
    404: ("not_found", "there is nothing at this address: /openapi.json lists all that there are"),
    405: ("method_not_allowed", "this address does not take this method: the header Allow says which it takes"),
    412: ("precondition_failed", "the content is another one than the request was made for"),
    413: ("content_too_large", "the body is too large"),
    415: ("unsupported_media_type", "the body is of a type that is not taken"),
    416: ("range_not_satisfiable", "the content has no such part"),
}
"""Code and sentence for what the framework refuses without a reason of its own."""


class WrongPlace(BaseModel):
    """One thing that is wrong with a request."""

    place: str = Field(description="Where: `query.limit`, `body.name`", examples=["query.limit"])
    message: str = Field(description="What is wrong there", examples=["Input should be less than or equal to 1000"])


class ContestedComponent(BaseModel):
    """A component that both sides of a merge changed. Digests are null where a side does not have it."""

    name: str = Field(description="Its name in the version", examples=["2026/january.csv"])
    base: str | None = Field(description="SHA-256 of what the common ancestor has")
    base_known: bool = Field(description="False where the common ancestors disagree, or are deleted: `base` cannot be chosen then")
    ours: str | None = Field(description="SHA-256 of what the branch has")
    theirs: str | None = Field(description="SHA-256 of what was to be merged")


class Problem(BaseModel):
    """What went wrong."""

    type: str = Field("about:blank", description="Always `about:blank`: `code` tells the kinds of problem apart")
    title: str = Field(description="The HTTP status in words", examples=["Service Unavailable"])
    status: int = Field(description="The HTTP status", examples=[503])
    code: str = Field(description="Stable name of the problem, for programs", examples=["unavailable"])
    detail: str = Field(description="A sentence for a person: what happened, and what to do")
    request_id: str | None = Field(None, description="What the server's log calls this request", examples=["01JD5Z3K8Q"])
    errors: list[WrongPlace] | None = Field(None, description="For a request of the wrong form: each place and what is wrong there")
    missing: str | None = Field(None, description="For `missing_right`: the right that is missing", examples=["write"])
    contested: list[ContestedComponent] | None = Field(None, description="For `merge_conflict`: the components that need a choice")


_DESCRIPTIONS = {
    400: "The request cannot be read, as JSON that breaks off",
    401: "There is no good credential",
    403: "You may see it, but a right is missing for this",
    404: "It does not exist, or not for you",
    405: "The address does not take this method",
    409: "The state that the request was made for has moved on, or a name is taken",
    410: "It was deleted on purpose",
    413: "The body is too large",
    415: "The body is of a type that is not taken",
    422: "The request can never be accepted as it is",
    429: "Too many requests: `Retry-After` says when to come back",
    500: "An error that was not foreseen",
    503: "A part that this stands on does not answer now: `Retry-After` says when to come back",
}

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": _CONTENT} for status, description in _DESCRIPTIONS.items()
}
"""What every route may answer beside what it is for."""

ANY_PROBLEM: dict[int | str, dict[str, Any]] = {"default": {"description": "A problem", "content": _CONTENT}}


def problem(
    status: int,
    code: str,
    detail: str,
    errors: list[WrongPlace] | None = None,
    *,
    request: Request | None = None,
    missing: str | None = None,
    contested: list[ContestedComponent] | None = None,
) -> JSONResponse:
    """The response for one problem."""
    body = Problem(
        type="about:blank",
        title=http.HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=_writable(detail),
        request_id=None if request is None else getattr(request.state, "request_id", None),
        errors=errors,
        missing=missing,
        contested=contested,
    )
    headers = {"Retry-After": "5"} if status == http.HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse(body.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answers every error of `app` in that shape."""

    @app.exception_handler(DsplatformError)
    async def ours(request: Request, err: DsplatformError) -> JSONResponse:
        status = next((status for kind, status in STATUS.items() if isinstance(err, kind)), 500)
        missing = err.missing if isinstance(err, MissingRight) else None
        contested = [_contested(each) for each in err.components] if isinstance(err, MergeConflict) else None
        answer = problem(status, err.code, str(err), request=request, missing=missing, contested=contested)
        if status == http.HTTPStatus.UNAUTHORIZED:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(err, TooMany):
            answer.headers["Retry-After"] = str(math.ceil(err.retry_after))
        return answer

    @app.exception_handler(RequestValidationError)
    async def wrong_form(request: Request, err: RequestValidationError) -> JSONResponse:
        wrong = [
            WrongPlace(place=_writable(".".join(map(str, one["loc"])))[:200], message=_writable(str(one["msg"]))[:500])
            for one in err.errors()[:100]
        ]
        return problem(422, "invalid_request", "the request has the wrong form", wrong, request=request)

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, err: HTTPException) -> JSONResponse:
        status = http.HTTPStatus(err.status_code)
        code, sentence = _FRAMEWORK.get(status, (status.name.lower(), status.phrase.lower()))
        answer = problem(status, code, sentence if err.detail == status.phrase else str(err.detail), request=request)
        answer.headers.update(err.headers or {})
        if status == http.HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = ", ".join(_methods(request))
        return answer

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, _err: ClientDisconnect) -> JSONResponse:
        return problem(400, "client_left", "the connection ended before the whole body was here", request=request)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, err: Exception) -> JSONResponse:
        # The reason may hold anything, so it goes to the log alone.
        asked = {"request_id": getattr(request.state, "request_id", None), "method": request.method}
        logger.error("a request failed", exc_info=err, extra=asked)
        return problem(500, "internal_error", "an error that was not foreseen; the server's log has the details", request=request)


def _methods(request: Request) -> list[str]:
    """What the address takes. The framework has a route for each method, and would name the one of the first."""
    known = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
    scopes = {method: {**request.scope, "method": method, "fastapi": {}} for method in known}
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)]


def _contested(component: Contested) -> ContestedComponent:
    base, ours, theirs = (None if side is None else side.content_hash for side in (component.base, component.ours, component.theirs))
    return ContestedComponent(name=component.name, base=base, base_known=component.base_known, ours=ours, theirs=theirs)


def _writable(text: str) -> str:
    """The text with `?` for what UTF-8 cannot hold: a request may bring halves of characters."""
    return text.encode(errors="replace").decode()
