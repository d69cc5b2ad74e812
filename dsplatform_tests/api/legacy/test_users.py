"""Logging in, and users, as section 3 of the old system's description has them."""

import time

import jwt
import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform_tests.api.legacy.conftest import PASSWORD, SECRET, LogIn


def test_s3_login_gives_two_tokens_with_the_old_claims(client: TestClient, log_in: LogIn) -> None:
    log_in("ada")
    given = client.post("/api/users/token", data={"username": "ada", "password": PASSWORD})
    assert given.status_code == 200
    assert list(given.json()) == ["access_token", "refresh_token", "token_type"]
    assert given.json()["token_type"] == "bearer"
    access, refresh = (jwt.decode(given.json()[name], SECRET, algorithms=["HS256"]) for name in ("access_token", "refresh_token"))
    assert (access["sub"], access["role_name"], type(access["role_id"])) == ("ada", "editor", int)
    assert 1700 < access["exp"] - time.time() <= 1800
    assert (refresh["sub"], refresh["token_type"]) == ("ada", "refresh")
    assert "role_id" not in refresh
    assert given.headers["deprecation"].startswith("@")
    assert given.headers["link"] == '</api/v1/sessions>; rel="successor-version"'
