import hashlib
import io
import tarfile
import zipfile
from base64 import b64encode
from dataclasses import replace
from urllib.parse import quote, unquote
from urllib.request import urlopen

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dsplatform.api.app import create_app
from dsplatform.bootstrap import Platform
from dsplatform.core.attachments import attachment
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.core.types import PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser

DATA = bytes(range(256)) * 5000  # more than a chunk
TAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
DIGEST = f"sha-256=:{b64encode(hashlib.sha256(DATA).digest()).decode()}:"
FILE = "/api/v1/datasets/sales/files/a/b.bin"


@pytest.fixture
def ada(as_user: AsUser) -> TestClient:
    client = as_user("ada")
    assert client.post("/api/v1/datasets", json={"name": "sales"}).status_code == 201
    assert client.put(FILE, content=DATA).status_code == 201
    return client


@pytest.fixture
def sales(ada: TestClient, platform: Platform) -> DatasetRef:
    return platform.datasets.open(platform.actor(), "sales")


def test_the_exact_bytes_come_with_what_describes_them(ada: TestClient, sales: DatasetRef) -> None:
    answer = ada.get(FILE)
    assert (answer.status_code, answer.content) == (200, DATA)
    told = {name: answer.headers[name] for name in ("etag", "content-length", "content-digest", "repr-digest", "accept-ranges")}
    assert told == {
        "etag": TAG,
        "content-length": str(len(DATA)),
        "content-digest": DIGEST,
        "repr-digest": DIGEST,
        "accept-ranges": "bytes",
    }
    assert answer.headers["content-disposition"] == "attachment; filename=\"b.bin\"; filename*=UTF-8''b.bin"
    assert answer.headers["content-location"] == f"/api/v1/datasets/{sales.id}/files/a/b.bin?ref=1"


@pytest.mark.parametrize("path", [FILE, "/api/v1/datasets/sales/archive"])
def test_no_browser_runs_and_no_cache_shares_what_was_stored(path: str, ada: TestClient) -> None:
    ada.put(FILE, content=b"<html><script>alert(1)</script>")
    answer = ada.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "html" not in answer.headers["content-type"]
    assert answer.headers["cache-control"] == "private, no-cache"


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, len(DATA) + 10), last=st.integers(0, len(DATA) + 10))
def test_any_part_is_that_part(first: int, last: int, ada: TestClient) -> None:
    answer = ada.get(FILE, headers={"Range": f"bytes={first}-{last}"})
    if last < first:
        assert (answer.status_code, answer.content) == (200, DATA)
    elif first >= len(DATA):
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    else:
        wanted = DATA[first : last + 1]
        assert (answer.status_code, answer.content) == (206, wanted)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(wanted) - 1}/{len(DATA)}"
        assert answer.headers["content-length"] == str(len(wanted))
        assert answer.headers["repr-digest"] == DIGEST
        assert "content-digest" not in answer.headers  # of these bytes it would be another


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": TAG}, 304),
        ({"If-None-Match": f"W/{TAG}"}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Match": TAG}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": f"W/{TAG}"}, 412),
        ({"If-Match": '"other"', "If-None-Match": TAG}, 412),
        ({"If-Match": TAG, "If-None-Match": TAG}, 304),
        ({"Range": "bytes=0-1", "If-None-Match": TAG}, 304),
        ({"Range": "bytes=0-1", "If-Range": TAG}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=0-1,4-5"}, 200),
        ({"Range": "bytes=9999999-"}, 416),
    ],
)
def test_conditions(headers: dict[str, str], status: int, ada: TestClient) -> None:
    answer = ada.get(FILE, headers=headers)
    assert answer.status_code == status
    if status == 304:
        assert (answer.headers["etag"], answer.content) == (TAG, b"")


def test_a_part_is_of_get_alone(ada: TestClient) -> None:
    answer = ada.head(FILE, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize("name", ['q"u.csv', "ä.csv", "日本.csv", "a'b(c)*.csv", "100%.csv", "a;b=c.csv", "-rf", "x" * 250])
def test_a_name_is_saved_as_it_is(name: str, ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {f"dir/{name}": b"1"})
    header = ada.get(f"/api/v1/datasets/sales/files/dir/{quote(name)}").headers["content-disposition"]
    assert header.isascii()
    assert "\n" not in header
    assert unquote(header.partition("filename*=UTF-8''")[2]) == name


def test_every_ref_names_its_version(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    ada.put(FILE, content=b"2")
    make.point(platform, sales, "v1.0", platform.versions.id_of(platform.actor(), sales, "1"))
    with make.tampering(platform.db) as tx:
        tx.execute("UPDATE dataset_versions SET created_at = '2026-01-15T12:00Z' WHERE version_number = 1")
        tx.execute("UPDATE dataset_versions SET created_at = '2026-02-15T12:00Z' WHERE version_number = 2")
    expected = {"1": DATA, "v1.0": DATA, "2": b"2", "main": b"2", "latest": b"2", "2026-02-14": DATA, "2026-02-15T12:00Z": b"2"}
    assert {ref: ada.get(FILE, params={"ref": ref}).content for ref in expected} == expected
    for missing in ("3", "nothing", "2026-01-14"):
        answer = ada.get(FILE, params={"ref": missing})
        assert (answer.status_code, answer.json()["code"]) == (404, "version_missing")
    answer = ada.get("/api/v1/datasets/sales/files/other")
    assert (answer.status_code, answer.json()["code"]) == (404, "component_missing")


def test_a_deleted_version_is_gone(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    ada.put(FILE, content=b"2")
    platform.deletion.delete_version(platform.actor(), f"{sales.slug}@1")
    for path in (FILE, "/api/v1/datasets/sales/archive"):
        assert ada.get(path, params={"ref": "1"}).status_code == 410


# --- who may ---------------------------------------------------------------------------------------------------------------------


def test_strangers_see_nothing_and_readers_read(ada: TestClient, as_user: AsUser, platform: Platform, sales: DatasetRef) -> None:
    eve = as_user("eve")
    (component,) = platform.versions.get_version(platform.actor(), sales)[1]
    paths = [FILE, "/api/v1/datasets/sales/archive", f"/api/v1/files/{component.file_id}"]
    assert [eve.get(path).status_code for path in paths] == [404, 404, 404]
    absent = eve.get("/api/v1/files/999999").json()
    unseen = eve.get(paths[2]).json()
    for body in (absent, unseen):
        body.pop("request_id", None)
        body["detail"] = body["detail"].replace("999999", "N").replace(str(component.file_id), "N")
    assert absent == unseen
    assert [ada.get(path, headers={"Authorization": ""}).status_code for path in paths] == [401, 401, 401]
    with platform.db.transaction() as tx:
        reader = platform.permissions.actor(tx, "eve")
    platform.permissions.grant_permission(platform.actor(), reader, PermissionType.READ, sales.id)
    assert [eve.get(path).status_code for path in paths] == [200, 200, 200]
    told = eve.get(paths[2]).json()
    assert told == {
        "id": component.file_id,
        "content_hash": TAG[1:-1],
        "file_size": len(DATA),
        "file_type": "binary",
        "state": "ok",
    }


# --- archives --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(ada: TestClient, platform: Platform, sales: DatasetRef) -> dict[str, bytes]:
    make.commit(platform, sales, {"ä/1.csv": b"a\n1\n", "empty": b""})
    return {"a/b.bin": DATA, "ä/1.csv": b"a\n1\n", "empty": b""}


def test_a_version_comes_as_zip(ada: TestClient, several: dict[str, bytes]) -> None:
    answer = ada.get("/api/v1/datasets/sales/archive")
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="sales-v2.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == several


def test_a_version_comes_as_tar(ada: TestClient, several: dict[str, bytes]) -> None:
    answer = ada.get("/api/v1/datasets/sales/archive", params={"format": "tar"})
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:") as archive:
        assert {info.name: archive.extractfile(info).read() for info in archive} == several  # type: ignore[union-attr]  # files


def test_the_same_version_is_the_same_archive(ada: TestClient, several: dict[str, bytes]) -> None:
    first, again = (ada.get("/api/v1/datasets/sales/archive", params={"ref": ref}) for ref in ("main", "2"))
    assert first.content == again.content
    tag = first.headers["etag"]
    assert ada.get("/api/v1/datasets/sales/archive", headers={"If-None-Match": tag}).status_code == 304
    for other in ({"format": "tar"}, {"ref": "1"}):
        assert ada.get("/api/v1/datasets/sales/archive", params=other, headers={"If-None-Match": tag}).status_code == 200
    assert ada.get("/api/v1/datasets/sales/archive", params={"format": "rar"}).status_code == 422


def test_without_a_bucket_a_redirect_is_the_bytes_themselves(ada: TestClient) -> None:
    assert ada.get(FILE, params={"redirect": "true"}).content == DATA


# --- a bucket --------------------------------------------------------------------------------------------------------------------


def test_in_a_bucket_the_bytes_can_be_fetched_from_there(settings: Settings, database_url: str, s3_address: S3Address) -> None:
    with TestClient(create_app(replace(settings, database_url=database_url, storage_url=str(s3_address)))) as client:
        platform: Platform = client.app.state.platform  # type: ignore[attr-defined]  # the application
        client.headers["Authorization"] = f"Bearer {platform.accounts.create_token(platform.actor(), 'tests').secret}"
        name = "/api/v1/datasets/sales/files/ä/b.html"
        assert client.put(name, content=b"<html>", params={"create": "true"}).status_code == 201
        assert client.get(name).content == b"<html>"
        assert client.get(name, headers={"Range": "bytes=1-4"}).content == b"html"
        away = client.get(name, params={"redirect": "true"}, follow_redirects=False)
        assert (away.status_code, away.headers["cache-control"], away.headers["referrer-policy"]) == (307, "no-store", "no-referrer")
        assert "X-Amz-Expires=300" in away.headers["location"]
        with urlopen(away.headers["location"]) as fetched:
            assert fetched.read() == b"<html>"
            assert fetched.headers["Content-Disposition"] == attachment("b.html")
            assert "html" not in fetched.headers["Content-Type"]
        assert client.head(name, params={"redirect": "true"}).status_code == 200
        assert client.get(name, params={"redirect": "true"}, headers={"Authorization": ""}, follow_redirects=False).status_code == 401
