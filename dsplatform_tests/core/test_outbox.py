import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest

from dsplatform.core.database import Database, Transaction
from dsplatform.core.database_url import libpq_url
from dsplatform.core.domain import DomainEvent
from dsplatform.core.errors import Unavailable
from dsplatform.core.outbox import Outbox
from dsplatform_tests import make


@dataclass(frozen=True)
class Rang(DomainEvent):
    bell: int


@dataclass(frozen=True)
class Echoed(DomainEvent):
    bell: int


class Broken(Exception):
    """What a failing handler raises."""


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with a table that handlers have their effect in."""
    with Database(database_url) as database:
        with make.tampering(database) as tx:
            tx.execute("CREATE TABLE effects (bell int NOT NULL)")
            tx.execute("GRANT ALL ON effects TO PUBLIC")
        yield database


def effect(tx: Transaction, event: DomainEvent) -> None:
    tx.execute("INSERT INTO effects VALUES (:bell)", bell=event.plain()["bell"])


def broken(tx: Transaction, event: DomainEvent) -> None:
    effect(tx, event)
    raise Broken("the bell \x00 is broken")


def effects(db: Database) -> list[int]:
    return make.column(db, "SELECT bell FROM effects ORDER BY bell")


def ring(db: Database, outbox: Outbox, *bells: int) -> None:
    with db.transaction() as tx:
        outbox.store(tx, [Rang(bell) for bell in bells])


def pending(db: Database, outbox: Outbox) -> int:
    with db.transaction() as tx:
        return outbox.pending(tx)


def come_due(db: Database) -> None:
    """Time passes."""
    with db.transaction() as tx:
        tx.execute("UPDATE deliveries SET due_at = now()")


def test_each_subscriber_hears_each_event_once(db: Database) -> None:
    heard: list[tuple[str, DomainEvent]] = []
    outbox = Outbox({Rang: {"a": lambda _, event: heard.append(("a", event)), "b": lambda _, event: heard.append(("b", event))}})
    ring(db, outbox, 1, 2)
    assert pending(db, outbox) == 4
    assert outbox.deliver(db) == 4
    assert sorted(heard, key=str) == [("a", Rang(1)), ("a", Rang(2)), ("b", Rang(1)), ("b", Rang(2))]
    assert (outbox.deliver(db), pending(db, outbox)) == (0, 0)


def test_an_event_that_nobody_hears_is_not_stored(db: Database) -> None:
    outbox = Outbox({Rang: {"a": effect}})
    with db.transaction() as tx:
        outbox.store(tx, [Echoed(1)])
    assert pending(db, outbox) == 0


def test_an_event_is_stored_by_the_commit_of_its_change(database_url: str, db: Database) -> None:
    outbox = Outbox({Rang: {"a": effect}})
    with Database(database_url, outbox=outbox.store) as storing:
        with storing.transaction() as tx:
            tx.publish(Rang(1))
        with pytest.raises(Broken), storing.transaction() as tx:
            tx.publish(Rang(2))
            raise Broken
    assert outbox.deliver(db) == 1
    assert effects(db) == [1]


def test_no_more_than_the_limit_is_delivered(db: Database) -> None:
    outbox = Outbox({Rang: {"a": effect}})
    ring(db, outbox, 1, 2, 3)
    assert outbox.deliver(db, limit=2) == 2
    assert effects(db) == [1, 2]


def test_a_failing_handler_has_no_effect_and_does_not_hold_up_the_others(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox({Rang: {"bad": broken, "good": effect}})
    ring(db, outbox, 1, 2)
    assert outbox.deliver(db) == 2
    assert effects(db) == [1, 2]
    assert pending(db, outbox) == 2
    assert "to bad failed: the bell" in caplog.text


def test_a_failed_delivery_is_made_again_when_it_is_due(db: Database) -> None:
    ring(db, Outbox({Rang: {"a": broken}}), 1)
    assert Outbox({Rang: {"a": broken}}).deliver(db) == 0
    repaired = Outbox({Rang: {"a": effect}})
    assert repaired.deliver(db) == 0  # not due yet
    come_due(db)
    assert repaired.deliver(db) == 1
    assert effects(db) == [1]


def test_each_failure_is_noted_and_waits_twice_as_long_up_to_ten_minutes(db: Database) -> None:
    outbox = Outbox({Rang: {"a": broken}})
    ring(db, outbox, 1)
    waits = []
    for _ in range(12):
        assert outbox.deliver(db) == 0
        waits += make.column(db, "SELECT CAST(extract(epoch FROM due_at - now()) + 0.5 AS integer) FROM deliveries")
        come_due(db)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert make.column(db, "SELECT attempts FROM deliveries") == [12]
    assert "is broken" in make.column(db, "SELECT last_error FROM deliveries")[0]


def test_a_delivery_that_failed_for_weeks_still_holds_up_nobody(db: Database) -> None:
    outbox = Outbox({Rang: {"bad": broken, "good": effect}})
    ring(db, outbox, 1)
    with db.transaction() as tx:
        tx.execute("UPDATE deliveries SET attempts = 5000 WHERE subscriber = 'bad'")
        tx.execute("UPDATE deliveries SET due_at = now() - interval '1 hour' WHERE subscriber = 'bad'")
    assert outbox.deliver(db) == 1
    assert effects(db) == [1]


def test_an_event_that_this_release_does_not_know_waits_and_holds_up_nobody(db: Database) -> None:
    outbox = Outbox({Rang: {"a": effect}})
    with db.transaction() as tx:
        tx.execute(
            "INSERT INTO deliveries (subscriber, event, payload, due_at) VALUES ('a', 'OfTomorrow', '{}', now() - interval '1 hour')"
        )
    ring(db, outbox, 1)
    assert outbox.deliver(db) == 1
    assert (effects(db), pending(db, outbox)) == ([1], 1)


def test_a_subscriber_that_this_release_no_longer_has_is_dropped(db: Database) -> None:
    ring(db, Outbox({Rang: {"gone": effect}}), 1)
    outbox = Outbox({Rang: {"other": effect}})
    assert outbox.deliver(db) == 1
    assert (effects(db), pending(db, outbox)) == ([], 0)


def test_what_a_failing_handler_published_is_not_heard(database_url: str, db: Database) -> None:
    def publishing(tx: Transaction, event: DomainEvent) -> None:
        tx.publish(Echoed(event.plain()["bell"]))
        raise Broken

    outbox = Outbox({Rang: {"a": publishing}, Echoed: {"b": effect}})
    with Database(database_url, outbox=outbox.store) as storing:
        ring(storing, outbox, 1)
        assert outbox.deliver(storing) == 0
    assert make.column(db, "SELECT event FROM deliveries") == ["Rang"]
    assert effects(db) == []


def test_what_a_handler_published_is_delivered_in_turn(database_url: str, db: Database) -> None:
    outbox = Outbox({Rang: {"a": lambda tx, event: tx.publish(Echoed(event.plain()["bell"]))}, Echoed: {"b": effect}})
    with Database(database_url, outbox=outbox.store) as storing:
        ring(storing, outbox, 1)
        assert outbox.deliver(storing) == 2
    assert effects(db) == [1]


def test_a_crash_between_effect_and_acknowledgement_undoes_both(database_url: str, db: Database) -> None:
    def crashing(tx: Transaction, event: DomainEvent) -> None:
        effect(tx, event)
        with psycopg.connect(libpq_url(database_url), autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 10000)", [tx.scalar("SELECT pg_backend_pid()")])

    outbox = Outbox({Rang: {"a": crashing}})
    ring(db, outbox, 1)
    with pytest.raises(Unavailable):
        outbox.deliver(db)
    assert (effects(db), pending(db, outbox)) == ([], 1)
    assert Outbox({Rang: {"a": effect}}).deliver(db) == 1
    assert (effects(db), pending(db, outbox)) == ([1], 0)


def test_two_deliverers_do_not_double(db: Database) -> None:
    in_handler, may_end = threading.Event(), threading.Event()

    def slow(tx: Transaction, event: DomainEvent) -> None:
        effect(tx, event)
        if event == Rang(1):
            in_handler.set()
            assert may_end.wait(make.PATIENCE)

    outbox = Outbox({Rang: {"a": slow}})
    ring(db, outbox, 1, 2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(outbox.deliver, db)
        assert in_handler.wait(make.PATIENCE)
        assert outbox.deliver(db) == 1  # passes by what the first one has in hand, and does not wait for it
        may_end.set()
        assert first.result() == 1
    assert effects(db) == [1, 2]


def test_the_event_of_a_slow_transaction_is_not_lost(db: Database) -> None:
    outbox = Outbox({Rang: {"a": effect}})
    with db.transaction() as slow:
        outbox.store(slow, [Rang(1)])
        ring(db, outbox, 2)  # gets the higher id, and commits first
        assert outbox.deliver(db) == 1
        assert effects(db) == [2]
    assert outbox.deliver(db) == 1
    assert effects(db) == [1, 2]
