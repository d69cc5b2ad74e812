"""The preview over HTTP: three forms, chosen by the caller, and nothing for strangers."""

import csv
import io
import json

import pyarrow.ipc
import pytest
from fastapi.testclient import TestClient

from dsplatform.core.values import DatasetRef
from dsplatform_tests.api.conftest import AsUser, Grant

URL = "/api/v1/datasets/sales/preview"
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def ada(as_user: AsUser, sales: DatasetRef) -> TestClient:
    """Owner of `sales`."""
    return as_user("ada")


def test_rows_come_with_their_columns(ada: TestClient) -> None:
    answer = ada.get(URL, params={"component": "prices.csv", "limit": 1})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    found = answer.json()
    assert found["rows"] == [[1, 2.5]]
    assert [(column["name"], column["type"]) for column in found["columns"]] == [("id", "int64"), ("price", "float64")]
    assert (found["component"], found["sheet"], found["cut"]) == ("prices.csv", None, None)
    assert found["next"] == answer.headers["x-next-cursor"]
    rest = ada.get(URL, params={"component": "prices.csv", "cursor": found["next"]})
    assert rest.json()["rows"] == [[2, 3.5]]
    assert rest.json()["next"] is None
    assert "x-next-cursor" not in rest.headers


def test_what_is_asked_reaches_the_rows(ada: TestClient) -> None:
    asked = {"component": "prices.csv", "ref": "1", "columns": "price", "where": ["id >= 1", "price != 2"]}
    assert ada.get(URL, params=asked).json()["rows"] == [[3]]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/html, text/*;q=0.5, */*;q=0.1", "text/csv; charset=utf-8; header=present"),
        (f"{ARROW}, application/json;q=0.9", ARROW),
        ("Text/CSV;q=0.2, application/json;q=0", "text/csv; charset=utf-8; header=present"),
    ],
)
def test_the_caller_says_the_form(accept: str | None, media: str, ada: TestClient) -> None:
    answer = ada.get(URL, params={"component": "prices.csv"}, headers={} if accept is None else {"Accept": accept})
    assert answer.headers["content-type"] == media


def test_a_form_that_is_not_there_is_406_and_format_decides(ada: TestClient) -> None:
    answer = ada.get(URL, params={"component": "prices.csv"}, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    answer = ada.get(URL, params={"component": "prices.csv", "format": "csv"}, headers={"Accept": "text/html"})
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [["id", "price"], ["1", "2.5"], ["2", "3.5"]]
    assert answer.headers["content-disposition"] == 'attachment; filename="preview.csv"'
    answer = ada.get(URL, params={"component": "prices.csv", "format": "arrow"})
    with pyarrow.ipc.open_stream(answer.content) as stream:
        assert stream.read_all().to_pylist() == [{"id": 1, "price": 2.5}, {"id": 2, "price": 3.5}]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 422, "several_tables"),
        ({"component": "none"}, 404, "no_such_table"),
        ({"component": "prices.csv", "ref": "9"}, 404, "version_missing"),
        ({"component": "prices.csv", "columns": "x"}, 422, "no_such_column"),
        ({"component": "prices.csv", "where": "id ~ 1"}, 422, "wrong_condition"),
        ({"component": "prices.csv", "cursor": "x"}, 422, "wrong_cursor"),
        ({"component": "prices.csv", "limit": "0"}, 422, "invalid_request"),
        ({"component": "prices.csv", "limit": "10001"}, 422, "invalid_request"),
        ({"component": "prices.csv", "format": "xml"}, 422, "invalid_request"),
        ({"component": "prices.csv", "where": "x" * 5000}, 422, "invalid_request"),
    ],
)
def test_what_is_wrong_is_a_problem(params: dict[str, str], status: int, code: str, ada: TestClient) -> None:
    answer = ada.get(URL, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["code"] == code


def test_strangers_get_what_does_not_exist(ada: TestClient, as_user: AsUser, client: TestClient, grant: Grant, sales: DatasetRef) -> None:
    params = {"component": "prices.csv"}
    assert client.get(URL, params=params).status_code == 401
    bob = as_user("bob")
    there, absent = bob.get(URL, params=params), bob.get(URL.replace("sales", "nothing"), params=params)
    assert there.status_code == absent.status_code == 404
    gone = {"sales", "nothing"}

    def shape(answer: object) -> str:
        text = json.dumps({key: value for key, value in answer.items() if key != "request_id"})  # type: ignore[attr-defined]
        for name in gone:
            text = text.replace(name, "*")
        return text

    assert shape(there.json()) == shape(absent.json())
    grant("bob", "read", sales.id)
    assert bob.get(URL, params=params).status_code == 200
