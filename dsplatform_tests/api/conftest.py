"""The real application on a database and a home of its own, and clients for those who ask."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings
from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make

AsUser = Callable[..., TestClient]
Grant = Callable[[str, str, int], None]


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


@pytest.fixture
def operator(as_user: AsUser) -> TestClient:
    """An admin."""
    return as_user("olga", "admin")


@pytest.fixture
def sales(as_user: AsUser, platform: Platform) -> DatasetRef:
    """Ada's dataset, with two versions."""
    assert as_user("ada").post("/api/v1/datasets", json={"name": "sales"}).status_code == 201
    made = platform.datasets.open(platform.actor(), "sales")
    make.commit(platform, made, {"prices.csv": b"id,price\n1,2\n2,3\n"}, message="first")
    make.commit(platform, made, {"prices.csv": b"id,price\n1,2.5\n2,3.5\n", "more.csv": b"a\n1\n"})
    return made


@pytest.fixture
def grant(platform: Platform) -> Grant:
    """`grant("bob", "read", sales.id)` gives a right to a user who is there."""

    def granting(name: str, right: str, dataset_id: int) -> None:
        with platform.db.transaction() as tx:
            user = platform.permissions.actor(tx, name)
        platform.permissions.grant_permission(platform.actor(), user, PermissionType(right), DatasetId(dataset_id))

    return granting
