import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, make_url

from dsplatform.core import database as database_module
from dsplatform.core.database import ConstraintViolated, Database, SerializationFailed, SqlRepository, Transaction
from dsplatform.core.database_url import libpq_url
from dsplatform.core.domain import DomainEvent
from dsplatform.core.errors import Conflict, Invalid, NotFound, Unavailable
from dsplatform.datasets.model import Dataset
from dsplatform.datasets.repository import Datasets
from dsplatform_tests import make


@dataclass(frozen=True)
class Noted(DomainEvent):
    what: str


@pytest.fixture
def heard() -> list[DomainEvent]:
    return []


@pytest.fixture
def noting(owner_url: str, heard: list[DomainEvent]) -> Iterator[Database]:
    """A database whose outbox is a list, and a table to write into."""

    def outbox(tx: Transaction, events: list[DomainEvent]) -> None:
        heard.extend(events)
        for event in events:
            tx.execute("INSERT INTO notes VALUES (:note)", note=f"event {event.plain()['what']}")

    with Database(owner_url, outbox=outbox, as_login=True) as database:
        with database.transaction() as tx:
            tx.execute("CREATE TABLE notes (note text NOT NULL, CONSTRAINT notes_are_unique UNIQUE (note))")
        yield database


def note(tx: Transaction, what: str) -> None:
    tx.execute("INSERT INTO notes VALUES (:note)", note=what)


def notes(db: Database) -> list[str]:
    return sorted(make.column(db, "SELECT note FROM notes"))


def _system(tx: Transaction) -> int:
    return int(tx.scalar("SELECT id FROM users WHERE username = 'system'"))


def _dataset(tx: Transaction, name: str = "sales") -> Dataset:
    return Dataset(name=name, slug=name, created_by=_system(tx))


# --- transactions --------------------------------------------------------------------------------------------------------------


def test_a_clean_end_commits(noting: Database) -> None:
    with noting.transaction() as tx:
        note(tx, "a")
    assert notes(noting) == ["a"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_an_exception_rolls_back_and_passes_on(noting: Database, error: BaseException) -> None:
    with pytest.raises(type(error)), noting.transaction() as tx:
        note(tx, "a")
        raise error
    assert notes(noting) == []


def test_questions_answer_in_rows_one_row_and_one_value(noting: Database) -> None:
    with noting.transaction() as tx:
        note(tx, "a")
        note(tx, "b")
        assert [row["note"] for row in tx.rows("SELECT note FROM notes ORDER BY note")] == ["a", "b"]
        assert dict(tx.row("SELECT note FROM notes WHERE note = :n", n="a") or {}) == {"note": "a"}
        assert tx.row("SELECT note FROM notes WHERE note = :n", n="c") is None
        assert tx.scalar("SELECT count(*) FROM notes") == 2
        assert tx.scalar("SELECT note FROM notes WHERE note = :n", n="c") is None
        assert tx.execute("DELETE FROM notes") == 2


strings = (
    st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")) | st.sampled_from(['"', "\\", "NULL", "", "{}", ",", " "])
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(strings), numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_lists_reach_the_server_as_they_are(texts: list[str | None], numbers: list[int | None], db: Database) -> None:
    with db.autocommit() as tx:
        row = tx.row("SELECT CAST(:texts AS text[]) AS texts, CAST(:numbers AS bigint[]) AS numbers", texts=texts, numbers=numbers)
    assert row is not None
    assert (row["texts"], row["numbers"]) == (texts, numbers)


def test_what_is_read_is_what_is_committed_at_that_moment(noting: Database) -> None:
    with noting.autocommit() as tx:
        assert tx.scalar("SELECT count(*) FROM notes") == 0
        with noting.transaction() as other:
            note(other, "a")
            assert tx.scalar("SELECT count(*) FROM notes") == 0
        assert tx.scalar("SELECT count(*) FROM notes") == 1
    with noting.transaction() as tx:
        note(tx, "b")  # a connection that was read with begins transactions again
        assert notes(noting) == ["a"]


def test_what_fails_inside_a_savepoint_is_undone_alone(noting: Database) -> None:
    with noting.transaction() as tx:
        note(tx, "before")
        with pytest.raises(ConstraintViolated), tx.savepoint():
            note(tx, "inside")
            note(tx, "before")
        note(tx, "after")
    assert notes(noting) == ["after", "before"]


def test_what_succeeds_inside_a_savepoint_stays(noting: Database) -> None:
    with noting.transaction() as tx, tx.savepoint():
        note(tx, "inside")
    assert notes(noting) == ["inside"]


def test_an_aggregate_that_a_savepoint_refused_leaves_the_transaction_usable(db: Database) -> None:
    with db.transaction() as tx:
        Datasets(tx).add(_dataset(tx))
        with pytest.raises(ConstraintViolated), tx.savepoint():
            Datasets(tx).add(_dataset(tx))
        Datasets(tx).add(_dataset(tx, "other"))
    assert make.column(db, "SELECT name FROM datasets ORDER BY name") == ["other", "sales"]


def test_a_change_of_an_aggregate_inside_a_failed_savepoint_is_undone_too(db: Database) -> None:
    with db.transaction() as tx:
        dataset = _dataset(tx)
        Datasets(tx).add(dataset)
    with db.transaction() as tx:
        loaded = Datasets(tx).get(dataset.id or 0)
        loaded.description = "before"
        with pytest.raises(ValueError, match="mine"), tx.savepoint():
            loaded.description = "inside"
            raise ValueError("mine")
    assert make.column(db, "SELECT description FROM datasets") == ["before"]


# --- driver errors become ours -------------------------------------------------------------------------------------------------


def test_a_refused_change_names_the_constraint(noting: Database) -> None:
    with pytest.raises(ConstraintViolated, match="duplicate key") as caught, noting.transaction() as tx:
        note(tx, "a")
        note(tx, "a")
    assert caught.value.constraint == "notes_are_unique"
    assert isinstance(caught.value, Conflict)


def test_a_constraint_without_a_name_is_refused_too(noting: Database) -> None:
    with pytest.raises(ConstraintViolated) as caught, noting.transaction() as tx:
        tx.execute("INSERT INTO notes VALUES (NULL)")
    assert caught.value.constraint is None


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT CAST(:x AS text)", {"x": "a\x00b"}),
        ("SELECT CAST(:x AS integer)", {"x": 2**40}),
        ("SELECT CAST(:x AS integer)", {"x": "٣"}),
    ],
)
def test_a_value_that_the_database_cannot_hold_is_invalid(db: Database, sql: str, params: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="the database cannot take a value"), db.transaction() as tx:
        tx.scalar(sql, **params)


def test_a_database_without_tables_says_how_to_set_it_up(empty_database_url: str) -> None:
    with (
        Database(empty_database_url) as empty,
        pytest.raises(Unavailable, match=r'"files" does not exist: .*run `dsplatform db upgrade`'),
        empty.transaction() as tx,
    ):
        tx.rows("SELECT * FROM files")


def test_a_full_disk_of_the_database_is_unavailable(noting: Database) -> None:
    with pytest.raises(Unavailable, match="the database's disk is full"), noting.transaction() as tx:
        tx.execute("DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$")


def test_a_mistake_in_our_own_sql_stays_a_mistake(db: Database) -> None:
    with pytest.raises(Exception, match="syntax error") as caught, db.transaction() as tx:
        tx.execute("SELEKT 1")
    assert type(caught.value).__module__.startswith("psycopg")


def test_a_server_that_is_not_there_is_unavailable(database_url: str) -> None:
    nobody: URL = make_url(database_url).set(query={"host": "127.0.0.1", "port": "1"}, host=None, port=None)
    with Database(nobody.render_as_string(hide_password=False)) as database:
        with pytest.raises(Unavailable, match="the database does not answer"), database.transaction():
            raise AssertionError("never entered")
        with pytest.raises(Unavailable, match="the database does not answer"), database.advisory_lock("x"):
            raise AssertionError("never entered")


def _terminate_the_others(url: str) -> None:
    with psycopg.connect(libpq_url(url).replace("dsplatform_app@", "postgres@"), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'dsplatform'"
        )


def test_a_connection_that_is_lost_under_a_transaction_is_unavailable_and_nothing_stays(noting: Database, database_url: str) -> None:
    with pytest.raises(Unavailable, match="the database does not answer"), noting.transaction() as tx:
        note(tx, "a")
        _terminate_the_others(database_url)
        note(tx, "b")
    assert notes(noting) == []


def test_a_connection_that_was_lost_while_idle_is_replaced_unnoticed(
    noting: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "IDLE_SECONDS", -1)
    assert notes(noting) == []
    assert notes(noting) == []  # asked, and alive
    _terminate_the_others(database_url)
    assert notes(noting) == []


def test_a_connection_that_was_lost_a_moment_ago_is_unavailable_once(noting: Database, database_url: str) -> None:
    assert notes(noting) == []
    _terminate_the_others(database_url)
    with pytest.raises(Unavailable, match="the database does not answer"), noting.autocommit() as tx:
        tx.scalar("SELECT 1")
    assert notes(noting) == []


def test_more_transactions_than_connections_are_unavailable(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database(database_url, pool_size=1) as database:
        monkeypatch.setattr(database._engine.pool, "_timeout", 0.01)
        with database.transaction():
            with (
                pytest.raises(Unavailable, match="all database connections are in use: raise DSPLATFORM_POOL_SIZE"),
                database.transaction(),
            ):
                raise AssertionError("never entered")
            with pytest.raises(Unavailable, match="all database connections are in use"), database.advisory_lock("x"):
                raise AssertionError("never entered")


# --- retrying ------------------------------------------------------------------------------------------------------------------


def _both(db: Database, first: Callable[[Transaction, int], None], second: Callable[[Transaction, int], None]) -> tuple[int, int]:
    """Runs two works at once with `retrying`; answers how often each began."""
    begun = [0, 0]

    def attempt(which: int, work: Callable[[Transaction, int], None]) -> Callable[[], None]:
        def once(tx: Transaction) -> None:
            begun[which] += 1
            work(tx, begun[which])

        return lambda: db.retrying(once)

    make.at_once(attempt(0, first), attempt(1, second))
    return begun[0], begun[1]


def test_the_victim_of_a_real_deadlock_is_repeated(noting: Database) -> None:
    with noting.transaction() as tx:
        tx.execute("CREATE TABLE accounts AS SELECT n AS id, 0 AS balance FROM generate_series(1, 2) n")
    crossing = make.meeting(2)

    def transfer(first: int, second: int) -> Callable[[Transaction, int], None]:
        def work(tx: Transaction, _attempt: int) -> None:
            tx.execute("SET LOCAL deadlock_timeout = '5ms'")
            tx.execute("UPDATE accounts SET balance = balance + 1 WHERE id = :id", id=first)
            crossing()  # each holds what the other wants next
            tx.execute("UPDATE accounts SET balance = balance + 1 WHERE id = :id", id=second)

        return work

    begun = _both(noting, transfer(1, 2), transfer(2, 1))
    assert sorted(begun) == [1, 2]
    assert make.column(noting, "SELECT balance FROM accounts") == [2, 2]


def test_the_victim_of_a_real_serialization_failure_is_repeated(noting: Database) -> None:
    with noting.transaction() as tx:
        tx.execute("CREATE TABLE counters AS SELECT 0 AS value")
    both_have_read = make.meeting(2)

    def increment(tx: Transaction, _attempt: int) -> None:
        tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        value = tx.scalar("SELECT value FROM counters")
        both_have_read()
        tx.execute("UPDATE counters SET value = :value", value=value + 1)

    begun = _both(noting, increment, increment)
    assert sorted(begun) == [1, 2]
    assert make.column(noting, "SELECT value FROM counters") == [2]


def test_retrying_gives_up_after_its_attempts(noting: Database) -> None:
    begun: list[int] = []

    def always(tx: Transaction) -> None:
        begun.append(1)
        tx.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END $$")

    with pytest.raises(SerializationFailed, match="asked to repeat"):
        noting.retrying(always, attempts=3)
    assert len(begun) == 3


def test_retrying_repeats_nothing_else(noting: Database) -> None:
    begun: list[int] = []

    def refused(tx: Transaction) -> None:
        begun.append(1)
        tx.execute("INSERT INTO notes VALUES (NULL)")

    with pytest.raises(ConstraintViolated):
        noting.retrying(refused)
    assert len(begun) == 1


def test_retrying_answers_what_the_work_answers(noting: Database) -> None:
    assert noting.retrying(lambda tx: tx.scalar("SELECT 7")) == 7


# --- events --------------------------------------------------------------------------------------------------------------------


def test_events_reach_the_outbox_in_the_same_commit(noting: Database, heard: list[DomainEvent]) -> None:
    with noting.transaction() as tx:
        tx.publish(Noted("a"))
        assert heard == []
    assert heard == [Noted("a")]
    assert notes(noting) == ["event a"]


def test_events_of_a_rolled_back_transaction_are_never_heard(noting: Database, heard: list[DomainEvent]) -> None:
    with pytest.raises(ValueError, match="mine"), noting.transaction() as tx:
        tx.publish(Noted("a"))
        raise ValueError("mine")
    assert heard == []


def test_an_outbox_that_fails_undoes_the_change(noting: Database) -> None:
    with noting.transaction() as tx:
        note(tx, "event a")
    with pytest.raises(ConstraintViolated), noting.transaction() as tx:
        note(tx, "mine")
        tx.publish(Noted("a"))
    assert notes(noting) == ["event a"]


def test_events_from_inside_a_failed_savepoint_are_never_heard(noting: Database, heard: list[DomainEvent]) -> None:
    with noting.transaction() as tx:
        tx.publish(Noted("a"))
        with pytest.raises(ValueError, match="mine"), tx.savepoint():
            tx.publish(Noted("b"))
            raise ValueError("mine")
        with tx.savepoint():
            tx.publish(Noted("c"))
    assert heard == [Noted("a"), Noted("c")]


def test_an_aggregates_events_are_taken_once(noting: Database, heard: list[DomainEvent]) -> None:
    with noting.transaction() as tx:
        dataset = _dataset(tx)
        Datasets(tx).add(dataset)
        tx.watch(dataset)
        dataset.record(Noted("a"))
    assert heard == [Noted("a")]
    assert dataset.release() == []


def test_without_an_outbox_events_go_nowhere(db: Database) -> None:
    with db.transaction() as tx:
        tx.publish(Noted("a"))
    assert make.column(db, "SELECT id FROM deliveries") == []


# --- advisory locks ------------------------------------------------------------------------------------------------------------


def test_an_advisory_lock_excludes_a_second_session_until_the_block_ends(database_url: str, db: Database) -> None:
    with Database(database_url) as other:
        with db.advisory_lock("gc") as held:
            assert held
            with other.advisory_lock("gc") as second, other.advisory_lock("something else") as unrelated:
                assert not second
                assert unrelated
            with other.advisory_lock("gc") as still:
                assert not still  # who did not get the lock does not free it either
        with other.advisory_lock("gc") as free:
            assert free


def test_an_advisory_lock_is_freed_by_an_exception(database_url: str, db: Database) -> None:
    with pytest.raises(ValueError, match="mine"), db.advisory_lock("gc"):
        raise ValueError("mine")
    with Database(database_url) as other, other.advisory_lock("gc") as free:
        assert free


def test_an_advisory_lock_ends_with_its_connection(database_url: str, db: Database) -> None:
    with pytest.raises(Unavailable), db.advisory_lock("gc"):
        _terminate_the_others(database_url)
        with Database(database_url) as other, other.advisory_lock("gc") as free:
            assert free


# --- repositories --------------------------------------------------------------------------------------------------------------


def test_an_aggregate_reads_back_as_it_was_stored(db: Database) -> None:
    with db.transaction() as tx:
        dataset = _dataset(tx)
        dataset.labels = ["a", "b"]
        Datasets(tx).add(dataset)
        assert dataset.id is not None
    with db.transaction() as tx:
        loaded = Datasets(tx).get(dataset.id)
        assert loaded == dataset
        assert loaded is not dataset
        assert (loaded.name, loaded.slug, loaded.labels, loaded.description) == ("sales", "sales", ["a", "b"], "")


def test_a_change_of_a_loaded_aggregate_is_written_by_the_commit(db: Database) -> None:
    with db.transaction() as tx:
        dataset = _dataset(tx)
        Datasets(tx).add(dataset)
    with db.transaction() as tx:
        Datasets(tx).get(dataset.id or 0).description = "new"
        assert tx.scalar("SELECT description FROM datasets") == "new"  # plain SQL sees what the session holds
    assert make.column(db, "SELECT description FROM datasets") == ["new"]


def test_a_missing_aggregate_is_named(db: Database) -> None:
    with db.transaction() as tx, pytest.raises(NotFound, match="dataset 99 does not exist"):
        Datasets(tx).get(99)


def test_a_repository_says_which_constraint_refused(db: Database) -> None:
    with pytest.raises(ConstraintViolated) as caught, db.transaction() as tx:
        repository: SqlRepository[Dataset] = Datasets(tx).add(_dataset(tx))
        repository.add(_dataset(tx))
    assert caught.value.constraint in {"uq_datasets_slug", "uq_datasets_owner_name"}


def test_threads_share_one_database(noting: Database) -> None:
    def work(number: int) -> Callable[[], None]:
        def write() -> None:
            with noting.transaction() as tx:
                note(tx, f"{number} {threading.get_ident() > 0}")

        return write

    make.at_once(*[work(number) for number in range(8)])
    assert len(notes(noting)) == 8
