"""What no route should have to refuse by itself: parameters that it does not have, characters that nothing can hold, and bodies that are no
JSON or too large."""

from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a JSON body."""


async def known_parameters(request: Request) -> None:
    """Refuses a query parameter that the route does not have, so that a mistyped one is told and not ignored, and a NUL anywhere."""
    if "\x00" in request.scope["path"]:
        raise RequestValidationError([{"loc": ("path",), "msg": "the address holds a NUL character", "type": "nul"}])
    if not request.scope["query_string"]:
        return
    route = request.scope.get("route")
    known = _query_of(route) if isinstance(route, APIRoute) else frozenset[str]()
    wrong: list[Any] = []
    for name, value in request.query_params.multi_items():
        if name not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            wrong.append({"loc": ("query", name), "msg": f"there is no such parameter: {takes}", "type": "unknown"})
        elif "\x00" in value:
            wrong.append({"loc": ("query", name), "msg": "the value holds a NUL character", "type": "nul"})
    if wrong:
        raise RequestValidationError(wrong)


def _query_of(route: APIRoute) -> frozenset[str]:
    """The names of a route's query parameters, worked out once."""
    known: frozenset[str] | None = getattr(route, "query_names", None)
    if known is None:
        known = frozenset(_names_in(route.dependant))
        route.query_names = known  # type: ignore[attr-defined]  # kept where it belongs
    return known


def _names_in(dependant: Dependant) -> Iterator[str]:
    yield from (str(field.alias) for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names_in(inner)


class Bodies:
    """Holds the bodies of routes that take JSON to their type and size, before they are in memory. Other routes read theirs themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            route = scope.get("route")  # known by now: who reads the body was chosen
            if isinstance(route, APIRoute) and route.body_field is not None:
                size += len(message.get("body", b""))
                if size and not _is_json(scope):
                    raise HTTPException(415, "this takes a body of the type application/json: say so by Content-Type")
                if size > MAX_BODY:
                    raise HTTPException(413, f"the body has more than {MAX_BODY:,} bytes")
            return message

        await self._app(scope, limited, send)


def _is_json(scope: Scope) -> bool:
    type_ = next((value for name, value in scope["headers"] if name == b"content-type"), b"").split(b";")[0].strip().lower()
    return type_.startswith(b"application/") and type_.endswith((b"/json", b"+json"))
