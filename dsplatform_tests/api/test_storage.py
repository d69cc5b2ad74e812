import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser

FOR_OPERATORS = ["/api/v1/usage", "/api/v1/storage/gc-plan", "/api/v1/storage/why/12345678", "/api/v1/inbox", "/metrics"]


def drop(platform: Platform, *names: str) -> None:
    for name in names:
        path = Path(platform.settings.drop_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else f"id\n{name}\n".encode())
        (path.parent / f"{path.name}.done").touch()
    platform.ingestion.discover()
    platform.ingestion.ingest_ready()


@pytest.mark.parametrize("path", FOR_OPERATORS)
def test_what_tells_of_everything_is_for_operators(path: str, client: TestClient, as_user: AsUser) -> None:
    assert client.get(path).status_code == 401
    refused = as_user("ada").get(path)
    assert (refused.status_code, refused.json()["missing"]) == (403, "operate")


def test_usage_counts_each_content_once(operator: TestClient, platform: Platform) -> None:
    for name in ("sales", "archive"):
        make.commit(platform, make.dataset(platform, name), {"a.csv": b"id\n1\n"})
    usage = operator.get("/api/v1/usage").json()
    assert [one["dataset"] for one in usage["datasets"]] == ["archive", "sales"]
    assert {(one["shared"], one["files"]) for one in usage["datasets"]} == {(5, 2)}  # the component and the version's overlay
    assert usage["named"] == 10
    assert usage["stored"] == sum(one["live"] for one in usage["datasets"]) - 5
    assert operator.get("/api/v1/datasets/sales/usage").json() == usage["datasets"][1]


def test_the_usage_of_a_dataset_is_for_its_readers(as_user: AsUser, platform: Platform) -> None:
    make.dataset(platform, "sales")
    refused, absent = (as_user("eve").get(f"/api/v1/datasets/{name}/usage") for name in ("sales", "nosuch"))
    assert (refused.status_code, absent.status_code) == (404, 404)


def test_the_plan_of_a_collection_changes_nothing(operator: TestClient, platform: Platform) -> None:
    first, second = (operator.get("/api/v1/storage/gc-plan").json() for _ in range(2))
    assert first == second
    assert first["unreferenced"] == {"count": 0, "bytes": 0}
    assert first["refusal"] is None


def test_why_a_content_is_stored(operator: TestClient, platform: Platform) -> None:
    make.commit(platform, make.dataset(platform), {"a.csv": b"id\n1\n"})
    digest = hashlib.sha256(b"id\n1\n").hexdigest()
    reasons = operator.get(f"/api/v1/storage/why/{digest[:12]}").json()
    assert (reasons["content_hash"], reasons["file_size"], reasons["state"]) == (digest, 5, "ok")
    assert reasons["components"] == [{"dataset": "sales", "version_number": 1, "component": "a.csv"}]
    assert operator.get(f"/api/v1/storage/why/{reasons['file_id']}").json() == reasons


@pytest.mark.parametrize(("subject", "status"), [("0" * 64, 404), ("nonsense", 422), ("%00", 422), ("9" * 64, 404), ("9" * 18, 404)])
def test_what_is_not_stored_has_no_reason(subject: str, status: int, operator: TestClient) -> None:
    assert operator.get(f"/api/v1/storage/why/{subject}").status_code == status


def test_the_inbox_in_pages_has_every_arrival_once(operator: TestClient, platform: Platform) -> None:
    drop(platform, *(f"sales/{number}.csv" for number in range(5)), "sales/empty.csv")
    whole = operator.get("/api/v1/inbox?total=true").json()
    assert (whole["total"], whole["next"], len(whole["items"])) == (6, None, 6)
    assert [one["id"] for one in whole["items"]] == sorted((one["id"] for one in whole["items"]), reverse=True)
    found: list[object] = []
    path: str | None = "/api/v1/inbox?limit=2"
    while path:
        page = operator.get(path).json()
        found += page["items"]
        path = page["next"] and f"/api/v1/inbox?limit=2&after={page['next']}"
    assert found == whole["items"]


def test_the_inbox_by_state(operator: TestClient, platform: Platform) -> None:
    drop(platform, "sales/a.csv", "sales/empty.csv")
    refused = operator.get("/api/v1/inbox?state=rejected&total=true").json()
    assert refused["total"] == 1
    (entry,) = refused["items"]
    assert (entry["source_path"], entry["state"], entry["stored"]) == ("sales/empty.csv", "rejected", None)
    assert "empty" in entry["reason"]
    assert operator.get("/api/v1/inbox?state=lost").status_code == 422
