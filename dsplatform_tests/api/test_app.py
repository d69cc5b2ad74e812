from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform import __version__
from dsplatform.api.app import create_app
from dsplatform.core.errors import Conflict, Denied, DsplatformError, Gone, Invalid, NotFound, Unavailable
from dsplatform.core.settings import Settings


class OddlyNamed(NotFound):
    code = "no_such_dataset"


ERRORS = {
    "missing": OddlyNamed("dataset 'sales' does not exist"),
    "gone": Gone("version 1 was deleted"),
    "conflict": Conflict("main is at 4, not 3"),
    "invalid": Invalid("'..' is no name"),
    "denied": Denied("you may not write 'sales'"),
    "unavailable": Unavailable("the disk is full"),
    "unkind": DsplatformError("an error of no kind"),
}


def app_on(url: str) -> FastAPI:
    return create_app(Settings.from_env({"DSPLATFORM_DATABASE_URL": url}))


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    app = app_on(database_url)

    @app.get("/fail/{kind}")
    def fail(kind: str, number: int = 0) -> int:
        raise ERRORS.get(kind) or RuntimeError("with a secret")

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_a_running_process_is_live(client: TestClient) -> None:
    answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_migrated_database_makes_it_ready(client: TestClient) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["database_schema"]


def test_an_empty_database_is_not_ready_and_says_what_to_do(empty_database_url: str) -> None:
    with TestClient(app_on(empty_database_url)) as client:
        answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "5"
    assert "schema is missing" in answer.json()["detail"]
    assert "dsplatform db upgrade" in answer.json()["detail"]


def test_a_database_that_does_not_answer_is_not_ready_but_the_process_is_live() -> None:
    with TestClient(app_on("postgresql://nobody@127.0.0.1:1/x")) as client:
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "the database does not answer" in answer.json()["detail"]
        assert client.get("/health/live").status_code == 200


def test_it_tells_its_release(client: TestClient) -> None:
    assert client.get("/version").json() == {"name": "dsplatform", "version": __version__}


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("missing", 404, "no_such_dataset"),
        ("gone", 410, "gone"),
        ("conflict", 409, "conflict"),
        ("invalid", 422, "invalid"),
        ("denied", 403, "denied"),
        ("unavailable", 503, "unavailable"),
        ("unkind", 500, "error"),
    ],
)
def test_each_kind_of_error_has_its_status_and_keeps_code_and_sentence(kind: str, status: int, code: str, client: TestClient) -> None:
    answer = client.get(f"/fail/{kind}")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.pop("title")
    assert problem.pop("request_id") == answer.headers["x-request-id"]
    assert answer.status_code == status
    assert problem == {"type": "about:blank", "status": status, "code": code, "detail": str(ERRORS[kind])}


def test_an_unforeseen_error_tells_no_secret(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/fail/else")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "with a secret" in caplog.text


def test_the_framework_s_errors_have_the_same_shape(client: TestClient) -> None:
    missing, wrong = client.get("/nowhere"), client.post("/version")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "GET")
    assert {answer.headers["content-type"] for answer in (missing, wrong)} == {"application/problem+json"}


def test_a_request_of_the_wrong_form_names_each_place(client: TestClient) -> None:
    answer = client.get("/fail/missing?number=many")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["place"] == "query.number"


def test_without_a_database_it_says_how_to_start() -> None:
    with pytest.raises(Unavailable, match="dsplatform up"):
        create_app(Settings.from_env({}))
