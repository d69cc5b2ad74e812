"""What surrounds every request: its id, its share, the log's line, the figures, and the headers of every answer."""

import logging
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dsplatform.api.errors import problem
from dsplatform.api.limits import Limits
from dsplatform.api.metrics import Metrics
from dsplatform.core.domain import Actor
from dsplatform.core.errors import TooMany

logger = logging.getLogger("dsplatform.api.access")

_REQUEST_ID = re.compile(rb"[0-9A-Za-z_.:-]{1,64}")
_UNLIMITED = ("/health/", "/metrics")
"""Asked all the time by who watches us, so neither counted nor logged above `debug`."""

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (b"cache-control", b"no-store")
_PAGES = frozenset({"/docs"})
"""The only answers that a browser is to show as pages."""


@dataclass
class _Exchange:
    """One request and its answer, as they go through."""

    scope: Scope
    request_id: str
    began: float
    status: int = 0
    received: int = 0
    sent: int = 0

    @property
    def route(self) -> str:
        """The template of the route, so that there are few of them whatever is asked; empty where none was found."""
        context = self.scope.get("fastapi", {}).get("effective_route_context")
        return str(getattr(context, "path_format", None) or getattr(self.scope.get("route"), "path", ""))

    @property
    def address(self) -> str:
        """Where the client is."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name."""
        return next((value for key, value in self.scope["headers"] if key == name), None)


class Envelope:
    """The outermost layer of the application: it sees the answers to errors that nobody foresaw, too."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, "", time.perf_counter())
        given = exchange.header(b"x-request-id") or b""
        exchange.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = exchange.request_id

        async def receiving() -> Message:
            message = await receive()
            exchange.received += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = _completed(message.get("headers", []), exchange)
            exchange.sent += len(message.get("body", b""))
            await send(message)

        with self._metrics.under_way():
            try:
                await self._admitted(exchange, receiving, sending)
            finally:
                self._ended(exchange, state.get("caller"))

    async def _admitted(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        """Hands the request on where the caller has a share left."""
        answer: ASGIApp = self._app
        try:
            if not exchange.scope["path"].startswith(_UNLIMITED):
                self._limits.admit(exchange.header(b"authorization"), exchange.address)
        except TooMany as err:
            answer = problem(429, err.code, str(err), request=Request(exchange.scope))
            answer.headers["Retry-After"] = str(max(1, round(err.retry_after + 0.5)))
        await answer(exchange.scope, receive, send)

    def _ended(self, exchange: _Exchange, caller: Actor | None) -> None:
        """Writes down what became of it."""
        seconds = time.perf_counter() - exchange.began
        scope, route = exchange.scope, exchange.route
        credential = exchange.header(b"authorization")
        if caller is not None and credential is not None:
            self._limits.found_good(credential)
        self._metrics.answered(scope["method"], route, exchange.status, seconds, exchange.received, exchange.sent)
        level = logging.DEBUG if scope["path"].startswith(_UNLIMITED) and exchange.status < 400 else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = {
            "request_id": exchange.request_id,
            "method": scope["method"],
            "route": route,
            "status": exchange.status,
            "ms": round(seconds * 1000, 1),
            "received": exchange.received,
            "sent": exchange.sent,
            "user": None if caller is None else caller.username,
            "address": exchange.address,
        }
        logger.log(level, "answered", extra=fields)


def _completed(headers: list[tuple[bytes, bytes]], exchange: _Exchange) -> list[tuple[bytes, bytes]]:
    """With what every answer has, where the route has not said it otherwise."""
    names = {name.lower() for name, _ in headers}
    added = [*_HEADERS, (b"x-request-id", exchange.request_id.encode())]
    if exchange.scope["path"] not in _PAGES:
        added.append(_POLICY)
    if b"etag" not in names:
        added.append(_NO_STORE)
    return [*headers, *((name, value) for name, value in added if name not in names)]
