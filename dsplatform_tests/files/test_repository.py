from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import ConstraintViolated, Database, SerializationFailed
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.values import UploadOvertaken
from dsplatform.files.condition import Condition
from dsplatform.files.model import FileReference, storage_key
from dsplatform.files.repository import Files, Intents, NewFile
from dsplatform_tests import make


def rows(*letters: str) -> list[NewFile]:
    """New contents whose hashes are one letter."""
    hashes = [ContentHash(letter * 64) for letter in letters]
    return [NewFile(content_hash, 1, storage_key(content_hash, uuid4()), "text", "text/plain", None) for content_hash in hashes]


def inserted(db: Database, *letters: str) -> list[FileId]:
    with db.transaction() as tx:
        ids = Files(tx).insert(rows(*letters), "local")
    return [ids[ContentHash(letter * 64)] for letter in letters]


# --- contents --------------------------------------------------------------------------------------------------------------------


def test_a_content_is_recorded_once(db: Database) -> None:
    (first,) = inserted(db, "a")
    with db.transaction() as tx:
        assert Files(tx).insert(rows("b"), "local").keys() == {"b" * 64}
    with pytest.raises(UploadOvertaken), db.transaction() as tx:
        Files(tx).insert(rows("a", "c"), "local")
    with db.transaction() as tx:
        assert [file.id for file in Condition(tx).known([ContentHash("a" * 64), ContentHash("c" * 64)])] == [first]


def test_a_hash_that_is_none_is_refused_by_the_database(db: Database) -> None:
    with pytest.raises(ConstraintViolated) as caught, db.transaction() as tx:
        Files(tx).insert([rows("a")[0]._replace(content_hash=ContentHash("A" * 64))], "local")
    assert caught.value.constraint == "ck_files_content_hash"


def test_two_contents_never_share_a_key(db: Database) -> None:
    first, second = rows("a", "b")
    with pytest.raises(ConstraintViolated) as caught, db.transaction() as tx:
        Files(tx).insert([first, second._replace(file_path=first.file_path)], "local")
    assert caught.value.constraint == "uq_files_file_path"


def _inserting_pairwise(db: Database, ordered: bool) -> None:
    """Two batches with two contents in common, inserted in opposite orders, that meet in the middle."""
    meet = make.meeting(2)

    def work(*letters: str) -> Callable[[], None]:
        def run() -> None:
            with suppress(UploadOvertaken), db.transaction() as tx:
                tx.execute("SET LOCAL deadlock_timeout = '5ms'")
                if ordered:
                    meet()
                    Files(tx).insert(rows(*letters), "local")
                else:
                    Files(tx).insert(rows(letters[0]), "local")
                    meet()
                    Files(tx).insert(rows(letters[1]), "local")

        return run

    make.at_once(work("a", "b"), work("b", "a"))


def test_batches_with_contents_in_common_do_not_deadlock(db: Database) -> None:
    for _ in range(5):
        _inserting_pairwise(db, ordered=True)
        assert make.column(db, "DELETE FROM files RETURNING 1") == [1, 1]


def test_the_claim_fails_without_the_order_of_hashes(db: Database) -> None:
    with pytest.raises(SerializationFailed):
        _inserting_pairwise(db, ordered=False)


def test_a_pinned_content_waits_for_its_pin_to_end(db: Database) -> None:
    (file_id,) = inserted(db, "a")
    deleted: list[int] = []
    started = make.meeting(2)

    def collector() -> None:
        started()
        with db.transaction() as tx:
            deleted.append(tx.execute("DELETE FROM files WHERE id = :id", id=file_id))

    def uploader() -> None:
        with db.transaction() as tx:
            assert set(Files(tx).pin([file_id])) == {file_id}
            started()
            assert make.until_blocked(db, or_done=lambda: bool(deleted))

    make.at_once(collector, uploader)
    assert deleted == [1]


def test_pinning_answers_with_what_is_still_there(db: Database) -> None:
    first, second = inserted(db, "a", "b")
    with db.transaction() as tx:
        tx.execute("DELETE FROM files WHERE id = :id", id=first)
        assert set(Files(tx).pin([first, second])) == {second}


def test_of_two_healers_one_heals(db: Database) -> None:
    (file_id,) = inserted(db, "a")
    (old,) = make.column(db, "SELECT file_path FROM files")
    meet = make.meeting(2)

    def healer(key: str) -> Callable[[], bool]:
        def heal() -> bool:
            with db.transaction() as tx:
                meet()
                return Files(tx).heal(file_id, old, key, 1)

        return heal

    healed = make.at_once(healer("aa/new1"), healer("aa/new2"))
    assert sorted(healed) == [False, True]
    assert make.column(db, "SELECT file_path FROM files") == ["aa/new1" if healed[0] else "aa/new2"]
    assert make.column(db, "SELECT storage_key || ' ' || reason FROM tombstones") == [f"{old} healed"]


def test_healing_what_is_gone_heals_nothing(db: Database) -> None:
    with db.transaction() as tx:
        assert not Files(tx).heal(FileId(99), "aa/old", "aa/new", 1)
    assert make.column(db, "SELECT 1 FROM tombstones") == []


def test_a_buried_key_knows_its_hash_and_is_buried_once(db: Database) -> None:
    key = storage_key(ContentHash("a" * 64), uuid4())
    with db.transaction() as tx:
        Files(tx).bury([key], "duplicate", "1 hour")
        Files(tx).bury([key], "healed", "1 hour")
        row = tx.row("SELECT content_hash, reason, purge_after - created_at = interval '1 hour' AS due FROM tombstones")
    assert dict(row or {}) == {"content_hash": "a" * 64, "reason": "duplicate", "due": True}


# --- intents ---------------------------------------------------------------------------------------------------------------------


def expire(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute("UPDATE upload_intents SET expires_at = now() - interval '1 second'")


def test_an_open_intent_can_be_extended_held_and_closed_once(db: Database) -> None:
    upload = uuid4()
    with db.transaction() as tx:
        intents = Intents(tx)
        intents.open(upload, "local", ["k1"])
        assert intents.extend(upload, ["k2"])
        assert intents.hold(upload)
        assert tx.scalar("SELECT storage_keys FROM upload_intents") == ["k1", "k2"]
        assert not intents.reopen(upload, "local", ["k3"])
        assert intents.close(upload)
        assert not intents.close(upload)
        assert intents.reopen(upload, "local", ["k3"])


def test_an_expired_intent_can_neither_be_extended_nor_held_nor_closed(db: Database) -> None:
    upload = uuid4()
    with db.transaction() as tx:
        Intents(tx).open(upload, "local", ["k1"])
    expire(db)
    with db.transaction() as tx:
        assert (Intents(tx).extend(upload), Intents(tx).hold(upload), Intents(tx).close(upload)) == (False, False, False)


def test_extending_puts_the_end_off(db: Database) -> None:
    upload = uuid4()
    with db.transaction() as tx:
        Intents(tx).open(upload, "local", [])
        tx.execute("UPDATE upload_intents SET expires_at = now() + interval '1 second'")
        assert Intents(tx).extend(upload)
        assert tx.scalar("SELECT expires_at = now() + interval '1 hour' FROM upload_intents")


def test_an_abandoned_intent_buries_the_keys_that_no_file_names(db: Database) -> None:
    upload = uuid4()
    inserted(db, "a")
    (live,) = make.column(db, "SELECT file_path FROM files")
    with db.transaction() as tx:
        Intents(tx).open(upload, "local", [live, "aa/orphan"])
        Intents(tx).abandon(upload)
        Intents(tx).abandon(upload)  # harmless
    assert make.column(db, "SELECT storage_key FROM tombstones") == ["aa/orphan"]
    assert make.column(db, "SELECT id FROM upload_intents") == []


# --- the ledger ------------------------------------------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("stage"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.integers(0, 9)),
        st.tuples(st.just("commit"), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1, max_size=3)),
        st.tuples(st.just("fold"), st.none()),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_the_ledger_counts_every_reference(operations: list[tuple[str, object]], platform: Platform) -> None:
    dataset = make.dataset(platform, f"d{uuid4().hex}")
    staged: list[FileReference] = []
    for operation, argument in operations:
        if operation == "stage":
            staged.append(make.stored(platform, str(argument).encode()))
        elif operation == "drop" and staged:
            assert isinstance(argument, int)
            platform.files.delete_reference(staged.pop(argument % len(staged)))
        elif operation == "commit":
            assert isinstance(argument, dict)
            make.commit(platform, dataset, {name: str(content).encode() for name, content in argument.items()})
        elif operation == "fold":
            with platform.db.transaction() as tx:  # what the collector will do
                tx.execute(
                    "WITH d AS (DELETE FROM file_reference_deltas RETURNING file_id, delta), "
                    "x AS (SELECT file_id, sum(delta) AS n FROM d GROUP BY 1) "
                    "UPDATE files f SET reference_count = reference_count + x.n FROM x WHERE f.id = x.file_id"
                )
        assert make.miscounted_files(platform) == set()


def test_the_ledger_claim_fails_without_a_trigger(platform: Platform) -> None:
    with make.tampering(platform.db) as tx:
        tx.execute("ALTER TABLE staged_files DISABLE TRIGGER staged_files_ledger_insert")
    make.stored(platform, b"x")
    assert make.miscounted_files(platform) != set()


def test_a_content_whose_last_reference_goes_is_queued_for_the_collector(platform: Platform) -> None:
    reference = make.stored(platform, b"x")
    assert platform.files.get_file(reference.file_id).reference_count == 1
    assert make.column(platform.db, "SELECT file_id FROM gc_queue") == []
    platform.files.delete_reference(reference)
    assert platform.files.get_file(reference.file_id).reference_count == 0
    assert make.column(platform.db, "SELECT file_id FROM gc_queue WHERE review_after > now() + interval '23 hours'") == [reference.file_id]


def test_each_reference_that_goes_puts_the_review_off(platform: Platform) -> None:
    first, second = make.stored(platform, b"x"), make.stored(platform, b"x")
    platform.files.delete_reference(first)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 hour'")
    platform.files.delete_reference(second)
    assert make.column(platform.db, "SELECT review_after > now() FROM gc_queue") == [True]


def test_a_referenced_content_cannot_be_deleted(platform: Platform) -> None:
    reference = make.stored(platform, b"x")
    with pytest.raises(ConstraintViolated) as caught, platform.db.transaction() as tx:
        tx.execute("DELETE FROM files WHERE id = :id", id=reference.file_id)
    assert caught.value.constraint == "fk_staged_files_file_id"
