from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser

API = "/api/v1"
SALES = f"{API}/datasets/sales"


@pytest.fixture
def ada(as_user: AsUser, platform: Platform) -> TestClient:
    """Made the dataset `sales` with a version."""
    client = as_user("ada")
    with platform.db.transaction() as tx:
        actor = platform.permissions.actor(tx, "ada")
    make.commit(platform, make.dataset(platform, "sales", actor), {"a.csv": b"id\n1\n"}, actor=actor)
    return client


@pytest.fixture
def ben(ada: TestClient, as_user: AsUser) -> TestClient:
    return as_user("ben")


def granted(client: TestClient, right: str, to: str | None = "ben", on: str = SALES, **more: object) -> dict[str, Any]:
    grantee = {"kind": "everyone"} if to is None else {"kind": "user", "name": to}
    answer = client.post(f"{on}/permissions", json={"grantee": grantee, "right": right, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_grant_lets_see_and_its_end_hides_again(ada: TestClient, ben: TestClient) -> None:
    assert code(ben.get(SALES)) == (404, "dataset_missing")
    made = granted(ada, "read")
    assert made["grantee"] == {"kind": "user", "name": "ben"}
    assert (made["right"], made["granted_by"], made["expires_at"]) == ("read", "ada", None)
    assert ben.get(SALES).status_code == 200
    assert [item["id"] for item in ada.get(f"{SALES}/permissions").json()["items"]][-1] == made["id"]
    assert ada.delete(f"{SALES}/permissions/{made['id']}").json() == made
    assert code(ben.get(SALES)) == (404, "dataset_missing")
    assert code(ada.delete(f"{SALES}/permissions/{made['id']}")) == (404, "grant_missing")


def test_who_sees_but_may_not_is_told_what_is_missing(ada: TestClient, ben: TestClient) -> None:
    granted(ada, "write")
    for answer in (
        ben.get(f"{SALES}/permissions"),
        ben.post(f"{SALES}/permissions", json={"grantee": {"kind": "everyone"}, "right": "read"}),
        ben.delete(f"{SALES}/permissions/1"),
        ben.get(f"{SALES}/permissions/who-can"),
        ben.get(f"{API}/permissions/check", params={"dataset": "sales", "right": "read", "user": "ada"}),
        ben.put(f"{SALES}/protections/main", json={"demands": "merge"}),
        ben.delete(f"{SALES}/protections/main"),
    ):
        assert code(answer) == (403, "missing_right")
        assert answer.json()["missing"] == "admin"


def test_what_is_foreign_is_answered_as_what_is_not(ada: TestClient, ben: TestClient) -> None:
    body = {"grantee": {"kind": "everyone"}, "right": "read"}
    for method, path, sent in (
        ("GET", "permissions", None),
        ("POST", "permissions", body),
        ("DELETE", "permissions/1", None),
        ("GET", "permissions/who-can", None),
        ("GET", "protections", None),
        ("PUT", "protections/main", {"demands": "merge"}),
        ("DELETE", "protections/main", None),
    ):
        foreign, missing = (ben.request(method, f"{API}/datasets/{name}/{path}", json=sent) for name in ("sales", "wales"))
        assert code(foreign) == code(missing) == (404, "dataset_missing")
        assert foreign.json()["detail"].replace("sales", "wales") == missing.json()["detail"]


def test_a_grant_for_everyone_with_an_end(ada: TestClient, ben: TestClient) -> None:
    end = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    made = granted(ada, "read", None, expires_at=end.isoformat())
    assert made["grantee"] == {"kind": "everyone", "name": "everyone"}
    assert datetime.fromisoformat(made["expires_at"]) == end
    assert ben.get(SALES).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"grantee": {"kind": "user", "name": "ben"}, "right": "own"},
        {"grantee": {"kind": "planet", "name": "ben"}, "right": "read"},
        {"grantee": {"kind": "user", "name": "ben"}, "right": "read", "expires_at": "2020-01-01T00:00:00Z"},
        {"grantee": {"kind": "user", "name": "ben"}, "right": "read", "expires_at": "2999-01-01T00:00:00"},
        {"grantee": {"kind": "user", "name": "ben"}, "right": "read", "until": "2999-01-01T00:00:00Z"},
        {"grantee": {"kind": "user", "name": "b\x00n"}, "right": "read"},
        {"right": "read"},
    ],
)
def test_what_cannot_be_granted_is_refused(body: dict[str, object], ada: TestClient) -> None:
    assert ada.post(f"{SALES}/permissions", json=body).status_code == 422


def test_whom_nobody_knows_is_told(ada: TestClient) -> None:
    answer = ada.post(f"{SALES}/permissions", json={"grantee": {"kind": "group", "name": "nobody"}, "right": "read"})
    assert code(answer) == (404, "grantee_missing")


def test_the_last_admin_is_kept(ada: TestClient, as_user: AsUser) -> None:
    (own,) = ada.get(f"{SALES}/permissions").json()["items"]
    assert code(ada.delete(f"{SALES}/permissions/{own['id']}")) == (409, "last_admin")
    assert as_user("root", "admin").delete(f"{SALES}/permissions/{own['id']}").status_code == 200


def test_lists_page_by_key(ada: TestClient, as_user: AsUser) -> None:
    for name in ("ben", "cleo", "dan"):
        as_user(name)
        granted(ada, "read", name)
    pages, after = [], 0
    while True:
        page = ada.get(f"{SALES}/permissions", params={"after": after, "limit": 3}).json()
        pages.append([item["grantee"]["name"] for item in page["items"]])
        if page["next"] is None:
            break
        after = page["next"]
    assert pages == [["ada", "ben", "cleo"], ["dan"]]
    first = ada.get(f"{SALES}/permissions/who-can", params={"right": "read", "limit": 2}).json()
    second = ada.get(f"{SALES}/permissions/who-can", params={"right": "read", "after": first["next"]}).json()
    assert [holder["username"] for page in (first, second) for holder in page["items"]] == ["ada", "ben", "cleo", "dan", "system"]
    assert second["next"] is None


def test_check_says_yes_or_no_and_why(ada: TestClient, ben: TestClient) -> None:
    made = granted(ada, "write")
    yes = ada.get(f"{API}/permissions/check", params={"dataset": "sales", "right": "read", "user": "ben"}).json()
    assert yes["allowed"]
    assert yes["ways"] == [{"kind": "user", "name": None, "right": "write", "grant_id": made["id"], "expires_at": None}]
    assert yes["sentence"].startswith("ben holds 'read' on dataset 'sales': by the grant of her own")
    no = ben.get(f"{API}/permissions/check", params={"dataset": "sales", "right": "admin"}).json()
    assert (no["allowed"], no["ways"]) == (False, [])
    assert code(ada.get(f"{API}/permissions/check", params={"right": "read"})) == (422, "invalid")
    assert code(ada.get(f"{API}/permissions/check", params={"right": "read", "dataset": "sales", "file": 1})) == (422, "invalid")


def test_a_user_sees_what_she_holds(ada: TestClient, ben: TestClient, as_user: AsUser) -> None:
    made = granted(ada, "write")
    (held,) = ben.get(f"{API}/permissions").json()["items"]
    assert (held["object_type"], held["slug"], held["way"]["grant_id"]) == ("dataset", "sales", made["id"])
    assert code(ada.get(f"{API}/permissions", params={"user": "ben"})) == (403, "missing_right")
    assert as_user("root", "admin").get(f"{API}/permissions", params={"user": "ben"}).json()["items"] == [held]


def test_a_file_is_granted_by_itself(ada: TestClient, ben: TestClient, platform: Platform) -> None:
    file = make.column(platform.db, "SELECT file_id FROM dataset_version_files")[0]
    on = f"{API}/files/{file}"
    foreign, missing = ben.get(f"{on}/permissions"), ben.get(f"{API}/files/99999/permissions")
    assert code(foreign) == code(missing)
    assert foreign.status_code == 404
    made = granted(ada, "read", on=on)
    assert ada.get(f"{on}/permissions").json()["items"] == [made]
    assert ben.get(f"{API}/permissions/check", params={"file": file, "right": "read"}).json()["allowed"]
    assert code(ben.get(f"{on}/permissions")) == (403, "missing_right")
    assert ada.delete(f"{on}/permissions/{made['id']}").json() == made
    assert ben.get(f"{API}/permissions/check", params={"file": file, "right": "read"}).status_code == 404


@pytest.mark.parametrize("branch", ["main", "release/1", "release/1/protections"])
def test_a_branch_is_protected_whatever_its_name(branch: str, ada: TestClient, ben: TestClient, platform: Platform) -> None:
    granted(ada, "write")
    if branch != "main":
        assert ada.post(f"{SALES}/branches", json={"name": branch}).status_code == 201
    made = ada.put(f"{SALES}/protections/{branch}", json={"demands": "admin"}).json()
    assert (made["branch"], made["demands"], made["set_by"]) == (branch, "admin", "ada")
    assert ben.get(f"{SALES}/protections").json()["items"] == [made]
    (version,) = ada.get(f"{SALES}/branches").json()["items"][:1]
    moved = ben.patch(f"{SALES}/branches/{branch}", json={"to": "1", "expected_head": version["version_id"]})
    assert code(moved) == (403, "branch_protected")
    assert ada.delete(f"{SALES}/protections/{branch}").json() == made
    assert code(ada.delete(f"{SALES}/protections/{branch}")) == (404, "pointer_missing")


def test_only_branches_are_protected(ada: TestClient) -> None:
    assert code(ada.put(f"{SALES}/protections/nowhere", json={"demands": "merge"})) == (404, "pointer_missing")
    assert ada.put(f"{SALES}/protections/main", json={"demands": "all"}).status_code == 422
