"""Collection by itself: what goes, what stays, and when. See `test_gc_races.py` for what others do meanwhile."""

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core import failpoints
from dsplatform.core.types import ContentHash, FileId
from dsplatform.files import gc
from dsplatform.files.gc import Amount, CollectionRunning, GarbageCollector
from dsplatform.files.model import FileMissing, storage_key
from dsplatform.files.refuse import UNREFERENCED
from dsplatform_tests import make

KINDS = ("sessions", "uploads", "unreferenced", "purged")


def set_due(platform: Platform, table: str, column: str) -> None:
    with platform.db.transaction() as tx:
        tx.execute(f"UPDATE {table} SET {column} = now() - interval '1 second'")


def dead(platform: Platform, data: bytes = b"dead") -> FileId:
    """A file whose only reference is deleted."""
    reference = make.stored(platform, data)
    platform.files.delete_reference(reference)
    return reference.file_id


def exists(platform: Platform, file_id: FileId) -> bool:
    return make.column(platform.db, "SELECT 1 FROM files WHERE id = :id", id=file_id) == [1]


def waits(platform: Platform, table: str, column: str) -> list[timedelta]:
    """How long from now, for each row."""
    return make.column(platform.db, f"SELECT {column} - now() FROM {table}")


# --- what goes and when ------------------------------------------------------------------------------------------------------------


def test_what_nothing_names_goes_a_day_after_its_last_reference_and_its_bytes_eight_days_later(platform: Platform) -> None:
    file_id = dead(platform)
    assert platform.gc.collect(platform.system()) == gc.Garbage(False, Amount(), Amount(), Amount(), Amount())
    (wait,) = waits(platform, "gc_queue", "review_after")
    assert timedelta(hours=23, minutes=59) < wait <= timedelta(hours=24)

    set_due(platform, "gc_queue", "review_after")
    done = platform.gc.collect(platform.system())
    assert (done.unreferenced, done.purged) == (Amount(1, 4), Amount())
    with pytest.raises(FileMissing):
        platform.files.get_file(file_id)
    assert make.column(platform.db, "SELECT file_id FROM gc_queue") == []
    assert len(make.objects(platform)) == 1
    (wait,) = waits(platform, "tombstones", "purge_after")
    assert timedelta(days=7, hours=23, minutes=59) < wait <= timedelta(days=8)

    set_due(platform, "tombstones", "purge_after")
    assert platform.gc.collect(platform.system()).purged == Amount(1, 4)
    assert make.objects(platform) == make.buried(platform) == set()
    make.assert_sound(platform)


def as_component(platform: Platform, data: bytes) -> None:
    make.commit(platform, make.dataset(platform), {"a": data})


def as_staged(platform: Platform, data: bytes) -> None:
    make.stored(platform, data)


def as_overlay(platform: Platform, data: bytes) -> None:
    """The file becomes the overlay of a version, and nothing else."""
    committed = make.commit(platform, make.dataset(platform), {"a": b"of the version"})
    reference = make.stored(platform, data)
    with make.tampering(platform.db) as tx:
        tx.execute("UPDATE dataset_versions SET overlay_file_id = :f WHERE id = :v", f=reference.file_id, v=committed.version_id)
    platform.files.delete_reference(reference)


REFERENCES: dict[Callable[[Platform, bytes], None], tuple[str, str]] = {
    as_component: ("dataset_version_files", "file_id"),
    as_staged: ("staged_files", "file_id"),
    as_overlay: ("dataset_versions", "overlay_file_id"),
}
KINDS_OF_REFERENCE = pytest.mark.parametrize("refer", REFERENCES)


@KINDS_OF_REFERENCE
def test_each_kind_of_reference_keeps_a_file(refer: Callable[[Platform, bytes], None], platform: Platform) -> None:
    file_id = dead(platform, b"shared")
    refer(platform, b"shared")
    set_due(platform, "gc_queue", "review_after")
    assert platform.gc.collect(platform.system()).unreferenced.count == 0
    assert make.content(platform, file_id) == b"shared"
    assert file_id not in make.column(platform.db, "SELECT file_id FROM gc_queue")


@KINDS_OF_REFERENCE
def test_the_test_above_finds_a_collector_that_forgets_to_ask(
    refer: Callable[[Platform, bytes], None], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants: one of the three questions left out. Without the foreign key the referenced file is gone."""
    table, column = REFERENCES[refer]
    forgetful = re.sub(rf"NOT EXISTS \(SELECT 1 FROM {table} r [^)]*\)", "true", UNREFERENCED)
    assert forgetful != UNREFERENCED
    monkeypatch.setattr("dsplatform.files.refuse.UNREFERENCED", forgetful)
    with make.tampering(platform.db) as tx:
        tx.execute(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_{column}")
    file_id = dead(platform, b"shared")
    refer(platform, b"shared")
    set_due(platform, "gc_queue", "review_after")
    platform.gc.collect(platform.system())
    assert not exists(platform, file_id)


def test_the_collector_asks_every_foreign_key_that_names_a_file(platform: Platform) -> None:
    keys = make.column(
        platform.db,
        "SELECT conrelid::regclass || '.' || a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid "
        "AND a.attnum = c.conkey[1] WHERE c.contype = 'f' AND c.confrelid = 'files'::regclass",
    )
    asked = re.findall(r"FROM (\w+) r WHERE r\.(\w+) = f\.id", UNREFERENCED)
    assert {f"{table}.{column}" for table, column in asked} == set(keys)


def test_a_session_that_expires_gives_up_what_it_staged(platform: Platform) -> None:
    reference = make.stored(platform, b"staged")
    set_due(platform, "upload_sessions", "expires_at")
    assert platform.gc.collect(platform.system()).sessions == Amount(1, 6)
    assert platform.files.get_file(reference.file_id).reference_count == 0
    assert make.column(platform.db, "SELECT file_id FROM gc_queue") == [reference.file_id]
    assert make.drained(platform) == 1
    make.assert_sound(platform)


def test_a_session_that_is_alive_is_left_alone(platform: Platform) -> None:
    reference = make.stored(platform, b"staged")
    assert platform.gc.collect(platform.system()).sessions == Amount()
    assert platform.files.get_file(reference.file_id).reference_count == 1


def test_what_was_found_in_a_content_goes_with_it(platform: Platform) -> None:
    with platform.db.transaction() as tx:
        for letter in "ab":
            tx.execute(
                "INSERT INTO file_schemas (content_hash, hint, reader_version, capture) VALUES (:hash, 'csv', '1', '{}')", hash=letter * 64
            )
        tx.execute(
            "INSERT INTO file_schemas (content_hash, hint, reader_version, capture) SELECT content_hash, h, '1', '{}' FROM files, "
            "unnest(ARRAY['csv', 'json']) h"
        )
    file_id = dead(platform)
    content_hash = platform.files.get_file(file_id).content_hash
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO file_schemas (content_hash, hint, reader_version, capture) SELECT :hash, h, '1', '{}' FROM "
            "unnest(ARRAY['csv', 'json']) h",
            hash=content_hash,
        )
    set_due(platform, "gc_queue", "review_after")
    platform.gc.collect(platform.system())
    assert sorted(make.column(platform.db, "SELECT content_hash FROM file_schemas")) == ["a" * 64, "b" * 64]


# --- uploads ---------------------------------------------------------------------------------------------------------------------


def intent(platform: Platform, *keys: str, expired: bool = True) -> None:
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO upload_intents (id, backend, storage_keys, expires_at) "
            "VALUES (:id, 'local', CAST(:keys AS text[]), now() + CAST(:expires AS interval))",
            id=uuid4(),
            keys=list(keys),
            expires="-1 second" if expired else "1 hour",
        )


def test_an_expired_upload_buries_what_it_wrote_except_what_a_file_names(platform: Platform) -> None:
    kept = make.stored(platform, b"recorded")
    named = platform.files.get_file(kept.file_id).storage_key
    lost = storage_key(ContentHash("a" * 64), uuid4())
    platform.gc._storage.put(lost, b"lost")
    intent(platform, named, lost)
    alive = storage_key(ContentHash("b" * 64), uuid4())
    intent(platform, alive, expired=False)

    assert platform.gc.collect(platform.system()).uploads == Amount(1)
    assert make.buried(platform) == {lost}
    (wait,) = waits(platform, "tombstones", "purge_after")
    assert wait > timedelta(hours=24), "a sleeping uploader may still write"
    assert make.column(platform.db, "SELECT unnest(storage_keys) FROM upload_intents") == [alive]
    set_due(platform, "tombstones", "purge_after")
    platform.gc.collect(platform.system())
    assert make.objects(platform) == {named}


def test_an_uploader_that_sleeps_has_a_day_whatever_the_grace_is(platform: Platform) -> None:
    intent(platform, storage_key(ContentHash("a" * 64), uuid4()))
    GarbageCollector(platform.db, platform.gc._storage, platform.schemas, platform.permissions, grace=timedelta()).collect(
        platform.system()
    )
    (wait,) = waits(platform, "tombstones", "purge_after")
    assert wait > timedelta(hours=23, minutes=59)


def test_temporary_files_of_uploads_that_are_no_more_go_after_a_day(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = platform.gc._storage
    gone, alive = uuid4(), uuid4()
    for upload_id in (gone, alive):
        storage.spool(upload_id).write_bytes(b"half")
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO upload_intents (id, backend, storage_keys, expires_at) VALUES (:id, 'local', '{}', now() + interval '1 hour')",
            id=alive,
        )
    platform.gc.collect(platform.system())
    assert len(make.spooled(platform)) == 2
    now = storage.now()
    monkeypatch.setattr(storage, "now", lambda: now + timedelta(hours=25))
    platform.gc.collect(platform.system())
    assert [name.partition(".")[0] for name in make.spooled(platform)] == [alive.hex]


# --- purge -----------------------------------------------------------------------------------------------------------------------


def test_an_object_that_a_file_names_again_is_never_deleted(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    reference = make.stored(platform, b"restored")
    key = platform.files.get_file(reference.file_id).storage_key
    with platform.db.transaction() as tx:
        tx.execute("INSERT INTO tombstones (storage_key, reason, purge_after) VALUES (:k, 'unreferenced', now() - interval '1 s')", k=key)
    with caplog.at_level(logging.ERROR):
        assert platform.gc.collect(platform.system()).purged == Amount()
    assert key in caplog.text
    assert make.content(platform, reference.file_id) == b"restored"
    assert make.buried(platform) == set()


def test_an_object_that_is_gone_already_counts_as_deleted(platform: Platform) -> None:
    path = make.object_path(platform, dead(platform))
    set_due(platform, "gc_queue", "review_after")
    platform.gc.collect(platform.system())
    path.unlink()
    set_due(platform, "tombstones", "purge_after")
    assert platform.gc.collect(platform.system()).purged == Amount(1, 4)
    assert make.buried(platform) == set()


def test_an_object_that_cannot_be_deleted_is_tried_again_later(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [make.object_path(platform, dead(platform, data)) for data in (b"stuck", b"free")]
    stuck = str(paths[0].relative_to(paths[0].parents[1]))
    set_due(platform, "gc_queue", "review_after")
    platform.gc.collect(platform.system())
    set_due(platform, "tombstones", "purge_after")
    storage = platform.gc._storage
    delete = storage.delete
    monkeypatch.setattr(storage, "delete", lambda keys: {**delete([k for k in keys if k != stuck]), stuck: "permission denied"})
    done = platform.gc.collect(platform.system())
    assert (done.purged, done.failed) == (Amount(1, 4), 1)
    assert make.column(platform.db, "SELECT attempts FROM tombstones WHERE storage_key = :k", k=stuck) == [1]
    monkeypatch.undo()
    assert platform.gc.collect(platform.system()).purged.count == 0, "leased for ten minutes"
    set_due(platform, "tombstones", "purge_after")
    assert platform.gc.collect(platform.system()).purged == Amount(1, 5)
    assert make.objects(platform) == set()


# --- plan, one at a time, mark ---------------------------------------------------------------------------------------------------


def every_kind(platform: Platform) -> None:
    dead(platform, b"dies")
    set_due(platform, "gc_queue", "review_after")
    platform.gc.collect(platform.system())
    set_due(platform, "tombstones", "purge_after")
    for data in (b"two", b"three"):
        dead(platform, data)
    set_due(platform, "gc_queue", "review_after")
    make.stored(platform, b"expires")
    set_due(platform, "upload_sessions", "expires_at")
    make.stored(platform, b"stays")
    intent(platform, storage_key(ContentHash("a" * 64), uuid4()))


def test_a_plan_says_what_a_collection_then_does_and_changes_nothing(platform: Platform) -> None:
    every_kind(platform)
    tables = ("files", "staged_files", "upload_sessions", "upload_intents", "gc_queue", "tombstones", "store_binding")
    before = [make.column(platform.db, f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]
    plan = platform.gc.plan(platform.system())
    assert [make.column(platform.db, f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables] == before
    assert (plan.dry_run, plan.refusal) == (True, None)
    assert {kind: getattr(plan, kind) for kind in KINDS} == {
        "sessions": Amount(1, 7),
        "uploads": Amount(1),
        "unreferenced": Amount(2, 8),
        "purged": Amount(1, 4),
    }
    done = platform.gc.collect(platform.system())
    assert not done.dry_run
    assert [getattr(done, kind) for kind in KINDS] == [getattr(plan, kind) for kind in KINDS]
    assert [getattr(platform.gc.plan(platform.system()), kind) for kind in KINDS] == [Amount()] * 4


def test_steps_are_small_and_repeated_until_nothing_is_left(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "REVIEW", 2)
    monkeypatch.setattr(gc, "PURGE", 2)
    for number in range(5):
        dead(platform, b"%d" % number)
    for number in range(3):
        make.stored(platform, b"staged %d" % number)
        intent(platform)
    make.overdue(platform.db)
    done = platform.gc.collect(platform.system())
    assert [getattr(done, kind).count for kind in KINDS] == [3, 3, 5, 0]
    set_due(platform, "tombstones", "purge_after")
    assert platform.gc.collect(platform.system()).purged.count == 5


def test_there_is_one_collector_at_a_time(platform: Platform) -> None:
    with platform.db.advisory_lock("collect garbage") as held:
        assert held
        for work in (platform.gc.collect, platform.gc.mark):
            with pytest.raises(CollectionRunning):
                work(platform.system())
    platform.gc.collect(platform.system())


def test_a_full_mark_finds_what_a_disabled_trigger_forgot(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "PAGE", 2)
    kept = [make.stored(platform, b"kept %d" % number).file_id for number in range(4)]
    with make.tampering(platform.db) as tx:
        tx.execute("ALTER TABLE staged_files DISABLE TRIGGER USER")
    forgotten = {dead(platform, b"forgotten %d" % number) for number in range(3)}
    with make.tampering(platform.db) as tx:
        tx.execute("ALTER TABLE staged_files ENABLE TRIGGER USER")
    assert make.column(platform.db, "SELECT file_id FROM gc_queue") == []
    assert platform.gc.mark(platform.system()) == 3
    assert set(make.column(platform.db, "SELECT file_id FROM gc_queue")) == forgotten
    assert platform.gc.mark(platform.system()) == 0
    set_due(platform, "gc_queue", "review_after")
    assert platform.gc.collect(platform.system()).unreferenced.count == 3
    assert all(exists(platform, file_id) for file_id in kept)


def test_every_point_of_the_crash_matrix_is_passed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: set[str] = set()
    for module in ("gc", "sweep"):
        monkeypatch.setattr(f"dsplatform.files.{module}.reach", passed.add)
    every_kind(platform)
    make.commit(platform, make.dataset(platform), {"a": b"a"})
    platform.gc.collect(platform.system(), sweep=True)
    platform.gc.fold()
    ours = {name for name in failpoints.POINTS if name.partition(".")[0] in {"expiry", "gc", "purge", "sweep", "fold"}}
    assert passed == ours


def test_only_the_clocks_of_database_and_store_decide() -> None:
    """T24: a wrong clock of this machine expires nothing."""
    for name in ("gc", "refuse", "sweep", "binding", "ledger", "tracing", "inventory"):
        source = (Path(gc.__file__).parent / f"{name}.py").read_text()
        assert not re.search(r"datetime\.(now|utcnow|today)|\btime\.\w|\bimport time\b", source), name
