"""What old clients send, as sections 2.3, 2.4 and 2.5 of the old system's description have it."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform_tests.api.legacy.conftest import LogIn

SALES = b"id,city,price\n1,Rome,2.50\n2,Oslo,3.75\n"
MORE = b"id,city,price\n1,Rome,2.50\n2,Oslo,3.75\n3,Bonn,1.00\n"


@pytest.fixture
def ada(log_in: LogIn) -> TestClient:
    return log_in("ada")


@pytest.fixture
def bob(log_in: LogIn) -> TestClient:
    return log_in("bob")


def send(client: TestClient, data: bytes = SALES, file_name: str = "sales.csv", **fields: Any) -> Any:
    return client.post("/api/datasets/upload", data=fields, files={"file": (file_name, data, "text/csv")})


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def form(file_name: str, rest: bytes) -> bytes:
    """A form with a name and a file that ends as it is said."""
    field = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nsales\r\n'
    return field + f'--x\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n\r\n'.encode() + rest


def done(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def allow(platform: Platform, name: str, right: str, dataset: int) -> None:
    from dsplatform.core.types import DatasetId, PermissionType

    with platform.db.transaction() as tx:
        user = platform.permissions.actor(tx, name)
    platform.permissions.grant_permission(platform.system(), user, PermissionType(right), DatasetId(dataset))


def test_s23_an_upload_makes_a_dataset_with_a_version(ada: TestClient) -> None:
    """2.3 POST /api/datasets/upload: a new dataset, which its creator administers."""
    sent = send(ada, name="Sales", description="All of them", tags="raw, checked ,", message="first")
    made = done(sent)
    assert list(made) == ["dataset_id", "version_id", "sheets"]
    assert made["sheets"] == [{"name": "sales", "index": 0, "description": None, "file_id": None}]
    found = ada.get(f"/api/datasets/{made['dataset_id']}").json()
    assert (found["name"], found["description"], [tag["name"] for tag in found["tags"]]) == ("Sales", "All of them", ["checked", "raw"])
    (version,) = found["versions"]
    assert (version["id"], version["version_number"], version["message"], version["parent_version_id"]) == (
        made["version_id"], 1, "first", None,
    )  # fmt: skip
    assert sent.headers["deprecation"].startswith("@")


def test_s23_an_upload_into_a_dataset_is_its_next_version_and_says_name_and_description_anew(ada: TestClient) -> None:
    """2.3 POST /api/datasets/upload: description that is left out is null."""
    first = done(send(ada, name="sales", description="old", tags='["raw"]'))
    second = done(send(ada, MORE, name="Sales 2", dataset_id=first["dataset_id"], tags="more"))
    assert second["dataset_id"] == first["dataset_id"]
    found = ada.get(f"/api/datasets/{first['dataset_id']}").json()
    assert (found["name"], found["description"], found["current_version"]) == ("Sales 2", None, 2)
    assert {tag["name"] for tag in found["tags"]} == {"raw", "more"}, "labels are added, never removed"
    assert found["versions"][0]["parent_version_id"] == first["version_id"]


def test_s23_without_an_id_the_callers_dataset_of_that_name_gets_the_version(ada: TestClient, bob: TestClient) -> None:
    first, second = done(send(ada, name="sales")), done(send(ada, MORE, name="sales"))
    assert first["dataset_id"] == second["dataset_id"]
    assert done(send(bob, name="sales"))["dataset_id"] != first["dataset_id"]


def test_s23_numbers_are_one_more_than_the_highest_whatever_the_parent(ada: TestClient) -> None:
    first = done(send(ada, name="sales"))
    into = {"name": "sales", "dataset_id": first["dataset_id"]}
    done(send(ada, MORE, **into))
    third = done(send(ada, b"id\n7\n", parent_version_id=first["version_id"], **into))
    found = ada.get(f"/api/datasets/{first['dataset_id']}/versions").json()
    assert (found[0]["version_number"], found[0]["parent_version_id"]) == (3, first["version_id"])
    head = ada.get(f"/api/datasets/{first['dataset_id']}/branches/main/head").json()
    assert head["id"] == third["version_id"], "the branch is at what was uploaded last"


def test_s23_a_parent_and_a_branch_that_is_not_there_make_it(ada: TestClient) -> None:
    first = done(send(ada, name="sales"))
    into = {"name": "sales", "dataset_id": first["dataset_id"]}
    second = done(send(ada, MORE, **into))
    tried = done(send(ada, b"id\n7\n", branch_name="try/out", parent_version_id=first["version_id"], **into))
    pointers = {one["pointer_name"]: one["dataset_version_id"] for one in ada.get(f"/api/datasets/{first['dataset_id']}/pointers").json()}
    assert pointers == {"main": second["version_id"], "try/out": tried["version_id"]}


def test_s23_what_fails_leaves_no_dataset_and_no_branch(ada: TestClient, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    first = done(send(ada, name="sales"))

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(platform.uploads, "upload", failing)
        for fields in (
            {"name": "other"},
            {"name": "sales", "dataset_id": first["dataset_id"], "branch_name": "side", "parent_version_id": first["version_id"]},
        ):
            with pytest.raises(OSError, match="gone"):
                send(ada, MORE, **fields)
    assert [one["name"] for one in ada.get("/api/datasets").json()] == ["sales"]
    assert [one["pointer_name"] for one in ada.get(f"/api/datasets/{first['dataset_id']}/branches").json()] == ["main"]


def test_s23_a_tag_gets_no_version(ada: TestClient) -> None:
    first = done(send(ada, name="sales"))
    ada.post(f"/api/datasets/{first['dataset_id']}/tags", json={"tag_name": "v1", "version_id": first["version_id"]})
    refused = send(ada, MORE, name="sales", dataset_id=first["dataset_id"], branch_name="v1")
    assert (refused.status_code, refused.json()) == (400, {"detail": "Cannot commit to tag 'v1' - tags are immutable"})


REFUSED: dict[str, tuple[str, dict[str, str]]] = {
    "Unsupported file type: parquet. Supported types: csv, xlsx, xls, xlsm": ("sales.parquet", {}),
    "Unsupported file type: . Supported types: csv, xlsx, xls, xlsm": ("sales", {}),
    "Too many tags. Maximum allowed: 20": ("a.csv", {"tags": json.dumps([str(n) for n in range(21)])}),
    f"Tag '{'x' * 51}' exceeds maximum length of 50 characters": ("a.csv", {"tags": "x" * 51}),
    "Invalid tags format: Tags must be a list": ("a.csv", {"tags": "2024"}),
}


def test_s23_what_cannot_be_taken_is_refused_in_the_old_words(ada: TestClient) -> None:
    for detail, (file_name, fields) in REFUSED.items():
        refused = send(ada, SALES, file_name, name="sales", **fields)
        assert (refused.status_code, refused.json()) == (400, {"detail": detail})
    assert send(ada, name="sales", tags='"x"').status_code == 400
    assert ada.get("/api/datasets").json() == []


def test_s23_endings_count_in_any_case_and_a_file_may_come_before_its_fields(ada: TestClient) -> None:
    parts: Any = [("file", ("SALES.CSV", SALES, "text/csv")), ("name", (None, "sales"))]
    assert done(ada.post("/api/datasets/upload", files=parts))["sheets"][0]["name"] == "SALES"


def test_s23_a_file_without_a_name_is_told(ada: TestClient) -> None:
    refused = ada.post("/api/datasets/upload", content=form("", b"a\r\n--x--\r\n"), headers=FORM)
    assert (refused.status_code, refused.json()) == (400, {"detail": "Filename cannot be empty"})


def test_s23_a_form_of_the_wrong_shape_is_422(ada: TestClient) -> None:
    wrong: list[tuple[dict[str, str], str, str]] = [
        ({}, "file", "name"),
        ({"name": "x"}, "other", "file"),
        ({"name": "x", "dataset_id": ""}, "file", "dataset_id"),
        ({"name": "x", "parent_version_id": "first"}, "file", "parent_version_id"),
    ]
    for fields, file, place in wrong:
        refused = ada.post("/api/datasets/upload", data=fields, files={file: ("a.csv", SALES)})
        assert refused.status_code == 422
        assert [one["loc"] for one in refused.json()["detail"]] == [["body", place]]


def test_s23_a_body_that_is_cut_off_leaves_nothing(ada: TestClient) -> None:
    refused = ada.post("/api/datasets/upload", content=form("a.csv", b"a,b\r\n"), headers=FORM)
    assert (refused.status_code, refused.json()) == (400, {"detail": "There was an error parsing the body"})
    assert ada.get("/api/datasets").json() == []


def test_s23_a_file_that_cannot_be_read_is_kept_and_its_sheet_says_so(ada: TestClient) -> None:
    made = done(send(ada, b"PK\x03\x04 no workbook", "book.xlsx", name="books"))
    assert made["sheets"] == [{"name": "book.xlsx", "index": 0, "description": "Error parsing file", "file_id": None}]
    at = f"/api/datasets/{made['dataset_id']}/versions/{made['version_id']}"
    assert ada.get(f"{at}/sheets").json() == made["sheets"]
    gone = ada.get(f"{at}/download")
    assert (gone.status_code, gone.json()) == (404, {"detail": "File data not found or unsupported storage type"})
    assert ada.get(f"{at}/data").json() == {"detail": "Sheet not found or invalid"}


def test_s23_who_may_not_write_is_refused_and_who_may_not_rename_leaves_the_name(
    ada: TestClient, bob: TestClient, platform: Platform
) -> None:
    made = done(send(ada, name="sales", description="hers"))
    number = made["dataset_id"]
    for right in (None, "read"):
        if right:
            allow(platform, "bob", right, number)
        refused = send(bob, MORE, name="mine", dataset_id=number)
        assert (refused.status_code, refused.json()) == (403, {"detail": "Write permission required to update dataset"}), right
    assert send(bob, MORE, name="mine", dataset_id=999).status_code == 403, "what is not there is refused in the same words"
    allow(platform, "bob", "write", number)
    done(send(bob, MORE, name="mine", dataset_id=number, tags="his"))
    found = ada.get(f"/api/datasets/{number}").json()
    assert (found["name"], found["description"], found["tags"], found["current_version"]) == ("sales", "hers", None, 2)


def test_s23_a_viewer_makes_no_dataset(log_in: LogIn) -> None:
    refused = send(log_in("vera", "viewer"), name="sales")
    assert refused.status_code == 403


def test_s25_a_commit_goes_onto_a_branch_that_is_there(ada: TestClient, bob: TestClient, platform: Platform) -> None:
    """2.5 POST /api/datasets/{dataset_id}/branches/{branch_name}/commit: also where the name has a slash."""
    made = done(send(ada, name="sales", description="kept"))
    at = f"/api/datasets/{made['dataset_id']}"
    ada.post(f"{at}/branches", json={"branch_name": "team/side", "from_version_id": made["version_id"]})
    ada.post(f"{at}/tags", json={"tag_name": "v1", "version_id": made["version_id"]})
    file = {"file": ("next.csv", MORE)}
    second = done(ada.post(f"{at}/branches/team/side/commit", files=file, data={"message": "more"}))
    assert ada.get(f"{at}/branches/team/side/head").json()["id"] == second["version_id"]
    assert ada.get(f"{at}/branches/main/head").json()["id"] == made["version_id"]
    found = ada.get(f"{at}/versions/{second['version_id']}").json()
    assert (found["message"], found["parent_version_id"]) == ("more", made["version_id"])
    assert ada.get(at).json()["description"] == "kept"
    for branch, detail in (("none", "Branch 'none' does not exist"), ("v1", "Cannot commit to tag 'v1' - tags are immutable")):
        refused = ada.post(f"{at}/branches/{branch}/commit", files=file)
        assert (refused.status_code, refused.json()) == (400, {"detail": detail})
    allow(platform, "bob", "read", made["dataset_id"])
    refused = bob.post(f"{at}/branches/main/commit", files=file)
    assert (refused.status_code, refused.json()) == (403, {"detail": "Write permission required to update branches"})


def test_s24_what_is_attached_makes_the_next_version_which_has_it_besides(ada: TestClient, bob: TestClient, platform: Platform) -> None:
    """2.4 POST /api/datasets/{dataset_id}/versions/{version_id}/files: versions do not change."""
    made = done(send(ada, name="sales"))
    at = f"/api/datasets/{made['dataset_id']}/versions"
    file = {"file": ("aaa.txt", b"read me")}
    attached = done(ada.post(f"{at}/{made['version_id']}/files", files=file, data={"component_type": "notes"}))
    newest = ada.get(at).json()[0]
    assert attached["message"] == f"File attached successfully to version {newest['id']}"
    assert newest["parent_version_id"] == made["version_id"]
    files = ada.get(f"{at}/{newest['id']}/files").json()
    assert [(one["component_type"], one["component_name"]) for one in files] == [("notes", "aaa.txt"), ("primary", "main")]
    assert files[0]["file_id"] == attached["file_id"]
    assert files[0]["metadata"] == {"original_filename": "aaa.txt"}
    assert ada.get(f"{at}/{newest['id']}/data").json()["headers"] == ["id", "city", "price"], "the file of the version is still the first"
    old = ada.post(f"{at}/{made['version_id']}/files", files=file, data={"component_type": "notes"})
    assert old.status_code == 409
    assert ada.post(f"{at}/{newest['id']}/files", files=file).status_code == 422
    allow(platform, "bob", "read", made["dataset_id"])
    refused = bob.post(f"{at}/{newest['id']}/files", files=file, data={"component_type": "notes"})
    assert (refused.status_code, refused.json()) == (403, {"detail": "Write permission required to attach files"})


def test_s3_a_user_who_is_gone_is_told_so_where_files_are_sent(ada: TestClient, platform: Platform) -> None:
    platform.people.change_user(platform.system(), "ada", active=False)
    refused = send(ada, name="sales")
    assert refused.status_code in {401, 403}
