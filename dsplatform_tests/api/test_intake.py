"""What no route takes is refused by all of them, in the one shape of problems."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dsplatform.api import errors
from dsplatform.api.intake import MAX_BODY
from dsplatform.core.values import DatasetRef
from dsplatform_tests.api.conftest import AsUser

DATASETS = "/api/v1/datasets"


@pytest.fixture
def ada(as_user: AsUser, sales: DatasetRef) -> TestClient:
    return as_user("ada")


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["code"] == code
    return dict(answer.json())


def test_a_mistyped_parameter_is_told_with_those_that_there_are(ada: TestClient) -> None:
    (wrong,) = problem(ada.get(f"{DATASETS}?lable=raw"), 422, "invalid_request")["errors"]
    assert wrong["place"] == "query.lable"
    assert "label, limit, owner" in wrong["message"]
    (alone,) = problem(ada.get(f"{DATASETS}/sales?x"), 422, "invalid_request")["errors"]
    assert "it takes none" in alone["message"]


def test_parameters_that_have_another_name_in_python_are_known(ada: TestClient) -> None:
    assert ada.get(f"{DATASETS}/sales/diff?from=1&to=2").status_code == 200
    assert problem(ada.get(f"{DATASETS}/sales/diff?from=1&from_=1"), 422, "invalid_request")


@pytest.mark.parametrize("path", ["?search=%00", "/%00", "/sales/versions/%00", "/sales/versions?after=%00", "/sales/branches?after=a%00"])
def test_a_nul_is_refused_wherever_it_stands(path: str, ada: TestClient) -> None:
    problem(ada.get(f"{DATASETS}{path}"), 422, "invalid_request")


@pytest.mark.parametrize(
    "path",
    [
        "?limit=0",
        "?limit=1001",
        f"?limit={'9' * 5000}",
        "?total=maybe",
        "?right=own",
        "/sales/versions?after=0",
        f"/sales/versions?after={2**70}",
        f"/sales/quarantine?after={10**30}",
    ],
)
def test_values_out_of_bounds_are_refused(path: str, ada: TestClient) -> None:
    problem(ada.get(f"{DATASETS}{path}"), 422, "invalid_request")


@pytest.mark.parametrize(
    "name", ["9" * 18, "9" * 40, "-1", "%C3%28", "%F0%9F", "..%2F", "a@b", "%23", "%23x", "%239999", "ü" * 90, "'; DROP TABLE users"]
)
def test_odd_names_of_datasets_and_versions_are_missing(name: str, ada: TestClient) -> None:
    assert ada.get(f"{DATASETS}/{name}").status_code in {404, 405, 422}
    assert ada.get(f"{DATASETS}/sales/versions/{name}").status_code in {404, 422}
    assert ada.get(f"{DATASETS}/sales/diff", params={"from": name}).status_code in {404, 422}
    assert ada.get(DATASETS, params={"after": name, "search": name, "label": name, "owner": name}).status_code == 200


BODIES = {
    "a text": '"x"',
    "a list": "[]",
    "an unknown field": '{"name": "a", "tags": []}',
    "another type": '{"name": 1}',
    "a number as text": '{"name": "a", "labels": "x"}',
    "half a character": '{"name": "\\ud800"}',
    "half a character as a field": '{"name": "a", "\\ud800": 1}',
    "a NUL": '{"name": "a", "description": "\\u0000"}',
    "not a number": '{"name": NaN}',
    "what breaks off": '{"name": "a"',
    "nothing": "",
    "too many labels": json.dumps({"name": "a", "labels": ["x"] * 101}),
    "a long number": '{"name": ' + "1" * 5000 + "}",
    "depth": '{"name": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "no UTF-8": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bodies_of_the_wrong_form_are_refused(body: str | bytes, ada: TestClient) -> None:
    answer = ada.post(DATASETS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_numbers_are_numbers_and_nothing_else(ada: TestClient) -> None:
    for value in ("2", 2.0, True):
        answer = ada.post(f"{DATASETS}/sales/changes", json={"remove": ["more.csv"], "expected_head": value})
        problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("type_", ["text/plain", "application/yaml", "multipart/form-data; boundary=x", None])
def test_a_body_of_another_type_is_refused(type_: str | None, ada: TestClient) -> None:
    headers = {} if type_ is None else {"Content-Type": type_}
    problem(ada.post(DATASETS, content=b'{"name": "a"}', headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused_although_it_is_not_announced(announced: bool, client: TestClient) -> None:
    block = b" " * 65_536
    blocks = [b'{"name": "a"', *[block] * (MAX_BODY // len(block)), b"}"]
    content = b"".join(blocks) if announced else iter(blocks)
    problem(client.post(DATASETS, content=content, headers={"Content-Type": "application/json"}), 413, "content_too_large")


def test_a_body_of_the_greatest_size_is_read(ada: TestClient) -> None:
    body = b'{"name": "a"' + b" " * (MAX_BODY - 13) + b"}"
    assert len(body) == MAX_BODY
    assert ada.post(DATASETS, content=body, headers={"Content-Type": "application/json"}).status_code == 201


def test_wrong_addresses_and_methods_have_the_same_shape(ada: TestClient) -> None:
    problem(ada.get("/api/v1/nothing"), 404, "not_found")
    problem(ada.get(f"{DATASETS}/"), 404, "not_found")
    wrong = ada.put(DATASETS)
    problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"]


def test_half_a_character_is_refused_wherever_it_is_a_text(ada: TestClient) -> None:
    for method, path, body in (
        ("POST", "", '{"name": "b", "description": "\\ud800"}'),
        ("POST", "", '{"name": "b", "labels": ["\\ud800"]}'),
        ("POST", "/sales/tags", '{"name": "b", "at": "\\ud800"}'),
        ("POST", "/sales/merges", '{"theirs": "\\ud800"}'),
        ("POST", "/sales/merges", '{"theirs": "1", "message": "\\ud800"}'),
        ("POST", "/sales/merges", '{"theirs": "1", "choices": {"\\ud800": "no side"}}'),
    ):
        answer = ada.request(method, f"{DATASETS}{path}", content=body, headers={"Content-Type": "application/json"})
        problem(answer, 422, "invalid_request")


def test_a_problem_can_be_written_whatever_it_tells_of() -> None:
    assert b'"detail":"what ? is"' in bytes(errors.problem(422, "x", "what \ud800 is").body).replace(b'": "', b'":"')
