"""`gc`, `why` and `usage` as a person types them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.database import Database
from dsplatform.core.errors import NotFound
from dsplatform.files.binding import CollectionRefused
from dsplatform_tests import make

Run = Callable[..., Result]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Run:
    """`run`, where dataset `shop` has two versions."""
    for number in (1, 2):
        (tmp_path / "orders.csv").write_text("id\n" + "7" * number + "\n")
        run("ingest", tmp_path / "orders.csv", "-d", "shop", "--no-dagster", "--no-schema")
    return run


def first_file(db: Database) -> tuple[int, str]:
    with db.transaction() as tx:
        row = tx.row("SELECT f.id, f.content_hash FROM files f WHERE f.file_size = 5")
    assert row is not None
    return row["id"], row["content_hash"]


def test_gc_shows_what_it_would_do_and_does_that(shop: Run, db: Database) -> None:
    shop("rm", "shop@1", "--yes")
    make.overdue(db)
    shown = shop("gc", "--dry-run").stdout
    assert "would be done" in shown
    assert "files that nothing names: deleted after the grace period" in shown
    plan = json.loads(shop("gc", "--dry-run", "--json").stdout)
    assert (plan["dry_run"], plan["unreferenced"]) == (True, {"count": 1, "bytes": 5})
    done = json.loads(shop("gc", "--json").stdout)
    assert done == {**plan, "dry_run": False}
    assert "done" in shop("gc", "--sweep", "--mark").stdout
    make.overdue(db)
    assert json.loads(shop("gc", "--json").stdout)["purged"] == {"count": 1, "bytes": 5}


def test_gc_brings_the_counts_up_to_date(shop: Run, db: Database) -> None:
    shop("gc")
    assert make.column(db, "SELECT count(*) FROM file_reference_deltas") == [0]


def test_after_a_restore_gc_refuses_until_it_is_told_otherwise(shop: Run) -> None:
    assert "--clear-restore-flag" in shop("gc", "--restored").stdout
    with pytest.raises(CollectionRefused, match="--clear-restore-flag"):
        shop("gc")
    assert "a real run would refuse: the database was restored" in shop("gc", "--dry-run").stdout
    assert "0 object(s)" in json.loads(shop("gc", "--clear-restore-flag", "--json").stdout)["message"]
    shop("gc")


def test_why_follows_a_content_until_it_is_gone(shop: Run, db: Database) -> None:
    file_id, content_hash = first_file(db)
    shown = shop("why", content_hash[:10]).stdout
    assert f"file {file_id}, {content_hash}, 5 B: 1 reference(s)" in shown
    assert "component" in shown
    assert "shop@1" in shown
    shop("rm", "shop@1", "--yes")
    assert "waits for review" in shop("why", file_id).stdout
    make.overdue(db)
    shop("gc")
    shown = shop("why", content_hash).stdout
    assert "is not stored any more" in shown
    assert "bytes to be deleted  unreferenced" in shown
    make.overdue(db)
    shop("gc")
    with pytest.raises(NotFound):
        shop("why", content_hash)


def test_why_says_so_when_a_file_was_forgotten(shop: Run, db: Database) -> None:
    file_id, _ = first_file(db)
    shop("rm", "shop@1", "--yes")
    with db.transaction() as tx:
        tx.execute("DELETE FROM gc_queue")
    assert "`dsplatform gc --mark` puts it there" in shop("why", file_id).stdout
    shop("gc", "--mark")
    assert json.loads(shop("why", file_id, "--json").stdout)["review_after"]


def test_usage_of_the_store_and_of_a_dataset(shop: Run) -> None:
    whole = json.loads(shop("usage", "--json").stdout)
    (one,) = whole["datasets"]
    assert json.loads(shop("usage", "shop", "--json").stdout) == one
    assert whole["stored"] == one["live"] + one["historical"]
    assert one["files"] == 4
    for arguments in ((), ("shop",)):
        shown = shop("usage", *arguments).stdout
        assert "historical" in shown
        assert "shop" in shown
