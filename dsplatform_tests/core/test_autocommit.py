"""What `autocommit` leaves behind in the pool: nothing, however it ends."""

from collections.abc import Iterator

import pytest

from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import Invalid


@pytest.fixture
def single(owner_url: str) -> Iterator[Database]:
    """A pool of one connection, so that the next has what the one before left, and a table to write into."""
    with Database(owner_url, pool_size=1, as_login=True) as database:
        with database.transaction() as tx:
            tx.execute("CREATE TABLE notes (note text)")
        yield database


def noted(tx: Transaction) -> int:
    return int(tx.scalar("SELECT count(*) FROM notes"))


def who(tx: Transaction) -> int:
    return int(tx.scalar("SELECT pg_backend_pid()"))


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("ends", ["well", "in an error", "in a refused statement"])
def test_a_transaction_after_it_can_be_rolled_back(ends: str, single: Database) -> None:
    try:
        with single.autocommit() as tx:
            before = who(tx)
            if ends == "in an error":
                raise Stopped
            if ends == "in a refused statement":
                tx.scalar("SELECT CAST(:given AS int)", given="x")
    except (Stopped, Invalid):
        pass
    with pytest.raises(Stopped), single.transaction() as tx:
        assert who(tx) == before
        tx.execute("INSERT INTO notes VALUES ('a')")
        raise Stopped
    with single.autocommit() as tx:
        assert noted(tx) == 0


def test_each_statement_is_kept_by_itself(single: Database) -> None:
    with pytest.raises(Stopped), single.autocommit() as tx:
        tx.execute("INSERT INTO notes VALUES ('a')")
        raise Stopped
    with single.autocommit() as tx:
        assert noted(tx) == 1


def test_a_connection_that_is_left_inside_a_transaction_is_not_used_again(single: Database) -> None:
    with pytest.raises(Stopped), single.autocommit() as tx:
        before = who(tx)
        tx.execute("BEGIN")
        tx.execute("INSERT INTO notes VALUES ('a')")
        raise Stopped
    with single.autocommit() as tx:
        assert who(tx) != before
        assert noted(tx) == 0
    assert single.pool() == (1, 0)
