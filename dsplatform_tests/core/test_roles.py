"""The fence around the services: what their role may not do, and that it may do the rest is what every other test shows."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from dsplatform.bootstrap import Platform
from dsplatform.core.database import ConstraintViolated, Database
from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Denied, Unavailable
from dsplatform.core.migrations import schema_status, services_role, upgrade
from dsplatform.core.roles import FEWER, RIGHTS, ROLE, _missing
from dsplatform.embedded import EmbeddedPostgres
from dsplatform_tests import make

FORBIDDEN = [
    "DROP TABLE files CASCADE",
    "DROP INDEX ix_audit_log_at",
    "DROP TRIGGER audit_log_only_grows ON audit_log",
    "DROP FUNCTION refuse_change() CASCADE",
    "ALTER TABLE staged_files DISABLE TRIGGER USER",
    "ALTER TABLE staged_files DISABLE TRIGGER staged_files_ledger_insert",
    "ALTER TABLE audit_log DISABLE TRIGGER USER",
    "ALTER TABLE dataset_version_files DROP CONSTRAINT fk_dataset_version_files_file_id",
    "ALTER TABLE files ADD COLUMN more text",
    "ALTER TABLE audit_log OWNER TO dsplatform_app",
    "TRUNCATE files CASCADE",
    "TRUNCATE gc_queue",
    "TRUNCATE audit_log",
    "TRUNCATE audit_seals",
    "UPDATE dataset_version_files SET file_id = file_id",
    "UPDATE dataset_versions SET version_number = version_number",
    "UPDATE dataset_versions SET purged_at = NULL, overlay_file_id = overlay_file_id",
    "UPDATE audit_log SET actor = 'nobody'",
    "UPDATE audit_seals SET chain_hash = chain_hash",
    "DELETE FROM audit_log",
    "DELETE FROM audit_seals",
    "SELECT 1 FROM audit_log FOR UPDATE",
    "MERGE INTO audit_log l USING roles r ON r.id = l.id WHEN MATCHED THEN DELETE",
    "UPDATE alembic_version SET version_num = '0001'",
    "DELETE FROM alembic_version",
    "CREATE TABLE mine (id int)",
    "CREATE TABLE public.datasets_2 AS SELECT * FROM datasets",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER mine BEFORE DELETE ON audit_log EXECUTE FUNCTION refuse_change()",
    "CREATE RULE mine AS ON INSERT TO audit_log DO INSTEAD NOTHING",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER ROLE dsplatform_app SUPERUSER",
    "ALTER DATABASE postgres SET search_path = mine",
    "SET session_replication_role = replica",
    "COPY audit_log TO PROGRAM 'true'",
    "COPY audit_log FROM PROGRAM 'true'",
    "COPY audit_log TO '/tmp/audit_log'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT setval(pg_get_serial_sequence('audit_log', 'id'), 1)",
    "INSERT INTO audit_log (id, action, object_type) OVERRIDING SYSTEM VALUE VALUES (1000000, 'x.y', 'z')",
    "INSERT INTO audit_log (at, action, object_type) VALUES (now() - interval '1 hour', 'x.y', 'z')",
]

WITHOUT_EFFECT = ["GRANT UPDATE ON audit_log TO dsplatform_app", "VACUUM FULL audit_log"]
"""What the server passes by with a warning."""

ONLY_FOR_LOGINS = ["SET ROLE postgres", "SET SESSION AUTHORIZATION postgres"]
"""What only a login that has no more than the role is refused."""


@pytest.fixture
def kept(platform: Platform) -> Platform:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"1"})
    make.stored(platform, b"staged")
    platform.audit.seal()
    return platform


def dump(db: Database) -> dict[str, object]:
    """Everything that the statements could have changed."""
    tables = (
        "files",
        "staged_files",
        "gc_queue",
        "dataset_versions",
        "dataset_version_files",
        "audit_log",
        "audit_seals",
        "alembic_version",
    )
    rows: dict[str, object] = {table: make.column(db, f"SELECT CAST(t AS text) FROM {table} t ORDER BY 1") for table in tables}
    rows["relations"] = make.column(
        db, "SELECT relname || ' ' || relowner || ' ' || coalesce(CAST(relacl AS text), '') FROM pg_class ORDER BY oid"
    )
    rows["triggers"] = make.column(db, "SELECT tgname || ' ' || CAST(tgenabled AS text) FROM pg_trigger ORDER BY oid")
    rows["roles"] = make.column(db, "SELECT CAST(r AS text) FROM pg_roles r ORDER BY oid")
    return rows


def test_what_the_services_may_not_do_is_refused(kept: Platform) -> None:
    before = dump(kept.db)
    for statement in [*FORBIDDEN, *ONLY_FOR_LOGINS]:
        refused(kept.db, statement)
    for statement in WITHOUT_EFFECT:
        with kept.db.autocommit() as tx:
            tx.execute(statement)
    assert dump(kept.db) == before


def test_services_that_were_given_the_owners_login_are_refused_the_same(kept: Platform, owner_url: str) -> None:
    before = dump(kept.db)
    with Database(owner_url) as db:
        for statement in FORBIDDEN:
            refused(db, statement)
    assert dump(kept.db) == before


def refused(db: Database, statement: str) -> None:
    """By the lack of a right, and not because the statement is wrong."""
    found: object = "nothing"
    try:
        with db.autocommit() as tx:
            tx.execute(statement)
    except Unavailable as err:
        found = err.__cause__
    assert isinstance(found, psycopg.errors.InsufficientPrivilege), f"{statement}: {found}"


def test_the_list_above_is_possible_for_an_owner(kept: Platform) -> None:
    """Each statement is one that the database would do: for the owner, without the triggers of the log."""
    possible = 0
    for statement in FORBIDDEN:
        if statement.startswith(("CREATE TRIGGER", "ALTER ROLE", "ALTER DATABASE", "CREATE ROLE", "COPY", "SELECT setval")):
            continue  # reaches beyond this database or the transaction
        with pytest.raises(ZeroDivisionError), make.tampering(kept.db) as tx:
            if "TRIGGER audit_log_only_grows" not in statement and "refuse_change" not in statement:
                for table in ("audit_log", "audit_seals"):
                    tx.execute(f"DROP TRIGGER {table}_only_grows ON {table}")
            tx.execute(statement)
            possible += 1
            raise ZeroDivisionError
    assert possible > 30


@pytest.mark.parametrize("table", ["audit_log", "audit_seals"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("replication", ["origin", "replica"])
def test_the_owner_has_to_drop_the_triggers_before_the_log_can_be_changed(
    statement: str, table: str, replication: str, kept: Platform
) -> None:
    column = "at" if table == "audit_log" else "sealed_at"
    done = statement.format(table, column, column)
    with pytest.raises(ConstraintViolated, match=f"{table} only grows"), make.tampering(kept.db) as tx:
        tx.execute(f"SET LOCAL session_replication_role = {replication}")
        tx.execute(done)
    with make.tampering(kept.db) as tx:
        tx.execute(f"DROP TRIGGER {table}_only_grows ON {table}")
        tx.execute(done)


def test_the_role_has_exactly_its_rights_on_every_table(kept: Platform) -> None:
    """Asked of the server, right by right, and not of the code that gives them."""
    every = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
    with kept.db.autocommit() as tx:
        tables = tx.tuples(
            "SELECT c.relname, c.relkind FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        )
        assert len(tables) > 25
        for table, kind in tables:
            held = {right for right in every if tx.scalar("SELECT has_table_privilege(:table, :right)", table=table, right=right)}
            wanted = {"SELECT"} if kind == "v" else {right for right in FEWER.get(table, RIGHTS) if "(" not in right}
            assert held == wanted, table
        columns = tx.tuples("SELECT attname FROM pg_attribute WHERE attrelid = 'dataset_versions'::regclass AND attnum > 0")
        changing = {name for (name,) in columns if tx.scalar("SELECT has_column_privilege('dataset_versions', :name, 'UPDATE')", name=name)}
        assert changing == {"purged_at"}
        attributes = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
        assert tx.scalar(f"SELECT {attributes} FROM pg_roles WHERE rolname = current_user") is False
        assert tx.scalar("SELECT current_user") == ROLE


def test_an_upgrade_gives_and_takes_what_differs_and_else_does_nothing(kept: Platform, owner_url: str) -> None:
    with make.tampering(kept.db) as tx:
        tx.execute("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, word text)")
        tx.execute("CREATE VIEW seen AS SELECT * FROM later")
        tx.execute("GRANT UPDATE, TRUNCATE ON audit_log TO dsplatform_app")
        tx.execute("GRANT UPDATE (file_id) ON dataset_version_files TO dsplatform_app")
        tx.execute("REVOKE DELETE ON files FROM dsplatform_app")
        tx.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")  # as servers before 15 have it
    assert len(missing(owner_url)) == 6
    upgrade(owner_url)
    assert missing(owner_url) == []
    with kept.db.transaction() as tx:
        tx.execute("INSERT INTO later (word) VALUES ('x')")
        tx.execute("DELETE FROM files WHERE false")
        assert tx.scalar("SELECT word FROM seen") == "x"
    for statement in ("UPDATE audit_log SET actor = 'x'", "UPDATE dataset_version_files SET file_id = 1", "CREATE TABLE mine (id int)"):
        refused(kept.db, statement)


def missing(url: str) -> list[sql.Composed]:
    with psycopg.connect(libpq_url(url)) as connection:
        return list(_missing(connection))


def test_services_with_the_owners_login_work_as_the_role(database_url: str, owner_url: str) -> None:
    assert services_role(owner_url).fenced
    assert services_role(database_url).fenced
    with Database(owner_url) as db:
        assert make.column(db, "SELECT current_user") == [ROLE]
        assert make.column(db, "SELECT session_user") == ["postgres"]
    with Database(owner_url, as_login=True) as db:
        assert make.column(db, "SELECT current_user") == ["postgres"]


def test_a_rolled_back_transaction_does_not_take_the_role_off(owner_url: str) -> None:
    with Database(owner_url, pool_size=2) as db:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), db.transaction() as tx:
                assert tx.scalar("SELECT current_user") == ROLE
                raise ZeroDivisionError
            assert make.column(db, "SELECT current_user") == [ROLE]


def test_without_its_rights_in_a_database_the_role_is_not_taken_on(empty_database_url: str) -> None:
    """The role belongs to the server: another database of it may be older, or not ours."""
    assert not services_role(empty_database_url).fenced
    with Database(empty_database_url) as db:
        assert make.column(db, "SELECT current_user") == ["postgres"]


# --- a server of somebody else, where we are given logins that may do less ------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server without the role."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("foreign")).running() as server:
        yield server


@pytest.fixture
def fresh(foreign: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """The same without anything of an earlier test."""
    administer(foreign, "CREATE ROLE creating LOGIN CREATEROLE", "CREATE ROLE plain LOGIN", "CREATE ROLE stranger LOGIN")
    administer(foreign, "CREATE DATABASE creating OWNER creating", "CREATE DATABASE plain OWNER plain")
    yield foreign
    administer(foreign, "DROP DATABASE creating WITH (FORCE)", "DROP DATABASE plain WITH (FORCE)", f"DROP ROLE IF EXISTS {ROLE}")
    administer(foreign, "DROP ROLE creating", "DROP ROLE plain", "DROP ROLE stranger")


def administer(server: EmbeddedPostgres, *statements: str) -> None:
    with psycopg.connect(server.url("postgres", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_login_that_may_create_roles_makes_the_role_and_works_as_it(fresh: EmbeddedPostgres) -> None:
    url = fresh.url("creating", user="creating")
    upgrade(url)
    assert str(services_role(url)) == f"the services work as {ROLE}, which can only read and write rows"
    with Database(url) as db:
        assert make.column(db, "SELECT current_user") == [ROLE]
        refused(db, "TRUNCATE audit_log")
        with db.transaction() as tx:
            tx.execute("INSERT INTO audit_log (action, object_type) VALUES ('x.y', 'z')")
    upgrade(url)


def test_a_login_that_may_not_works_by_itself_until_somebody_makes_the_role(fresh: EmbeddedPostgres) -> None:
    url = fresh.url("plain", user="plain")
    upgrade(url)
    assert "the services work as plain, which can change tables" in str(services_role(url))
    with Database(url) as db:
        assert make.column(db, "SELECT current_user") == ["plain"]
    administer(fresh, f"CREATE ROLE {ROLE}", f"GRANT {ROLE} TO plain")
    assert not services_role(url).fenced
    upgrade(url)
    assert services_role(url).fenced


def test_two_logins_share_the_work(fresh: EmbeddedPostgres) -> None:
    """The owner changes the schema, the services' login does the rest; one that nobody let in does nothing."""
    administer(fresh, f"CREATE ROLE {ROLE} LOGIN")
    owner, services, stranger = (fresh.url("plain", user=user) for user in ("plain", ROLE, "stranger"))
    for poor in (services, stranger):
        with pytest.raises(Denied, match=r"may not change the database's schema.*DSPLATFORM_OWNER_DATABASE_URL"):
            upgrade(poor)
    upgrade(owner)
    assert schema_status(services) == schema_status(owner)
    assert schema_status(stranger)[0] is None
    upgrade(services)
    assert services_role(services).fenced
    with pytest.raises(Unavailable, match=r"permission denied for table users.*dsplatform db upgrade"), Database(stranger) as db:
        make.column(db, "SELECT 1 FROM users")


def test_a_role_that_may_do_everything_is_no_fence(fresh: EmbeddedPostgres) -> None:
    administer(fresh, f"CREATE ROLE {ROLE} LOGIN SUPERUSER")
    upgrade(fresh.url("plain", user="plain"))
    assert not services_role(fresh.url("plain", user=ROLE)).fenced
