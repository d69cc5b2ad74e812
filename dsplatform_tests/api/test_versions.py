from typing import Any

import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser, Grant

SALES = "/api/v1/datasets/sales"


@pytest.fixture
def ada(as_user: AsUser, sales: DatasetRef) -> TestClient:
    return as_user("ada")


def names(content: dict[str, Any]) -> list[str]:
    return [component["name"] for component in content["components"]]


def test_versions_are_listed_newest_first_in_pages(ada: TestClient) -> None:
    first = ada.get(f"{SALES}/versions?limit=1&total=true").json()
    assert ([item["number"] for item in first["items"]], first["next"], first["total"]) == ([2], "2", 2)
    second = ada.get(f"{SALES}/versions", params={"limit": 1, "after": first["next"]}).json()
    assert ([item["number"] for item in second["items"]], second["next"], second["total"]) == ([1], None, None)
    assert second["items"][0]["message"] == "first"


def test_a_dataset_without_versions_has_an_empty_list(as_user: AsUser) -> None:
    ada = as_user("ada")
    ada.post("/api/v1/datasets", json={"name": "empty"})
    assert ada.get("/api/v1/datasets/empty/versions?total=true").json() == {"items": [], "next": None, "total": 0}
    assert ada.get("/api/v1/datasets/empty/versions/main").json()["code"] == "version_missing"


@pytest.mark.parametrize("ref", ["2", "latest", "main", "v1.0", "feature/prices"])
def test_a_version_is_found_by_each_of_its_names(ref: str, ada: TestClient) -> None:
    ada.post(f"{SALES}/tags", json={"name": "v1.0"})
    ada.post(f"{SALES}/branches", json={"name": "feature/prices"})
    found = ada.get(f"{SALES}/versions/{ref}").json()
    assert found["version"]["number"] == 2
    assert found["version"]["pointers"] == ["feature/prices", "main", "v1.0"]
    assert names(found) == ["prices.csv", "more.csv"]
    assert found["components"][0]["file_type"] == "csv"


def test_two_versions_are_compared_with_their_columns(ada: TestClient) -> None:
    found = ada.get(f"{SALES}/diff?from=1&to=2").json()
    assert [(change["kind"], (change["after"] or {}).get("name")) for change in found["changes"]] == [
        ("added", "more.csv"),
        ("changed", "prices.csv"),
    ]
    assert (found["before"]["number"], found["after"]["number"]) == (1, 2)
    assert found["before"]["dataset"] == "sales"


def test_versions_of_two_datasets_are_compared_where_both_may_be_read(ada: TestClient, as_user: AsUser, platform: Platform) -> None:
    other = make.dataset(platform, "secret")
    make.commit(platform, other, {"prices.csv": b"x"})
    for name in ("secret", str(other.id)):
        answer = ada.get(f"{SALES}/diff", params={"from": "1", "to": "2", "from_dataset": name})
        assert (answer.status_code, answer.json()["code"]) == (404, "dataset_missing")
    ada.post("/api/v1/datasets", json={"name": "costs"})
    costs = platform.datasets.open(platform.actor(), "costs")
    make.commit(platform, costs, {"prices.csv": b"id,price\n1,2\n2,3\n"})
    found = ada.get(f"{SALES}/diff", params={"from": "main", "to": "1", "from_dataset": str(costs.id)}).json()
    assert (found["before"]["dataset"], found["changes"]) == ("costs", [])


def test_the_history_is_told_and_drawn(ada: TestClient) -> None:
    assert [item["number"] for item in ada.get(f"{SALES}/history").json()["items"]] == [2, 1]
    assert [item["number"] for item in ada.get(f"{SALES}/history?limit=1&first_parent=true&ref=2").json()["items"]] == [2]
    drawn = ada.get(f"{SALES}/graph").json()
    assert [(node["version"]["number"], node["lane"], node["branches"]) for node in drawn["nodes"]] == [(2, 0, ["main"]), (1, 0, [])]
    assert drawn["edges"] == [{"child": 2, "parent": 1, "merge": False, "path": [[0, 0], [1, 0]]}]
    assert drawn["lanes"] == 1


def test_relations_of_versions(ada: TestClient) -> None:
    assert [item["number"] for item in ada.get(f"{SALES}/merge-bases?ours=1&theirs=2").json()["items"]] == [1]
    assert ada.get(f"{SALES}/ancestry?older=1&younger=main").json() == {"is_ancestor": True}
    assert ada.get(f"{SALES}/ancestry?older=2&younger=1").json() == {"is_ancestor": False}


def test_a_version_is_deleted_after_a_look_at_what_goes(ada: TestClient) -> None:
    takes = ada.delete(f"{SALES}/versions/1?dry_run=true").json()
    assert (takes["versions"], takes["components"], takes["freed"]["files"]) == ([1], 1, 1)
    assert ada.get(f"{SALES}/versions/1").status_code == 200
    assert ada.delete(f"{SALES}/versions/1").json() == takes
    gone = ada.get(f"{SALES}/versions/1")
    assert (gone.status_code, gone.json()["code"]) == (410, "gone")
    named = ada.delete(f"{SALES}/versions/main")
    assert (named.status_code, named.json()["code"]) == (409, "version_named")


def test_who_may_write_deletes_no_version(ada: TestClient, as_user: AsUser, sales: DatasetRef, grant: Grant) -> None:
    bob = as_user("bob")
    grant("bob", "write", sales.id)
    for dry_run in (True, False):
        answer = bob.delete(f"/api/v1/datasets/{sales.id}/versions/1", params={"dry_run": dry_run})
        assert (answer.status_code, answer.json()["missing"]) == (403, "admin")


# --- versions without bytes ----------------------------------------------------------------------------------------------------


def test_a_version_is_made_of_stored_components(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    answer = ada.post(
        f"{SALES}/changes",
        json={
            "take": {"old/prices.csv": {"ref": "1", "name": "prices.csv"}},
            "remove": ["more.csv"],
            "message": "back",
            "expected_head": 2,
        },
    )
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/datasets/{sales.id}/versions/3"
    made = answer.json()
    assert (made["version_number"], made["added"], made["updated"], made["removed"], made["created"]) == (3, 1, 0, 1, True)
    assert make.held(platform, sales) == {"prices.csv": b"id,price\n1,2.5\n2,3.5\n", "old/prices.csv": b"id,price\n1,2\n2,3\n"}
    assert ada.get(f"{SALES}/versions/3").json()["version"]["message"] == "back"


def test_replacing_leaves_out_what_is_not_named(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    ada.post(f"{SALES}/changes", json={"take": {"a.csv": {"name": "prices.csv"}}, "mode": "replace", "branch": "clean"})
    assert list(make.held(platform, sales, "clean")) == ["a.csv"]
    assert list(make.held(platform, sales)) == ["prices.csv", "more.csv"]


def test_a_change_that_changes_nothing_makes_no_version(ada: TestClient) -> None:
    answer = ada.post(f"{SALES}/changes", json={"take": {"prices.csv": {"name": "prices.csv", "ref": "main"}}})
    assert (answer.status_code, answer.json()["created"], answer.json()["version_number"]) == (200, False, 2)


def test_a_repeated_key_makes_one_version(ada: TestClient) -> None:
    body = {"remove": ["more.csv"]}
    first, second = (ada.post(f"{SALES}/changes", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["version_id"] == second.json()["version_id"]
    assert ada.get(f"{SALES}/versions?total=true").json()["total"] == 3


def test_who_expects_another_head_is_refused(ada: TestClient) -> None:
    answer = ada.post(f"{SALES}/changes", json={"remove": ["more.csv"], "expected_head": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "head_moved")


def test_nothing_is_taken_from_what_the_caller_may_not_read(ada: TestClient, platform: Platform) -> None:
    secret = make.dataset(platform, "secret")
    make.commit(platform, secret, {"prices.csv": b"secret"})
    for name in ("secret", str(secret.id)):
        answer = ada.post(f"{SALES}/changes", json={"take": {"a": {"dataset": name, "name": "prices.csv"}}})
        assert (answer.status_code, answer.json()["code"]) == (404, "dataset_missing")
    assert ada.get(f"{SALES}/versions?total=true").json()["total"] == 2


def test_a_component_that_is_not_there_is_named(ada: TestClient) -> None:
    answer = ada.post(f"{SALES}/changes", json={"take": {"a": {"name": "b.csv"}}})
    assert (answer.status_code, answer.json()["code"]) == (404, "component_missing")
    assert "'b.csv'" in answer.json()["detail"]
    for body in ({"remove": ["b.csv"]}, {}, {"remove": ["prices.csv", "more.csv"]}, {"take": {"../a": {"name": "more.csv"}}}):
        assert ada.post(f"{SALES}/changes", json=body).status_code == 422


def test_who_may_only_read_changes_nothing(as_user: AsUser, ada: TestClient, sales: DatasetRef, grant: Grant) -> None:
    bob = as_user("bob")
    grant("bob", "read", sales.id)
    answer = bob.post(f"/api/v1/datasets/{sales.id}/changes", json={"remove": ["more.csv"]})
    assert (answer.status_code, answer.json()["missing"]) == (403, "write")
