"""Contents that an upload holds without their bytes, because some version has them."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Gone
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.values import Content
from dsplatform.files.repository import Files
from dsplatform_tests import make

NOWHERE = ContentHash("0" * 64)


def _unnamed(platform: Platform, data: bytes) -> tuple[ContentHash, FileId]:
    """A recorded file that nothing names, as the collector finds it."""
    with platform.files.upload() as upload:
        (content,) = upload.add([BytesIO(data)])
        assert isinstance(content, Content)
        upload.seal()
        with platform.db.transaction() as tx:
            ids = upload.record(tx, [content.content_hash])
    return content.content_hash, ids[content.content_hash]


def test_an_adopted_content_is_recorded_without_its_bytes(platform: Platform) -> None:
    known, file_id = _unnamed(platform, b"known")
    with platform.files.upload() as upload:
        upload.adopt([known])
        (new,) = upload.add([BytesIO(b"new")])
        assert isinstance(new, Content)
        upload.seal()
        with platform.db.transaction() as tx:
            ids = upload.record(tx, [known, new.content_hash, known])
    assert ids[known] == file_id
    assert set(ids) == {known, new.content_hash}
    make.assert_sound(platform)


def test_one_that_is_given_with_its_bytes_as_well_is_one_file(platform: Platform) -> None:
    known, file_id = _unnamed(platform, b"known")
    with platform.files.upload() as upload:
        upload.adopt([known])
        upload.add([BytesIO(b"known")])
        upload.seal()
        with platform.db.transaction() as tx:
            assert upload.record(tx, [known]) == {known: file_id}
    make.assert_sound(platform)


def test_a_damaged_content_is_adopted_as_it_is(platform: Platform) -> None:
    """The version that it comes from names it, too; refusing would keep nobody from it."""
    known, file_id = _unnamed(platform, b"known")
    with platform.db.transaction() as tx:
        tx.execute("UPDATE files SET state = 'damaged' WHERE id = :id", id=file_id)
    with platform.files.upload() as upload:
        upload.adopt([known])
        upload.seal()
        with platform.db.transaction() as tx:
            assert upload.record(tx, [known]) == {known: file_id}


def test_what_is_not_stored_is_gone(platform: Platform) -> None:
    known, _ = _unnamed(platform, b"known")
    with platform.files.upload() as upload:
        upload.adopt([known, NOWHERE])
        upload.seal()
        with pytest.raises(Gone, match=f"content {NOWHERE} is stored no longer"), platform.db.transaction() as tx:
            upload.record(tx, [known, NOWHERE])


def test_what_was_neither_added_nor_adopted_is_a_mistake(platform: Platform) -> None:
    known, _ = _unnamed(platform, b"known")
    with platform.files.upload() as upload, pytest.raises(KeyError), platform.db.transaction() as tx:
        upload.record(tx, [known])


def _collector_waits(platform: Platform) -> bool:
    """Whether a collector that wants the row of an adopted content has to wait for the end of the transaction."""
    known, file_id = _unnamed(platform, b"known")

    def collect() -> None:
        with platform.db.transaction() as tx:
            tx.execute("DELETE FROM files WHERE id = :id", id=file_id)

    with platform.files.upload() as upload, ThreadPoolExecutor(1) as pool:
        upload.adopt([known])
        upload.seal()
        with platform.db.transaction() as tx:
            upload.record(tx, [known])
            running = pool.submit(collect)
            waited = make.until_blocked(platform.db, or_done=running.done)
        running.result(make.PATIENCE)
    return waited


def test_the_collector_waits_for_who_adopted(platform: Platform) -> None:
    assert _collector_waits(platform)


def test_that_claim_fails_without_the_pin(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_at(self: Files, ids: Collection[FileId]) -> dict[FileId, object]:
        return {
            row["id"]: row for row in self._tx.rows("SELECT id, state FROM files WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))
        }

    monkeypatch.setattr(Files, "pin", looked_at)
    assert not _collector_waits(platform)
