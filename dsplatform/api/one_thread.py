"""A route that is worked on in one thread, from the credential to the finished answer.

The framework goes through what a route depends on one by one, and each thing that asks the database costs a way to another thread and back.
For what is asked very often that is more than the work itself.
"""

from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from dsplatform.api.workers import Workers


class OneThread(APIRoute):
    """For an endpoint that is no coroutine, takes parameters of path and query alone, and gives a `Response`. What it depends on may be
    coroutines as long as they wait for nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called by the framework, in the place of its own way through the dependencies."""

        async def answer(request: Request) -> Response:
            # Where the router was included with dependencies of its own, they are in the context's and not in ours.
            context = request.scope.get("fastapi", {}).get("effective_route_context", self)
            workers: Workers = request.app.state.workers
            return await workers.run(_answer, context.dependant, request)

        return answer


def _answer(dependant: Dependant, request: Request) -> Response:
    wrong: list[Any] = []
    arguments = _arguments(dependant, request, {}, wrong)
    if wrong:
        raise RequestValidationError(wrong)
    answer = _called(dependant, arguments)
    assert isinstance(answer, Response)  # what `OneThread` is for
    return answer


def _arguments(dependant: Dependant, request: Request, known: dict[object, Any], wrong: list[Any]) -> dict[str, Any]:
    """What to call it with, in the framework's order: first what it depends on, each thing once, then what the request holds. `wrong` gets
    what is wrong with that."""
    arguments: dict[str, Any] = {}
    for each in dependant.dependencies:
        if each.call not in known:
            before = len(wrong)
            inner = _arguments(each, request, known, wrong)
            if len(wrong) > before:
                continue
            known[each.call] = _called(each, inner)
        if each.name is not None:
            arguments[each.name] = known[each.call]
    for fields, received in ((dependant.path_params, request.path_params), (dependant.query_params, request.query_params)):
        found, errors = request_params_to_args(fields, received)
        arguments |= found
        wrong += errors
    if dependant.request_param_name is not None:
        arguments[dependant.request_param_name] = request
    if dependant.http_connection_param_name is not None:
        arguments[dependant.http_connection_param_name] = request
    return arguments


def _called(dependant: Dependant, arguments: dict[str, Any]) -> Any:
    assert dependant.call is not None  # only a form's fields have none
    result = dependant.call(**arguments)
    if iscoroutine(result):
        try:
            result.send(None)
        except StopIteration as end:
            return end.value
        result.close()
        raise AssertionError(f"{dependant.call} waits, and nothing here could wake it")
    return result
