"""T11 and T12: the connection ends around a commit, and the database chooses victims. What is repeated with its key is there once."""

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

import pytest
from sqlalchemy.pool import QueuePool

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import database
from dsplatform.core.database import OutcomeUnknown, SerializationFailed, Transaction
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.values import Committed, DatasetRef
from dsplatform.files import service as files_service
from dsplatform.versioning import publishing
from dsplatform_tests import make
from dsplatform_tests.versioning.cutting import COMMIT, Relay, Where, relayed

REPETITIONS = 13


@pytest.fixture
def way(settings: Settings, database_url: str) -> Iterator[tuple[Relay, Platform]]:
    """A platform whose way to the database can be cut."""
    with relayed(database_url) as (relay, url), bootstrap(settings, url) as platform:
        yield relay, platform


def numbers(platform: Platform, dataset: DatasetRef) -> list[int]:
    return [version.number for version in platform.versions.list_versions(platform.actor(), dataset, limit=1_000)]


def unused(platform: Platform) -> bool:
    """Whether every connection is back in the pool."""
    pool = platform.db._engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout() == 0


# --- the connection ends (T11) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", list(Where), ids=[where.name.lower() for where in Where])
def test_a_commit_that_was_cut_is_repeated_with_its_key_and_there_once(where: Where, way: tuple[Relay, Platform]) -> None:
    relay, platform = way
    dataset, actor = make.dataset(platform), platform.actor()
    arrived = 0
    for number in range(1, REPETITIONS + 1):

        def commit(number: int = number) -> Committed:
            return make.commit(platform, dataset, {"a": b"%d" % number, str(number): b"new"}, actor=actor, idempotency_key=f"key {number}")

        relay.cut(where, COMMIT)
        with pytest.raises(OutcomeUnknown, match="repeat it with the same idempotency key"):
            commit()
        assert relay.cuts == number
        assert unused(platform)
        again = commit()
        assert again.version_number == number
        arrived += not again.created
        assert numbers(platform, dataset) == list(range(number, 0, -1))
        assert commit().version_id == again.version_id
    assert where is Where.AT_ONCE or arrived == (0 if where is Where.BEFORE else REPETITIONS)
    assert make.held(platform, dataset) == {"a": b"%d" % REPETITIONS, **{str(number): b"new" for number in range(1, REPETITIONS + 1)}}
    make.assert_sound(platform)


def _twice_without_its_key(platform: Platform, relay: Relay, key: str | None) -> list[int]:
    """Two commits between which somebody else puts the old content back; the first one arrived, though its answer was lost."""
    dataset, actor = make.dataset(platform), platform.actor()
    make.commit(platform, dataset, {"a": b"old"})
    relay.cut(Where.AFTER, COMMIT)
    with pytest.raises(OutcomeUnknown):
        make.commit(platform, dataset, {"a": b"new"}, actor=actor, idempotency_key=key)
    make.commit(platform, dataset, {"a": b"old"})
    make.commit(platform, dataset, {"a": b"new"}, actor=actor, idempotency_key=key)
    return numbers(platform, dataset)


def test_a_key_keeps_a_repetition_from_being_a_second_change(way: tuple[Relay, Platform]) -> None:
    assert _twice_without_its_key(way[1], way[0], "key") == [3, 2, 1]


def test_without_a_key_it_is_a_second_change(way: tuple[Relay, Platform]) -> None:
    assert _twice_without_its_key(way[1], way[0], None) == [4, 3, 2, 1]


@pytest.mark.parametrize("where", [Where.BEFORE, Where.AFTER], ids=["before", "after"])
def test_the_connection_may_end_at_any_message(where: Where, way: tuple[Relay, Platform]) -> None:
    relay, platform = way
    dataset, actor = make.dataset(platform), platform.actor()
    make.commit(platform, dataset, {"base": b"0"})
    refused = 0
    for nth in range(1, 100):

        def commit(nth: int = nth) -> Committed:
            return make.commit(platform, dataset, {"a": b"%d" % nth}, actor=actor, idempotency_key=str(nth))

        before = relay.cuts
        relay.cut(where, nth=nth)
        try:
            commit()
        except Unavailable:
            refused += 1
        relay.spare()
        assert unused(platform)
        assert commit().version_number == nth + 1
        assert numbers(platform, dataset) == list(range(nth + 1, 0, -1))
        if relay.cuts == before:
            break
    else:
        raise AssertionError("a commit has more messages than that")
    assert refused >= 8
    make.overdue(platform.db)
    platform.gc.collect(platform.system())
    make.assert_sound(platform)


@pytest.mark.parametrize("where", [Where.BEFORE, Where.AFTER], ids=["before", "after"])
def test_storing_a_file_may_lose_its_connection_at_any_message(where: Where, way: tuple[Relay, Platform]) -> None:
    relay, platform = way
    actor = platform.actor()
    for nth in range(1, 100):
        before = relay.cuts
        relay.cut(where, nth=nth)
        with suppress(Unavailable):
            platform.files.store_file(actor, BytesIO(b"%d" % nth))
        relay.spare()
        assert unused(platform)
        assert make.content(platform, make.stored(platform, b"%d" % nth).file_id) == b"%d" % nth
        if relay.cuts == before:
            break
    assert nth > 5
    make.overdue(platform.db)
    platform.gc.collect(platform.system())
    make.assert_sound(platform)


# --- the database chooses a victim (T12) -----------------------------------------------------------------------------------------

VICTIMS = {"deadlock": "deadlock_detected", "serialization": "serialization_failure"}


class Victims:
    """Lets the n-th statement of transactions end as the server's victim, so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: str, *, nth: int, times: int) -> None:
        self.left = times
        self.waits = 0
        self._nth = nth
        real = Transaction._run
        seen: dict[int, int] = {}

        def run(tx: Transaction, sql: str, params: object) -> object:
            if tx._connection:  # of autocommit there is none, and no victim
                seen[id(tx)] = seen.get(id(tx), 0) + 1
                if seen[id(tx)] == self._nth and self.left:
                    self.left -= 1
                    seen.clear()
                    real(tx, f"DO $$ BEGIN RAISE EXCEPTION 'chosen' USING ERRCODE = '{error}'; END $$", {})
            return real(tx, sql, params)  # type: ignore[arg-type]

        monkeypatch.setattr(Transaction, "_run", run)
        for module in (database, publishing, files_service):
            monkeypatch.setattr(module, "back_off", self._wait)

    def _wait(self, _attempt: int) -> None:
        self.waits += 1


@pytest.mark.parametrize("error", VICTIMS.values(), ids=VICTIMS)
def test_a_commit_that_is_chosen_at_any_statement_is_repeated(error: str, platform: Platform) -> None:
    dataset, actor = make.dataset(platform), platform.actor()
    for nth in range(1, 50):
        with pytest.MonkeyPatch.context() as monkeypatch:
            victims = Victims(monkeypatch, error, nth=nth, times=3)
            committed = make.commit(platform, dataset, {"a": b"%d" % nth}, actor=actor)
        assert committed.version_number == nth
        assert unused(platform)
        if victims.left:
            assert victims.left == 3
            break
        assert victims.waits == 3
    assert nth > 5
    make.assert_sound(platform)


@pytest.mark.parametrize("error", VICTIMS.values(), ids=VICTIMS)
def test_a_file_that_is_chosen_at_any_statement_is_stored(error: str, platform: Platform) -> None:
    actor = platform.actor()
    for nth in range(1, 50):
        with pytest.MonkeyPatch.context() as monkeypatch:
            victims = Victims(monkeypatch, error, nth=nth, times=3)
            reference = platform.files.store_file(actor, BytesIO(b"%d" % nth))
        assert make.content(platform, reference.file_id) == b"%d" % nth
        assert unused(platform)
        if victims.left:
            break
    assert nth > 2
    make.assert_sound(platform)


def test_who_is_chosen_for_ever_gives_up_and_leaves_nothing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, actor = make.dataset(platform), platform.actor()
    with pytest.MonkeyPatch.context() as chosen:
        victims = Victims(chosen, "deadlock_detected", nth=3, times=10_000)  # giving back what was written takes two statements
        with pytest.raises(Conflict, match="is being changed by many at once: try again"):
            make.commit(platform, dataset, {"a": b"1"}, actor=actor)
        assert victims.waits == publishing.MAX_ATTEMPTS
        victims.left = 10_000
        with pytest.raises(Conflict, match="try again"):
            platform.files.store_file(actor, __file__)
    assert unused(platform)
    assert numbers(platform, dataset) == []
    make.assert_sound(platform)


def test_the_claim_fails_when_a_victim_is_not_repeated(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MAX_ATTEMPTS", 1)
    with pytest.raises((Conflict, SerializationFailed)):
        test_a_commit_that_is_chosen_at_any_statement_is_repeated("deadlock_detected", platform)
