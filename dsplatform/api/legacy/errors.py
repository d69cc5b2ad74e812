"""What goes wrong, in the shape of the old server: `{"detail": "…"}`, and the framework's own list for a request of the wrong form."""

import http
import json
import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dsplatform.core.errors import Conflict, Denied, DsplatformError, Invalid, NotFound, TooMany, Unavailable
from dsplatform.permissions.model import Unauthenticated

logger = logging.getLogger(__name__)

STATUS = {Unauthenticated: 401, NotFound: 404, Conflict: 409, Invalid: 400, Denied: 403, TooMany: 429, Unavailable: 503}
"""For errors that no route says otherwise. The first kind that an error is decides."""


class Answer(HTTPException):
    """What the old server answered in this case: its status and its sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)


class Writable(JSONResponse):
    """JSON with `?` for what UTF-8 cannot hold: a request may bring halves of characters, and is quoted in the answer."""

    def render(self, content: object) -> bytes:
        """The bytes of the body."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(errors="replace")


def install(app: FastAPI) -> None:
    """Answers every error of `app` so."""

    @app.exception_handler(DsplatformError)
    async def ours(_request: Request, err: DsplatformError) -> JSONResponse:
        status = next((status for kind, status in STATUS.items() if isinstance(err, kind)), 500)
        answer = _detail(status, str(err))
        if isinstance(err, Unavailable):
            answer.headers["Retry-After"] = str(math.ceil(err.retry_after) if isinstance(err, TooMany) else 5)
        return answer

    @app.exception_handler(RequestValidationError)
    async def wrong_form(_request: Request, err: RequestValidationError) -> JSONResponse:
        return Writable({"detail": _plain(err.errors())}, 422)

    @app.exception_handler(HTTPException)
    async def of_the_framework(_request: Request, err: HTTPException) -> JSONResponse:
        # Without the headers of the error, as the old server had it: a 401 names no scheme.
        return _detail(err.status_code, err.detail)

    @app.exception_handler(ClientDisconnect)
    async def left(_request: Request, _err: ClientDisconnect) -> JSONResponse:
        return _detail(400, "There was an error parsing the body")

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, err: Exception) -> JSONResponse:
        asked = {"request_id": getattr(request.state, "request_id", None), "method": request.method}
        logger.error("a request to the legacy API failed", exc_info=err, extra=asked)
        return _detail(500, http.HTTPStatus.INTERNAL_SERVER_ERROR.phrase)


def _detail(status: int, detail: str) -> Writable:
    return Writable({"detail": detail}, status)


def _plain(errors: Any) -> Any:
    """With the reason of a check of ours as its sentence; without numbers that JSON does not have."""
    plain = jsonable_encoder(errors, custom_encoder={ValueError: str, float: lambda value: value if math.isfinite(value) else str(value)})
    return plain[:100]
