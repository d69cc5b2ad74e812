"""The change log and the gate, on a small database of the legacy system's kind."""

import random
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg

from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Conflict, Denied
from dsplatform.migration.changes import SCHEMA, Change, ChangeLog
from dsplatform_tests import make

TABLES = ("datasets", "dataset_tags", "absent")


@pytest.fixture
def url(empty_database_url: str) -> str:
    """With two tables."""
    plain = libpq_url(empty_database_url)
    with psycopg.connect(plain) as connection:
        connection.execute("CREATE TABLE datasets (id serial PRIMARY KEY, name text)")
        connection.execute(
            "CREATE TABLE dataset_tags (dataset_id int REFERENCES datasets ON DELETE CASCADE, tag_id int, PRIMARY KEY (dataset_id, tag_id))"
        )
    return plain


@pytest.fixture
def log(url: str) -> ChangeLog:
    """Installed."""
    log = ChangeLog(url, TABLES)
    assert log.install() == ["dataset_tags", "datasets"]
    return log


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    """A client of the legacy system."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def _seen(log: ChangeLog, **how: bool) -> list[tuple[str, tuple[int, ...]]]:
    return [(change.entity, change.key) for change in log.read(1_000, **how)]


def test_each_kind_of_change_is_noted_with_its_keys(log: ChangeLog, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO datasets (name) VALUES ('a'), ('b')")
    connection.execute("INSERT INTO dataset_tags VALUES (1, 7)")
    assert _seen(log) == [("datasets", (1,)), ("datasets", (2,)), ("dataset_tags", (1, 7))]
    log.forget(log.read(10))
    connection.execute("UPDATE datasets SET id = 5 WHERE id = 2")
    assert sorted(_seen(log)) == [("datasets", (2,)), ("datasets", (5,))]
    log.forget(log.read(10))
    connection.execute("DELETE FROM datasets WHERE id = 1")
    assert sorted(_seen(log)) == [("dataset_tags", (1, 7)), ("datasets", (1,))], "a cascade is a change, too"
    log.forget(log.read(10))
    connection.execute("TRUNCATE dataset_tags")
    assert _seen(log) == [("dataset_tags", ())]


def test_what_is_rolled_back_was_never_there(log: ChangeLog, connection: psycopg.Connection) -> None:
    with pytest.raises(ZeroDivisionError), connection.transaction():
        connection.execute("INSERT INTO datasets (name) VALUES ('a')")
        raise ZeroDivisionError
    assert _seen(log) == []


def test_what_commits_late_is_not_overtaken(log: ChangeLog, url: str, connection: psycopg.Connection) -> None:
    with psycopg.connect(url) as slow:
        slow.execute("INSERT INTO datasets (name) VALUES ('first, and late')")
        connection.execute("INSERT INTO datasets (name) VALUES ('second, and early')")
        assert _seen(log) == [], "the second may not be read before the first can be"
        slow.commit()
    assert _seen(log) == [("datasets", (1,)), ("datasets", (2,))]


def test_a_login_that_sees_no_log_is_noted_all_the_same(log: ChangeLog, connection: psycopg.Connection) -> None:
    connection.execute("DROP ROLE IF EXISTS old_server")
    connection.execute("CREATE ROLE old_server")
    try:
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO old_server")
        connection.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO old_server")
        connection.execute("SET ROLE old_server")
        connection.execute("INSERT INTO datasets (name) VALUES ('a')")
        with pytest.raises(pg.InsufficientPrivilege):
            connection.execute(f"SELECT * FROM {SCHEMA}.changes".encode())
        connection.execute("RESET ROLE")
        assert _seen(log) == [("datasets", (1,))]
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY old_server")
        connection.execute("DROP ROLE old_server")


def test_replication_mode_goes_round_neither(log: ChangeLog, connection: psycopg.Connection) -> None:
    connection.execute("SET session_replication_role = replica")
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")
    assert _seen(log) == [("datasets", (1,))]
    log.close_gate(1)
    with pytest.raises(pg.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO datasets (name) VALUES ('b')")


def test_installing_again_covers_what_came_later(log: ChangeLog, connection: psycopg.Connection) -> None:
    assert log.install() == []
    connection.execute("CREATE TABLE absent (id int PRIMARY KEY)")
    assert log.state().uncovered == ("absent",)
    assert log.install() == ["absent"]
    connection.execute("INSERT INTO absent VALUES (3)")
    assert _seen(log) == [("absent", (3,))]


def test_the_script_does_what_install_does(url: str, connection: psycopg.Connection) -> None:
    log = ChangeLog(url, TABLES)
    connection.execute(log.script().encode())
    assert log.state().installed
    assert log.install() == []
    connection.execute("UPDATE datasets SET name = 'nothing is there'")
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")
    assert _seen(log) == [("datasets", (1,))]


def test_taking_it_away_leaves_nothing(log: ChangeLog, connection: psycopg.Connection) -> None:
    log.close_gate(1)
    log.remove()
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")
    assert connection.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchone() == (0,)
    assert not log.state().installed
    with pytest.raises(Conflict, match="not captured"):
        log.read(1)


def test_a_login_that_may_not_is_told_the_way_out(url: str, connection: psycopg.Connection) -> None:
    connection.execute("DROP ROLE IF EXISTS reader")
    connection.execute("CREATE ROLE reader LOGIN")
    try:
        with pytest.raises(Denied, match="legacy capture --script"):
            ChangeLog(url.replace("postgres@", "reader@"), TABLES).install()
    finally:
        connection.execute("DROP ROLE reader")


def test_the_state_tells_how_far_behind_the_readers_are(log: ChangeLog, url: str, connection: psycopg.Connection) -> None:
    assert log.state().waiting == 0
    assert log.state().lag_seconds == 0
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")
    with psycopg.connect(url) as open_one:
        open_one.execute("INSERT INTO datasets (name) VALUES ('b')")
        state = log.state()
    assert state.waiting == 1
    assert state.lag_seconds > 0
    assert state.longest_transaction_seconds > 0


# --- the gate --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO datasets (name) VALUES ('b')", "UPDATE datasets SET name = 'b'", "DELETE FROM datasets", "TRUNCATE dataset_tags"],
)
def test_a_closed_gate_refuses_every_write(log: ChangeLog, connection: psycopg.Connection, statement: str) -> None:
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")
    log.close_gate(1)
    log.close_gate(1)
    with pytest.raises(pg.ReadOnlySqlTransaction, match="frozen for cutover"):
        connection.execute(statement.encode())
    assert connection.execute("SELECT name FROM datasets").fetchall() == [("a",)], "reads go on"
    log.open_gate()
    connection.execute(statement.encode())


def test_the_gate_waits_for_writers_and_lets_nobody_slip_by(log: ChangeLog, url: str) -> None:
    """One writer is under way, another comes while the gate is being closed: the first is in the log, the second is refused."""
    with psycopg.connect(url) as under_way:
        under_way.execute("INSERT INTO datasets (name) VALUES ('under way')")
        closing = threading.Thread(target=log.close_gate, args=(30,))
        closing.start()
        make.until(lambda: _waiting(url) == 1)
        outcome: list[type[BaseException] | None] = []
        later = threading.Thread(target=lambda: outcome.append(_tried(url)))
        later.start()
        make.until(lambda: _waiting(url) == 2)
        assert not log.state().gate_closed
        under_way.commit()
        closing.join()
        later.join()
    assert outcome == [pg.ReadOnlySqlTransaction]
    assert _seen(log, all_committed=True) == [("datasets", (1,))]


def test_a_writer_that_sees_the_past_does_not_slip_by(log: ChangeLog, url: str) -> None:
    with psycopg.connect(url) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1 FROM datasets")
        log.close_gate(1)
        with pytest.raises((pg.SerializationFailure, pg.ReadOnlySqlTransaction)):
            old.execute("INSERT INTO datasets (name) VALUES ('a')")


def test_a_writer_that_does_not_end_keeps_the_gate_open(log: ChangeLog, url: str, connection: psycopg.Connection) -> None:
    with psycopg.connect(url) as stuck:
        stuck.execute("INSERT INTO datasets (name) VALUES ('stuck')")
        with pytest.raises(Conflict, match=r"did not end within 0\.1 s"):
            log.close_gate(0.1)
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")


def test_what_comes_back_passes_the_gate_and_is_no_change(log: ChangeLog, connection: psycopg.Connection) -> None:
    log.close_gate(1)
    with log.passing() as inner:
        inner.execute("INSERT INTO datasets (name) VALUES ('from the new side')")
    assert connection.execute("SELECT name FROM datasets").fetchall() == [("from the new side",)]
    assert _seen(log, all_committed=True) == []
    with pytest.raises(pg.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO datasets (name) VALUES ('a')")


def test_nobody_passes_an_open_gate_s_log_by_an_empty_word(log: ChangeLog, connection: psycopg.Connection) -> None:
    """Before the gate was ever closed there is no word to know."""
    connection.execute(f"SET {SCHEMA}.pass = ''".encode())
    connection.execute("INSERT INTO datasets (name) VALUES ('a')")
    assert _seen(log) == [("datasets", (1,))]
    log.close_gate(1)
    with pytest.raises(pg.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO datasets (name) VALUES ('b')")


def test_followers_miss_nothing_that_writers_do(log: ChangeLog, url: str) -> None:
    """Eight writers whose transactions end in any order; a reader that copies row by row ends with the same rows."""
    stop = threading.Event()
    writers = [threading.Thread(target=_write, args=(url, seed, stop)) for seed in range(8)]
    for writer in writers:
        writer.start()
    copy: dict[int, str] = {}
    with psycopg.connect(url, autocommit=True) as reader:
        for _ in range(60):
            _follow(log, reader, copy)
        stop.set()
        for writer in writers:
            writer.join()
        while _follow(log, reader, copy):
            pass
        assert copy == dict(reader.execute("SELECT id, name FROM datasets").fetchall())
    assert len(copy) > 50


def _follow(log: ChangeLog, reader: psycopg.Connection, copy: dict[int, str]) -> int:
    changes: list[Change] = list(log.read(200))
    keys = [change.key[0] for change in changes]
    for key in keys:
        copy.pop(key, None)
    copy.update(reader.execute("SELECT id, name FROM datasets WHERE id = ANY(%s)", [keys]).fetchall())
    log.forget(changes)
    return len(changes)


def _write(url: str, seed: int, stop: threading.Event) -> None:
    chance = random.Random(seed)
    with psycopg.connect(url) as connection:
        while not stop.is_set():
            connection.execute("INSERT INTO datasets (name) VALUES (%s)", [str(chance.random())])
            mine = f"id %% 8 = {seed}"
            connection.execute(f"UPDATE datasets SET name = %s WHERE {mine} AND random() < 0.2".encode(), [str(chance.random())])
            connection.execute(f"DELETE FROM datasets WHERE {mine} AND random() < 0.05".encode(), [])
            time.sleep(chance.random() * 0.05)
            if chance.random() < 0.2:
                connection.rollback()
            else:
                connection.commit()


def _tried(url: str) -> type[BaseException] | None:
    try:
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO datasets (name) VALUES ('later')")
    except psycopg.Error as err:
        return type(err)
    return None


def _waiting(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    return int(row[0]) if row else 0
