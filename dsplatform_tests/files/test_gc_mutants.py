"""The mutants of the collector: each breaks exactly one rule of the protocol, and the directed interleaving beside it then loses bytes
or leaks them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import ConstraintViolated, Database
from dsplatform.core.settings import Settings
from dsplatform.core.types import ContentHash, FileId
from dsplatform.files import gc, upload
from dsplatform.files.refuse import UNREFERENCED, Queue
from dsplatform_tests import make
from dsplatform_tests.files.interleaving import DATA, after, collector, meanwhile, nearly_orphan, orphan, review


@pytest.fixture
def unguarded(platform: Platform) -> None:
    """Without the foreign keys, which refuse what the protocol by itself must not do."""
    with make.tampering(platform.db) as tx:
        for table, column in (
            ("dataset_version_files", "file_id"),
            ("staged_files", "file_id"),
            ("dataset_versions", "overlay_file_id"),
        ):
            tx.execute(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_{column}")


def one_statement(self: Queue, locked: list[FileId], grace: timedelta) -> Any:
    """A collector that locks and decides in one statement, whose snapshot is older than the locks. It is made to sleep in between."""
    return self._tx.tuples(
        "WITH dead AS (DELETE FROM files f WHERE f.id = ANY(ARRAY(SELECT l.id FROM files l, "
        "(SELECT pg_advisory_xact_lock(42) OFFSET 0) sleep WHERE l.id = ANY(CAST(:ids AS bigint[])) FOR UPDATE OF l SKIP LOCKED)) "
        f"AND {UNREFERENCED} RETURNING f.content_hash, f.file_path, f.file_size), "
        "buried AS (INSERT INTO tombstones (storage_key, reason, purge_after) SELECT file_path, 'unreferenced', now() + :grace FROM dead) "
        "SELECT content_hash, file_size FROM dead",
        ids=list(locked),
        grace=grace,
    )


def two_statements(self: Queue, locked: list[FileId], grace: timedelta) -> Any:
    """The same sleep between a snapshot and the locks, and then the real decision."""
    self._tx.tuples(
        "SELECT l.id FROM files l, (SELECT pg_advisory_xact_lock(42) OFFSET 0) sleep WHERE l.id = ANY(CAST(:ids AS bigint[])) "
        "FOR UPDATE OF l SKIP LOCKED",
        ids=list(locked),
    )
    return BURY(self, locked, grace)


BURY = Queue.bury


def _referred_while_it_sleeps(platform: Platform, monkeypatch: pytest.MonkeyPatch, bury: Callable[..., Any]) -> bool:
    """A collector asks; somebody stores the content again and commits; the collector locks and decides. Whether the file is there."""
    reference = orphan(platform)
    monkeypatch.setattr(Queue, "lock", lambda _self, ids: ids)
    monkeypatch.setattr(Queue, "bury", bury)
    with ThreadPoolExecutor(1) as pool:
        with platform.db.transaction() as tx:
            tx.execute("SELECT pg_advisory_xact_lock(42)")
            running = pool.submit(review, platform)
            assert make.until_blocked(platform.db, or_done=running.done)
            assert make.stored(platform, DATA).file_id == reference.file_id
        running.result(make.PATIENCE)
    return bool(make.column(platform.db, "SELECT 1 FROM files WHERE id = :id", id=reference.file_id))


@pytest.mark.usefixtures("unguarded")
def test_a_reference_made_between_the_snapshot_and_the_locks_is_seen(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _referred_while_it_sleeps(platform, monkeypatch, two_statements)


@pytest.mark.usefixtures("unguarded")
def test_a_collector_in_one_statement_would_lose_the_file(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _referred_while_it_sleeps(platform, monkeypatch, one_statement)


def test_the_foreign_key_is_a_second_guard_against_it(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConstraintViolated):
        _referred_while_it_sleeps(platform, monkeypatch, one_statement)
    make.assert_sound(platform)


def _referred_before_the_lock(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> bool:
    reference = orphan(platform)
    after(monkeypatch, Queue, "due", lambda: make.stored(platform, DATA))
    review(platform)
    return bool(make.column(platform.db, "SELECT 1 FROM files WHERE id = :id", id=reference.file_id))


@pytest.mark.usefixtures("unguarded")
def test_a_server_whose_default_is_an_older_snapshot_changes_nothing(settings: Settings, database_url: str) -> None:
    with Database(database_url) as db, make.tampering(db) as tx:
        tx.execute(
            f"ALTER DATABASE {make.column(db, 'SELECT current_database()')[0]} SET default_transaction_isolation = 'repeatable read'"
        )
    with make.crowded(settings, database_url, 5) as platform, pytest.MonkeyPatch.context() as patch:
        assert make.column(platform.db, "SELECT current_setting('transaction_isolation')") == ["repeatable read"]
        assert _referred_before_the_lock(platform, patch)


@pytest.mark.usefixtures("unguarded")
def test_a_collector_with_an_older_snapshot_would_lose_the_file(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "YOUNGEST_SNAPSHOT", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    assert not _referred_before_the_lock(platform, monkeypatch)


def _deleted_while_under_review(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> list[FileId]:
    """The last reference goes after the collector has seen it, and before the collector has taken the file from the queue."""
    reference = nearly_orphan(platform)
    started: list[Future[object]] = []
    with ThreadPoolExecutor(1) as pool:
        after(monkeypatch, Queue, "bury", meanwhile(platform, pool, lambda: platform.files.delete_reference(reference), started))
        assert review(platform) == 0
        started[0].result(make.PATIENCE)
    return make.column(platform.db, "SELECT file_id FROM gc_queue")


def test_a_file_that_loses_its_last_reference_under_review_is_reviewed_again(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(_deleted_while_under_review(platform, monkeypatch)) == 1


def test_a_queue_that_does_nothing_for_a_file_under_review_would_leak_it(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with make.tampering(platform.db) as tx:
        definition = tx.scalar("SELECT pg_get_functiondef('file_reference_gone_file_id'::regproc)")
        lazy = definition.replace("DO UPDATE SET review_after = excluded.review_after", "DO NOTHING")
        assert lazy != definition
        tx.execute(lazy)
    assert _deleted_while_under_review(platform, monkeypatch) == []
    make.drained(platform)
    assert len(make.objects(platform)) == 1, "leaked"
    assert platform.gc.mark(platform.system()) == 1, "until the next full mark"


def _stored_again_while_purged(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> FileId:
    """The collector has leased the tombstone and sleeps; the content is stored again; the collector deletes."""
    again: list[FileId] = []

    def sleep(name: str) -> None:
        if name == "purge.leased" and not again:
            again.append(make.stored(platform, DATA).file_id)

    orphan(platform)
    eager = collector(platform, timedelta())
    with platform.db.transaction() as tx:
        eager._review(tx)
    monkeypatch.setattr(gc, "reach", sleep)
    assert eager._purge()[0].count == 1
    return again[0]


def test_a_content_stored_again_while_its_old_object_is_deleted_keeps_its_bytes(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make.content(platform, _stored_again_while_purged(platform, monkeypatch)) == DATA
    make.assert_sound(platform)


def test_plain_keys_would_lose_the_bytes(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(content_hash: ContentHash, _upload_id: object) -> str:
        return f"{content_hash[:2]}/{content_hash}"

    storage = platform.gc._storage
    put = storage.put
    monkeypatch.setattr(upload, "storage_key", plain)
    monkeypatch.setattr(storage, "put", lambda key, data: None if storage.size(key) == len(data) else put(key, data))
    file_id = _stored_again_while_purged(platform, monkeypatch)
    assert not make.object_path(platform, file_id).exists()
