"""Files: the bytes of what versions name, once; what they say of themselves is compared; the rest stays, with a reason."""

import hashlib
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database_url import libpq_url
from dsplatform.core.domain import Actor
from dsplatform.migration import landing_files
from dsplatform.migration.landing_files import release
from dsplatform.migration.model import Entity
from dsplatform.migration.service import MigrationService
from dsplatform_tests.legacy.generator import Built, build
from dsplatform_tests.make import assert_sound
from dsplatform_tests.migration import make
from dsplatform_tests.migration.test_migrate import legacy, rows


@pytest.fixture
def built(legacy_url: str, legacy_folder: Path) -> Built:
    return build(legacy_url, legacy_folder, "G1b", datasets=1, versions=1, oddities=False, phase_1=True)


@pytest.fixture
def migration(platform: Platform, built: Built) -> MigrationService:
    return make.migration(platform, built.url, built.folder, base=built.folder)


def file(built: Built, path: str | None, *, data: bytes | None = None, used: bool = True, **columns: object) -> int:
    """A row of `files`, named by a version of its own dataset."""
    named = {"storage_type": "filesystem", "file_type": "parquet", "file_path": path, "file_data": data, **columns}
    with psycopg.connect(libpq_url(built.url), autocommit=True) as connection:
        marks = ", ".join(["%s"] * len(named))
        row = connection.execute(f"INSERT INTO files ({', '.join(named)}) VALUES ({marks}) RETURNING id".encode(), list(named.values()))
        ((id_,),) = row.fetchall()
        if used:
            connection.execute(
                "WITH d AS (INSERT INTO datasets (name, created_by) SELECT 'of file ' || %s, min(id) FROM users RETURNING id, created_by) "
                "INSERT INTO dataset_versions (dataset_id, version_number, file_id, uploaded_by) SELECT id, 1, %s, created_by FROM d",
                [id_, id_],
            )
    return int(id_)


def lying(built: Built, name: str, data: bytes) -> str:
    path = built.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def landed(platform: Platform, id_: int) -> tuple[str, str | None, str | None]:
    """(outcome, reason, content hash) of a row."""
    (found,) = rows(
        platform,
        "SELECT m.outcome, m.reason, f.content_hash FROM legacy_id_map m LEFT JOIN files f ON f.id = m.new_id "
        "WHERE m.entity = 'files' AND m.legacy_id = :id",
        id=str(id_),
    )
    return found  # type: ignore[no-any-return]  # three columns


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_same_bytes_are_stored_once(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    one, other = (file(built, lying(built, name, b"the same")) for name in ("a.parquet", "b.parquet"))
    inline = file(built, None, data=b"the same")
    migration.migrate(system)
    assert {landed(platform, id_) for id_ in (one, other, inline)} == {("migrated", None, digest(b"the same"))}
    assert rows(platform, "SELECT count(*) FROM files WHERE content_hash = :hash", hash=digest(b"the same")) == [(1,)]
    assert_sound(platform)


def test_bytes_in_the_row_come_before_its_path(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    large = bytes(range(256)) * 100_000  # more than one piece
    both = file(built, lying(built, "c.parquet", b"of the path"), data=large)
    empty = file(built, None, data=b"")
    migration.migrate(system)
    assert landed(platform, both) == ("migrated", None, digest(large))
    assert landed(platform, empty) == ("migrated", None, digest(b""))


def test_what_the_row_says_is_compared_and_the_bytes_count(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    path = lying(built, "d.parquet", b"true")
    size = file(built, path, file_size=5)
    wrong = file(built, path, file_size=4, content_hash=digest(b"other"))
    right = file(built, path, file_size=4, content_hash=digest(b"true").upper())
    migration.migrate(system)
    assert landed(platform, size) == ("quarantined", "size_mismatch", digest(b"true"))
    assert landed(platform, wrong) == ("quarantined", "hash_mismatch", digest(b"true"))
    assert landed(platform, right) == ("migrated", None, digest(b"true"))
    details = {one.reason: one.detail for one in migration.quarantine(system, entity="files")}
    assert details["size_mismatch"] == {"said": 5, "true": 4}
    assert details["hash_mismatch"]["true"] == digest(b"true")


def test_what_no_version_names_stays_where_it_is(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    orphan = file(built, lying(built, "temp/e.parquet", b"orphan"), used=False)
    migration.migrate(system)
    assert landed(platform, orphan) == ("excluded", "orphan_file", None)
    assert rows(platform, "SELECT count(*) FROM files WHERE content_hash = :hash", hash=digest(b"orphan")) == [(0,)]
    (listed,) = migration.quarantine(system, reason="orphan_file", open_only=False)
    assert listed.raw["file_path"].endswith("temp/e.parquet")


def test_what_a_version_names_later_comes_with_it(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    orphan = file(built, lying(built, "f.parquet", b"at first nobody's"), used=False)
    migration.migrate(system)
    legacy(built, "UPDATE dataset_versions SET file_id = %s WHERE id = (SELECT min(id) FROM dataset_versions)", orphan)
    migration.migrate(system)
    assert landed(platform, orphan) == ("migrated", None, digest(b"at first nobody's"))


def test_a_missing_file_is_tried_again_and_then_comes(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    lost = file(built, str(built.folder / "late.parquet"))
    migration.migrate(system)
    assert landed(platform, lost) == ("quarantined", "missing_bytes", None)
    ((version,),) = rows(
        platform, "SELECT v.id FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id WHERE d.name = :n", n=f"of file {lost}"
    )
    assert rows(platform, "SELECT count(*) FROM dataset_version_files WHERE version_id = :v", v=version) == [(0,)]
    assert migration.retry(system, reason="missing_bytes")[1] > 0
    lying(built, "late.parquet", b"here at last")
    assert migration.retry(system, entity="files", reason="missing_bytes") == (1, 0)
    assert landed(platform, lost) == ("migrated", None, digest(b"here at last"))
    assert rows(platform, "SELECT count(*) FROM dataset_version_files WHERE version_id = :v", v=version) == [(1,)]
    assert_sound(platform)


def test_a_file_that_moves_while_it_is_read_is_found_by_a_fresh_row(
    platform: Platform, system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload writes under `temp`, moves the file, and then says so."""
    moving = file(built, str(built.folder / "temp" / "g.parquet"))
    pauses: list[float] = []

    def pause(seconds: float, _: Any) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            legacy(built, "UPDATE files SET file_path = %s WHERE id = %s", lying(built, "g.parquet", b"moved"), moving)

    monkeypatch.setattr(landing_files, "wait", pause)
    migration.migrate(system)
    assert landed(platform, moving) == ("migrated", None, digest(b"moved"))
    assert len(pauses) == 2


def test_an_old_row_is_not_waited_for(system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    old = file(built, str(built.folder / "h.parquet"))
    legacy(built, "UPDATE files SET created_at = now() - interval '2 hours' WHERE id = %s", old)
    monkeypatch.setattr(landing_files, "wait", lambda *_: pytest.fail("it waited"))
    migration.migrate(system)


def test_what_came_is_kept_from_the_collector_until_it_is_released(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    used = file(built, lying(built, "i.parquet", b"kept"))
    migration.migrate(system, only=[Entity.ROLES])
    migration.migrate(system, only=[Entity.USERS])
    migration.migrate(system, only=[Entity.FILES])

    def collected() -> int:
        with platform.db.transaction() as tx:
            tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")
            tx.execute("INSERT INTO gc_queue SELECT id, now() - interval '1 second' FROM files ON CONFLICT (file_id) DO UPDATE "
                       "SET review_after = excluded.review_after")  # fmt: skip
        platform.gc.collect(system)
        return int(rows(platform, "SELECT count(*) FROM files WHERE content_hash = :hash", hash=digest(b"kept"))[0][0])

    assert collected() == 1
    with platform.db.transaction() as tx:
        assert release(tx) > 0
    assert landed(platform, used)[2] == digest(b"kept")


def test_memory_is_not_that_of_the_largest_row(platform: Platform, built: Built) -> None:
    """Bytes in a row are read in pieces."""
    large = file(built, None, data=bytes(20 * 1024 * 1024))
    from dsplatform.migration.landing_files import _Column
    from dsplatform.migration.source import LegacyDatabase

    with LegacyDatabase(built.url).snapshot() as source:
        column = _Column(source, (large,))
        buffer = bytearray(1024)
        total = 0
        while count := column.readinto(buffer):
            total += count
            assert len(column._piece) <= 8 * 1024 * 1024
    assert total == 20 * 1024 * 1024
