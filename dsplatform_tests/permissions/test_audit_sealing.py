"""Sealing, whoever does it and whatever happens meanwhile: every row gets one seal, the seals have no gap, and the chain holds."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.permissions import audit
from dsplatform.permissions.audit import AuditService
from dsplatform.permissions.audit_rows import AuditTrail
from dsplatform_tests import make

UNSEALED = "SELECT count(*) FROM audit_log l WHERE NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.audit_id = l.id)"


def write(tx: Transaction, *actions: str) -> None:
    """Rows, as the transaction writes them at its end."""
    for action in actions:
        tx.execute("INSERT INTO audit_log (action, object_type) VALUES (:action, 'x')", action=action)


def sealed(platform: Platform) -> list[str]:
    """Actions by position."""
    return make.column(platform.db, "SELECT l.action FROM audit_seals s JOIN audit_log l ON l.id = s.audit_id ORDER BY s.position")


def assert_whole(platform: Platform, rows: int) -> None:
    """All rows have their seals, without a gap, and the chain holds."""
    assert make.column(platform.db, UNSEALED) == [0]
    assert make.column(platform.db, "SELECT position FROM audit_seals ORDER BY 1") == list(range(1, rows + 1))
    report = platform.audit.verify(platform.actor())
    assert report.findings == ()
    assert report.rows == rows


def test_rows_are_sealed_in_order_and_once(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 4)
    with platform.db.transaction() as tx:
        write(tx, *(f"a.{number}" for number in range(10)))
    first = platform.audit.seal()
    assert first.rows == 10
    assert first.head
    assert first.head.position == 10
    again = platform.audit.seal()
    assert (again.rows, again.head) == (0, first.head)
    assert sealed(platform) == [f"a.{number}" for number in range(10)]
    assert_whole(platform, 10)


def test_a_row_of_a_slow_transaction_is_sealed_later_and_not_lost(platform: Platform) -> None:
    """Its id was handed out first. A sealer that goes on from the highest id that it has seen would never see it."""
    with platform.db.transaction() as slow:
        write(slow, "slow.one")
        with platform.db.transaction() as tx:
            write(tx, "quick.one", "quick.two")
        assert platform.audit.seal().rows == 2
    assert platform.audit.seal().rows == 1
    assert sealed(platform) == ["quick.one", "quick.two", "slow.one"]
    ids = make.column(platform.db, "SELECT audit_id FROM audit_seals ORDER BY position")
    assert ids[2] < ids[0], "else this test has shown nothing"
    assert_whole(platform, 3)


def test_the_test_above_finds_a_sealer_that_goes_on_from_the_highest_id(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    right = AuditTrail.to_seal

    def from_the_highest(self: AuditTrail, limit: int, *, whole: bool) -> object:
        highest = self._tx.scalar("SELECT coalesce(max(audit_id), 0) FROM audit_seals")
        return [row for row in right(self, limit, whole=whole) if row["id"] > highest]

    monkeypatch.setattr(AuditTrail, "to_seal", from_the_highest)
    with pytest.raises(AssertionError):
        test_a_row_of_a_slow_transaction_is_sealed_later_and_not_lost(platform)


@pytest.mark.parametrize("hours", [1, 23])
def test_a_row_that_appears_a_day_late_is_still_seen_by_the_minute(hours: int, platform: Platform) -> None:
    with platform.db.transaction() as tx:
        write(tx, "now.x")
    platform.audit.seal()
    with make.tampering(platform.db) as tx:
        tx.execute(
            "INSERT INTO audit_log (at, action, object_type) VALUES (now() - make_interval(hours => :hours), 'late.x', 'x')", hours=hours
        )
    assert platform.audit.seal().rows == 1


def test_what_was_left_for_days_is_sealed_in_one_go(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sealed for a month; then the floor moves up with what was sealed, and not with the clock."""
    monkeypatch.setattr(audit, "PAGE", 2)
    with make.tampering(platform.db) as tx:
        for days in (40, 30, 20, 10, 5, 1, 0):
            tx.execute(
                "INSERT INTO audit_log (at, action, object_type) VALUES (now() - make_interval(days => :days), 'x.y', 'x')", days=days
            )
    assert platform.audit.seal().rows == 7
    assert_whole(platform, 7)


def test_the_clock_of_a_row_in_the_future_does_not_stop_the_sealer(platform: Platform) -> None:
    with make.tampering(platform.db) as tx:
        tx.execute("INSERT INTO audit_log (at, action, object_type) VALUES (now() + interval '10 years', 'x.y', 'x')")
    platform.audit.seal()
    with platform.db.transaction() as tx:
        write(tx, "now.x")
    assert platform.audit.seal().rows == 1


def test_the_question_of_each_minute_does_not_read_the_whole_log(platform: Platform) -> None:
    """Of 8,000 rows of which a few are of the last day, it reads these alone."""
    with make.tampering(platform.db) as tx:
        tx.execute(
            "INSERT INTO audit_log (at, action, object_type) SELECT now() - make_interval(hours => 30 + n), 'x.y', 'x' "
            "FROM generate_series(1, 8000) n ORDER BY n DESC"
        )
        write(tx, "new.x")
    platform.audit.seal(whole=True)
    with make.tampering(platform.db) as tx:
        tx.execute("ANALYZE audit_log")
        tx.execute("ANALYZE audit_seals")
    with platform.db.transaction() as tx:
        write(tx, "newer.x")
    with platform.db.transaction() as tx:
        asked: list[str] = []
        real = tx._run

        def explained(sql: str, params: Mapping[str, object]) -> object:
            explaining = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}"
            asked.append("\n".join(line for (line,) in real(explaining, params).fetchall()))
            return real(sql, params)

        tx._run = explained  # type: ignore[method-assign, assignment]
        assert len(AuditTrail(tx).to_seal(2_000, whole=False)) == 1
    (plan,) = asked
    assert "ix_audit_log_at" in plan, plan
    assert "Seq Scan on audit_log" not in plan, plan


def test_two_sealers_at_once_make_one_chain(platform: Platform, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setattr(audit, "PAGE", 3)
    rows, sealers = 120, 4
    with platform.db.transaction() as tx:
        write(tx, *(f"a.{number}" for number in range(rows)))
    together = threading.Barrier(sealers)

    def seal(_: int) -> int:
        with Database(database_url) as db:
            together.wait(make.PATIENCE)
            return AuditService(db, platform.permissions).seal().rows

    with ThreadPoolExecutor(sealers) as pool:
        shares = list(pool.map(seal, range(sealers)))
    assert sum(shares) == rows
    assert_whole(platform, rows)


def test_without_the_lock_sealers_at_once_break_off(platform: Platform, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """The lock is what keeps them apart. Without it the keys of the table still refuse a second seal for a row or a position."""
    both_have_looked = make.meeting(2)
    right = AuditTrail.append

    def append(self: AuditTrail, head: object, rows: object) -> object:
        both_have_looked()
        return right(self, head, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(AuditTrail, "lock", lambda _: None)
    monkeypatch.setattr(AuditTrail, "append", append)
    with platform.db.transaction() as tx:
        write(tx, "a.b", "c.d")

    def seal(_: int) -> str:
        try:
            with Database(database_url) as db:
                return str(AuditService(db, platform.permissions).seal().rows)
        except ConstraintViolated as err:
            return str(err.constraint)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(seal, range(2))) == ["2", "pk_audit_seals"]
    monkeypatch.undo()
    assert_whole(platform, 2)


SEALER = """
import os, sys
from dsplatform.core.database import Database
from dsplatform.permissions import audit
from dsplatform.permissions.audit_rows import AuditTrail
from dsplatform.permissions.service import PermissionService

audit.PAGE = 5
right, calls, moment = AuditTrail.append, 0, sys.argv[2]

def append(self, head, rows):
    global calls
    calls += 1
    if calls == 3 and moment == "before":
        os.kill(os.getpid(), 9)
    made = right(self, head, rows)
    if calls == 3 and moment == "within":
        os.kill(os.getpid(), 9)
    return made

AuditTrail.append = append
with Database(sys.argv[1]) as db:
    audit.AuditService(db, PermissionService(db)).seal()
"""


@pytest.mark.parametrize("moment", ["before", "within"])
def test_a_sealer_that_is_killed_leaves_whole_batches_and_the_next_one_goes_on(moment: str, platform: Platform, database_url: str) -> None:
    with platform.db.transaction() as tx:
        write(tx, *(f"a.{number}" for number in range(23)))
    done = subprocess.run([sys.executable, "-c", SEALER, database_url, moment], env=dict(os.environ), check=False)
    assert done.returncode == -9
    assert len(sealed(platform)) == 10
    assert platform.audit.seal().rows == 13
    assert_whole(platform, 23)


class Interleaving:
    """Transactions that are open at once and end in any order, and sealers in between."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.open: list[tuple[ExitStack, list[str]]] = []
        self.committed: set[str] = set()
        self.number = 0

    def begin(self, rows: int) -> None:
        stack = ExitStack()
        tx = stack.enter_context(self.db.transaction())
        actions = [f"a.{self.number + n}" for n in range(rows)]
        self.number += rows
        write(tx, *actions)
        self.open.append((stack, actions))

    def end(self, which: int, *, commit: bool) -> None:
        stack, actions = self.open.pop(which % len(self.open))
        if commit:
            stack.close()
            self.committed |= set(actions)
        else:
            try:
                raise ZeroDivisionError
            except ZeroDivisionError as err:
                stack.__exit__(type(err), err, err.__traceback__)


STEPS = st.lists(
    st.tuples(st.just("begin"), st.integers(1, 3))
    | st.tuples(st.sampled_from(["commit", "roll back"]), st.integers(0, 5))
    | st.tuples(st.just("seal"), st.just(0)),
    min_size=3,
    max_size=20,
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_in_whatever_order_transactions_end_every_row_is_sealed_once(
    steps: list[tuple[str, int]], platform: Platform, database_url: str, system: Actor
) -> None:
    with make.tampering(platform.db) as tx:
        for table in ("audit_log", "audit_seals"):
            tx.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_only_grows")
            tx.execute(f"TRUNCATE {table}")
            tx.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_only_grows")
    with Database(database_url, pool_size=25) as db:
        world = Interleaving(db)
        for what, number in steps:
            if what == "begin" and len(world.open) < 6:
                world.begin(number)
            elif what in {"commit", "roll back"} and world.open:
                world.end(number, commit=what == "commit")
            elif what == "seal":
                platform.audit.seal()
                assert set(sealed(platform)) == world.committed
        while world.open:
            world.end(0, commit=True)
        platform.audit.seal()
    assert set(sealed(platform)) == world.committed
    assert_whole(platform, len(world.committed))


def test_a_note_and_its_change_are_sealed_only_once_they_are_committed(platform: Platform, system: Actor) -> None:
    with pytest.raises(ZeroDivisionError), platform.db.transaction() as tx:
        tx.note(AuditEntry("a.b", "x", "1", system))
        raise ZeroDivisionError
    assert platform.audit.seal().rows == 0
