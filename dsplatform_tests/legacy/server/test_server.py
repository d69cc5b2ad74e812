"""The old server answers as sections 2 and 3 of the specification say. Named are its own data, and what is odd."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import openpyxl
import psycopg
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from dsplatform.core.database_url import libpq_url
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.generator import PASSWORD, Built, build
from dsplatform_tests.legacy.server import SECRET, running
from dsplatform_tests.legacy.server.app import create


@pytest.fixture
def built(legacy_url: str, legacy_folder: Path) -> Built:
    return build(legacy_url, legacy_folder, Generation.G1B, datasets=6, attachments=1)


@pytest.fixture
def client(built: Built) -> Iterator[TestClient]:
    """As the creator of dataset 1."""
    app = create(built.url, built.folder, SECRET)
    try:
        with TestClient(app, raise_server_exceptions=False) as client:
            _log_in(client, _one(built, "SELECT soeid FROM users JOIN datasets ON created_by = users.id WHERE datasets.id = 1"))
            yield client
    finally:
        app.state.old.close()


def _one(built: Built, query: str) -> str:
    with psycopg.connect(libpq_url(built.url)) as connection:
        found = connection.execute(query.encode()).fetchone()
    assert found
    return str(found[0])


def _log_in(client: TestClient, soeid: str) -> None:
    tokens = client.post("/api/users/token", data={"username": soeid, "password": PASSWORD}).json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"


def _upload(client: TestClient, name: str, data: bytes, **fields: str) -> tuple[int, dict[str, object]]:
    answer = client.post("/api/datasets/upload", files={"file": (name, data)}, data={"name": "uploaded", **fields})
    return answer.status_code, answer.json()


def test_tokens_and_users(client: TestClient, built: Built) -> None:
    """Section 3."""
    soeid = _one(built, "SELECT soeid FROM users WHERE id = 1")
    wrong = client.post("/api/users/token", data={"username": soeid, "password": "wrong"})
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Incorrect username or password"})
    tokens = client.post("/api/users/token", data={"username": soeid, "password": PASSWORD}).json()
    assert list(tokens) == ["access_token", "refresh_token", "token_type"]
    again = client.post("/api/users/token/refresh", params={"refresh_token": tokens["refresh_token"]}).json()
    assert again["refresh_token"] == tokens["refresh_token"]
    assert client.post("/api/users/token/refresh", params={"refresh_token": tokens["access_token"]}).status_code == 401
    anonymous = client.get("/api/users", headers={"Authorization": f"Bearer {tokens['refresh_token']}"})
    assert (anonymous.status_code, anonymous.json()) == (401, {"detail": "Could not validate credentials"})
    assert "www-authenticate" not in anonymous.headers
    plain_password = _one(built, f"SELECT soeid FROM users WHERE id = {built.keys('U1')[0][0]}")
    assert client.post("/api/users/token", data={"username": plain_password, "password": "Summer2019!"}).status_code == 500
    new = {"soeid": "nw12345", "password": "p", "role_id": 3}
    made = client.post("/api/users/register", json=new)
    assert made.status_code == 201
    assert list(made.json()) == ["id", "soeid", "role_id", "role_name", "created_at", "updated_at"]
    assert client.post("/api/users", json=new).json() == {"detail": "User with this SOEID already exists"}
    assert client.post("/api/users", json=new | {"soeid": "short"}).status_code == 422
    assert made.json() in client.get("/api/users").json()


def test_the_catalogue(client: TestClient, built: Built) -> None:
    """Section 2.3: the list, one dataset, its change and its end."""
    listed = client.get("/api/datasets", params={"sort_by": "name", "sort_order": "asc"}).json()
    assert [row["name"] for row in listed] == sorted(row["name"] for row in listed)
    fields = ["name", "description", "id", "created_by", "created_at", "updated_at", "current_version", "file_type", "file_size"]
    assert list(listed[0]) == [*fields, "versions", "tags"]
    assert all(row["versions"] is None and row["tags"] != [] for row in listed)
    assert not any(row["created_at"].endswith(("Z", "+00:00")) for row in listed)
    whole = client.get("/api/datasets/1").json()
    assert [version["version_number"] for version in whole["versions"]] == list(range(whole["current_version"], 0, -1))
    (unreadable, *_) = built.keys("D3")
    assert client.get(f"/api/datasets/{unreadable[0]}").json() == {"detail": "Read permission required to view dataset"}
    assert client.get("/api/datasets/900000").status_code == 403
    assert client.get("/api/datasets/tags").status_code == 500
    _log_in(client, _one(built, "SELECT soeid FROM users WHERE id NOT IN (SELECT user_id FROM dataset_permissions) LIMIT 1"))
    assert client.get("/api/datasets", params={"limit": 3}).json() == [], "rights are asked for after the page was cut"
    _log_in(client, _one(built, "SELECT soeid FROM users JOIN datasets ON created_by = users.id WHERE datasets.id = 1"))
    changed = client.patch("/api/datasets/1", json={"name": "", "tags": ["b", "a "]}).json()
    assert (changed["name"], changed["description"]) == ("", whole["description"])
    assert [tag["name"] for tag in changed["tags"]] == ["a ", "b"]
    assert client.delete("/api/datasets/1").status_code == 500
    files = "SELECT count(*) FROM dataset_version_files JOIN dataset_versions ON id = version_id WHERE dataset_id = 1"
    assert int(_one(built, files)) < int(_one(built, "SELECT count(*) FROM dataset_versions WHERE dataset_id = 1")) * 2


def test_versions_and_their_data(client: TestClient, built: Built) -> None:
    """Section 2.4."""
    versions = client.get("/api/datasets/1/versions").json()
    newest = versions[0]
    assert list(newest)[:3] == ["dataset_id", "version_number", "file_id"]
    assert newest["uploaded_by_soeid"] is None
    base = f"/api/datasets/1/versions/{newest['id']}"
    assert client.get(base).json() == newest
    assert client.get("/api/datasets/1/versions/900000").json() == {"detail": "Internal Server Error"}
    foreign = _one(built, "SELECT id FROM dataset_versions WHERE dataset_id = 2 LIMIT 1")
    refused = client.get(f"/api/datasets/1/versions/{foreign}").json()
    assert refused == {"detail": f"Version {foreign} does not belong to dataset 1"}
    download = client.get(f"{base}/download")
    assert download.headers["content-disposition"] == f"attachment; filename=1_v{newest['version_number']}.parquet"
    assert len(download.content) == newest["file_size"]
    table = pq.read_table(BytesIO(download.content))
    data = client.get(f"{base}/data", params={"limit": 2}).json()
    assert list(data) == ["headers", "rows", "has_more", "offset", "limit", "total"]
    assert (data["headers"], len(data["rows"]), data["has_more"], data["total"]) == (table.column_names, 2, True, None)
    assert [row["id"] for row in data["rows"]] == table["id"].to_pylist()[:2]
    assert client.get(f"{base}/data", params={"offset": 5000}).json()["rows"] == []
    assert client.get(f"{base}/data", params={"sheet": "x"}).json() == {"detail": "Sheet not found or invalid"}
    assert client.get(f"{base}/sheets").json() == []
    files = client.get(f"{base}/files").json()
    assert {file["component_type"] for file in files} <= {"primary", "attachment"}
    assert client.get(f"{base}/files/primary").json() in files
    assert client.get(f"{base}/files/none").status_code == 404
    tree = client.get("/api/datasets/1/versions/tree").json()
    assert tree["roots"][0]["version_number"] == 1
    (elsewhere, *_) = built.keys("D4.parent")
    lost = _one(built, f"SELECT dataset_id FROM dataset_versions WHERE id = {elsewhere[0]}")
    assert f'"id":{elsewhere[0]},' not in client.get(f"/api/datasets/{lost}/versions/tree").text
    assert client.delete(base).status_code == 500, "the branch names it"


def test_schemas(client: TestClient, built: Built) -> None:
    """Section 2.4: most versions have none (D17)."""
    version, dataset = _one(
        built,
        "SELECT dataset_version_id || ' ' || dataset_id FROM dataset_schema_versions JOIN dataset_versions v ON v.id = dataset_version_id",
    ).split()
    shape = client.get(f"/api/datasets/{dataset}/versions/{version}/schema").json()
    assert list(shape) == ["dataset_version_id", "schema_data", "id", "created_at"]
    compared = client.post(
        f"/api/datasets/{dataset}/schema/compare", json={"version1_id": int(version), "version2_id": int(version)}
    ).json()
    assert compared == {"version1": int(version), "version2": int(version), "columns_added": [], "columns_removed": [], "type_changes": []}
    assert client.post("/api/datasets/1/schema/compare", json={}).json() == {"detail": "Both version1_id and version2_id are required"}
    without = client.get("/api/datasets/1/versions").json()[0]["id"]
    assert client.get(f"/api/datasets/1/versions/{without}/schema").json() == {"detail": f"Schema not found for version {without}"}


def test_branches_tags_and_permissions(client: TestClient, built: Built) -> None:
    """Sections 2.5 and 2.6."""
    creator = _one(built, "SELECT soeid FROM users JOIN datasets ON created_by = users.id WHERE datasets.id = 1")
    oldest = client.get("/api/datasets/1/versions").json()[-1]["id"]
    made = client.post("/api/datasets/1/branches", json={"branch_name": "feature/x", "from_version_id": oldest}).json()
    assert list(made) == ["dataset_id", "pointer_name", "dataset_version_id", "is_tag", "id", "created_at", "updated_at"]
    assert client.get("/api/datasets/1/branches/feature/x/head").json()["id"] == oldest
    assert [version["id"] for version in client.get("/api/datasets/1/branches/feature/x/history").json()] == [oldest]
    assert client.get("/api/datasets/1/pointers/feature%2Fx").status_code == 404
    moved = client.patch("/api/datasets/1/branches/feature/x", json={"to_version_id": oldest}).json()
    assert moved == {"message": f"Branch 'feature/x' updated to version {oldest}"}
    tag = {"tag_name": "v9", "version_id": oldest}
    assert client.post("/api/datasets/1/tags", json=tag).json()["is_tag"] is True
    assert client.post("/api/datasets/1/tags", json=tag).json() == {"detail": "Tag 'v9' already exists"}
    assert client.post("/api/datasets/1/branches", json={"branch_name": "v9", "from_version_id": oldest}).status_code == 500
    names = [(pointer["is_tag"], pointer["pointer_name"]) for pointer in client.get("/api/datasets/1/pointers").json()]
    assert names == sorted(names)
    assert client.delete("/api/datasets/1/pointers/v9").json() == {"message": "Pointer 'v9' deleted successfully"}
    assert client.delete("/api/datasets/1/pointers/Main").json() == {"detail": "Cannot delete 'main' branch"}
    assert client.post("/api/datasets/1/permissions", json={"user_id": 6, "permission_type": "read"}).json() == {
        "dataset_id": 1,
        "user_id": 6,
        "permission_type": "read",
    }
    assert client.post("/api/datasets/1/permissions", json={"user_id": 6, "permission_type": "all"}).status_code == 500
    _log_in(client, _one(built, "SELECT soeid FROM users WHERE id = 6"))
    assert client.get("/api/datasets/1").status_code == 200
    _log_in(client, creator)
    client.post("/api/datasets/1/permissions", json={"user_id": 6, "permission_type": "write"})
    _log_in(client, _one(built, "SELECT soeid FROM users WHERE id = 6"))
    assert client.get("/api/datasets/1").status_code == 403, "write is no read"
    assert client.patch("/api/datasets/1", json={"description": "d"}).status_code == 200
    assert client.get("/api/datasets/1/permissions").json() == {"detail": "Admin permission required to view permissions"}
    _log_in(client, creator)
    client.post("/api/datasets/1/permissions", json={"user_id": 6, "permission_type": "read"})
    revoked = client.delete("/api/datasets/1/permissions/6/read").json()
    assert revoked == {"message": "Permission DatasetPermissionType.READ revoked from user 6"}
    assert client.delete("/api/datasets/1/permissions/6/read").json() == {"detail": "Permission not found"}
    assert client.delete("/api/datasets/1/permissions/6/all").status_code == 422


def test_uploads(client: TestClient, built: Built) -> None:
    """Sections 2.3 to 2.5."""
    status, first = _upload(client, "prices.csv", b"id,price\n1,2.5\n2,3.5\n", tags="a, b", description="of today")
    assert status == 200
    assert first["sheets"] == [{"name": "prices", "index": 0, "description": None, "file_id": None}]
    dataset = client.get(f"/api/datasets/{first['dataset_id']}").json()
    assert (dataset["current_version"], [tag["name"] for tag in dataset["tags"]]) == (1, ["a", "b"])
    sheet = BytesIO()
    book = openpyxl.Workbook()
    book.worksheets[0].append(["id"])
    book.worksheets[0].append([7])
    book.save(sheet)
    status, second = _upload(client, "prices.xlsx", sheet.getvalue(), dataset_id=str(first["dataset_id"]))
    assert status == 200
    versions = client.get(f"/api/datasets/{first['dataset_id']}/versions").json()
    assert [(row["version_number"], row["parent_version_id"]) for row in versions] == [(2, first["version_id"]), (1, None)]
    assert client.get(f"/api/datasets/{first['dataset_id']}").json()["description"] is None
    rows = client.get(f"/api/datasets/{first['dataset_id']}/versions/{second['version_id']}/data").json()["rows"]
    assert rows == [{"id": 7}]
    collision = _upload(client, "x.csv", b"a\n1\n", dataset_id=str(first["dataset_id"]), parent_version_id=str(first["version_id"]))
    assert collision == (500, {"detail": "An unexpected error occurred during upload"})
    text = "Unsupported file type: parquet. Supported types: csv, xlsx, xls, xlsm"
    assert _upload(client, "x.parquet", b"") == (400, {"detail": text})
    assert _upload(client, "x.csv", b"a\n1\n", tags="2024")[1] == {"detail": "Invalid tags format: Tags must be a list"}
    assert client.post("/api/datasets/upload", files={"file": ("x.csv", b"a")}).status_code == 422
    base = f"/api/datasets/{first['dataset_id']}"
    committed = client.post(f"{base}/branches/main/commit", files={"file": ("y.csv", b"a\n1\n")}, data={"message": "third"})
    assert committed.status_code == 200
    attached = client.post(
        f"{base}/versions/{first['version_id']}/files", files={"file": ("z.csv", b"a\n1\n")}, data={"component_type": "notes"}
    ).json()
    assert attached["message"] == f"File attached successfully to version {first['version_id']}"
    assert client.get(f"{base}/versions/{first['version_id']}/files/notes").json()["file_id"] == attached["file_id"]


def test_it_answers_on_a_port(built: Built) -> None:
    soeid = _one(built, "SELECT soeid FROM users WHERE id = 1")
    with running(built.url, built.folder) as address:
        form = f"username={soeid}&password={PASSWORD.replace(' ', '+')}".encode()
        with urllib.request.urlopen(f"{address}/api/users/token", form) as answer:
            headers = {"Authorization": f"Bearer {json.load(answer)['access_token']}"}
        with urllib.request.urlopen(urllib.request.Request(f"{address}/api/datasets", headers=headers)) as answer:
            assert json.load(answer)
        missing = _one(
            built, f"SELECT dataset_id || '/versions/' || id FROM dataset_versions WHERE file_id = {built.keys('D13.missing')[0][0]}"
        )
        broken = urllib.request.Request(f"{address}/api/datasets/{missing}/download", headers=headers)
        with urllib.request.urlopen(broken) as answer, pytest.raises(http.client.IncompleteRead):
            answer.read()
        with pytest.raises(urllib.error.HTTPError) as unknown, urllib.request.urlopen(f"{address}/nowhere"):
            pass
        with unknown.value:
            assert json.load(unknown.value) == {"detail": "Not Found"}
