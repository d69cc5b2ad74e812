from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform_tests.api.conftest import AsUser
from dsplatform_tests.permissions import forging

V1 = "/api/v1"
pytestmark = pytest.mark.usefixtures("quick")
PASSWORD = "seven green whales sing"


@pytest.fixture
def root(as_user: AsUser) -> TestClient:
    return as_user("root", "admin")


@pytest.fixture
def ann(root: TestClient) -> dict[str, str]:
    made = root.post(f"{V1}/users", json={"username": "Ann", "role": "editor", "password": PASSWORD})
    assert made.status_code == 201, made.text
    return {"username": "ann", "password": PASSWORD}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def login(client: TestClient, who: dict[str, str]) -> dict[str, Any]:
    answer = client.post(f"{V1}/sessions", json=who)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_session_from_login_to_logout(client: TestClient, ann: dict[str, str]) -> None:
    session = login(client, ann)
    assert set(session) == {"access_token", "token_type", "expires_in", "refresh_token"}
    me = client.get(f"{V1}/me", headers=bearer(session["access_token"])).json()
    assert (me["username"], me["role"], me["rights"], me["right"], me["dataset_ids"]) == ("ann", "editor", ["create"], "admin", None)
    renewed = client.post(f"{V1}/sessions/refresh", json={"refresh_token": session["refresh_token"]})
    assert renewed.status_code == 200
    assert renewed.headers["cache-control"] == "no-store"
    token = renewed.json()["access_token"]
    assert client.delete(f"{V1}/sessions/current", headers=bearer(token)).status_code == 204
    for old in (token, session["access_token"]):
        assert code(client.get(f"{V1}/me", headers=bearer(old))) == (401, "unauthenticated")
    assert code(client.post(f"{V1}/sessions/refresh", json={"refresh_token": renewed.json()["refresh_token"]})) == (401, "unauthenticated")


def test_a_refresh_token_that_is_used_twice_ends_the_session(client: TestClient, ann: dict[str, str]) -> None:
    session = login(client, ann)
    body = {"refresh_token": session["refresh_token"]}
    renewed = client.post(f"{V1}/sessions/refresh", json=body).json()
    assert code(client.post(f"{V1}/sessions/refresh", json=body)) == (401, "unauthenticated")
    assert client.get(f"{V1}/me", headers=bearer(renewed["access_token"])).status_code == 401


def test_every_credential_that_is_not_good_is_refused_with_the_same_body(
    client: TestClient, ann: dict[str, str], platform: Platform
) -> None:
    session = login(client, ann)
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    key = platform.sessions._access_tokens._key()
    assert client.get(f"{V1}/me", headers=bearer(forging.good(claims, key))).status_code == 200
    bodies = set()
    for name, forge in forging.FORGERIES.items():
        answer = client.get(f"{V1}/me", headers=bearer(forge(claims, key)))
        assert code(answer) == (401, "unauthenticated"), name
        assert answer.headers["www-authenticate"] == "Bearer"
        if forge(claims, key):
            bodies.add(answer.json()["detail"])
    assert len(bodies) == 1
    for header in (
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": session["access_token"]},
        {"Authorization": f"Token {session['access_token']}"},
    ):
        assert code(client.get(f"{V1}/me", headers=header)) == (401, "unauthenticated")
    assert client.get(f"{V1}/me", headers=bearer(session["refresh_token"])).status_code == 401
    assert client.get(f"{V1}/me", params={"access_token": session["access_token"]}).status_code == 422


def test_too_many_attempts_are_told_with_when_to_come_back(client: TestClient, ann: dict[str, str]) -> None:
    answers = [client.post(f"{V1}/sessions", json={"username": "ann", "password": "wrong"}) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert len({answer.json()["detail"] for answer in answers[:10]}) == 1
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "ann"},
        {"username": "ann", "password": 5},
        {"username": "ann", "password": "x" * 1025},
        {"username": "ann", "password": PASSWORD, "more": 1},
        {"username": ["ann"], "password": "x"},
    ],
)
def test_a_login_of_the_wrong_form_is_refused_and_echoes_nothing(body: dict[str, Any], client: TestClient) -> None:
    answer = client.post(f"{V1}/sessions", json=body)
    assert code(answer) == (422, "invalid_request")
    assert PASSWORD not in answer.text
    assert "xxxx" not in answer.text


def test_a_password_is_changed_by_who_knows_the_old_one(client: TestClient, ann: dict[str, str]) -> None:
    token = login(client, ann)["access_token"]
    wrong = client.put(f"{V1}/me/password", json={"old": "wrong", "new": "three blue owls listen"}, headers=bearer(token))
    assert wrong.status_code == 422
    assert (
        client.put(f"{V1}/me/password", json={"old": PASSWORD, "new": "three blue owls listen"}, headers=bearer(token)).status_code == 204
    )
    assert client.get(f"{V1}/me", headers=bearer(token)).status_code == 401
    login(client, {"username": "ANN", "password": "three blue owls listen"})


def test_a_token_is_made_used_listed_and_revoked(client: TestClient, ann: dict[str, str]) -> None:
    session = bearer(login(client, ann)["access_token"])
    answer = client.post(f"{V1}/tokens", json={"name": "script", "right": "read", "dataset_ids": [7], "days": 1}, headers=session)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    me = client.get(f"{V1}/me", headers=bearer(made["secret"])).json()
    assert (me["right"], me["dataset_ids"]) == ("read", [7])
    assert code(client.delete(f"{V1}/sessions/current", headers=bearer(made["secret"]))) == (409, "conflict")
    assert code(client.post(f"{V1}/tokens", json={"name": "wider"}, headers=bearer(made["secret"]))) == (403, "missing_right")
    listed = client.get(f"{V1}/tokens?total=true", headers=session)
    assert listed.json()["total"] == 1
    assert [item["name"] for item in listed.json()["items"]] == ["script"]
    assert made["secret"] not in listed.text
    assert client.delete(f"{V1}/tokens/{made['id']}", headers=session).status_code == 204
    assert client.get(f"{V1}/me", headers=bearer(made["secret"])).status_code == 401


def test_a_token_of_another_is_as_one_that_is_not_there(client: TestClient, root: TestClient, as_user: AsUser, platform: Platform) -> None:
    ben = as_user("ben")
    hers = root.post(f"{V1}/tokens", json={"name": "x"}).json()
    foreign, absent = ben.delete(f"{V1}/tokens/{hers['id']}"), ben.delete(f"{V1}/tokens/999999")
    assert code(foreign) == code(absent) == (404, "not_found")
    assert foreign.json()["detail"].replace(str(hers["id"]), "N") == absent.json()["detail"].replace("999999", "N")
    assert ben.get(f"{V1}/tokens", params={"of": "root"}).json()["missing"] == "users"


def test_lists_come_in_pages(root: TestClient) -> None:
    for name in ("ann", "ben", "carl"):
        root.post(f"{V1}/users", json={"username": name})
        root.post(f"{V1}/groups", json={"name": name})
        root.put(f"{V1}/roles/{name}", json={"rights": ["audit"]})
        root.post(f"{V1}/tokens", json={"name": name})
    for what, key, count in (("users", "username", 5), ("groups", "name", 3), ("roles", "name", 6), ("tokens", "id", 4)):
        found: list[Any] = []
        after: str | None = "0" if what == "tokens" else ""
        while after is not None:
            page = root.get(f"{V1}/{what}", params={"limit": "2", "total": "true", "after": after}).json()
            assert page["total"] == count
            found += [item[key] for item in page["items"]]
            after = page["next"]
        assert found == sorted(found)
        assert len(found) == count, what


def test_users_groups_and_roles_over_http(root: TestClient, ann: dict[str, str]) -> None:
    assert code(root.post(f"{V1}/users", json={"username": "ANN"})) == (409, "conflict")
    assert root.get(f"{V1}/users/ann").json()["has_password"]
    assert root.put(f"{V1}/roles/Auditor", json={"rights": ["audit"], "description": "looks"}).json()["rights"] == ["audit"]
    assert code(root.put(f"{V1}/roles/auditor", json={"rights": ["rule"]})) == (422, "invalid_request")
    changed = root.patch(f"{V1}/users/ann", json={"role": "auditor", "is_active": False}).json()
    assert (changed["role"], changed["is_active"]) == ("auditor", False)
    assert root.patch(f"{V1}/users/ann", json={"is_active": True}).json()["is_active"]
    assert code(root.delete(f"{V1}/roles/auditor")) == (409, "conflict")
    assert root.post(f"{V1}/groups", json={"name": "analysts"}).status_code == 201
    for _ in range(2):
        assert root.put(f"{V1}/groups/analysts/members/ann").status_code == 204
    assert [user["username"] for user in root.get(f"{V1}/groups/analysts/members").json()["items"]] == ["ann"]
    assert root.get(f"{V1}/groups/analysts").json()["members"] == 1
    assert root.get(f"{V1}/users/ann").json()["groups"] == ["analysts"]
    assert root.delete(f"{V1}/groups/analysts/members/ann").status_code == 204
    assert root.delete(f"{V1}/groups/analysts").status_code == 204
    assert code(root.get(f"{V1}/groups/analysts")) == (404, "not_found")
    assert root.put(f"{V1}/users/ann/password", json={"password": "three blue owls listen"}).status_code == 204
    assert code(root.get(f"{V1}/users/nobody")) == (404, "not_found")
    assert code(root.patch(f"{V1}/users/root", json={"is_active": False})) == (409, "conflict")


def test_who_may_not_keep_people_is_told_the_right_and_nothing_else(as_user: AsUser, root: TestClient, ann: dict[str, str]) -> None:
    ben = as_user("ben")
    asked = [
        ben.get(f"{V1}/users"),
        ben.post(f"{V1}/users", json={"username": "zoe"}),
        ben.patch(f"{V1}/users/ann", json={"role": "viewer"}),
        ben.put(f"{V1}/users/ann/password", json={"password": PASSWORD}),
        ben.get(f"{V1}/groups"),
        ben.post(f"{V1}/groups", json={"name": "x"}),
        ben.put(f"{V1}/groups/x/members/ben"),
        ben.get(f"{V1}/roles"),
        ben.put(f"{V1}/roles/x", json={"rights": []}),
        ben.get(f"{V1}/users/ann"),
        ben.get(f"{V1}/users/nobody"),
    ]
    assert {(answer.status_code, answer.json()["code"], answer.json()["missing"]) for answer in asked} == {(403, "missing_right", "users")}
    assert asked[-1].json()["detail"] == asked[-2].json()["detail"]


def test_no_answer_but_the_one_that_makes_it_holds_a_secret(client: TestClient, root: TestClient, ann: dict[str, str]) -> None:
    session = login(client, ann)
    made = client.post(f"{V1}/tokens", json={"name": "x"}, headers=bearer(session["access_token"])).json()
    texts = [
        client.get(f"{V1}/{path}", headers=bearer(made["secret"])).text
        + str(client.get(f"{V1}/{path}", headers=bearer(made["secret"])).headers)
        for path in ("me", "tokens", "users")
    ] + [root.get(f"{V1}/{path}").text for path in ("users", "users/ann", "tokens?of=ann")]
    for secret in (made["secret"], session["access_token"], session["refresh_token"], PASSWORD, "argon2"):
        assert not any(secret in text for text in texts)
