"""Who asks, and what answers: the two things that every route begins with."""

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.values import DatasetRef
from dsplatform.permissions.model import Unauthenticated

_bearer = HTTPBearer(auto_error=False, description="An API token of `dsplatform tokens create`, or the access token of a session")


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


Services = Annotated[Platform, Depends(_platform)]
"""Every service."""


def _caller(request: Request, services: Services, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Actor:
    if credentials is None:
        raise Unauthenticated("this needs a credential: send `Authorization: Bearer TOKEN`; `dsplatform tokens create` makes one")
    origin = Origin(
        address=request.client.host if request.client else None,
        request_id=getattr(request.state, "request_id", None),
    )
    return services.accounts.authenticate(credentials.credentials, origin)


Caller = Annotated[Actor, Depends(_caller)]
"""On whose behalf the request acts. 401 without a good credential."""


def _dataset(
    services: Services,
    caller: Caller,
    dataset: Annotated[
        str, Path(description="Id, slug, or name of a dataset of your own; digits alone are an id", examples=["sales", "17"])
    ],
) -> DatasetRef:
    is_id = dataset.isascii() and dataset.isdecimal() and len(dataset) < 19
    return services.datasets.open(caller, int(dataset) if is_id else dataset)


Dataset = Annotated[DatasetRef, Depends(_dataset)]
"""The dataset that the path names, where the caller may see it. 404 otherwise."""
