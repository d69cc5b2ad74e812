"""The application with the old paths, clients that log in as old clients do, and a dataset for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import jwt
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.api.legacy import app as legacy_app
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.settings import Settings
from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.core.values import Committed, DatasetRef
from dsplatform_tests import make

SECRET = "what the old server signed with, of 32 bytes or more"
ZONE = "America/New_York"

LogIn = Callable[..., TestClient]


def signed(secret: str = SECRET, **claims: object) -> str:
    """A token as the old server signed them, good for ten minutes."""
    return jwt.encode({"exp": int(time.time()) + 600, **claims}, secret, "HS256")


@pytest.fixture
def old_settings(settings: Settings) -> Settings:
    """With the old paths."""
    return replace(settings, legacy_api="on", legacy_secret=SECRET, legacy_timezone=ZONE)


@pytest.fixture
def app(old_settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The application, not yet started. It writes what it counted when a test says so."""
    monkeypatch.setattr(legacy_app, "WRITE_SECONDS", 3_600.0)
    return create_app(replace(old_settings, database_url=database_url))


@pytest.fixture
def log_in(client: TestClient, platform: Platform) -> LogIn:
    """`log_in("ada")` asks with an access token that the old server signed; she is made when she is first named."""
    known: dict[str, TestClient] = {}

    def asking(name: str, role: str = "editor") -> TestClient:
        if name not in known:
            platform.permissions.create_user(name, role)
            known[name] = TestClient(client.app, headers={"Authorization": f"Bearer {signed(sub=name, role_id=2)}"})
            known[name].portal = client.portal
        return known[name]

    return asking


def actor(platform: Platform, name: str) -> Actor:
    """The user of that name, with all her rights."""
    with platform.db.transaction() as tx:
        return platform.permissions.actor(tx, name)


@dataclass(frozen=True)
class Old:
    """Ada's dataset, which rita may read, will may write, and eve may not see; each asks as an old client."""

    platform: Platform
    ada: TestClient
    will: TestClient
    rita: TestClient
    eve: TestClient
    nobody: TestClient
    dataset: DatasetRef
    first: Committed
    second: Committed

    @property
    def url(self) -> str:
        """Of the dataset."""
        return f"/api/datasets/{self.dataset.id}"


@pytest.fixture
def old(platform: Platform, client: TestClient, log_in: LogIn) -> Old:
    """Everybody, and a dataset with two versions."""
    ada, will, rita, eve = (log_in(name) for name in ("ada", "will", "rita", "eve"))
    owner = actor(platform, "ada")
    sales = platform.datasets.create_dataset(owner, "sales", description="what the shop sold", tags=["raw", "Daily"])
    for name, right in (("rita", PermissionType.READ), ("will", PermissionType.WRITE)):
        platform.permissions.grant_permission(owner, actor(platform, name), right, DatasetId(sales.id))
    first = make.commit(platform, sales, {"main": b"id,price\n1,2\n"}, message="first", actor=owner)
    second = make.commit(platform, sales, {"main": b"id,price\n1,2\n2,3\n"}, actor=owner)
    return Old(platform, ada, will, rita, eve, client, sales, first, second)


def answered(client: TestClient, method: str, url: str, body: object = None) -> tuple[int, object]:
    """What a client makes of an answer: its status and its JSON."""
    answer = client.request(method, url, json=body)
    return answer.status_code, answer.json()
