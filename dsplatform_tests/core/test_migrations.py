import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.migrations import check, schema_status, upgrade
from dsplatform.core.paths import shipped


def test_the_newest_revision_is_the_one_that_alembic_knows(database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert schema_status(database_url) == (head, head)


def test_the_lock_of_an_upgrade_is_given_back(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with psycopg.connect(libpq_url(empty_database_url)) as connection:
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


@pytest.mark.parametrize("question", [schema_status, upgrade])
def test_a_database_that_does_not_answer_is_unavailable(question: object) -> None:
    assert callable(question)
    with pytest.raises(Unavailable, match="the database does not answer"):
        question("postgresql+psycopg://x@127.0.0.1:1/x")


def test_the_migrations_make_the_tables_that_the_repositories_declare(database_url: str) -> None:
    check(database_url)


def test_a_table_that_only_the_database_has_is_a_difference(database_url: str, owner_url: str) -> None:
    with psycopg.connect(libpq_url(owner_url)) as connection:
        connection.execute("CREATE TABLE forgotten (id int)")
    with pytest.raises(Conflict, match="forgotten"):
        check(database_url)
