"""`audit` as a person types it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from typer.testing import Result

from dsplatform.core import migrations
from dsplatform.core.database import Database
from dsplatform.core.domain import AuditEntry
from dsplatform.core.errors import Denied, Invalid
from dsplatform.core.roles import ROLE
from dsplatform.permissions.service import keep
from dsplatform_tests import make

Run = Callable[..., Result]


@pytest.fixture
def log(run: Run, database_url: str) -> Run:
    """`run`, where two things were done."""
    with Database(database_url, audit=keep) as db, db.transaction() as tx:
        tx.note(AuditEntry("branch.create", "dataset", "17", None, after={"name": "[red]é"}))
        tx.note(AuditEntry("token.revoke", "token", "3", None, before={"name": "old"}, result="refused"))
    return run


def test_the_log_is_shown_the_newest_first(log: Run) -> None:
    lines = log("audit", "log").stdout.splitlines()
    assert "token.revoke" in lines[1]
    assert "[red]é" in lines[2]
    assert [entry["action"] for entry in json.loads(log("audit", "log", "--object", "dataset:17", "--json").stdout)] == ["branch.create"]
    assert [entry["action"] for entry in json.loads(log("audit", "log", "--action", "token", "--json").stdout)] == ["token.revoke"]
    assert json.loads(log("audit", "log", "--since", "2999-01-01", "--json").stdout) == []
    assert len(json.loads(log("audit", "log", "--until", "2999-01-01T00:00:00+0200", "-n", "1", "--json").stdout)) == 1


def test_a_sound_log_is_verified_with_the_head_that_sealing_prints(log: Run) -> None:
    sealed = json.loads(log("audit", "seal", "--json").stdout)
    head = f"{sealed['head']['position']}:{sealed['head']['chain_hash']}"
    assert sealed["rows"] == 2
    assert f"0 row(s) sealed; the head is {head}" in log("audit", "seal", "--whole").stdout
    done = log("audit", "verify", "--head", head)
    assert (done.exit_code, done.stdout) == (0, f"2 sealed row(s) checked: 0 finding(s); the head is {head}\n")
    with pytest.raises(Invalid, match="POSITION:HASH"):
        log("audit", "verify", "--head", "2")


def test_each_finding_is_a_sentence_and_the_exit_code_says_so(log: Run, database_url: str) -> None:
    log("audit", "seal")
    with Database(database_url) as db, make.tampering(db) as tx:
        tx.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_only_grows")
        tx.execute("UPDATE audit_log SET actor = 'eve' WHERE action = 'branch.create'")
    done = log("audit", "verify")
    assert done.exit_code == 1
    assert "is not what was sealed at position 1\n" in done.stdout
    assert "1 finding(s)" in done.stdout
    as_json = log("audit", "verify", "--json")
    assert as_json.exit_code == 1
    said = json.loads(as_json.stdout)
    assert (said["sound"], said["found"], said["findings"][0]["kind"]) == (False, 1, "changed")


def test_an_export_goes_to_a_file_or_to_the_output(log: Run, tmp_path: Path) -> None:
    assert "2 row(s) in" in log("audit", "export", "-o", tmp_path / "log.jsonl").stdout
    written = (tmp_path / "log.jsonl").read_text()
    assert [json.loads(line)["row"]["action"] for line in written.splitlines()] == ["branch.create", "token.revoke"]
    assert log("audit", "export").stdout == written
    assert log("audit", "export", "--after", "1").stdout == written.splitlines(keepends=True)[1]


def test_who_lacks_the_right_is_denied(log: Run, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    with Database(database_url) as db, db.transaction() as tx:
        tx.execute("INSERT INTO users (username, role_id) SELECT 'eve', id FROM roles WHERE role_name = 'editor'")
    monkeypatch.setenv("DSPLATFORM_USER", "eve")
    for verb in ("log", "verify", "export"):
        with pytest.raises(Denied, match="'audit'"):
            log("audit", verb)


def test_the_status_says_as_whom_the_services_work(run: Run, monkeypatch: pytest.MonkeyPatch, empty_database_url: str) -> None:
    assert "the services work as dsplatform_app, which can only read and write rows" in run("db", "status").stdout
    assert json.loads(run("db", "status", "--json").stdout)["services_role"] == {"user": "dsplatform_app", "fenced": True}
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", empty_database_url)
    assert "the services work as postgres, which can change tables" in run("db", "status").stdout
    assert "the services work as dsplatform_app" in run("db", "upgrade").stdout


def test_the_upgrade_uses_the_owners_login(run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str, owner_url: str) -> None:
    """The services' login may not change the schema; whoever has both need not think of it."""
    with Database(owner_url, as_login=True) as db, db.transaction() as tx:
        tx.execute("DROP SCHEMA public CASCADE")
        tx.execute("CREATE SCHEMA public")
        tx.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    command.upgrade(migrations._config(owner_url), "0005")
    with pytest.raises(Denied, match="DSPLATFORM_OWNER_DATABASE_URL"):
        run("db", "upgrade")
    monkeypatch.setenv("DSPLATFORM_OWNER_DATABASE_URL", owner_url)
    assert "(was 0005)" in run("db", "upgrade").stdout
