"""A route in one thread answers as the framework would."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.testclient import TestClient

from dsplatform.api.one_thread import OneThread
from dsplatform.api.workers import Workers

ran: list[tuple[str, int]] = []
"""What ran, in which thread."""


def ran_here(name: str) -> None:
    ran.append((name, threading.get_ident()))


async def always(request: Request) -> None:
    ran_here("always")
    if request.query_params.get("stop"):
        raise HTTPException(418)


def shared(request: Request) -> str:
    ran_here("shared")
    return request.method


def doubled(number: Annotated[int, Path(ge=0)], first: Annotated[str, Depends(shared)]) -> str:
    ran_here("doubled")
    return f"{first} {2 * number}"


async def known(credential: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> str:
    return "nobody" if credential is None else credential.credentials


def asked(
    request: Request,
    first: Annotated[str, Depends(shared)],
    twice: Annotated[str, Depends(doubled)],
    who: Annotated[str, Depends(known)],
    number: int,
    limit: Annotated[int, Query(le=9)] = 5,
    word: list[str] | None = Query(None),  # noqa: B008 - as the framework writes it
) -> Response:
    ran_here("asked")
    return Response(f"{request.url.path} {first} {twice} {who} {number} {limit} {word}", status_code=203)


def built(route_class: type[OneThread] | None) -> FastAPI:
    app, router = FastAPI(dependencies=[Depends(always)]), APIRouter()
    router.add_api_route("/of/{number}", asked, methods=["GET"], route_class_override=route_class)
    app.include_router(router, prefix="/in", dependencies=[Depends(shared)])
    return app


@pytest.fixture
def both() -> Iterator[tuple[TestClient, TestClient]]:
    """The route by itself, and as the framework runs it."""
    ours = built(OneThread)
    ran.clear()
    with Workers(2) as ours.state.workers:
        yield TestClient(ours), TestClient(built(None))


@pytest.mark.parametrize(
    "query",
    [
        "4",
        "4?limit=9",
        "4?limit=10",
        "x",
        "-1",
        "-1?limit=10",
        "x?limit=x",
        "4?word=a&word=b",
        "4?stop=1",
        "x?stop=1",
        "4/more",
        f"{'9' * 5000}",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer abc"}, {"Authorization": "abc"}])
def test_the_answer_is_the_frameworks(query: str, headers: dict[str, str], both: tuple[TestClient, TestClient]) -> None:
    said, ran_in_order = [], []
    for client in both:
        ran.clear()
        answer = client.get(f"/in/of/{query}", headers=headers)
        said.append((answer.status_code, answer.text, dict(answer.headers)))
        ran_in_order.append([name for name, _ in ran])
    assert said[0] == said[1]
    assert ran_in_order[0] == ran_in_order[1]


def test_all_of_it_runs_in_one_thread_and_each_thing_once(both: tuple[TestClient, TestClient]) -> None:
    assert both[0].get("/in/of/4").status_code == 203
    assert [name for name, _ in ran] == ["always", "shared", "doubled", "asked"]
    assert len({thread for _, thread in ran}) == 1


def test_a_dependency_that_waits_is_a_mistake_that_is_told(both: tuple[TestClient, TestClient]) -> None:
    app = FastAPI()

    async def waits() -> None:
        await asyncio.sleep(0)

    app.router.add_api_route("/", lambda: Response(), dependencies=[Depends(waits)], route_class_override=OneThread)
    app.state.workers = both[0].app.state.workers  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="waits, and nothing here could wake it"):
        TestClient(app).get("/")
