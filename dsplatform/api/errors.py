"""One shape for everything that goes wrong: `application/problem+json` of RFC 9457, with a stable `code` for programs."""

import http
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dsplatform.core.errors import Conflict, Denied, DsplatformError, Gone, Invalid, NotFound, TooMany, Unavailable
from dsplatform.permissions.model import Unauthenticated

logger = logging.getLogger(__name__)

STATUS = {Unauthenticated: 401, Gone: 410, NotFound: 404, Conflict: 409, Invalid: 422, Denied: 403, TooMany: 429, Unavailable: 503}


class Problem(BaseModel):
    """What went wrong."""

    type: str = Field("about:blank", description="Always `about:blank`: `code` tells the kinds of problem apart")
    title: str = Field(description="The HTTP status in words", examples=["Service Unavailable"])
    status: int = Field(description="The HTTP status", examples=[503])
    code: str = Field(description="Stable name of the problem, for programs", examples=["unavailable"])
    detail: str = Field(description="A sentence for a person: what happened, and what to do")
    errors: list[dict[str, str]] | None = Field(None, description="For a request of the wrong form: each place and what is wrong there")


def problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> JSONResponse:
    """The response for one problem."""
    body = Problem(type="about:blank", title=http.HTTPStatus(status).phrase, status=status, code=code, detail=detail, errors=errors)
    headers = {"Retry-After": "5"} if status == http.HTTPStatus.SERVICE_UNAVAILABLE else None
    content = body.model_dump(exclude_none=True)
    return JSONResponse(content, status_code=status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answers every error of `app` in that shape."""

    @app.exception_handler(DsplatformError)
    def ours(_request: Request, err: DsplatformError) -> JSONResponse:
        status = next((status for kind, status in STATUS.items() if isinstance(err, kind)), 500)
        answer = problem(status, err.code, str(err))
        if status == http.HTTPStatus.UNAUTHORIZED:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(err, TooMany):
            answer.headers["Retry-After"] = str(err.retry_after)
        return answer

    @app.exception_handler(RequestValidationError)
    def wrong_form(_request: Request, err: RequestValidationError) -> JSONResponse:
        errors = [{"place": ".".join(map(str, one["loc"])), "message": str(one["msg"])} for one in err.errors()]
        return problem(422, "invalid_request", "the request has the wrong form", errors)

    @app.exception_handler(HTTPException)
    def of_the_framework(_request: Request, err: HTTPException) -> JSONResponse:
        code = http.HTTPStatus(err.status_code).name.lower()
        answer = problem(err.status_code, code, str(err.detail))
        answer.headers.update(err.headers or {})
        return answer

    @app.exception_handler(Exception)
    def unforeseen(request: Request, err: Exception) -> JSONResponse:
        # The reason may hold anything, so it goes to the log alone.
        logger.error("%s %s failed", request.method, request.url.path, exc_info=err)
        return problem(500, "internal_error", "an error that was not foreseen; the server's log has the details")
