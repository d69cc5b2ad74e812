"""An upload that expires between two attempts to record it: its objects are being deleted, so no file may name them any more."""

from collections.abc import Callable
from io import BytesIO
from uuid import UUID

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.core.types import ContentHash
from dsplatform.core.values import Content, UploadOvertaken
from dsplatform.files.model import UploadExpired
from dsplatform.files.repository import Intents
from dsplatform.files.upload import StagedUpload
from dsplatform.versioning.model import HeadMoved
from dsplatform.versioning.publishing import Publisher
from dsplatform_tests import make


class Undone(Exception):
    """Why a transaction is rolled back."""


def _added(upload: StagedUpload, data: bytes) -> ContentHash:
    (content,) = upload.add([BytesIO(data)])
    assert isinstance(content, Content)
    upload.seal()
    return content.content_hash


def _attempt(platform: Platform, upload: StagedUpload, hashes: list[ContentHash], *, undone: bool) -> None:
    try:
        with platform.db.transaction() as tx:
            upload.record(tx, hashes)
            if undone:
                raise Undone
    except Undone:
        pass


def _recorded_after_all(platform: Platform) -> None:
    """What a commit does that was overtaken: it is rolled back, more is added, and all is recorded. It slept too long in between."""
    with platform.files.upload() as upload:
        first = _added(upload, b"first")
        _attempt(platform, upload, [first], undone=True)
        make.drained(platform)
        assert make.objects(platform) == set()
        second = _added(upload, b"second")
        _attempt(platform, upload, [first, second], undone=False)


def test_an_upload_that_expired_after_its_commit_was_rolled_back_does_not_live_again(platform: Platform) -> None:
    with pytest.raises(UploadExpired):
        _recorded_after_all(platform)
    assert make.column(platform.db, "SELECT 1 FROM files") == []
    make.drained(platform)
    make.assert_sound(platform)


def test_mutant_an_upload_that_lives_again_names_objects_that_are_gone(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: Intents, upload_id: UUID, backend: str, keys: list[str], *, written: list[str]) -> bool:
        return reopen(self, upload_id, backend, keys)

    reopen: Callable[..., bool] = Intents.reopen
    monkeypatch.setattr(Intents, "reopen", blind)
    _recorded_after_all(platform)
    assert {problem.invariant for problem in make.problems(platform)} == {"I2"}


def test_a_version_that_is_overtaken_and_then_sleeps_too_long_is_refused(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    sales = make.dataset(platform)
    make.commit(platform, sales, {"a": b"1"})
    rebase = Publisher._rebase

    def asleep(self: Publisher, *args: object) -> object:
        make.drained(platform)
        return rebase(self, *args)  # type: ignore[arg-type]

    def overtaken(*_: object) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(Publisher, "_rebase", asleep)
        raise HeadMoved("somebody else was first")

    monkeypatch.setattr("dsplatform.versioning.pointers.Pointers.move", overtaken)
    with pytest.raises(UploadExpired):
        make.commit(platform, sales, {"b": b"2"})
    assert make.held(platform, sales) == {"a": b"1"}
    make.drained(platform)
    make.assert_sound(platform)
    monkeypatch.undo()
    make.commit(platform, sales, {"b": b"2"})
    assert make.held(platform, sales) == {"a": b"1", "b": b"2"}


def test_a_lost_answer_is_told_from_an_expiry_by_the_files_that_are_there(platform: Platform) -> None:
    """The commit arrived though its answer did not: the same upload may go on."""
    with platform.files.upload() as upload:
        first = _added(upload, b"first")
        with platform.db.transaction() as tx:
            upload.record(tx, [first])
        tx.committed = False  # we never heard of it
        second = _added(upload, b"second")
        with pytest.raises(UploadOvertaken):
            _attempt(platform, upload, [first, second], undone=False)
        upload.reconcile()
        _attempt(platform, upload, [first, second], undone=False)
    assert len(make.column(platform.db, "SELECT 1 FROM files")) == 2
    make.assert_sound(platform)


def _recorded_after_its_copy_was_given_up(platform: Platform) -> None:
    """Two datasets get the same content in one upload. For the first, somebody else's copy serves, and ours goes to the collector; before
    the second, the content is collected."""
    with platform.files.upload() as upload:
        shared, other = _added(upload, b"shared"), _added(upload, b"other")
        theirs = make.stored(platform, b"shared")
        with pytest.raises(UploadOvertaken):
            _attempt(platform, upload, [shared], undone=False)
        upload.reconcile()
        _attempt(platform, upload, [shared], undone=False)
        assert len(make.buried(platform)) == 1
        platform.files.delete_reference(theirs)
        with platform.db.transaction() as tx:
            tx.execute("UPDATE gc_queue SET review_after = now()")
        platform.gc.collect(platform.system())
        with pytest.raises(UploadOvertaken):
            _attempt(platform, upload, [shared, other], undone=False)
        upload.reconcile()
        _attempt(platform, upload, [shared, other], undone=False)


def test_a_copy_that_was_given_to_the_collector_is_never_named(platform: Platform) -> None:
    with pytest.raises(Unavailable, match="upload it again"):
        _recorded_after_its_copy_was_given_up(platform)
    make.drained(platform)
    assert make.objects(platform) == set()
    make.assert_sound(platform)


def test_a_content_that_was_recorded_and_collected_is_not_recorded_again_from_the_same_copy(platform: Platform) -> None:
    with platform.files.upload() as upload:
        shared, other = _added(upload, b"shared"), _added(upload, b"other")
        _attempt(platform, upload, [shared], undone=False)
        with platform.db.transaction() as tx:  # as if its version had been deleted long ago
            tx.execute("INSERT INTO gc_queue (file_id, review_after) SELECT id, now() - interval '1 second' FROM files")
        assert platform.gc.collect(platform.system()).unreferenced.count == 1
        with pytest.raises(UploadOvertaken):
            _attempt(platform, upload, [shared, other], undone=False)
        with pytest.raises(Unavailable, match="upload it again"):
            upload.reconcile()
    make.drained(platform)
    assert make.objects(platform) == set()
    make.assert_sound(platform)
