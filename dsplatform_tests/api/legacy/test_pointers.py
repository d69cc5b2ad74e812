"""Branches, version tags and pointers, as section 2.5 of the old system's description has them."""

import pytest
from fastapi.testclient import TestClient

from dsplatform.versioning.model import Demand
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import Old, actor, answered

POINTER = ["dataset_id", "pointer_name", "dataset_version_id", "is_tag", "id", "created_at", "updated_at"]


def _detail(status: int, text: str) -> tuple[int, object]:
    return status, {"detail": text}


def test_a_branch_is_made_and_moved_by_the_same_request(old: Old) -> None:
    """2.5 POST /api/datasets/{dataset_id}/branches: 200, also where the branch was there; 400 and 404 in the old words."""
    first, second = old.first.version_id, old.second.version_id
    made = old.will.post(f"{old.url}/branches", json={"branch_name": "feature/x", "from_version_id": first})
    assert made.status_code == 200
    assert list(made.json()) == POINTER
    assert (made.json()["dataset_id"], made.json()["dataset_version_id"], made.json()["is_tag"]) == (old.dataset.id, first, False)
    moved = old.will.post(f"{old.url}/branches", json={"branch_name": "feature/x", "from_version_id": second}).json()
    assert (moved["id"], moved["dataset_version_id"], moved["created_at"]) == (made.json()["id"], second, made.json()["created_at"])

    def asked(**body: object) -> tuple[int, object]:
        return answered(old.will, "POST", f"{old.url}/branches", body)

    for missing in ({}, {"branch_name": "x"}, {"branch_name": "", "from_version_id": first}, {"branch_name": "x", "from_version_id": 0}):
        assert asked(**missing) == _detail(400, "Both branch_name and from_version_id are required")
    for unknown in (999, "abc", 2**70, -1):
        assert asked(branch_name="x", from_version_id=unknown) == _detail(404, f"Version {unknown} not found or doesn't belong to dataset")
    for wrong in ("x" * 256, "with space", "1", ["x"]):
        assert asked(branch_name=wrong, from_version_id=first) == _detail(400, "Invalid branch name")
    assert answered(old.ada, "POST", "/api/datasets/999/branches", {"branch_name": "x", "from_version_id": 1})[0] == 403
    old.ada.post(f"{old.url}/tags", json={"tag_name": "v1", "version_id": first})
    assert asked(branch_name="v1", from_version_id=second) == _detail(400, "Cannot update tag 'v1' - tags are immutable")
    assert old.ada.post(f"{old.url}/branches", json=[]).status_code == 422


def test_a_tag_is_made_once(old: Old) -> None:
    """2.5 POST /api/datasets/{dataset_id}/tags: a tag stays; one named like a branch moves the branch, as it always did."""
    first, second = old.first.version_id, old.second.version_id

    def asked(**body: object) -> tuple[int, object]:
        return answered(old.will, "POST", f"{old.url}/tags", body)

    made = old.will.post(f"{old.url}/tags", json={"tag_name": "v1", "version_id": first})
    assert made.status_code == 200
    assert list(made.json()) == POINTER
    assert (made.json()["pointer_name"], made.json()["dataset_version_id"], made.json()["is_tag"]) == ("v1", first, True)
    assert asked(tag_name="v1", version_id=second) == _detail(400, "Tag 'v1' already exists")
    assert asked(tag_name="v1") == _detail(400, "Both tag_name and version_id are required")
    assert asked(tag_name="v2", version_id=999) == _detail(404, "Version 999 not found or doesn't belong to dataset")
    assert asked(tag_name="x" * 256, version_id=first) == _detail(400, "Invalid tag name")
    old.will.post(f"{old.url}/branches", json={"branch_name": "side", "from_version_id": second})
    moved = old.will.post(f"{old.url}/tags", json={"tag_name": "side", "version_id": first}).json()
    assert (moved["is_tag"], moved["dataset_version_id"]) == (False, first)


def test_pointers_are_listed_branches_first(old: Old) -> None:
    """2.5 GET /api/datasets/{dataset_id}/pointers: each kind by name.
    2.5 GET /api/datasets/{dataset_id}/branches: without tags.
    2.5 GET /api/datasets/{dataset_id}/pointers/{pointer_name}: one of them.
    """
    for name in ("b", "a/z"):
        old.ada.post(f"{old.url}/branches", json={"branch_name": name, "from_version_id": old.first.version_id})
    old.ada.post(f"{old.url}/tags", json={"tag_name": "a-tag", "version_id": old.first.version_id})
    listed = old.rita.get(f"{old.url}/pointers").json()
    assert [(each["pointer_name"], each["is_tag"]) for each in listed] == [("a/z", False), ("b", False), ("main", False), ("a-tag", True)]
    assert all(list(each) == POINTER for each in listed)
    assert len({each["id"] for each in listed}) == 4
    assert old.rita.get(f"{old.url}/branches").json() == listed[:3]
    assert old.rita.get(f"{old.url}/pointers/a-tag").json() == listed[3]
    missing = f"Pointer 'x' not found for dataset {old.dataset.id}"
    assert answered(old.rita, "GET", f"{old.url}/pointers/x") == _detail(404, missing)
    assert answered(old.rita, "GET", f"{old.url}/pointers/a/z") == _detail(404, "Not Found")
    assert answered(old.rita, "GET", f"{old.url}/pointers/a%2Fz") == _detail(404, "Not Found")
    for path in ("pointers", "branches", "pointers/main", "branches/main/head", "branches/main/history"):
        assert answered(old.eve, "GET", f"{old.url}/{path}") == _detail(404, f"Dataset {old.dataset.id} not found")
        assert answered(old.eve, "GET", f"/api/datasets/999/{path}") == _detail(404, "Dataset 999 not found")


def test_a_pointer_is_deleted_but_main(old: Old) -> None:
    """2.5 DELETE /api/datasets/{dataset_id}/pointers/{pointer_name}: branches and tags, never `main` in any case."""
    old.ada.post(f"{old.url}/branches", json={"branch_name": "b", "from_version_id": old.first.version_id})
    old.ada.post(f"{old.url}/tags", json={"tag_name": "t", "version_id": old.first.version_id})
    for name in ("b", "t"):
        assert answered(old.will, "DELETE", f"{old.url}/pointers/{name}") == (200, {"message": f"Pointer '{name}' deleted successfully"})
        assert answered(old.will, "DELETE", f"{old.url}/pointers/{name}") == _detail(404, f"Pointer '{name}' not found")
    for name in ("main", "MAIN"):
        assert answered(old.ada, "DELETE", f"{old.url}/pointers/{name}") == _detail(400, "Cannot delete 'main' branch")
    assert [each["pointer_name"] for each in old.ada.get(f"{old.url}/pointers").json()] == ["main"]


def test_head_and_history_follow_a_branch_or_a_tag(old: Old) -> None:
    """2.5 GET /api/datasets/{dataset_id}/branches/{branch_name}/head: one version; 404 for an unknown name.
    2.5 GET /api/datasets/{dataset_id}/branches/{branch_name}/history: the newest first; none for an unknown name.
    """
    ada = actor(old.platform, "ada")
    make.commit(old.platform, old.dataset, {"main": b"id\n9\n"}, branch="side/x", actor=ada)
    old.ada.post(f"{old.url}/tags", json={"tag_name": "t", "version_id": old.first.version_id})
    whole = {version["version_number"]: version for version in old.rita.get(old.url).json()["versions"]}
    assert old.rita.get(f"{old.url}/branches/side/x/head").json() == whole[3]
    assert old.rita.get(f"{old.url}/branches/main/head").json() == whole[2]
    assert old.rita.get(f"{old.url}/branches/t/head").json() == whole[1]
    assert old.rita.get(f"{old.url}/branches/side/x/history").json() == [whole[3], whole[2], whole[1]]
    assert old.rita.get(f"{old.url}/branches/t/history").json() == [whole[1]]
    assert answered(old.rita, "GET", f"{old.url}/branches/unknown/head") == _detail(404, "Branch 'unknown' not found")
    assert answered(old.rita, "GET", f"{old.url}/branches/unknown/history") == (200, [])


def test_a_branch_goes_to_any_version(old: Old) -> None:
    """2.5 PATCH /api/datasets/{dataset_id}/branches/{branch_name}: forwards and back; 400 in the old words."""
    first, second = old.first.version_id, old.second.version_id
    old.ada.post(f"{old.url}/branches", json={"branch_name": "a/b", "from_version_id": second})
    old.ada.post(f"{old.url}/tags", json={"tag_name": "t", "version_id": first})

    def asked(name: str, **body: object) -> tuple[int, object]:
        return answered(old.will, "PATCH", f"{old.url}/branches/{name}", body)

    for name, to in (("main", first), ("a/b", first), ("main", second)):
        assert asked(name, to_version_id=to) == (200, {"message": f"Branch '{name}' updated to version {to}"})
        assert old.ada.get(f"{old.url}/branches/{name}/head").json()["id"] == to
    assert asked("main") == asked("main", to_version_id=0) == _detail(400, "to_version_id is required")
    assert asked("x", to_version_id=first) == _detail(400, "Branch 'x' not found")
    assert asked("t", to_version_id=first) == _detail(400, "Cannot update tag 't' - tags are immutable")
    assert asked("main", to_version_id=999) == _detail(404, "Version 999 not found or doesn't belong to dataset")
    assert asked("main", to_version_id="abc")[0] == 422


@pytest.mark.parametrize("who", ["rita", "eve"])
def test_writing_takes_the_right_to_write(old: Old, who: str) -> None:
    """2.5: who may not is told so first, and the same of a dataset that she may not see as of none."""
    client: TestClient = getattr(old, who)
    old.ada.post(f"{old.url}/branches", json={"branch_name": "b", "from_version_id": old.first.version_id})
    before = old.ada.get(f"{old.url}/pointers").json()
    at = old.first.version_id
    for url in (old.url, "/api/datasets/999") if who == "eve" else (old.url,):
        for method, path, body, what in (
            ("POST", "branches", {"branch_name": "x", "from_version_id": at}, "create branches"),
            ("POST", "branches", {"branch_name": "x", "from_version_id": 999}, "create branches"),
            ("POST", "tags", {"tag_name": "x", "version_id": at}, "create tags"),
            ("PATCH", "branches/b", {"to_version_id": old.second.version_id}, "update branches"),
            ("PATCH", "branches/unknown", {"to_version_id": 999}, "update branches"),
            ("DELETE", "pointers/b", None, "delete branches/tags"),
            ("DELETE", "pointers/unknown", None, "delete branches/tags"),
            ("DELETE", "pointers/main", None, "delete branches/tags"),
        ):
            assert answered(client, method, f"{url}/{path}", body) == _detail(403, f"Write permission required to {what}")
    assert old.ada.get(f"{old.url}/pointers").json() == before


def test_a_protected_branch_stays_protected(old: Old) -> None:
    old.platform.protection.protect(actor(old.platform, "ada"), old.dataset, "main", Demand.ADMIN)
    for method, path, body in (
        ("POST", "branches", {"branch_name": "main", "from_version_id": old.first.version_id}),
        ("POST", "tags", {"tag_name": "main", "version_id": old.first.version_id}),
        ("PATCH", "branches/main", {"to_version_id": old.first.version_id}),
    ):
        status, answer = answered(old.will, method, f"{old.url}/{path}", body)
        assert status == 403
        assert "is protected" in str(answer)
    assert old.ada.get(f"{old.url}/branches/main/head").json()["id"] == old.second.version_id
