import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.core.settings import Settings
from dsplatform_tests.api.conftest import AsUser

CANARY = "dsp_canary0canary0canary0canary0canary0canary0canary0"


@pytest.fixture
def app(settings: Settings, database_url: str) -> FastAPI:
    app = create_app(replace(settings, database_url=database_url, cors_origins="https://app.example.org"))

    @app.get("/fail/{kind}")
    def fail(kind: str) -> None:
        raise RuntimeError(f"with {CANARY}")

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "dsplatform.api.access"]


def test_every_answer_has_an_id_that_nobody_else_has(client: TestClient) -> None:
    ids = {client.get("/version").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize("given", ["a", "trace-1.2:3_4", "x" * 64])
def test_an_id_that_is_well_formed_is_taken_over(given: str, client: TestClient) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", '"', "<script>"])
def test_any_other_id_is_replaced(given: str, client: TestClient) -> None:
    assert client.get("/version", headers={"X-Request-ID": given}).headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/datasets"), ("GET", "/nowhere"), ("POST", "/version"), ("GET", "/fail/x"), ("GET", "/version?a=b")],
)
def test_every_problem_names_its_request(method: str, path: str, client: TestClient) -> None:
    answer = client.request(method, path)
    assert answer.status_code >= 400
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/version", "/nowhere", "/fail/x", "/api/v1/datasets", "/docs"])
def test_every_answer_says_what_browsers_may_not_do(path: str, client: TestClient) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert ("content-security-policy" in headers) == (path != "/docs")
    assert "server" not in headers


def test_what_a_route_says_itself_is_left(client: TestClient, app: FastAPI) -> None:
    from fastapi.responses import Response

    @app.get("/own")
    def own() -> Response:
        return Response("x", headers={"Content-Security-Policy": "sandbox", "ETag": '"1"'})

    headers = client.get("/own").headers
    assert headers.get_list("content-security-policy") == ["sandbox"]
    assert "cache-control" not in headers


def test_the_log_has_one_line_for_a_request(client: TestClient, as_user: AsUser, caplog: pytest.LogCaptureFixture) -> None:
    ada = as_user("ada")
    with caplog.at_level(logging.INFO):
        answer = ada.post("/api/v1/datasets", json={"name": "sales"})
    (line,) = lines(caplog)
    assert answer.status_code == 201
    shown = {name: getattr(line, name) for name in ("method", "route", "status", "user", "request_id", "address", "received", "sent")}
    assert shown == {
        "method": "POST",
        "route": "/api/v1/datasets",
        "status": 201,
        "user": "ada",
        "request_id": answer.headers["x-request-id"],
        "address": "testclient",
        "received": len(b'{"name":"sales"}'),
        "sent": len(answer.content),
    }
    assert line.__dict__["ms"] > 0


def test_the_log_names_templates_and_never_what_was_asked(client: TestClient, as_user: AsUser, caplog: pytest.LogCaptureFixture) -> None:
    ada = as_user("ada")
    with caplog.at_level(logging.DEBUG, "dsplatform"):
        ada.get(f"/api/v1/datasets/{CANARY}?x={CANARY}", headers={"Cookie": CANARY})
        ada.get(f"/{CANARY}", headers={"Authorization": f"Bearer {CANARY}"})
        client.get("/api/v1/datasets", headers={"Authorization": f"Bearer {CANARY}"})
    assert [record.__dict__["route"] for record in lines(caplog)] == ["/api/v1/datasets/{dataset}", "", "/api/v1/datasets"]
    assert not [record for record in caplog.records if record.name.startswith("dsplatform") and CANARY in str(record.__dict__)]


def test_who_watches_is_not_in_the_log_unless_something_is_wrong(
    client: TestClient, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.get("/health/live")
        assert lines(caplog) == []
        app.state.stopping = True
        client.get("/health/ready")
        assert [line.__dict__["status"] for line in lines(caplog)] == [503]


def test_an_error_is_logged_once_with_the_id_of_its_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/fail/x")
    assert answer.status_code == 500
    (error,) = [record for record in caplog.records if record.exc_info and record.name.startswith("dsplatform")]
    assert error.__dict__["request_id"] == answer.headers["x-request-id"]


def test_pages_of_a_named_origin_may_ask_and_others_not(client: TestClient) -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,content-digest"}
    ours = client.options("/api/v1/datasets", headers={"Origin": "https://app.example.org", **asked})
    assert ours.status_code == 200
    assert ours.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "access-control-allow-credentials" not in ours.headers
    theirs = client.options("/api/v1/datasets", headers={"Origin": "https://evil.example.org", **asked})
    assert "access-control-allow-origin" not in theirs.headers
    assert "ETag" in client.get("/version", headers={"Origin": "https://app.example.org"}).headers["access-control-expose-headers"]


def test_without_the_setting_no_page_may_ask(settings: Settings, database_url: str) -> None:
    with TestClient(create_app(replace(settings, database_url=database_url))) as client:
        answer = client.get("/version", headers={"Origin": "https://app.example.org"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
