"""`gc`, `why` and `usage` as a person types them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dsplatform.cli.app import app
from dsplatform.core.database import Database
from dsplatform.core.errors import DsplatformError, NotFound
from dsplatform.files.binding import CollectionRefused
from dsplatform_tests import make

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a home of its own, where dataset `shop` has two versions. An error of ours is raised, as `main` gets it."""
    monkeypatch.setenv("DSPLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", database_url)
    monkeypatch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", empty_database_url)

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(result.exception, DsplatformError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    for number in (1, 2):
        (tmp_path / "orders.csv").write_text("id\n" + "7" * number + "\n")
        invoke("ingest", tmp_path / "orders.csv", "-d", "shop", "--no-dagster", "--no-schema")
    return invoke


def first_file(db: Database) -> tuple[int, str]:
    with db.transaction() as tx:
        row = tx.row("SELECT f.id, f.content_hash FROM files f WHERE f.file_size = 5")
    assert row is not None
    return row["id"], row["content_hash"]


def test_gc_shows_what_it_would_do_and_does_that(run: Run, db: Database) -> None:
    run("rm", "shop@1", "--yes")
    make.overdue(db)
    shown = run("gc", "--dry-run").stdout
    assert "would be done" in shown
    assert "files that nothing names: deleted after the grace period" in shown
    plan = json.loads(run("gc", "--dry-run", "--json").stdout)
    assert (plan["dry_run"], plan["unreferenced"]) == (True, {"count": 1, "bytes": 5})
    done = json.loads(run("gc", "--json").stdout)
    assert done == {**plan, "dry_run": False}
    assert "done" in run("gc", "--sweep", "--mark").stdout
    make.overdue(db)
    assert json.loads(run("gc", "--json").stdout)["purged"] == {"count": 1, "bytes": 5}


def test_gc_brings_the_counts_up_to_date(run: Run, db: Database) -> None:
    run("gc")
    assert make.column(db, "SELECT count(*) FROM file_reference_deltas") == [0]


def test_after_a_restore_gc_refuses_until_it_is_told_otherwise(run: Run) -> None:
    assert "--clear-restore-flag" in run("gc", "--restored").stdout
    with pytest.raises(CollectionRefused, match="--clear-restore-flag"):
        run("gc")
    assert "a real run would refuse: the database was restored" in run("gc", "--dry-run").stdout
    assert "0 object(s)" in json.loads(run("gc", "--clear-restore-flag", "--json").stdout)["message"]
    run("gc")


def test_why_follows_a_content_until_it_is_gone(run: Run, db: Database) -> None:
    file_id, content_hash = first_file(db)
    shown = run("why", content_hash[:10]).stdout
    assert f"file {file_id}, {content_hash}, 5 B: 1 reference(s)" in shown
    assert "component" in shown
    assert "shop@1" in shown
    run("rm", "shop@1", "--yes")
    assert "waits for review" in run("why", file_id).stdout
    make.overdue(db)
    run("gc")
    shown = run("why", content_hash).stdout
    assert "is not stored any more" in shown
    assert "bytes to be deleted  unreferenced" in shown
    make.overdue(db)
    run("gc")
    with pytest.raises(NotFound):
        run("why", content_hash)


def test_why_says_so_when_a_file_was_forgotten(run: Run, db: Database) -> None:
    file_id, _ = first_file(db)
    run("rm", "shop@1", "--yes")
    with db.transaction() as tx:
        tx.execute("DELETE FROM gc_queue")
    assert "`dsplatform gc --mark` puts it there" in run("why", file_id).stdout
    run("gc", "--mark")
    assert json.loads(run("why", file_id, "--json").stdout)["review_after"]


def test_usage_of_the_store_and_of_a_dataset(run: Run) -> None:
    whole = json.loads(run("usage", "--json").stdout)
    (shop,) = whole["datasets"]
    assert json.loads(run("usage", "shop", "--json").stdout) == shop
    assert whole["stored"] == shop["live"] + shop["historical"]
    assert shop["files"] == 4
    for arguments in ((), ("shop",)):
        shown = run("usage", *arguments).stdout
        assert "historical" in shown
        assert "shop" in shown
