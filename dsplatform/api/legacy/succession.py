"""What each answer says about its end: that the endpoint is deprecated (RFC 9745), until when it is served (RFC 8594), and what follows it;
and who still uses it."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEPRECATED = b"@1795392000"
"""Since 2026-11-23, as RFC 9745 writes a moment."""
NOBODY = "unknown"
"""Who asked without a good token."""
METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})
MOST_PROGRAMS = 50
"""Names of programs that are told apart: they are what clients say of themselves."""
MOST_WAITING = 10_000
"""Figures that wait to be written; what comes beyond them while the database does not answer is not counted."""

_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}(?=$|[/ (])")

EndpointT = TypeVar("EndpointT", bound=Callable[..., object])


def succeeded_by(path: str) -> Callable[[EndpointT], EndpointT]:
    """Names what takes the place of an endpoint: a path below `/api/v1`, in which names in braces are those of the endpoint's own path."""

    def marked(endpoint: EndpointT) -> EndpointT:
        endpoint.__successor__ = f"/api/v1{path}"  # type: ignore[attr-defined]  # read below
        return endpoint

    return marked


def successor_of(endpoint: object) -> str | None:
    """What `succeeded_by` said of the endpoint."""
    return getattr(endpoint, "__successor__", None)


class Usage:
    """Counts requests by (endpoint, client, program) until somebody takes the figures away. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._programs: set[str] = set()

    def count(self, endpoint: str, client: str, agent: str) -> str:
        """Counts one request; answers with the program's name, of which there are few."""
        with self._lock:
            program = self._program(agent) if client != NOBODY else "other"
            key = endpoint, client, program
            if key in self._counts or len(self._counts) < MOST_WAITING:
                self._counts[key] += 1
            return program

    def take(self) -> Mapping[tuple[str, str, str], int]:
        """What was counted since the last time."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
            return taken

    def give_back(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        """What could not be written is counted again."""
        with self._lock:
            self._counts.update(counts)

    def _program(self, agent: str) -> str:
        found = _PRODUCT.match(agent)
        if found is None:
            return "other"
        if found[0] not in self._programs:
            if len(self._programs) >= MOST_PROGRAMS:
                return "other"
            self._programs.add(found[0])
        return found[0]


class Succession:
    """Adds the headers to the answers of the old endpoints, and counts them."""

    def __init__(self, app: ASGIApp, usage: Usage, counted: Callable[[str, str], None], sunset: date | None) -> None:
        """`counted` hears of (endpoint, program) for each answer."""
        self._app = app
        self._usage = usage
        self._counted = counted
        self._sunset = None if sunset is None else format_datetime(datetime.combine(sunset, time(), UTC), usegmt=True).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers(scope)]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._count(scope)

    def _headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        successor = successor_of(scope.get("endpoint"))
        headers = [(b"deprecation", DEPRECATED)]
        if self._sunset is not None:
            headers.append((b"sunset", self._sunset))
        if successor is not None:
            given: Mapping[str, Any] = scope.get("path_params", {})
            target = re.sub(r"\{(\w+)\}", lambda name: quote(str(given.get(name[1], "")), safe=""), successor)
            headers.append((b"link", f'<{target}>; rel="successor-version"'.encode()))
        return headers

    def _count(self, scope: Scope) -> None:
        endpoint = scope.get("endpoint")
        if successor_of(endpoint) is None or scope["method"] not in METHODS:  # what is no method of an endpoint is not counted as one
            return
        caller = scope.get("state", {}).get("caller")
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"").decode("latin-1")
        name = f"{scope['method']} {path_of(scope)}"
        self._counted(name, self._usage.count(name, NOBODY if caller is None else caller.username, agent))


def path_of(scope: Scope) -> str:
    """The template of the route, with its prefix."""
    context = scope.get("fastapi", {}).get("effective_route_context")
    return str(getattr(context, "path_format", None) or getattr(scope.get("route"), "path_format", ""))
