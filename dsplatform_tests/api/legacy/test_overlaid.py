"""The paths of the second generation, as sections 2.8 and 5 of the old system's description have them."""

from typing import Any

from fastapi.testclient import TestClient

from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import Old, actor, answered

VERSION = [
    "dataset_id", "version_number", "overlay_file_id", "created_by", "id", "message", "status", "created_at", "updated_at", "file_type",
    "file_size",
]  # fmt: skip


def _detail(status: int, text: str) -> tuple[int, object]:
    return status, {"detail": text}


def test_versions_are_found_by_what_they_are_called(old: Old) -> None:
    """2.8 GET /api/datasets/{dataset_id}/versions/latest: in the form of that generation.
    2.8 GET /api/datasets/{dataset_id}/versions/number/{number}: by number.
    2.8 GET /api/datasets/{dataset_id}/versions/tag/{tag_name}: by tag; a branch is none.
    """
    old.ada.post(f"{old.url}/tags", json={"tag_name": "v1", "version_id": old.first.version_id})
    latest = old.rita.get(f"{old.url}/versions/latest").json()
    assert list(latest) == VERSION
    assert (latest["version_number"], latest["id"], latest["status"]) == (2, old.second.version_id, "active")
    assert (latest["file_type"], latest["created_by"], latest["message"]) == ("json", old.dataset.created_by, None)
    overlay = make.column(
        old.platform.db,
        "SELECT f.file_size FROM dataset_versions v JOIN files f ON f.id = v.overlay_file_id WHERE v.id = :id",
        id=latest["id"],
    )
    assert latest["file_size"] == overlay[0]
    first = old.rita.get(f"{old.url}/versions/number/1").json()
    assert (first["id"], first["message"]) == (old.first.version_id, "first")
    assert first["overlay_file_id"] != latest["overlay_file_id"]
    assert old.rita.get(f"{old.url}/versions/tag/v1").json() == first
    n = old.dataset.id
    for number in (3, 0, -1, 2**70):
        assert answered(old.rita, "GET", f"{old.url}/versions/number/{number}") == _detail(
            404, f"Version {number} not found for dataset {n}"
        )
    for name in ("main", "v2"):
        assert answered(old.rita, "GET", f"{old.url}/versions/tag/{name}") == _detail(
            404, f"Version with tag '{name}' not found for dataset {n}"
        )
    empty = old.platform.datasets.create_dataset(actor(old.platform, "ada"), "empty")
    missing = _detail(404, f"No versions found for dataset {empty.id}")
    assert answered(old.ada, "GET", f"/api/datasets/{empty.id}/versions/latest") == missing
    for path in ("latest", "number/1", "tag/v1"):
        assert answered(old.eve, "GET", f"{old.url}/versions/{path}") == _detail(403, "Read permission required to view versions")
        assert answered(old.eve, "GET", f"/api/datasets/999/versions/{path}") == _detail(403, "Read permission required to view versions")


def test_tags_of_versions(old: Old) -> None:
    """2.8 POST /api/datasets/{dataset_id}/tags/{tag_name}: a new one; 409 for one that is there.
    2.8 GET /api/datasets/{dataset_id}/tags: by name.
    2.8 GET /api/datasets/{dataset_id}/tags/{tag_name}: one.
    2.8 DELETE /api/datasets/{dataset_id}/tags/{tag_name}: its version stays.
    """
    first, second, n = old.first.version_id, old.second.version_id, old.dataset.id
    made = old.will.post(f"{old.url}/tags/v2", json={"version_id": second})
    assert made.status_code == 200
    assert list(made.json()) == ["dataset_id", "tag_name", "dataset_version_id", "id"]
    assert (made.json()["tag_name"], made.json()["dataset_version_id"]) == ("v2", second)
    old.will.post(f"{old.url}/tags/v1", json={"version_id": first})
    listed = old.rita.get(f"{old.url}/tags").json()
    assert [tag["tag_name"] for tag in listed] == ["v1", "v2"]
    assert old.rita.get(f"{old.url}/tags/v2").json() == listed[1] == made.json()
    for name in ("v1", "main"):
        taken = _detail(409, f"Tag '{name}' already exists for this dataset")
        assert answered(old.will, "POST", f"{old.url}/tags/{name}", {"version_id": first}) == taken
    unknown = _detail(404, "Version 999 not found or doesn't belong to dataset")
    assert answered(old.will, "POST", f"{old.url}/tags/v3", {"version_id": 999}) == unknown
    for wrong in ("with space", "x" * 256):
        assert answered(old.will, "POST", f"{old.url}/tags/{wrong}", {"version_id": first}) == _detail(400, "Invalid tag name")
    assert old.will.post(f"{old.url}/tags/v3", json={}).status_code == 422
    assert answered(old.will, "DELETE", f"{old.url}/tags/v1") == (200, {"message": "Tag 'v1' deleted successfully"})
    for method in ("GET", "DELETE"):
        for name in ("v1", "main"):
            assert answered(old.will, method, f"{old.url}/tags/{name}") == _detail(404, f"Tag '{name}' not found for dataset {n}")
    assert [each["pointer_name"] for each in old.rita.get(f"{old.url}/pointers").json()] == ["main", "v2"]
    for client, url in ((old.eve, old.url), (old.eve, "/api/datasets/999"), (old.rita, old.url)):
        create = answered(client, "POST", f"{url}/tags/v9", {"version_id": 999})
        assert create == _detail(403, "Write permission required to create version tags")
        assert answered(client, "DELETE", f"{url}/tags/v2") == _detail(403, "Write permission required to delete version tags")
        if client is old.eve:
            for path in ("tags", "tags/v2", "tags/v9"):
                assert answered(client, "GET", f"{url}/{path}") == _detail(403, "Read permission required to view version tags")


def test_search_finds_words_anywhere_in_what_is_asked(old: Old) -> None:
    """2.8 GET /api/datasets/search: name, description and tags; every filter."""
    ada = actor(old.platform, "ada")
    for name, labels, size in (("Alpha 100%", ["raw"], 30), ("beta", ["x_y"], 20)):
        made = old.platform.datasets.create_dataset(ada, name.replace("%", ""), description="shop of " + name, tags=labels)
        make.commit(old.platform, made, {"a.csv": b"x" * size}, actor=ada)

    def found(client: TestClient = old.ada, **params: Any) -> list[str]:
        answer = client.get("/api/datasets/search", params={"sort_by": "name", "sort_order": "asc", **params})
        assert answer.status_code == 200, answer.text
        return [each["name"] for each in answer.json()["results"]]

    everything = ["Alpha 100", "beta", "sales"]
    assert sorted(found()) == sorted(found(query="SHOP")) == everything
    assert found(query="shop alpha") == ["Alpha 100"]
    assert found(query="100%") == ["Alpha 100"]
    assert found(query="%") == ["Alpha 100"]
    assert found(query="x_y") == ["beta"]
    assert found(query="xay") == []
    assert found(query="shop", search_description=False) == []
    assert found(query="raw", search_tags=False) == []
    assert sorted(found(tags=["raw"])) == ["Alpha 100", "sales"]
    assert found(created_by=[ada.user_id]) == found()
    assert found(created_by=[1, 2**70]) == []
    assert found(file_types=["csv"]) == []
    assert found(file_types=["parquet", "csv"]) == found()
    assert found(size_min=18, size_max=25) == ["beta"]
    assert found(versions_min=2) == ["sales"]
    assert found(created_after="2999-01-01T00:00:00") == found(created_before="1999-01-01T00:00:00Z") == []
    assert found(updated_after="1999-01-01T00:00:00", updated_before="2999-01-01T00:00:00Z") == found()
    assert found(old.rita) == ["sales"]
    assert found(old.eve) == []
    whole = old.ada.get("/api/datasets/search", params={"limit": 2, "include_facets": True}).json()
    assert list(whole) == ["results", "total", "limit", "offset", "has_more", "facets"]
    assert (len(whole["results"]), whole["total"], whole["has_more"]) == (2, 3, True)
    assert whole["facets"] == {
        "tags": {"raw": 2, "Daily": 1, "x_y": 1},
        "created_by": {str(ada.user_id): 3},
        "file_types": {"parquet": 3},
    }
    seen = old.rita.get("/api/datasets/search?include_facets=true").json()
    assert (seen["total"], seen["facets"]["tags"], seen["facets"]["file_types"]) == (1, {"Daily": 1, "raw": 1}, {"parquet": 1})
    unseen = old.eve.get("/api/datasets/search?include_facets=true").json()
    assert (unseen["total"], unseen["facets"]) == (0, {"tags": {}, "created_by": {}, "file_types": {}})
    only = old.ada.get("/api/datasets/search?include_facets=true&facet_fields=tags&query=beta").json()
    assert only["facets"] == {"tags": {"x_y": 1}}
    assert (only["total"], only["has_more"]) == (1, False)
    assert old.ada.get("/api/datasets/search?offset=2&limit=1").json()["has_more"] is False
    assert old.ada.get("/api/datasets/search?limit=101").status_code == 422


def test_suggestions_are_names_and_tags(old: Old) -> None:
    """2.8 GET /api/datasets/search/suggest: of what the caller may read."""

    def suggested(client: TestClient, **params: Any) -> list[tuple[str, str]]:
        answer = client.get("/api/datasets/search/suggest", params=params)
        assert answer.status_code == 200, answer.text
        return [(each["text"], each["type"]) for each in answer.json()["suggestions"]]

    assert sorted(suggested(old.rita, query="a")) == [("Daily", "tag"), ("raw", "tag"), ("sales", "dataset_name")]
    assert suggested(old.rita, query="a", types=["tag"], limit=1) == [("Daily", "tag")]
    assert suggested(old.rita, query="sal", types=["dataset_name"]) == [("sales", "dataset_name")]
    assert suggested(old.eve, query="a") == []
    assert old.ada.get("/api/datasets/search/suggest?limit=51").status_code == 422
