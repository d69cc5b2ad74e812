"""The writers write as the old server does, and know what became of it."""

import time
from pathlib import Path

import psycopg
import pytest

from dsplatform.core.database_url import libpq_url
from dsplatform_tests import make
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.generator import build
from dsplatform_tests.legacy.rows import key_columns
from dsplatform_tests.legacy.writers import Writers

FREEZE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'frozen for cutover' USING ERRCODE = '25006'; END $$;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse()', name);
  END LOOP;
END $$;
"""


def _change_tables(connection: psycopg.Connection, statement: str) -> None:
    """Locks every table, for which the server may choose us to give way to the writers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            connection.execute(statement.encode())
        except psycopg.errors.DeadlockDetected:
            assert time.monotonic() < deadline
        else:
            return


@pytest.fixture
def url(legacy_url: str, legacy_folder: Path) -> str:
    build(legacy_url, legacy_folder, Generation.G1B, datasets=40, oddities=False)
    return legacy_url


def test_what_was_committed_is_there_and_what_was_not_is_not(url: str, legacy_folder: Path) -> None:
    wanted = {
        ("insert", "datasets"),
        ("insert", "dataset_version_files"),
        ("update", "datasets"),
        ("delete", "dataset_versions"),
        ("update", "files"),
    }
    with Writers(url, legacy_folder, 4, longest=0.05, pause=0.001) as writers:
        make.until(lambda: writers.transactions > 300 and wanted <= {(change.op, change.table) for change in writers.changes()})
    changes = writers.changes()
    with psycopg.connect(libpq_url(url)) as connection:
        for table in {change.table for change in changes}:
            there = set(connection.execute(f"SELECT {', '.join(key_columns(table))} FROM {table}".encode()).fetchall())
            inserted, deleted = (
                {change.key for change in changes if (change.op, change.table) == (op, table)} for op in ("insert", "delete")
            )
            if key_columns(table) == ("id",):  # a composite key can come again
                assert inserted - deleted <= there
                assert not deleted & there
        assert connection.execute("SELECT count(*) FROM datasets WHERE name = 'never committed'").fetchone() == (0,)
        paths = connection.execute("SELECT file_path, file_size FROM files WHERE file_path NOT LIKE '%/temp/%'").fetchall()
    assert all(Path(path).stat().st_size == size for path, size in paths)
    assert writers.refused_seconds() == 0


def test_refusals_are_measured_and_survived(url: str, legacy_folder: Path) -> None:
    with (
        Writers(url, legacy_folder, 2, longest=0.01, pause=0.001) as writers,
        psycopg.connect(libpq_url(url), autocommit=True) as connection,
    ):
        make.until(lambda: writers.transactions > 20)
        _change_tables(connection, FREEZE)
        make.until(lambda: all(log.refused_since for log in writers.logs))
        frozen = writers.transactions
        _change_tables(connection, "DROP FUNCTION refuse CASCADE")
        make.until(lambda: all(log.refused for log in writers.logs) and writers.transactions > frozen)
    assert 0 < writers.refused_seconds() < 60


def test_a_lost_connection_is_made_anew(url: str, legacy_folder: Path) -> None:
    with (
        Writers(url, legacy_folder, 2, longest=0.01, pause=0.001) as writers,
        psycopg.connect(libpq_url(url), autocommit=True) as connection,
    ):
        make.until(lambda: writers.transactions > 20)
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        before = writers.transactions
        ended = {"AdminShutdown", "OperationalError"}  # told by the server, or found closed when the next statement was sent
        make.until(lambda: bool(ended & writers.lost().keys()) and writers.transactions > before + 20)


def test_a_failure_that_no_client_could_meet_is_raised(url: str, legacy_folder: Path) -> None:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute("ALTER TABLE datasets RENAME name TO title")
    with pytest.raises(psycopg.errors.UndefinedColumn), Writers(url, legacy_folder, 2, pause=0.001) as writers:
        make.until(lambda: bool(writers._failures))
