import pytest
from alembic import command
from alembic.script import ScriptDirectory

from dsplatform.core import migrations
from dsplatform.core.database import Database
from dsplatform.core.migrations import schema_status, upgrade
from dsplatform_tests import make


def test_an_upgrade_brings_an_empty_database_to_the_newest_revision(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    current, newest = schema_status(empty_database_url)
    assert current == newest


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    before = _objects(database_url)
    upgrade(database_url)
    assert _objects(database_url) == before


def test_there_is_one_line_of_revisions() -> None:
    script = ScriptDirectory.from_config(migrations._config())
    assert len(script.get_heads()) == 1
    assert [revision.down_revision for revision in script.walk_revisions()][-1] is None


def test_a_migration_that_would_lose_records_is_not_undone(owner_url: str) -> None:
    with pytest.raises(NotImplementedError, match="cannot be undone"):
        command.downgrade(migrations._config(owner_url), "base")


def test_every_reference_column_feeds_the_ledger(db: Database) -> None:
    """A new column that refers to files needs its triggers, or its files are collected under it."""
    referring = make.column(
        db,
        "SELECT conrelid::regclass || '.' || a.attname FROM pg_constraint c JOIN pg_attribute a "
        "ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] WHERE confrelid = 'files'::regclass ORDER BY 1",
    )
    for kind, events in (("ledger", {"insert", "delete"}), ("gone", {"delete"})):
        watched = make.column(
            db,
            "SELECT tgrelid::regclass || '.' || substring(p.proname from :prefix) || ' ' || CASE WHEN tgtype & 4 > 0 THEN 'insert' ELSE "
            "'delete' END FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname ~ :prefix",
            prefix=f"^file_reference_{kind}_(.*)$",
        )
        assert sorted(watched) == sorted(f"{column} {event}" for column in referring for event in events)


def _objects(url: str) -> list[object]:
    with Database(url) as db:
        return make.column(db, "SELECT relname || ' ' || oid FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1")
