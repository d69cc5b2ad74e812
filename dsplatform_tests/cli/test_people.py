import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound
from dsplatform.permissions.model import Unauthenticated

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("quick")
PASSWORD = "seven green whales sing"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def me(run: Run) -> str:
    return str(json.loads(run("whoami", "--json").stdout)["user"]["username"])


def test_users_are_made_shown_changed_and_listed(run: Run) -> None:
    assert "ada: editor, active, no password" in run("users", "add", "Ada", "--role", "editor").stdout
    assert json.loads(run("users", "add", "robot", "--service", "--json").stdout)["is_service"]
    assert "ada: viewer" in run("users", "role", "ADA", "viewer").stdout
    assert "not active" in run("users", "deactivate", "ada").stdout
    assert "active" in run("users", "reactivate", "ada").stdout
    assert [user["username"] for user in json.loads(run("users", "list", "--json").stdout)] == ["ada", "robot", "system"]
    shown = run("users", "list").stdout
    assert "service account" in shown
    with pytest.raises(NotFound, match="users list"):
        run("users", "show", "nobody")


def test_groups_are_made_filled_and_taken_away(run: Run) -> None:
    run("users", "add", "ada")
    run("groups", "add", "Analysts", "--description", "who look")
    assert "belongs" in run("groups", "join", "analysts", "ada").stdout
    assert "ada" in run("groups", "members", "analysts").stdout
    assert json.loads(run("groups", "list", "--json").stdout)[0]["members"] == 1
    assert "in analysts" in run("users", "show", "ada").stdout
    run("groups", "leave", "analysts", "ada")
    assert json.loads(run("groups", "members", "analysts", "--json").stdout) == []
    assert "gone" in run("groups", "rm", "analysts").stdout
    assert "analysts" not in run("groups", "list").stdout


def test_roles_are_made_and_taken_away(run: Run) -> None:
    assert "role auditor: audit, users" in run("roles", "set", "auditor", "users", "audit").stdout.replace("users, audit", "audit, users")
    assert "auditor" in run("roles", "list").stdout
    assert json.loads(run("roles", "set", "auditor", "--json").stdout)["rights"] == []
    with pytest.raises(Invalid, match="the rights are create, read_all"):
        run("roles", "set", "auditor", "rule")
    run("roles", "rm", "auditor")
    with pytest.raises(Conflict):
        run("roles", "rm", "admin")


def test_the_first_admin_s_token_is_in_a_private_file(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(home / "admin-token") in run("users", "first-admin").stdout
    assert stat.S_IMODE((home / "admin-token").stat().st_mode) == 0o600
    assert json.loads(run("users", "first-admin", "--json").stdout) == {"made": False}
    monkeypatch.setenv("DSPLATFORM_TOKEN", (home / "admin-token").read_text().strip())
    assert me(run) == "admin"


def test_who_is_logged_in_acts_until_she_logs_out(run: Run, home: Path) -> None:
    run("users", "add", "ada", "--role", "editor", "--password-stdin", answer=f"{PASSWORD}\n")
    assert me(run) == "system"
    assert "logged in as ada until" in run("login", "--user", "Ada", "--password-stdin", answer=f"{PASSWORD}\n").stdout
    assert stat.S_IMODE((home / "credentials").stat().st_mode) == 0o600
    assert me(run) == "ada"
    with pytest.raises(Denied, match="'users'"):
        run("users", "list")
    kept = (home / "credentials").read_text().strip()
    assert "dsplatform login" in run("tokens", "list").stdout
    assert "ada is logged out" in run("logout").stdout
    assert me(run) == "system"
    assert not (home / "credentials").exists()
    (home / "credentials").write_text(kept)
    with pytest.raises(Unauthenticated):
        run("whoami")
    assert "nobody was logged in" in run("logout").stdout
    assert me(run) == "system"


def test_a_login_asks_for_what_was_not_said_and_shows_no_password(run: Run, home: Path) -> None:
    run("users", "add", "ada", "--password", answer=f"{PASSWORD}\n{PASSWORD}\n")
    shown = run("login", answer=f"ada\n{PASSWORD}\n")
    assert "logged in as ada" in shown.stdout
    assert PASSWORD not in shown.output
    run("logout")
    with pytest.raises(Unauthenticated, match="user name or password is wrong"):
        run("login", "--user", "ada", "--password-stdin", answer="wrong\n")
    assert not (home / "credentials").exists()
    run("users", "password", "ada", "--password-stdin", answer="three blue owls listen\n")
    assert (
        json.loads(run("login", "--user", "ada", "--password-stdin", "--json", answer="three blue owls listen\n").stdout)["username"]
        == "ada"
    )


def test_a_token_in_the_environment_wins_over_a_login_and_over_the_user(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ada", "ben", "carl"):
        run("users", "add", name, "--role", "editor", "--password-stdin", answer=f"{PASSWORD}\n")
    run("login", "--user", "ada", "--password-stdin", answer=f"{PASSWORD}\n")
    monkeypatch.setenv("DSPLATFORM_USER", "carl")
    assert me(run) == "ada"
    secret = run("tokens", "create", "script", "--right", "read").stdout.split()[-1]
    run("logout")
    assert me(run) == "carl"
    run("login", "--user", "ben", "--password-stdin", answer=f"{PASSWORD}\n")
    monkeypatch.setenv("DSPLATFORM_TOKEN", secret)
    assert me(run) == "ada"
    shown = json.loads(run("whoami", "--json").stdout)
    assert shown["scope"]["right"] == "read"
    assert "for read, everywhere" in run("whoami").stdout


def test_a_limited_token_limits_every_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    run("ingest", tmp_path / "a.csv", "-d", "shop", "--no-dagster")
    run("ingest", tmp_path / "a.csv", "-d", "other", "--no-dagster")
    made = json.loads(run("tokens", "create", "x", "--right", "read", "--dataset", "shop", "--json").stdout)
    monkeypatch.setenv("DSPLATFORM_TOKEN", made["secret"])
    assert [found["slug"] for found in json.loads(run("datasets", "--json").stdout)] == ["shop"]
    (tmp_path / "a.csv").write_text("id\n2\n")
    for more in ([], ["--no-dagster"]):
        with pytest.raises(Denied):
            run("ingest", tmp_path / "a.csv", "-d", "shop", *more)


def test_tokens_are_made_once_shown_and_revoked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("tokens", "create", "script", "--days", "1")
    secret = result.stdout.split()[-1]
    assert secret.startswith("dsp_")
    token = json.loads(run("tokens", "list", "--json").stdout)[0]
    assert secret not in json.dumps(token)
    assert "script" in run("tokens", "list").stdout
    assert "is revoked" in run("tokens", "revoke", token["id"]).stdout
    monkeypatch.setenv("DSPLATFORM_TOKEN", secret)
    with pytest.raises(Unauthenticated):
        run("whoami")
