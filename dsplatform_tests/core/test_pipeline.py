"""Statements that wait for the next one: order, failure, commit."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform_tests import make

INSERT = "INSERT INTO notes (note) VALUES (:note)"


@pytest.fixture
def noting(db: Database) -> Database:
    """A table that keeps the order of what is written into it."""
    with db.transaction() as tx:
        tx.execute("CREATE TABLE notes (at int GENERATED ALWAYS AS IDENTITY, note text, CONSTRAINT unique_notes UNIQUE (note))")
    return db


def notes(db: Database) -> list[str]:
    return make.column(db, "SELECT note FROM notes ORDER BY at")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(["now", "later", "ask"]), max_size=8))
def test_statements_run_in_the_order_of_their_calls(kinds: list[str], noting: Database) -> None:
    with noting.transaction() as tx:
        tx.execute("DELETE FROM notes")
        written = 0
        for number, kind in enumerate(kinds):
            if kind == "ask":
                assert tx.scalar("SELECT count(*) FROM notes") == written
                continue
            (tx.later if kind == "later" else tx.execute)(INSERT, note=str(number))
            written += 1
    assert notes(noting) == [str(number) for number, kind in enumerate(kinds) if kind != "ask"]


def test_what_waits_at_the_end_is_committed_with_the_rest(noting: Database) -> None:
    with noting.transaction() as tx:
        tx.later(INSERT, note="a")
    assert tx.committed
    assert notes(noting) == ["a"]


def test_what_waits_is_rolled_back_with_the_rest(noting: Database) -> None:
    with pytest.raises(ValueError, match="mine"), noting.transaction() as tx:
        tx.execute(INSERT, note="a")
        tx.later(INSERT, note="b")
        raise ValueError("mine")
    assert notes(noting) == []


@pytest.mark.parametrize("after", ["nothing", "a question", "another that waits"])
def test_a_refusal_of_what_waits_undoes_all(after: str, noting: Database) -> None:
    with pytest.raises(ConstraintViolated) as caught, noting.transaction() as tx:
        tx.execute(INSERT, note="a")
        tx.later(INSERT, note="a")
        if after == "a question":
            tx.scalar("SELECT 1")
        elif after == "another that waits":
            tx.later(INSERT, note="b")
    assert caught.value.constraint == "unique_notes"
    assert not tx.committed
    assert notes(noting) == []


def test_a_constraint_that_is_checked_by_the_commit_undoes_all(noting: Database) -> None:
    with noting.transaction() as tx:
        tx.execute(
            "ALTER TABLE notes DROP CONSTRAINT unique_notes, ADD CONSTRAINT later_unique UNIQUE (note) DEFERRABLE INITIALLY DEFERRED"
        )
    with pytest.raises(ConstraintViolated), noting.transaction() as tx:
        tx.execute(INSERT, note="a")
        tx.later(INSERT, note="a")
    assert not tx.committed
    assert notes(noting) == []


def test_the_connection_is_fit_for_the_next_after_a_refusal(noting: Database) -> None:
    for _ in range(3):
        with pytest.raises(ConstraintViolated), noting.transaction() as tx:
            tx.later(INSERT, note="a")
            tx.later(INSERT, note="a")
    with noting.transaction() as tx:
        tx.later(INSERT, note="b")
    assert notes(noting) == ["b"]


def test_what_waits_inside_a_savepoint_belongs_to_it(noting: Database) -> None:
    with noting.transaction() as tx:
        tx.later(INSERT, note="before")
        with pytest.raises(ConstraintViolated), tx.savepoint():
            tx.later(INSERT, note="inside")
            tx.later(INSERT, note="before")
        with pytest.raises(ValueError, match="mine"), tx.savepoint():
            _write_and_fail(tx)
        with tx.savepoint():
            tx.later(INSERT, note="kept")
    assert notes(noting) == ["before", "kept"]


def _write_and_fail(tx: Transaction) -> None:
    tx.later(INSERT, note="never sent")
    raise ValueError("mine")


def test_what_waits_without_a_transaction_is_sent_at_the_end(noting: Database) -> None:
    with noting.autocommit() as tx:
        tx.later(INSERT, note="a")
    assert notes(noting) == ["a"]
