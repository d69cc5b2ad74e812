"""`grant`, `revoke`, `grants`, `can`, `who-can` and the protection of branches as a person types them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.database import Database
from dsplatform.core.errors import Denied, Invalid, NotFound
from dsplatform.permissions.model import GranteeMissing
from dsplatform.permissions.service import PermissionService

Run = Callable[..., Result]


@pytest.fixture
def shop(run: Run, tmp_path: Path, database_url: str) -> None:
    """A dataset of the built-in user; ben and a group analysts with cleo."""
    file = tmp_path / "a.csv"
    file.write_text("id\n1\n")
    run("ingest", file, "-d", "shop", "--no-dagster")
    with Database(database_url) as db:
        for name in ("ben", "cleo"):
            PermissionService(db).create_user(name)
        with db.transaction() as tx:
            tx.execute("INSERT INTO groups (group_name) VALUES ('analysts')")
            tx.execute("INSERT INTO group_members (group_id, user_id) SELECT g.id, u.id FROM groups g, users u WHERE u.username = 'cleo'")


@pytest.mark.usefixtures("shop")
def test_a_right_is_granted_shown_and_taken_back(run: Run) -> None:
    assert run("grant", "shop", "write", "--user", "ben").stdout.startswith("user 'ben' holds 'write' on shop (grant ")
    assert run("grant", "shop", "read", "--group", "analysts").exit_code == 0
    assert "everyone holds 'read' on shop until " in run("grant", "shop", "read", "--everyone", "--for", 2).stdout
    listed = json.loads(run("grants", "shop", "--json").stdout)
    assert [(grant["grantee"]["name"], grant["right"]) for grant in listed] == [
        ("system", "admin"),
        ("ben", "write"),
        ("analysts", "read"),
        ("everyone", "read"),
    ]
    shown = run("grants", "shop").stdout
    assert "group 'analysts'" in shown
    assert "for good" in shown
    assert run("revoke", "shop", "write", "--user", "ben").stdout == "the grant of 'write' on shop to user 'ben' is taken back\n"
    assert json.loads(run("revoke", "shop", "read", "--everyone", "--json").stdout)["grantee"]["kind"] == "everyone"
    with pytest.raises(NotFound, match="user 'ben' has no grant of 'write'"):
        run("revoke", "shop", "write", "--user", "ben")
    with pytest.raises(GranteeMissing, match="group 'nobody' does not exist"):
        run("grant", "shop", "read", "-g", "nobody")


@pytest.mark.usefixtures("shop")
def test_a_right_on_a_file_is_granted_shown_and_taken_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (component,) = json.loads(run("files", "shop", "--json").stdout)
    file = json.loads(run("why", component["content_hash"], "--json").stdout)["file_id"]
    assert run("file", "grants", file).stdout == f"no grant: only roles and datasets give rights on file {file}\n"
    told = run("file", "grant", file, "read", "--user", "ben").stdout
    number = told.rpartition("grant ")[2].rstrip(")\n")
    assert told == f"user 'ben' holds 'read' on file {file} (grant {number})\n"
    assert f"on file {file} until " in run("file", "grant", file, "read", "--everyone", "--for", 2).stdout
    listed = json.loads(run("file", "grants", file, "--json").stdout)
    assert [(grant["grantee"]["name"], grant["right"]) for grant in listed] == [("ben", "read"), ("everyone", "read")]
    assert "user 'ben'" in run("file", "grants", file).stdout
    assert run("file", "revoke", file, number).stdout == f"the grant of 'read' on file {file} to user 'ben' is taken back\n"
    with pytest.raises(NotFound, match=f"there is no grant {number} on this file"):
        run("file", "revoke", file, number)
    monkeypatch.setenv("DSPLATFORM_USER", "cleo")
    with pytest.raises(Denied, match="lacks the right 'admin'"):
        run("file", "grants", file)


@pytest.mark.usefixtures("shop")
def test_can_answers_by_its_exit_code_and_a_sentence(run: Run) -> None:
    no = run("can", "ben", "read", "shop")
    assert (no.exit_code, no.stdout) == (1, "ben lacks 'read' on dataset 'shop': who administers it can grant it\n")
    run("grant", "shop", "write", "--user", "ben")
    yes = run("can", "ben", "read", "shop")
    assert yes.exit_code == 0
    assert yes.stdout.startswith("ben holds 'read' on dataset 'shop': by the grant of her own of 'write' (number ")
    told = json.loads(run("can", "cleo", "admin", "shop", "--json").stdout)
    assert (told["allowed"], told["ways"]) == (False, [])
    assert told["sentence"].startswith("cleo lacks 'admin'")


@pytest.mark.usefixtures("shop")
def test_who_can_names_every_way(run: Run) -> None:
    run("grant", "shop", "read", "--group", "analysts")
    told = json.loads(run("who-can", "read", "shop", "--json").stdout)
    assert [(holder["username"], [way["kind"] for way in holder["ways"]]) for holder in told] == [
        ("cleo", ["group"]),
        ("system", ["role", "user"]),
    ]
    assert "by the grant of group 'analysts' of 'read'" in run("who-can", "read", "shop").stdout
    assert "cleo" not in run("who-can", "write", "shop").stdout


@pytest.mark.usefixtures("shop")
def test_what_a_user_holds_is_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("grant", "shop", "read", "--group", "analysts")
    assert "shop" in run("grants", "--user", "cleo").stdout
    assert [held["slug"] for held in json.loads(run("grants", "--json").stdout)] == ["shop"]
    assert run("grants", "--user", "ben").stdout == "no grant: what a role gives is not listed here\n"
    with pytest.raises(Invalid, match="--user lists what a user holds everywhere"):
        run("grants", "shop", "--user", "ben")
    monkeypatch.setenv("DSPLATFORM_USER", "cleo")
    with pytest.raises(Denied, match="lacks the right 'admin'"):
        run("grants", "shop")
    monkeypatch.setenv("DSPLATFORM_USER", "ben")
    with pytest.raises(NotFound, match="dataset 'shop' does not exist"):
        run("grants", "shop")


@pytest.mark.usefixtures("shop")
def test_an_end_is_a_day_a_time_or_a_number_of_days(run: Run) -> None:
    def end(*options: object) -> datetime:
        made = json.loads(run("grant", "shop", "read", "--user", "ben", *options, "--json").stdout)
        run("revoke", "shop", "read", "--user", "ben")
        return datetime.fromisoformat(made["expires_at"])

    assert end("--until", "2999-01-31") == datetime(2999, 2, 1, tzinfo=UTC)  # with that day
    assert end("--until", "2999-01-31T12:00+01:00") == datetime(2999, 1, 31, 11, tzinfo=UTC)
    assert timedelta(days=1) < end("--for", 2) - datetime.now(UTC) <= timedelta(days=2)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--user", "ben", "--until", "soon"], "--until 'soon' is no date"),
        (["--user", "ben", "--until", "9999-12-31"], "--until '9999-12-31' is no date"),
        (["--user", "ben", "--until", "2020-01-31"], "is no end for a grant"),
        (["--user", "ben", "--until", "2999-01-31T12:00"], "is no end for a grant"),
        (["--user", "ben", "--for", 0], "--for 0 cannot be used"),
        (["--user", "ben", "--for", "nan"], "--for nan cannot be used"),
        (["--user", "ben", "--for", 1, "--until", "2999-01-31"], "give one of them"),
        ([], "say to whom"),
        (["--user", "ben", "--everyone"], "say to whom"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_is_unclear_is_refused(wrong: list[object], sentence: str, run: Run) -> None:
    with pytest.raises(Invalid) as caught:
        run("grant", "shop", "read", *wrong)
    assert sentence in str(caught.value)


@pytest.mark.usefixtures("shop")
def test_a_branch_is_protected_and_freed(run: Run, tmp_path: Path) -> None:
    assert run("branch", "protections", "shop").stdout == "no branch is protected\n"
    assert run("branch", "protect", "shop", "main").stdout == "branch main is protected: merge\n"
    assert json.loads(run("branch", "protect", "shop", "main", "--demand", "admin", "--json").stdout)["demands"] == "admin"
    assert "admin" in run("branch", "protections", "shop").stdout
    run("branch", "protect", "shop", "main", "-d", "merge")
    (tmp_path / "b.csv").write_text("id\n2\n")
    refused = run("ingest", tmp_path / "b.csv", "-d", "shop", "--no-dagster")
    assert refused.exit_code == 7
    assert "commit to another branch, and merge that one into it" in refused.output
    assert run("ingest", tmp_path / "b.csv", "-d", "shop", "--no-dagster", "--branch", "side").exit_code == 0
    assert run("merge", "shop@side").exit_code == 0
    assert run("branch", "unprotect", "shop", "main").stdout == "branch main is protected no longer\n"
    assert json.loads(run("branch", "protections", "shop", "--json").stdout) == []


@pytest.mark.parametrize("name", ["grant", "revoke", "grants", "can", "who-can"])
def test_help_says_what_each_command_does(name: str, run: Run) -> None:
    assert "Usage" in run(name, "--help").stdout
