"""What holds for every endpoint, as section 2.1 of the old system's description has it; and that nobody is told more than she may see."""

import re
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.api.legacy.app import ALONE
from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform_tests.api.legacy.conftest import Old
from dsplatform_tests.api.legacy.test_coverage import endpoints

PUBLIC = {("GET", "/"), ("GET", "/health"), ("POST", "/api/users/token"), ("POST", "/api/users/token/refresh")}

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/users"): {"soeid": "AB12345", "password": "long enough, one hopes", "role_id": 3},
    ("POST", "/api/users/register"): {"soeid": "AB12345", "password": "long enough, one hopes", "role_id": 3},
    ("PATCH", "/api/datasets/{dataset_id}"): {"name": "mine"},
    ("POST", "/api/datasets/{dataset_id}/branches"): {"branch_name": "mine", "from_version_id": 1},
    ("POST", "/api/datasets/{dataset_id}/tags"): {"tag_name": "mine", "version_id": 1},
    ("PATCH", "/api/datasets/{dataset_id}/branches/{branch_name}"): {"to_version_id": 1},
    ("POST", "/api/datasets/{dataset_id}/permissions"): {"user_id": 1, "permission_type": "read"},
    ("POST", "/api/datasets/{dataset_id}/tags/{tag_name}"): {"version_id": 1},
    ("POST", "/api/datasets/{dataset_id}/schema/compare"): {"version1_id": 1, "version2_id": 2},
}
FILE = {"file": ("a.csv", b"id\n1\n", "text/csv")}


def _asked(client: TestClient, old: Old, method: str, path: str, dataset: int, **more: Any) -> Any:
    """One request that would succeed if she might, as far as one can tell from its path."""
    values = {
        "dataset_id": dataset, "version_id": old.first.version_id, "number": 1, "user_id": 2, "permission_type": "read",
        "branch_name": "main", "pointer_name": "main", "tag_name": "v1", "component_type": "primary",
    }  # fmt: skip
    url = re.sub(r"\{(\w+)\}", lambda name: str(values[name[1]]), path)
    if (method, path) in BODIES:
        more["json"] = BODIES[method, path]
    elif method == "POST" and path.endswith(("/upload", "/commit", "/files")):
        more |= {"files": FILE, "data": {"name": "mine", "dataset_id": str(dataset), "component_type": "x"}}
    elif method == "POST" and path.endswith("/versions"):
        more["json"] = {"dataset_id": dataset, "file_changes": [], "message": "", "parent_version": 1}
    return client.request(method, url, **more)


def test_the_old_server_says_that_it_is_there(client: TestClient) -> None:
    """2.1 GET /: as it always did.
    2.1 GET /health: the same.
    """
    assert client.get("/").json() == {"message": "Data Science API is running"}
    assert client.get("/health").json() == {"status": "healthy"}
    assert client.get("/health/live").json() == {"status": "ok"}


def test_without_a_good_token_every_endpoint_is_closed(old: Old, app: FastAPI) -> None:
    checked = 0
    for method, path in endpoints(app.state.legacy):
        if (method, path) in PUBLIC:
            continue
        none = _asked(old.nobody, old, method, path, old.dataset.id)
        assert (path, none.status_code, none.json()) == (path, 401, {"detail": "Not authenticated"})
        wrong = _asked(old.nobody, old, method, path, old.dataset.id, headers={"Authorization": "Bearer x.y.z"})
        assert (path, wrong.status_code, wrong.json()) == (path, 401, {"detail": "Could not validate credentials"})
        assert "www-authenticate" not in none.headers
        checked += 1
    assert checked >= 25


def test_a_stranger_is_answered_as_if_there_were_nothing(old: Old, app: FastAPI) -> None:
    """Every endpoint of a dataset: what eve may not see, and what does not exist, is the same but for its number."""
    checked = 0
    for method, path in endpoints(app.state.legacy):
        if "{dataset_id}" not in path:
            continue
        seen, missing = (_asked(old.eve, old, method, path, dataset) for dataset in (old.dataset.id, 987_654))
        assert seen.status_code in {403, 404}, (method, path, seen.text)
        assert (missing.status_code, missing.text.replace("987654", str(old.dataset.id))) == (seen.status_code, seen.text), (method, path)
        checked += 1
    assert checked >= 20
    assert old.ada.get(old.url).json()["name"] == "sales"
    assert [each["pointer_name"] for each in old.ada.get(f"{old.url}/pointers").json()] == ["main"]


def test_a_reader_changes_nothing(old: Old, app: FastAPI) -> None:
    before = [old.ada.get(f"{old.url}{path}").json() for path in ("", "/pointers", "/permissions")]
    for method, path in endpoints(app.state.legacy):
        if "{dataset_id}" in path and method != "GET" and not path.endswith(("/compare", "/refresh")):
            answer = _asked(old.rita, old, method, path, old.dataset.id)
            assert (path, answer.status_code) == (path, 403), answer.text
            assert "permission required" in answer.json()["detail"]
    assert [old.ada.get(f"{old.url}{path}").json() for path in ("", "/pointers", "/permissions")] == before


def test_errors_have_the_old_form(old: Old) -> None:
    def answered(method: str, path: str, **more: Any) -> tuple[int, object]:
        answer = old.ada.request(method, path, follow_redirects=False, **more)
        return answer.status_code, answer.json()

    assert answered("GET", "/api/datasets/x/y/z") == (404, {"detail": "Not Found"})
    assert answered("PUT", "/api/datasets") == (405, {"detail": "Method Not Allowed"})
    status, wrong = answered("GET", "/api/datasets/0")
    assert status == 422
    assert wrong == {
        "detail": [
            {"type": "greater_than", "loc": ["path", "dataset_id"], "msg": "Input should be greater than 0", "input": "0", "ctx": {"gt": 0}}
        ]
    }
    status, broken = answered("PATCH", old.url, content=b'{"name": ')
    assert (status, broken["detail"][0]["type"]) == (422, "json_invalid")  # type: ignore[index]
    assert old.ada.patch(old.url, content=b"x" * (9 * 1024 * 1024)).status_code == 413
    assert old.ada.get("/api/datasets?unknown=1").status_code == 200  # the old server looked at nothing else


def test_a_slash_at_the_end_redirects(old: Old) -> None:
    for path in ("/api/datasets", "/api/users", old.url):
        answer = old.ada.get(f"{path}/", follow_redirects=False)
        assert answer.status_code == 307
        assert answer.headers["location"].endswith(path)
    assert old.ada.get("/api/datasets/").status_code == 200


def test_what_is_a_new_path_stays_one(old: Old, app: FastAPI) -> None:
    for path in ("/api/v1/datasets", "/api/datasetsx", "/api"):
        answer = old.nobody.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
    described = [path for _, path in endpoints(app)]
    assert not [path for path in described if path.startswith(("/api/datasets", "/api/users")) or path in ALONE]


def test_an_error_that_nobody_foresaw_tells_nothing(old: Old, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of it")

    client = TestClient(old.ada.app, headers=dict(old.ada.headers), raise_server_exceptions=False)
    client.portal = old.ada.portal
    monkeypatch.setattr(type(platform.legacy), "datasets", broken)
    answer = client.get("/api/datasets")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert answer.headers["deprecation"].startswith("@")

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the database does not answer")

    monkeypatch.setattr(type(platform.legacy), "datasets", away)
    answer = client.get("/api/datasets")
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, {"detail": "the database does not answer"}, "5")


def test_the_old_paths_are_closed_unless_they_are_wanted(settings: Settings, database_url: str) -> None:
    with TestClient(create_app(replace(settings, database_url=database_url))) as client:
        for path in ("/api/datasets", "/api/users/token", "/", "/health"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
