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


@pytest.fixture
def forked(ada: TestClient, platform: Platform, sales: DatasetRef) -> TestClient:
    """A branch `feature/x` and `main` changed the same component."""
    ada.post(f"{SALES}/branches", json={"name": "feature/x"})
    make.commit(platform, sales, {"prices.csv": b"theirs"}, branch="feature/x")
    make.commit(platform, sales, {"prices.csv": b"ours", "other.csv": b"1"})
    return ada


def heads(client: TestClient, kind: str = "branches") -> dict[str, int]:
    return {item["name"]: item["version_number"] for item in client.get(f"{SALES}/{kind}").json()["items"]}


def test_branches_and_tags_are_made_listed_and_deleted(ada: TestClient) -> None:
    made = ada.post(f"{SALES}/branches", json={"name": "feature/x", "at": "1"})
    assert (made.status_code, made.json()["version_number"], made.json()["created_by"]) == (201, 1, "ada")
    assert ada.post(f"{SALES}/tags", json={"name": "v1/final"}).status_code == 201
    assert heads(ada) == {"feature/x": 1, "main": 2}
    assert heads(ada, "tags") == {"v1/final": 2}
    taken = ada.post(f"{SALES}/tags", json={"name": "feature/x"})
    assert (taken.status_code, taken.json()["code"]) == (409, "pointer_taken")
    assert ada.delete(f"{SALES}/tags/v1/final").json()["version_number"] == 2
    assert ada.delete(f"{SALES}/branches/feature/x").json()["name"] == "feature/x"
    assert (heads(ada), heads(ada, "tags")) == ({"main": 2}, {})
    for path in ("branches/feature/x", "tags/v1/final"):
        assert ada.delete(f"{SALES}/{path}").json()["code"] == "pointer_missing"


def test_branches_come_in_pages(ada: TestClient) -> None:
    for name in ("a", "b", "z"):
        ada.post(f"{SALES}/branches", json={"name": name})
    first = ada.get(f"{SALES}/branches?limit=2&total=true").json()
    assert ([item["name"] for item in first["items"]], first["next"], first["total"]) == (["a", "b"], "b", 4)
    second = ada.get(f"{SALES}/branches?limit=2&after=b").json()
    assert ([item["name"] for item in second["items"]], second["next"]) == (["main", "z"], None)


@pytest.mark.parametrize("by_header", [True, False])
def test_a_branch_moves_only_from_where_it_was_expected(by_header: bool, ada: TestClient) -> None:
    def move(expected: int) -> tuple[int, str | int]:
        headers, more = ({"If-Match": f'"{expected}"'}, {}) if by_header else ({}, {"expected_head": expected})
        answer = ada.patch(f"{SALES}/branches/main", json={"to": "1", **more}, headers=headers)
        return answer.status_code, answer.json().get("code") or answer.json()["version_number"]

    assert move(1) == (409, "head_moved")
    assert heads(ada) == {"main": 2}
    assert move(2) == (200, 1)
    assert heads(ada) == {"main": 1}


def test_a_branch_is_renamed(ada: TestClient) -> None:
    ada.post(f"{SALES}/branches", json={"name": "feature/x"})
    assert ada.patch(f"{SALES}/branches/feature/x", json={"name": "y"}).json()["name"] == "y"
    stays = ada.patch(f"{SALES}/branches/main", json={"name": "y2"})
    assert (stays.status_code, stays.json()["code"]) == (422, "main_stays")


@pytest.mark.parametrize(
    ("body", "header"),
    [({}, None), ({"to": "1"}, None), ({"to": "1", "name": "x"}, None), ({"to": "1"}, "x"), ({"to": "1", "expected_head": 2}, '"1"')],
)
def test_an_unclear_change_of_a_branch_is_refused(body: dict[str, object], header: str | None, ada: TestClient) -> None:
    answer = ada.patch(f"{SALES}/branches/main", json=body, headers={} if header is None else {"If-Match": header})
    assert answer.status_code == 422
    assert heads(ada) == {"main": 2}


def test_a_branch_is_deleted_only_where_it_was_expected(ada: TestClient) -> None:
    ada.post(f"{SALES}/branches", json={"name": "x"})
    assert ada.delete(f"{SALES}/branches/x", headers={"If-Match": '"1"'}).json()["code"] == "head_moved"
    assert ada.delete(f"{SALES}/branches/x", headers={"If-Match": '"2"'}).status_code == 200


def test_a_conflict_lists_the_components_and_a_choice_solves_it(forked: TestClient, platform: Platform, sales: DatasetRef) -> None:
    refused = forked.post(f"{SALES}/merges", json={"theirs": "feature/x"})
    assert (refused.status_code, refused.json()["code"]) == (409, "merge_conflict")
    (contested,) = refused.json()["contested"]
    digests = {str(component.name): component.content_hash for component in platform.versions.get_version(platform.actor(), sales)[1]}
    assert (contested["name"], contested["ours"], contested["base_known"]) == ("prices.csv", digests["prices.csv"], True)

    merged = forked.post(f"{SALES}/merges", json={"theirs": "feature/x", "choices": {"prices.csv": "theirs"}, "message": "m"}).json()
    assert (merged["kind"], merged["version_number"], merged["updated"]) == ("merged", 5, 1)
    assert make.held(platform, sales)["prices.csv"] == b"theirs"
    assert forked.post(f"{SALES}/merges", json={"theirs": "feature/x"}).json()["kind"] == "already merged"


@pytest.mark.parametrize(("strategy", "content"), [("ours", b"ours"), ("theirs", b"theirs"), ("base", b"id,price\n1,2.5\n2,3.5\n")])
def test_a_strategy_solves_it(strategy: str, content: bytes, forked: TestClient, platform: Platform, sales: DatasetRef) -> None:
    assert forked.post(f"{SALES}/merges", json={"theirs": "feature/x", "strategy": strategy}).status_code == 200
    assert make.held(platform, sales)["prices.csv"] == content


def test_a_branch_that_is_behind_is_moved(forked: TestClient) -> None:
    forked.post(f"{SALES}/branches", json={"name": "behind", "at": "1"})
    assert forked.post(f"{SALES}/merges", json={"theirs": "main", "into": "behind"}).json()["kind"] == "fast-forwarded"


def test_who_may_only_read_changes_no_name(as_user: AsUser, ada: TestClient, sales: DatasetRef, grant: Grant) -> None:
    ada.post(f"{SALES}/tags", json={"name": "v1"})
    bob = as_user("bob")
    grant("bob", "read", sales.id)
    for method, path, body in (
        ("POST", "branches", {"name": "x"}),
        ("POST", "tags", {"name": "x"}),
        ("PATCH", "branches/main", {"to": "1", "expected_head": 2}),
        ("PATCH", "branches/main", {"name": "x"}),
        ("DELETE", "branches/main", None),
        ("DELETE", "tags/v1", None),
        ("POST", "merges", {"theirs": "1"}),
    ):
        answer = bob.request(method, f"/api/v1/datasets/{sales.id}/{path}", json=body)
        assert (answer.status_code, answer.json()["missing"]) == (403, "write"), path
    assert (heads(ada), heads(ada, "tags")) == ({"main": 2}, {"v1": 2})
