"""Who asks, and what answers: the two things that every route begins with."""

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.values import DatasetRef
from dsplatform.permissions.model import Unauthenticated

# What asks no database is `async`: it then costs no way to another thread and back.

_bearer = HTTPBearer(auto_error=False, description="An API token of `dsplatform tokens create`, or the access token of a session")


async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


Services = Annotated[Platform, Depends(_platform)]
"""Every service."""


def origin_of(request: Request) -> Origin:
    """Where the request came from."""
    return Origin(address=request.client.host if request.client else None, request_id=getattr(request.state, "request_id", None))


async def _origin(request: Request) -> Origin:
    return origin_of(request)


Whence = Annotated[Origin, Depends(_origin)]
"""Where the request came from, before anybody is known by it."""


def _caller(
    request: Request, services: Services, origin: Whence, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Actor:
    if credentials is None:
        raise Unauthenticated("this needs a credential: send `Authorization: Bearer TOKEN`; `dsplatform tokens create` makes one")
    actor: Actor = services.accounts.authenticate(credentials.credentials, origin)
    request.state.caller = actor  # for the log
    return actor


Caller = Annotated[Actor, Depends(_caller)]
"""On whose behalf the request acts. 401 without a good credential."""


async def _dataset_name(
    dataset: Annotated[
        str,
        Path(description="Id, slug, or name of a dataset of your own; digits alone are an id", examples=["sales", "17"], max_length=300),
    ],
) -> str:
    return by_id(dataset)


def by_id(dataset: str) -> str:
    """What a request calls a dataset, as the services take it: digits alone are an id, `#17`."""
    return f"#{dataset}" if dataset.isascii() and dataset.isdecimal() else dataset


DatasetName = Annotated[str, Depends(_dataset_name)]
"""What the path names, as the services take it. Not looked up."""


def _dataset(services: Services, caller: Caller, name: DatasetName) -> DatasetRef:
    return services.datasets.open(caller, name)


Dataset = Annotated[DatasetRef, Depends(_dataset)]
"""The dataset that the path names, where the caller may see it. 404 otherwise."""
