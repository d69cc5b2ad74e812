"""The catalogue, as section 2.3 of the old system's description has it."""

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dsplatform.core.types import DatasetId, PermissionType
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import LogIn, Old, actor

DATASET = [
    "name", "description", "id", "created_by", "created_at", "updated_at", "current_version", "file_type", "file_size", "versions", "tags",
]  # fmt: skip
VERSION = [
    "dataset_id", "version_number", "file_id", "uploaded_by", "parent_version_id", "message", "overlay_file_id", "id",
    "ingestion_timestamp", "last_updated_timestamp", "uploaded_by_soeid", "file_type", "file_size",
]  # fmt: skip
NAIVE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?"


def test_a_list_has_no_versions_and_all_keys(old: Old) -> None:
    """2.3 GET /api/datasets: keys in their order, nulls, naive times of the old server's zone."""
    (found,) = old.rita.get("/api/datasets").json()
    assert list(found) == DATASET
    assert (found["name"], found["description"], found["id"]) == ("sales", "what the shop sold", old.dataset.id)
    assert (found["created_by"], found["current_version"]) == (old.dataset.created_by, 2)
    assert (found["file_type"], found["file_size"], found["versions"]) == ("parquet", 17, None)
    assert [list(tag) for tag in found["tags"]] == [["name", "description", "id", "usage_count"]] * 2
    assert [(tag["name"], tag["description"], tag["usage_count"]) for tag in found["tags"]] == [("Daily", None, None), ("raw", None, None)]
    assert re.fullmatch(NAIVE, found["created_at"])
    made = make.column(old.platform.db, "SELECT created_at FROM datasets WHERE id = :id", id=old.dataset.id)[0]
    assert datetime.fromisoformat(found["created_at"]) == made.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    changed = make.column(old.platform.db, "SELECT max(created_at) FROM dataset_versions WHERE dataset_id = :id", id=old.dataset.id)[0]
    assert datetime.fromisoformat(found["updated_at"]) - datetime.fromisoformat(found["created_at"]) == changed - made > timedelta()


def test_a_list_is_filtered_sorted_and_paged(old: Old) -> None:
    """2.3 GET /api/datasets: substrings with wildcards, any of the tags, exact; unknown orders are `updated_at`, downwards."""
    ada = actor(old.platform, "ada")
    for name, tags, size in (("Alpha", ["raw"], 30), ("beta", ["x"], 20), ("gamma_1", [], 10)):
        made = old.platform.datasets.create_dataset(ada, name, description=f"about {name}", tags=tags)
        make.commit(old.platform, made, {"a.csv": b"x" * size}, actor=ada)

    def names(**params: Any) -> list[str]:
        answer = old.ada.get("/api/datasets", params=params)
        assert answer.status_code == 200, answer.text
        return [each["name"] for each in answer.json()]

    assert names() == ["gamma_1", "beta", "Alpha", "sales"]
    assert names(sort_order="asc") == names(sort_by="nonsense", sort_order="ASC") == ["sales", "Alpha", "beta", "gamma_1"]
    assert names(sort_by="file_size", sort_order="asc") == ["gamma_1", "sales", "beta", "Alpha"]
    assert names(sort_by="current_version")[0] == "sales"
    assert set(names(sort_by="name")) == set(names(sort_by="created_at", sort_order="upwards")) == set(names())
    assert names(name="AL") == ["Alpha", "sales"]
    assert names(name="a%a_1") == ["gamma_1"]
    assert names(name="\\") == []
    assert names(description="shop") == ["sales"]
    assert names(tags=["x", "raw"]) == ["beta", "Alpha", "sales"]
    assert names(tags=["daily"]) == []
    assert names(created_by=ada.user_id) == names()
    assert names(created_by=1) == names(created_by=2**70) == []
    assert names(limit=2, offset=1) == ["beta", "Alpha"]
    assert names(offset=2**70) == []
    refused: list[dict[str, Any]] = [{"limit": 0}, {"limit": 101}, {"offset": -1}, {"created_by": "ada"}]
    for wrong in refused:
        assert old.ada.get("/api/datasets", params=wrong).status_code == 422
    old.platform.permissions.grant_permission(ada, actor(old.platform, "eve"), PermissionType.READ, DatasetId(old.dataset.id))
    assert [each["name"] for each in old.eve.get("/api/datasets?limit=1").json()] == [
        "sales"
    ]  # newer ones that she may not see fill no page


def test_labels_are_told_with_how_often_they_are_used(old: Old) -> None:
    """2.3 GET /api/datasets/tags: by name, of what the caller may read."""
    old.platform.datasets.create_dataset(actor(old.platform, "ada"), "more", tags=["raw", "zoo"])
    tags = old.ada.get("/api/datasets/tags").json()
    assert [list(tag) for tag in tags] == [["name", "description", "id", "usage_count"]] * 3
    assert sorted((tag["name"], tag["usage_count"]) for tag in tags) == [("Daily", 1), ("raw", 2), ("zoo", 1)]
    assert len({tag["id"] for tag in tags}) == 3
    assert sorted((tag["name"], tag["usage_count"]) for tag in old.rita.get("/api/datasets/tags").json()) == [("Daily", 1), ("raw", 1)]
    assert old.eve.get("/api/datasets/tags").json() == []
    assert {tag["name"]: tag["id"] for tag in old.rita.get("/api/datasets/tags").json()}.items() <= {
        tag["name"]: tag["id"] for tag in tags
    }.items()


def test_one_dataset_has_its_versions(old: Old) -> None:
    """2.3 GET /api/datasets/{dataset_id}: the newest first; 403 before it is said whether there is such a dataset."""
    found = old.rita.get(old.url).json()
    assert list(found) == DATASET
    assert [list(version) for version in found["versions"]] == [VERSION] * 2
    second, first = found["versions"]
    assert (second["version_number"], second["id"], second["parent_version_id"]) == (2, old.second.version_id, old.first.version_id)
    assert (first["message"], second["message"], first["parent_version_id"]) == ("first", None, None)
    assert (first["file_type"], first["file_size"], first["uploaded_by"]) == ("parquet", 13, old.dataset.created_by)
    assert (first["overlay_file_id"], first["uploaded_by_soeid"]) == (None, None)
    assert first["file_id"] != second["file_id"]
    assert old.rita.get(old.url).json() == found  # numbers stay
    empty = old.platform.datasets.create_dataset(actor(old.platform, "ada"), "empty")
    bare = old.ada.get(f"/api/datasets/{empty.id}").json()
    assert [bare[name] for name in ("description", "current_version", "file_type", "file_size", "versions", "tags")] == [None] * 6
    refused = {"detail": "Read permission required to view dataset"}
    for path in (old.url, "/api/datasets/999", f"/api/datasets/{2**70}"):
        answer = old.eve.get(path)
        assert (answer.status_code, answer.json()) == (403, refused)
    for wrong in ("0", "-1", "sales"):
        assert old.ada.get(f"/api/datasets/{wrong}").status_code == 422


def test_who_may_read_everything_is_told_that_a_dataset_is_not_there(old: Old, log_in: LogIn) -> None:
    root = log_in("root", "admin")
    assert root.get(old.url).status_code == 200
    answer = root.get("/api/datasets/999")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Dataset 999 not found"})


def test_a_change_leaves_what_is_not_given(old: Old) -> None:
    """2.3 PATCH /api/datasets/{dataset_id}: null and absent leave, a list of tags replaces."""
    before = old.ada.get(old.url).json()
    same = old.ada.patch(old.url, json={"name": None, "description": None, "tags": None})
    assert (same.status_code, same.json()) == (200, before)
    changed = old.ada.patch(old.url, json={"name": "sales-2026", "unknown": 1}).json()
    assert list(changed) == DATASET
    assert (changed["name"], changed["description"], changed["tags"]) == ("sales-2026", before["description"], before["tags"])
    assert changed["updated_at"] > before["updated_at"]
    assert len(changed["versions"]) == 2
    assert [tag["name"] for tag in old.ada.patch(old.url, json={"tags": [" new ", "raw"]}).json()["tags"]] == ["new", "raw"]
    assert old.ada.patch(old.url, json={"tags": []}).json()["tags"] is None
    assert old.ada.patch(old.url, json={"description": ""}).json()["description"] is None
    refused = {"detail": "Write permission required to update dataset"}
    for client in (old.rita, old.will, old.eve):
        answer = client.patch(old.url, json={"name": "mine"})
        assert (answer.status_code, answer.json()) == (403, refused)
    old.platform.datasets.create_dataset(actor(old.platform, "ada"), "other")
    assert old.ada.patch(old.url, json={"name": "other"}).status_code == 409
    assert old.ada.patch(old.url, json={"name": "a/b"}).status_code == 400
    assert old.ada.patch(old.url, json={"tags": "raw"}).status_code == 422
    assert old.ada.get(old.url).json()["name"] == "sales-2026"


def test_a_deleted_dataset_is_gone_and_can_be_restored(old: Old) -> None:
    """2.3 DELETE /api/datasets/{dataset_id}: 204 without a body; needs `admin`."""
    for client in (old.rita, old.will, old.eve):
        answer = client.delete(old.url)
        assert (answer.status_code, answer.json()) == (403, {"detail": "Admin permission required to delete dataset"})
    deleted = old.ada.delete(old.url)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert old.ada.get(old.url).status_code == 403
    assert old.ada.delete(old.url).status_code == 403
    assert old.ada.get("/api/datasets").json() == []
    restored = old.platform.datasets.restore_dataset(actor(old.platform, "ada"), "sales")
    assert old.ada.get(f"/api/datasets/{restored.id}").status_code == 200


@pytest.mark.parametrize("name", ["\ud800", "a\x00b"])
def test_a_text_that_nothing_can_hold_is_refused(old: Old, name: str) -> None:
    answer = old.ada.patch(old.url, content=f'{{"name": "{name.encode("unicode_escape").decode().replace("x00", "u0000")}"}}')
    assert answer.status_code in {400, 422}
    assert "detail" in answer.json()
