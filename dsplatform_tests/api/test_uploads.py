import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dsplatform.api import uploads
from dsplatform.api.app import create_app
from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings
from dsplatform.core.types import PermissionType, file_path
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser

BLOCK = 1024 * 1024
CSV = b"id,price\n1,2.50\n2,3.50\n"


@pytest.fixture
def ada(as_user: AsUser) -> TestClient:
    client = as_user("ada")
    assert client.post("/api/v1/datasets", json={"name": "sales"}).status_code == 201
    return client


@pytest.fixture
def sales(ada: TestClient, platform: Platform) -> DatasetRef:
    return platform.datasets.open(platform.actor(), "sales")


def address(name: str, dataset: str = "sales", **query: object) -> str:
    asked = "&".join(f"{key}={quote(str(value))}" for key, value in query.items())
    return f"/api/v1/datasets/{dataset}/files/{quote(name)}?{asked}"


def put(client: TestClient, name: str, data: bytes, headers: dict[str, str] | None = None, **query: Any) -> Any:
    return client.put(address(name, **query), content=data, headers=headers or {})


def digest(data: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


def tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'


# --- one file --------------------------------------------------------------------------------------------------------------------


def test_a_file_becomes_a_version_and_its_schema_is_in_the_answer(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    answer = put(ada, "2026/january.csv", CSV, message="first")
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert answer.headers["location"] == f"/api/v1/datasets/{sales.id}/versions/1"
    assert (body["dataset"], body["slug"], body["branch"], body["version"], body["created"]) == (sales.id, "sales", "main", 1, True)
    assert (body["added"], body["updated"], body["removed"], body["quarantined_from"], body["breaches"]) == (1, 0, 0, None, [])
    assert body["components"] == [
        {
            "name": "2026/january.csv",
            "content_hash": hashlib.sha256(CSV).hexdigest(),
            "file_size": len(CSV),
            "file_type": "csv",
            "duplicate": False,
        }
    ]
    (table,) = body["schema"]["tables"]
    assert (table["component"], table["table"], table["rows"]) == ("2026/january.csv", None, 2)
    assert [column["name"] for column in table["columns"]] == ["id", "price"]
    assert (body["schema"]["unread"], body["job"]) == ([], None)
    assert make.held(platform, sales) == {"2026/january.csv": CSV}
    assert platform.versions.get_version(platform.actor(), sales)[0].message == "first"
    make.assert_sound(platform)


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a", "ä/ß.csv", 'q"uo te', "100%", "a+b&c=d?e#f", "日本/语.csv", "-x", "~", "a;b"]),
    data=st.one_of(st.binary(max_size=2000), st.integers(0, 3 * BLOCK).map(lambda size: bytes(range(256)) * (size // 256))),
    cut=st.lists(st.integers(1, BLOCK), max_size=5),
)
def test_any_bytes_in_any_pieces_come_back_under_any_name(
    name: str, data: bytes, cut: list[int], ada: TestClient, platform: Platform, sales: DatasetRef
) -> None:
    def pieces() -> Any:
        rest = data
        for size in cut:
            yield rest[:size]
            rest = rest[size:]
        yield rest

    answer = ada.put(address(name), content=pieces(), headers={"Content-Digest": digest(data)})
    assert answer.status_code in {200, 201}, answer.text
    assert make.held(platform, sales)[file_path(name)] == data
    back = ada.get(address(name))
    assert (back.status_code, back.content) == (200, data)


def test_what_changes_nothing_makes_no_version(ada: TestClient) -> None:
    assert put(ada, "a.csv", CSV).status_code == 201
    again = put(ada, "a.csv", CSV)
    assert (again.status_code, again.json()["created"], again.json()["version"]) == (200, False, 1)
    assert again.json()["components"][0]["duplicate"] is True


def test_branch_mode_and_expected_head_are_parameters(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    put(ada, "a", b"1")
    assert put(ada, "b", b"2", branch="draft/x").json()["branch"] == "draft/x"
    assert make.held(platform, sales) == {"a": b"1"}
    assert make.held(platform, sales, "draft/x") == {"a": b"1", "b": b"2"}
    assert put(ada, "c", b"3", mode="replace").json()["removed"] == 1
    assert make.held(platform, sales) == {"c": b"3"}
    moved = put(ada, "d", b"4", expected_head=1)
    assert (moved.status_code, moved.json()["code"]) == (409, "head_moved")
    assert put(ada, "d", b"4", expected_head=3).status_code == 201
    assert put(ada, "d", b"4", expected_head=99).status_code == 404
    assert put(ada, "d", b"4", mode="all").status_code == 422
    assert put(ada, "d", b"4", branche="x").status_code == 422


def test_a_dataset_is_made_where_it_is_missing_and_asked_for(ada: TestClient, as_user: AsUser, platform: Platform) -> None:
    assert put(ada, "a", b"1", dataset="new").status_code == 404
    assert put(ada, "a", b"1", dataset="new", create="true").status_code == 201
    assert put(ada, "b", b"2", dataset="new", create="true").json()["version"] == 2
    assert put(ada, "a", b"1", dataset="999999", create="true").status_code == 404
    watching = put(as_user("eve", "viewer"), "a", b"1", dataset="other", create="true")
    assert (watching.status_code, watching.json()["missing"]) == (403, "create")


# --- who may ---------------------------------------------------------------------------------------------------------------------


def grant(platform: Platform, name: str, right: PermissionType, dataset: DatasetRef) -> None:
    with platform.db.transaction() as tx:
        user = platform.permissions.actor(tx, name)
    platform.permissions.grant_permission(platform.actor(), user, right, dataset.id)


def test_who_may_not_write_stores_nothing(ada: TestClient, as_user: AsUser, platform: Platform, sales: DatasetRef) -> None:
    eve = as_user("eve")
    stranger, nothing = put(eve, "a", b"x" * BLOCK), put(eve, "a", b"x" * BLOCK, dataset="sal")
    assert (stranger.status_code, nothing.status_code) == (404, 404)
    grant(platform, "eve", PermissionType.READ, sales)
    refused = put(eve, "a", b"x" * BLOCK)
    assert (refused.status_code, refused.json()["missing"]) == (403, "write")
    assert make.column(platform.db, "SELECT count(*) FROM upload_intents") == [0]
    assert ada.put(address("a"), headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert_nothing(platform, sales)


def test_duplicate_tells_only_of_what_the_caller_may_read(ada: TestClient, as_user: AsUser, platform: Platform, sales: DatasetRef) -> None:
    """T56: a stranger's content is as new to who uploads it, in the answer and in the work."""
    secret, large = b"the secret of ada", b"large secret" * 100_000
    put(ada, "secret", secret)
    put(ada, "large", large)
    eve = as_user("eve")
    assert eve.post("/api/v1/datasets", json={"name": "guesses"}).status_code == 201
    for name, content in (("secret", secret), ("large", large)):
        before = make.objects(platform)
        guessed = put(eve, name, content, dataset="guesses").json()
        assert guessed["components"][0]["duplicate"] is False
        assert (
            len([key for key in make.objects(platform) - before if hashlib.sha256(content).hexdigest() in key]) == 1
        )  # written all the same
        own = put(eve, f"{name} again", content, dataset="guesses").json()
        assert own["components"][0]["duplicate"] is True
    assert make.column(platform.db, "SELECT count(*) FROM files WHERE content_hash = :hash", hash=hashlib.sha256(secret).hexdigest()) == [1]
    make.assert_sound(platform)
    other = b"a third secret"
    put(ada, "third", other)
    grant(platform, "eve", PermissionType.READ, sales)
    assert put(eve, "third", other, dataset="guesses").json()["components"][0]["duplicate"] is True


# --- what is refused -------------------------------------------------------------------------------------------------------------


def assert_nothing(platform: Platform, sales: DatasetRef) -> None:
    assert platform.versions.list_versions(platform.actor(), sales) == []
    make.drained(platform)
    assert make.objects(platform) == set()
    make.assert_sound(platform)


@pytest.mark.parametrize("size", [10, 3 * BLOCK])
def test_other_bytes_than_announced_leave_nothing(size: int, ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    for header in ("Content-Digest", "Repr-Digest"):
        answer = put(ada, "a", b"x" * size, {header: digest(b"y" * size)})
        assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert put(ada, "a", b"x", {"Content-Digest": digest(b"x"), "Repr-Digest": digest(b"y")}).status_code == 400
    assert put(ada, "a", b"x", {"Content-Digest": "md5=:AAAA:"}).status_code == 400
    assert_nothing(platform, sales)


@pytest.fixture
def small(settings: Settings, database_url: str) -> FastAPI:
    """An application that takes two blocks at most."""
    return create_app(replace(settings, database_url=database_url, max_upload_bytes=2 * BLOCK))


@pytest.mark.parametrize("announced", [True, False])
def test_what_is_too_large_is_refused_and_leaves_nothing(announced: bool, small: FastAPI) -> None:
    with TestClient(small) as client:
        platform: Platform = small.state.platform
        client.headers["Authorization"] = f"Bearer {platform.accounts.create_token(platform.actor(), 'tests').secret}"
        sales = make.dataset(platform)
        body = b"x" * (2 * BLOCK + 1)
        for at, more in (("files/a", {}), ("versions", {"Content-Type": "multipart/form-data; boundary=b"})):
            sent: Any = body if announced else iter([body[:BLOCK], body[BLOCK:]])
            method = "PUT" if at == "files/a" else "POST"
            if not announced and method == "POST":
                sent = iter([b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n', body])
            answer = client.request(method, f"/api/v1/datasets/sales/{at}", content=sent, headers=more)
            assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large"), answer.text
            assert "DSPLATFORM_MAX_UPLOAD_BYTES" in answer.json()["detail"]
        assert_nothing(platform, sales)
        assert client.put(address("a"), content=b"x" * (2 * BLOCK)).status_code == 201


def test_an_encoded_body_and_a_part_of_one_are_refused(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    for encoding in ("gzip", "br", "identity, gzip", ""):
        assert put(ada, "a", b"x", {"Content-Encoding": encoding}).status_code == 415, encoding
    assert put(ada, "a", b"x", {"Content-Range": "bytes 0-0/2"}).status_code == 400
    assert_nothing(platform, sales)
    assert put(ada, "a", b"x", {"Content-Encoding": "identity"}).status_code == 201


@pytest.mark.parametrize(
    "path",
    ["..%2Fa", "%2Fetc", "a%2F..%2Fb", "a%5Cb", "a%0Ab", "a%E2%80%AEb", "%ff", "a%ED%A0%80", "x" * 256, "a%2F", "%2E%2E", "a%01"],
)
def test_names_that_no_file_can_have_are_refused(path: str, ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    answer = ada.put(f"/api/v1/datasets/sales/files/{path}", content=b"x")
    assert answer.status_code == (404 if "%0A" in path else 422), answer.text  # no address has a line break
    assert_nothing(platform, sales)


def test_a_name_in_another_normal_form_is_the_same_name(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    put(ada, "e\u0301", b"1")
    assert put(ada, "\u00e9", b"2").json()["updated"] == 1
    assert ada.get(address("e\u0301")).content == b"2"


# --- preconditions ---------------------------------------------------------------------------------------------------------------


def test_a_write_may_ask_for_what_is_there(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    create, first, second = {"If-None-Match": "*"}, {"If-Match": tag(b"1")}, {"If-Match": tag(b"2")}
    refused = put(ada, "a", b"1", first)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert put(ada, "a", b"1", create).status_code == 201
    assert put(ada, "a", b"9", create).status_code == 412
    assert put(ada, "a", b"1", create).status_code == 412  # also where the content would be the same
    assert put(ada, "a", b"9", second).status_code == 412
    assert put(ada, "b", b"other").status_code == 201  # what else changes does not matter
    assert put(ada, "a", b"2", first).status_code == 201
    assert put(ada, "a", b"2", second).status_code == 200
    assert put(ada, "a", b"2", first).status_code == 412
    assert put(ada, "a", b"3", {"If-Match": "*"}).status_code == 400
    assert make.held(platform, sales) == {"a": b"2", "b": b"other"}


def test_of_many_who_create_one_name_one_succeeds(as_user: AsUser, ada: TestClient) -> None:
    works = [lambda number=number: put(ada, "a", b"%d" % number, {"If-None-Match": "*"}).status_code for number in range(6)]
    assert sorted(make.at_once(*works)) == [201, 412, 412, 412, 412, 412]


# --- repetition ------------------------------------------------------------------------------------------------------------------


def test_the_same_key_makes_one_version(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    key = {"Idempotency-Key": "monday"}
    first = put(ada, "a", b"1", key)
    put(ada, "a", b"2")
    again = put(ada, "a", b"1", key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["version"], again.json()["created"]) == (1, False)
    assert make.held(platform, sales) == {"a": b"2"}
    assert put(ada, "a", b"1", {"Idempotency-Key": "k" * 256}).status_code == 422


def test_the_same_key_at_once_makes_one_version(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    send = lambda: put(ada, "a", b"1" * (2 * BLOCK), {"Idempotency-Key": "k"})  # noqa: E731 - made many times
    answers = make.at_once(*[send] * 4)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert {answer.json()["version"] for answer in answers} == {1}
    make.assert_sound(platform)


# --- contracts -------------------------------------------------------------------------------------------------------------------


def test_what_breaks_a_contract_waits_in_quarantine(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    put(ada, "a.csv", CSV)
    rules = {"tables": [{"component": "a.csv", "columns": {"price": {}}}]}
    set_ = ada.put("/api/v1/datasets/sales/contract", json={"policy": "enforce", "contract": rules})
    assert set_.status_code == 200, set_.text
    answer = put(ada, "a.csv", b"id\nx\n")
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["quarantined_from"], body["branch"].startswith("quarantine/")) == ("main", True)
    assert body["breaches"]


# --- schemas ---------------------------------------------------------------------------------------------------------------------


def test_large_files_are_read_later(ada: TestClient, monkeypatch: pytest.MonkeyPatch, sales: DatasetRef) -> None:
    monkeypatch.setattr(uploads, "SCHEMA_BYTES", len(CSV) - 1)
    body = put(ada, "a.csv", CSV).json()
    assert (body["schema"], body["job"]) == (None, f"/api/v1/datasets/{sales.id}/versions/1/job")


def test_what_cannot_be_read_says_why(ada: TestClient) -> None:
    put(ada, "a.csv", CSV)
    body = put(ada, "a.pdf", b"%PDF-1.7 ...").json()
    assert body["schema"]["tables"] == []
    assert body["schema"]["unread"][0]["component"] == "a.pdf"
    assert "pdf" in body["schema"]["unread"][0]["reason"]
