from typing import Any

import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser, Grant

DATASETS = "/api/v1/datasets"


@pytest.fixture
def ada(as_user: AsUser) -> TestClient:
    return as_user("ada")


def made(client: TestClient, name: str, **more: object) -> dict[str, Any]:
    answer = client.post(DATASETS, json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def listed(client: TestClient, **params: str) -> list[str]:
    return [item["slug"] for item in client.get(DATASETS, params=params).json()["items"]]


def test_a_dataset_is_made_and_found_by_id_slug_and_name(ada: TestClient) -> None:
    answer = ada.post(DATASETS, json={"name": "Umsätze", "description": "täglich", "labels": ["raw", "RAW"]})
    dataset = answer.json()
    assert dataset["owner"] == "ada"
    assert (dataset["labels"], dataset["versions"], dataset["latest_version"], dataset["latest_at"]) == (["raw"], 0, None, None)
    assert answer.headers["location"] == f"{DATASETS}/{dataset['id']}"
    for key in (dataset["id"], dataset["slug"], "Umsätze", "Umsa\u0308tze"):
        assert ada.get(f"{DATASETS}/{key}").json() == dataset


def test_what_another_made_is_found_neither_by_name_nor_by_id(ada: TestClient, as_user: AsUser) -> None:
    dataset = made(ada, "sales")
    bob = as_user("bob")
    for key in (dataset["id"], "sales"):
        refused, missing = bob.get(f"{DATASETS}/{key}"), bob.get(f"{DATASETS}/{'9' * len(str(key)) if isinstance(key, int) else 'wales'}")
        assert (refused.status_code, refused.json()["code"]) == (404, "dataset_missing")
        assert {name: refused.json()[name] for name in ("title", "code")} == {name: missing.json()[name] for name in ("title", "code")}


def test_digits_are_an_id_and_never_a_name(ada: TestClient) -> None:
    dataset = made(ada, "99")
    assert ada.get(f"{DATASETS}/99").status_code == 404
    assert ada.get(f"{DATASETS}/{dataset['id']}").json()["name"] == "99"


def test_an_id_means_that_dataset_although_an_own_one_has_its_slug_as_name(ada: TestClient, as_user: AsUser, grant: Grant) -> None:
    first = made(ada, "sales")
    bob = as_user("bob")
    own = made(bob, "sales")
    grant("bob", "admin", first["id"])
    assert bob.get(f"{DATASETS}/sales").json()["id"] == own["id"]
    assert bob.patch(f"{DATASETS}/{first['id']}", json={"description": "of ada"}).json()["id"] == first["id"]
    assert bob.delete(f"{DATASETS}/{first['id']}").json()["id"] == first["id"]
    assert bob.get(f"{DATASETS}/{own['id']}").status_code == 200


def test_a_name_is_taken_once_and_must_keep_the_rule(ada: TestClient) -> None:
    made(ada, "sales")
    taken, wrong = ada.post(DATASETS, json={"name": "sales"}), ada.post(DATASETS, json={"name": "a/b"})
    assert (taken.status_code, taken.json()["code"]) == (409, "dataset_name_taken")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid")


def test_who_may_not_make_datasets_is_told_the_right(as_user: AsUser) -> None:
    answer = as_user("vera", "viewer").post(DATASETS, json={"name": "sales"})
    assert (answer.status_code, answer.json()["code"], answer.json()["missing"]) == (403, "missing_right", "create")


def test_a_change_leaves_the_rest(ada: TestClient) -> None:
    dataset = made(ada, "sales", description="old", labels=["a"])
    changed = ada.patch(f"{DATASETS}/sales", json={"name": "sales-2026", "description": "new"}).json()
    assert changed == {**dataset, "name": "sales-2026", "description": "new"}
    assert ada.patch(f"{DATASETS}/sales", json={"labels": []}).json()["labels"] == []


def test_labels_come_and_go_one_by_one(ada: TestClient) -> None:
    made(ada, "sales", labels=["Raw", "daily"])
    labels = f"{DATASETS}/sales/labels"
    assert ada.post(labels, json={"add": ["new"], "remove": ["RAW"]}).json()["labels"] == ["daily", "new"]
    assert ada.post(labels, json={"add": ["daily"]}).json()["labels"] == ["daily", "new"]
    assert ada.post(labels, json={}).json()["labels"] == ["daily", "new"]


def test_a_list_is_filtered(ada: TestClient, as_user: AsUser, grant: Grant) -> None:
    made(ada, "costs", labels=["raw"])
    sales = made(ada, "sales", description="of the shop")
    made(as_user("bob"), "bobs")
    grant("bob", "read", sales["id"])
    assert listed(ada) == ["costs", "sales"]
    assert listed(ada, search="SHOP") == ["sales"]
    assert listed(ada, label="RAW") == ["costs"]
    assert listed(as_user("bob")) == ["bobs", "sales"]
    assert listed(as_user("bob"), owner="ada") == ["sales"]
    assert listed(as_user("bob"), right="write") == ["bobs"]
    assert listed(as_user("bob"), owner="ada", right="write") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_hold_each_dataset_once(limit: int, ada: TestClient) -> None:
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        made(ada, name)
    pages: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = ada.get(DATASETS, params={"limit": limit, "after": after, "total": True}).json()
        assert page["total"] == len(names)
        pages.append([item["slug"] for item in page["items"]])
        after = page["next"]
    assert [slug for page in pages for slug in page] == names
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


def test_the_total_is_counted_where_it_is_asked_for(ada: TestClient) -> None:
    made(ada, "sales")
    assert ada.get(DATASETS).json()["total"] is None


def test_deletion_hides_and_restoring_brings_back(ada: TestClient, as_user: AsUser, sales: DatasetRef) -> None:
    before = ada.get(f"{DATASETS}/sales").json()
    takes = ada.delete(f"{DATASETS}/sales", params={"dry_run": True}).json()
    assert (takes["dataset"], takes["versions"], takes["components"]) == ("sales", [1, 2], 3)
    assert ada.get(f"{DATASETS}/sales").status_code == 200

    deleted = ada.delete(f"{DATASETS}/sales").json()
    assert deleted["restorable_until"] > deleted["deleted_at"]
    assert ada.get(f"{DATASETS}/sales").status_code == 404
    assert [item["id"] for item in ada.get("/api/v1/deleted-datasets?total=true").json()["items"]] == [sales.id]
    assert as_user("bob").get("/api/v1/deleted-datasets").json()["items"] == []
    assert as_user("bob").post(f"/api/v1/deleted-datasets/{sales.id}/restore", json={}).status_code == 404

    made(ada, "sales")
    refused = ada.post(f"/api/v1/deleted-datasets/{sales.id}/restore", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_name_taken")
    back = ada.post(f"/api/v1/deleted-datasets/{sales.id}/restore", json={"name": "sales-old"}).json()
    assert back == {**before, "name": "sales-old"}


def test_who_may_read_may_not_change(as_user: AsUser, sales: DatasetRef, grant: Grant) -> None:
    bob = as_user("bob")
    grant("bob", "write", sales.id)
    for answer in (
        bob.patch(f"{DATASETS}/{sales.id}", json={"description": "x"}),
        bob.post(f"{DATASETS}/{sales.id}/labels", json={"add": ["x"]}),
        bob.delete(f"{DATASETS}/{sales.id}"),
        bob.delete(f"{DATASETS}/{sales.id}?dry_run=true"),
        bob.get(f"{DATASETS}/{sales.id}/retention"),
        bob.put(f"{DATASETS}/{sales.id}/retention", json={"keep_last": 1}),
        bob.delete(f"{DATASETS}/{sales.id}/retention"),
    ):
        assert (answer.status_code, answer.json()["missing"]) == (403, "admin")
    assert bob.get(f"{DATASETS}/{sales.id}").json()["description"] == ""


def test_a_retention_rule_is_tried_set_and_removed(ada: TestClient, sales: DatasetRef, platform: Platform) -> None:
    make.commit(platform, sales, {"prices.csv": b"3"})
    retention = f"{DATASETS}/sales/retention"
    tried = ada.put(f"{retention}?dry_run=true", json={"keep_last": 1}).json()
    assert tried["rule"] == {"keep_last": 1, "keep_days": None}
    assert tried["removal"]["versions"] == [1, 2]
    assert ada.get(retention).json()["rule"] is None
    assert ada.put(retention, json={"keep_last": 1}).json() == tried
    assert ada.get(retention).json() == tried
    assert ada.delete(retention).json()["rule"] is None
    assert ada.get(retention).json()["removal"]["versions"] == []
    assert ada.put(retention, json={}).status_code == 422
