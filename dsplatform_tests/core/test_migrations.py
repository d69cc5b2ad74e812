from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from dsplatform.core import paths
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.migrations import check, schema_status, upgrade
from dsplatform.core.paths import shipped


def test_the_newest_revision_is_the_one_that_alembic_knows(database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert schema_status(database_url) == (head, head)


def test_an_empty_database_has_no_revision(empty_database_url: str) -> None:
    assert schema_status(empty_database_url)[0] is None


def test_processes_that_upgrade_at_once_upgrade_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(upgrade, [empty_database_url] * 3))
    current, newest = schema_status(empty_database_url)
    assert current == newest


def test_the_lock_of_an_upgrade_is_given_back(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with psycopg.connect(empty_database_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


@pytest.mark.parametrize("question", [schema_status, upgrade])
def test_a_database_that_does_not_answer_is_unavailable(question: object) -> None:
    assert callable(question)
    with pytest.raises(Unavailable, match="the database does not answer"):
        question("postgresql+psycopg://x@127.0.0.1:1/x")


def test_what_is_shipped_is_found_in_a_checkout_and_in_an_installed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (shipped("migrations") / "env.py").is_file()
    package = tmp_path / "dsplatform"
    (package / "_shipped" / "samples").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    assert shipped("samples") == package / "_shipped" / "samples"
    with pytest.raises(Unavailable, match=r"dagster.yaml is missing from this installation"):
        shipped("dagster.yaml")


def test_the_migrations_make_the_tables_that_the_repositories_declare(database_url: str) -> None:
    check(database_url)


def test_a_table_that_only_the_database_has_is_a_difference(database_url: str) -> None:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE forgotten (id int)")
    with pytest.raises(Conflict, match="forgotten"):
        check(database_url)
