"""The real application on a database and a home of its own, and clients for those who ask."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings

AsUser = Callable[..., TestClient]


@pytest.fixture
def app(settings: Settings, database_url: str) -> FastAPI:
    """The application, not yet started."""
    return create_app(replace(settings, database_url=database_url))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Asks the running application without a credential."""
    with TestClient(app) as client:
        yield client


@pytest.fixture
def platform(client: TestClient, app: FastAPI) -> Platform:
    """The services that the application works with."""
    running: Platform = app.state.platform
    return running


@pytest.fixture
def as_user(client: TestClient, platform: Platform) -> AsUser:
    """`as_user("ada")` asks as a user of that name with a token of her own; she is made when she is first named."""
    known: dict[str, TestClient] = {}

    def asking(name: str, role: str = "editor") -> TestClient:
        if name not in known:
            token = platform.accounts.create_token(platform.permissions.create_user(name, role), "tests").secret
            known[name] = TestClient(client.app, headers={"Authorization": f"Bearer {token}"})
            known[name].portal = client.portal  # one loop for all of them
        return known[name]

    return asking
