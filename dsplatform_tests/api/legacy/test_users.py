"""Logging in, and users, as section 3 of the old system's description has them."""

import time

import jwt
import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform_tests.api.legacy.conftest import SECRET, LogIn, actor, signed

PASSWORD = "seven green whales sing"
NOT_VALID = {"detail": "Could not validate credentials"}


def _asked(client: TestClient, token: str) -> tuple[int, object]:
    answer = client.get("/api/datasets", headers={"Authorization": f"Bearer {token}"})
    assert "www-authenticate" not in answer.headers
    return answer.status_code, answer.json()


@pytest.fixture
def ada(platform: Platform) -> None:
    """Ada, with a password."""
    platform.people.create_user(platform.system(), "ada", role="editor", password=PASSWORD)


def _login(client: TestClient, name: str = "ada", password: str = PASSWORD) -> dict[str, str]:
    given = client.post("/api/users/token", data={"username": name, "password": password})
    assert given.status_code == 200, given.text
    return given.json()  # type: ignore[no-any-return]


def test_login_gives_two_tokens_with_the_old_claims(client: TestClient, ada: None) -> None:
    """3 POST /api/users/token: keys, their order, and what the tokens say."""
    given = _login(client)
    assert list(given) == ["access_token", "refresh_token", "token_type"]
    assert given["token_type"] == "bearer"
    access, refresh = (jwt.decode(given[name], SECRET, algorithms=["HS256"]) for name in ("access_token", "refresh_token"))
    assert (access["sub"], access["role_name"], type(access["role_id"])) == ("ada", "editor", int)
    assert 1700 < access["exp"] - time.time() <= 1800
    assert (refresh["sub"], refresh["token_type"]) == ("ada", "refresh")
    assert 6.9 * 86_400 < refresh["exp"] - time.time() <= 7 * 86_400
    assert "role_id" not in refresh


def test_whatever_is_wrong_is_answered_the_same(client: TestClient, ada: None) -> None:
    """3 POST /api/users/token: 401 in the old words; also to a form as browsers send it, and to what no name can be."""
    for name, password in (("ada", "wrong, but long enough"), ("nobody", PASSWORD), ("ada\x00", PASSWORD)):
        for form in (
            {"data": {"username": name, "password": password}},
            {"files": {"username": (None, name), "password": (None, password)}},
        ):
            answer = client.post("/api/users/token", **form)
            assert (answer.status_code, answer.json()) == (401, {"detail": "Incorrect username or password"})
            assert "www-authenticate" not in answer.headers
    fields = {"username": (None, "ada"), "password": (None, PASSWORD), "grant_type": (None, "password"), "scope": (None, "")}
    assert client.post("/api/users/token", files=fields).status_code == 200


def test_a_login_without_password_has_the_wrong_form(client: TestClient) -> None:
    """3 POST /api/users/token: 422 in the framework's form."""
    answer = client.post("/api/users/token", data={"username": "ada"})
    assert answer.status_code == 422
    assert answer.json() == {"detail": [{"type": "missing", "loc": ["body", "password"], "msg": "Field required", "input": None}]}
    many = client.post("/api/users/token", content="&".join(["a=1"] * 60), headers={"content-type": "application/x-www-form-urlencoded"})
    assert (many.status_code, many.json()) == (400, {"detail": "There was an error parsing the body"})


def test_a_refresh_token_gives_access_tokens_and_stays(client: TestClient, ada: None) -> None:
    """3 POST /api/users/token/refresh: the token is echoed, and good again."""
    given = _login(client)
    for _ in range(2):
        answer = client.post("/api/users/token/refresh", params={"refresh_token": given["refresh_token"]})
        assert answer.status_code == 200
        assert list(answer.json()) == ["access_token", "refresh_token", "token_type"]
        assert answer.json()["refresh_token"] == given["refresh_token"]
        assert _asked(client, answer.json()["access_token"])[0] == 200


def test_what_is_no_good_refresh_token_is_refused_in_the_old_words(client: TestClient, ada: None) -> None:
    """3 POST /api/users/token/refresh: 401 and 422."""

    def refreshed(token: str) -> tuple[int, object]:
        answer = client.post("/api/users/token/refresh", params={"refresh_token": token})
        return answer.status_code, answer.json()

    assert refreshed(_login(client)["access_token"]) == (401, NOT_VALID)
    assert refreshed("x.y.z") == (401, NOT_VALID)
    assert refreshed(signed(sub="ada", token_type="refresh", secret="another secret of 32 bytes or more!!")) == (401, NOT_VALID)
    assert refreshed(signed(sub="ada", token_type="refresh", exp=int(time.time()) - 5)) == (401, {"detail": "Token has expired"})
    gone = {"detail": "Invalid refresh token - user not found"}
    assert refreshed(signed(sub="nobody", token_type="refresh")) == (401, gone)
    missing = client.post("/api/users/token/refresh")
    assert (missing.status_code, missing.json()["detail"][0]["loc"]) == (422, ["query", "refresh_token"])


def test_tokens_of_the_old_server_are_good_where_its_secret_is_known(client: TestClient, log_in: LogIn) -> None:
    log_in("ada")
    assert _asked(client, signed(sub="ada", role_id=2, role_name="analyst"))[0] == 200
    assert _asked(client, signed(sub="ADA", role_id=2))[0] == 200
    refresh = client.post("/api/users/token/refresh", params={"refresh_token": signed(sub="ada", token_type="refresh")})
    assert refresh.status_code == 200
    assert _asked(client, refresh.json()["access_token"])[0] == 200


def test_what_is_no_good_access_token_is_refused_in_the_old_words(client: TestClient, ada: None) -> None:
    assert _asked(client, _login(client)["refresh_token"]) == (401, NOT_VALID)
    assert _asked(client, signed(sub="ada")) == (401, {"detail": "Token missing role information"})
    assert _asked(client, signed(sub="ada", role_id=1, exp=int(time.time()) - 5)) == (401, {"detail": "Token has expired"})
    assert _asked(client, signed(sub="nobody", role_id=1)) == (401, NOT_VALID)
    assert _asked(client, signed(role_id=1)) == (401, NOT_VALID)
    assert _asked(client, signed(sub="ada", role_id=1, sid="no session")) == (401, NOT_VALID)
    assert _asked(client, signed(sub="ada", role_id=1, sid="00000000-0000-4000-8000-000000000000")) == (401, NOT_VALID)
    unsigned = jwt.encode({"sub": "ada", "role_id": 1, "exp": int(time.time()) + 60}, None, "none")
    assert _asked(client, unsigned) == (401, NOT_VALID)
    stronger = jwt.encode({"sub": "ada", "role_id": 1, "exp": int(time.time()) + 60}, SECRET * 2, "HS512")
    assert _asked(client, stronger) == (401, NOT_VALID)
    eternal = jwt.encode({"sub": "ada", "role_id": 1}, SECRET, "HS256")
    assert _asked(client, eternal) == (401, NOT_VALID)
    without = client.get("/api/datasets")
    assert (without.status_code, without.json()) == (401, {"detail": "Not authenticated"})
    assert client.get("/api/datasets", headers={"Authorization": "Basic YTpi"}).json() == {"detail": "Not authenticated"}


def test_a_token_ends_with_its_session(client: TestClient, platform: Platform, ada: None) -> None:
    given = _login(client)
    platform.people.set_password(platform.system(), "ada", "another password of hers")
    assert _asked(client, given["access_token"]) == (401, NOT_VALID)
    refreshed = client.post("/api/users/token/refresh", params={"refresh_token": given["refresh_token"]})
    assert (refreshed.status_code, refreshed.json()) == (401, NOT_VALID)
    again = _login(client, password="another password of hers")
    platform.people.change_user(platform.system(), "ada", active=False)
    assert _asked(client, again["access_token"]) == (401, NOT_VALID)
    assert _asked(client, signed(sub="ada", role_id=1)) == (401, NOT_VALID)
    assert client.post("/api/users/token", data={"username": "ada", "password": "another password of hers"}).status_code == 401


def test_who_is_not_there_may_change_nothing(client: TestClient, log_in: LogIn) -> None:
    token = {"Authorization": f"Bearer {signed(sub='nobody', role_id=1)}"}
    answer = client.delete("/api/datasets/1", headers=token)
    assert (answer.status_code, answer.json()) == (403, {"detail": "User not found"})


def test_our_own_tokens_are_good_too(client: TestClient, platform: Platform, ada: None) -> None:
    owner = actor(platform, "ada")
    assert _asked(client, platform.accounts.create_token(owner, "mine").secret)[0] == 200
    assert _asked(client, platform.sessions.login("ada", PASSWORD, owner.origin).access_token)[0] == 200
    assert _asked(client, platform.accounts.create_token(owner, "mine").secret[:-1] + "0") == (401, NOT_VALID)


def test_old_tokens_open_no_new_path(client: TestClient, ada: None) -> None:
    token = {"Authorization": f"Bearer {_login(client)['access_token']}"}
    assert client.get("/api/v1/datasets", headers=token).status_code == 401


def test_users_are_listed_for_who_keeps_them(platform: Platform, log_in: LogIn) -> None:
    """3 GET /api/users: keys in their order, by number; 403 without the right `users`."""
    log_in("ada")
    listed = log_in("root", "admin").get("/api/users")
    assert listed.status_code == 200
    assert [list(user) for user in listed.json()] == [["id", "soeid", "role_id", "role_name", "created_at", "updated_at"]] * 3
    assert [user["soeid"] for user in listed.json()] == ["system", "ada", "root"]
    assert listed.json()[1]["role_name"] == "editor"
    refused = log_in("ada").get("/api/users")
    assert (refused.status_code, refused.json()) == (403, {"detail": "Not enough permissions"})


@pytest.mark.parametrize("path", ["/api/users", "/api/users/register"])
def test_users_are_made_by_who_keeps_them(client: TestClient, platform: Platform, log_in: LogIn, path: str) -> None:
    """3 POST /api/users: 201 and a user who can log in; the old words for a taken name and an unknown role.
    3 POST /api/users/register: the same, and nobody makes herself a user.
    """
    root = log_in("root", "admin")
    role = next(user["role_id"] for user in root.get("/api/users").json() if user["soeid"] == "root")
    wanted = {"soeid": "AB12345", "password": PASSWORD, "role_id": role}
    assert client.post(path, json=wanted).json() == {"detail": "Not authenticated"}
    refused = log_in("ada").post(path, json=wanted)
    assert (refused.status_code, refused.json()) == (403, {"detail": "Not enough permissions"})
    made = root.post(path, json=wanted)
    assert made.status_code == 201
    assert list(made.json()) == ["id", "soeid", "role_id", "role_name", "created_at", "updated_at"]
    assert (made.json()["soeid"], made.json()["role_id"]) == ("ab12345", role)
    assert _login(client, "AB12345")["token_type"] == "bearer"
    again = root.post(path, json=wanted)
    assert (again.status_code, again.json()) == (400, {"detail": "User with this SOEID already exists"})
    unknown = root.post(path, json={**wanted, "soeid": "CD12345", "role_id": 999})
    assert (unknown.status_code, unknown.json()) == (400, {"detail": "Invalid role_id '999'"})
    short = root.post(path, json={**wanted, "soeid": "AB1234"})
    assert (short.status_code, short.json()["detail"][0]["loc"]) == (422, ["body", "soeid"])
    weak = root.post(path, json={**wanted, "soeid": "EF12345", "password": "short"})
    assert weak.status_code == 400
    assert "12 to 1,024 characters" in weak.json()["detail"]
