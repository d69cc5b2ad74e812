"""The application with the old paths, and clients that log in as old clients do."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings

PASSWORD = "seven green whales sing"
SECRET = "what the old server signed with, of 32 bytes or more"

LogIn = Callable[..., TestClient]


@pytest.fixture
def old_settings(settings: Settings) -> Settings:
    """With the old paths."""
    return replace(settings, legacy_api="on", legacy_secret=SECRET, legacy_timezone="America/New_York")


@pytest.fixture
def app(old_settings: Settings, database_url: str) -> FastAPI:
    """The application, not yet started."""
    return create_app(replace(old_settings, database_url=database_url))


@pytest.fixture
def log_in(client: TestClient, platform: Platform) -> LogIn:
    """`log_in("ada")` asks with the access token of a login of hers; she is made when she is first named."""
    known: dict[str, TestClient] = {}

    def asking(name: str, role: str = "editor") -> TestClient:
        if name not in known:
            platform.people.create_user(platform.system(), name, role=role, password=PASSWORD)
            given = client.post("/api/users/token", data={"username": name, "password": PASSWORD})
            assert given.status_code == 200, given.text
            known[name] = TestClient(client.app, headers={"Authorization": f"Bearer {given.json()['access_token']}"})
            known[name].portal = client.portal
        return known[name]

    return asking
