import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Database
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.values import Content, Refused, Source, UploadOvertaken
from dsplatform.files import upload as upload_module
from dsplatform.files.model import UploadExpired
from dsplatform.files.repository import Files
from dsplatform.files.stores import SYNC_ONE_BY_ONE, LocalStorage
from dsplatform.files.upload import SMALL_BYTES, StagedUpload
from dsplatform_tests import make

BIG = SMALL_BYTES + 1


def hash_of(data: bytes) -> ContentHash:
    return ContentHash(hashlib.sha256(data).hexdigest())


def record(platform: Platform, upload: StagedUpload, *data: bytes) -> list[FileId]:
    with platform.db.transaction() as tx:
        ids = upload.record(tx, [hash_of(one) for one in data])
    return [ids[hash_of(one)] for one in data]


def live(platform: Platform) -> list[str]:
    return make.column(platform.db, "SELECT file_path FROM files ORDER BY id")


def intents(platform: Platform) -> list[list[str]]:
    return make.column(platform.db, "SELECT storage_keys FROM upload_intents")


def rows(platform: Platform) -> int:
    return len(live(platform))


def adding(platform: Platform, upload: Any, *sources: Source) -> list[Content]:
    answers = upload.add(list(sources))
    assert all(isinstance(answer, Content) for answer in answers)
    return list(answers)


# --- an upload -------------------------------------------------------------------------------------------------------------------


def test_an_upload_stores_each_content_and_closes_its_intent(platform: Platform) -> None:
    small, big = b"small", b"b" * BIG
    with platform.files.upload() as upload:
        first, second = adding(platform, upload, BytesIO(small), BytesIO(big))
        assert (first.content_hash, first.file_size, first.is_new) == (hash_of(small), 5, True)
        assert (second.content_hash, second.file_size, second.is_new) == (hash_of(big), BIG, True)
        upload.seal()
        ids = record(platform, upload, small, big)
    assert [make.content(platform, file_id) for file_id in ids] == [small, big]
    assert intents(platform) == []
    assert make.buried(platform) == set()
    make.assert_sound(platform)


def test_answers_come_in_the_order_of_the_sources_with_the_refused_among_them(platform: Platform, tmp_path: Path) -> None:
    with platform.files.upload() as upload:
        good, bad, also_good = upload.add([BytesIO(b"1"), tmp_path / "missing", BytesIO(b"2")])
        assert isinstance(good, Content)
        assert isinstance(also_good, Content)
        assert (good.content_hash, also_good.content_hash) == (hash_of(b"1"), hash_of(b"2"))
        assert bad == Refused("it is gone", may_retry=False)


def test_many_sources_are_taken_in_windows_and_slices(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "WINDOW_BYTES", 1000)
    data = [str(number % 250).encode() * 5 for number in range(300)]
    sources: list[Source] = []
    for number, one in enumerate(data):
        path = tmp_path / str(number)
        path.write_bytes(one)
        sources.append(path)
    with platform.files.upload() as upload:
        answers = upload.add([*sources, tmp_path / "missing"])
        upload.seal()
        record(platform, upload, *data)
    assert [answer.content_hash for answer in answers[:-1] if isinstance(answer, Content)] == [hash_of(one) for one in data]
    assert rows(platform) == 250
    make.assert_sound(platform)


@pytest.mark.parametrize("data", [b"", b"small", b"b" * BIG], ids=["empty", "small", "big"])
def test_a_content_that_comes_twice_in_one_upload_is_stored_once(data: bytes, platform: Platform) -> None:
    with platform.files.upload() as upload:
        together = adding(platform, upload, BytesIO(data), BytesIO(data))
        later = adding(platform, upload, BytesIO(data))
        assert [content.is_new for content in together + later] == [True, False, False]
        upload.seal()
        record(platform, upload, data, data)
    assert rows(platform) == len(make.objects(platform)) == 1
    make.assert_sound(platform)


@pytest.mark.parametrize("data", [b"small", b"b" * BIG], ids=["small", "big"])
def test_a_content_that_the_store_has_is_not_written_again(data: bytes, platform: Platform) -> None:
    first = make.stored(platform, data)
    before = make.objects(platform)
    with platform.files.upload() as upload:
        (content,) = adding(platform, upload, BytesIO(data))
        assert not content.is_new
        upload.seal()
        assert record(platform, upload, data) == [first.file_id]
    assert make.objects(platform) == before
    assert make.buried(platform) == set()
    make.assert_sound(platform)


def test_a_small_content_that_the_store_has_opens_no_intent(platform: Platform, tmp_path: Path) -> None:
    make.stored(platform, b"x")
    (tmp_path / "x").write_bytes(b"x")
    with platform.files.upload() as upload:
        adding(platform, upload, tmp_path / "x")
        upload.seal()
        assert intents(platform) == []
        record(platform, upload, b"x")


def test_one_upload_may_be_recorded_in_parts(platform: Platform) -> None:
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"1"), BytesIO(b"2"), BytesIO(b"3"))
        upload.seal()
        record(platform, upload, b"1")
        record(platform, upload, b"2")
        assert len(intents(platform)) == 1
    assert rows(platform) == 2
    assert len(make.buried(platform)) == 1  # what nobody recorded
    assert intents(platform) == []
    make.assert_sound(platform)


def test_what_was_recorded_may_be_recorded_again(platform: Platform) -> None:
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"1"))
        upload.seal()
        first = record(platform, upload, b"1")
        with pytest.raises(UploadOvertaken):
            record(platform, upload, b"1")
        upload.reconcile()
        assert record(platform, upload, b"1") == first
    make.assert_sound(platform)


def test_an_upload_goes_on_after_a_recording(platform: Platform) -> None:
    with platform.files.upload() as upload:
        for data in (b"1", b"2" * BIG, b"3"):
            adding(platform, upload, BytesIO(data))
            upload.seal()
            record(platform, upload, data)
    assert rows(platform) == 3
    assert intents(platform) == []
    make.assert_sound(platform)


def test_a_stored_content_keeps_the_collector_waiting_until_the_transaction_ends(platform: Platform) -> None:
    make.stored(platform, b"x")
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"x"))
        upload.seal()
        with platform.db.transaction() as tx:
            upload.record(tx, [hash_of(b"x")])
            locked = make.column(platform.db, "SELECT id FROM files WHERE id NOT IN (SELECT id FROM files FOR UPDATE SKIP LOCKED)")
            assert len(locked) == 1


# --- seal before record ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, BIG])
def test_nothing_is_recorded_before_it_is_sealed(size: int, platform: Platform) -> None:
    data = b"x" * size
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(data))
        with pytest.raises(AssertionError, match=r"seal\(\) comes before record\(\)"):
            record(platform, upload, data)
    assert rows(platform) == 0
    make.assert_sound(platform)


def _named_before_durable(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The keys that rows name though no barrier covered them, over uploads of several kinds."""
    durable: set[str] = set()
    real = LocalStorage.sync

    def sync(self: LocalStorage, keys: Any) -> None:
        real(self, keys)
        durable.update(keys)

    monkeypatch.setattr(LocalStorage, "sync", sync)
    dataset = make.dataset(platform)
    make.stored(platform, b"1")
    make.stored(platform, b"2" * BIG)
    make.commit(platform, dataset, {"a": b"3", "b": b"4" * BIG, "c": b"1"})
    return set(live(platform)) - durable


def test_a_row_names_only_what_a_barrier_covered(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _named_before_durable(platform, monkeypatch) == set()


def test_the_claim_fails_when_sealing_forgets_the_barrier(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def seal(self: StagedUpload) -> None:
        self._write_out()
        self._unsealed = []

    monkeypatch.setattr(StagedUpload, "seal", seal)
    assert _named_before_durable(platform, monkeypatch) != set()


def test_after_a_barrier_that_failed_nothing_of_the_upload_is_recorded(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second fsync would answer well: the kernel forgets a write error once it was told."""
    real = os.fsync
    faults = iter([OSError(errno.EIO, "Input/output error")])

    def fsync(descriptor: int) -> None:
        for error in faults:
            raise error
        real(descriptor)

    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"1"))
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(Unavailable, match="Input/output error"):
            upload.seal()
        with pytest.raises(Unavailable, match="an earlier write of this upload failed"):
            upload.seal()
        with pytest.raises(Unavailable, match="an earlier write of this upload failed"):
            record(platform, upload, b"1")
    assert rows(platform) == 0
    assert len(make.buried(platform)) == 1
    make.assert_sound(platform)


def test_after_a_write_that_failed_nothing_of_the_upload_is_recorded(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: LocalStorage, key: str, data: bytes) -> None:
        raise Unavailable("no space")

    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"1"), BytesIO(b"2"))
        monkeypatch.setattr(LocalStorage, "put", put)
        with pytest.raises(Unavailable, match="no space"):
            upload.seal()
        monkeypatch.undo()
        with pytest.raises(Unavailable, match="an earlier write of this upload failed"):
            upload.seal()
        with pytest.raises(Unavailable, match="an earlier write of this upload failed"):
            record(platform, upload, b"1")
    assert rows(platform) == 0
    make.assert_sound(platform)


# --- crash points ----------------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """What a test raises where a process would die or fail."""


@pytest.mark.parametrize("size", [1, BIG])
@pytest.mark.parametrize("point", ["added", "sealed", "recording"])
def test_a_failure_at_any_point_records_nothing_and_gives_back_everything(point: str, size: int, platform: Platform) -> None:
    data = b"x" * size
    failing = pytest.raises(Crash)
    with failing, platform.files.upload() as upload:
        adding(platform, upload, BytesIO(data))
        if point != "added":
            upload.seal()
        if point == "recording":
            with platform.db.transaction() as tx:
                upload.record(tx, [hash_of(data)])
                raise Crash
        raise Crash
    assert rows(platform) == 0
    assert intents(platform) == []
    assert make.objects(platform) == make.buried(platform)
    assert len(make.objects(platform)) == (0 if point == "added" else 1)
    make.assert_sound(platform)
    make.stored(platform, data)
    make.assert_sound(platform)


def test_a_recording_that_failed_and_was_swallowed_gives_back_everything(platform: Platform) -> None:
    """As `publish` does, which answers a failed change in its place."""

    def recording(upload: StagedUpload) -> None:
        with platform.db.transaction() as tx:
            upload.record(tx, [hash_of(b"x")])
            raise Crash

    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"x"))
        upload.seal()
        with pytest.raises(Crash):
            recording(upload)
    assert intents(platform) == []
    assert make.objects(platform) == make.buried(platform) != set()
    make.assert_sound(platform)


@pytest.mark.parametrize("size", [1, BIG])
@pytest.mark.parametrize("point", ["added", "sealed"])
def test_what_a_killed_process_leaves_is_named_by_its_intent(point: str, size: int, platform: Platform) -> None:
    data = b"x" * size
    dying = platform.files.upload().__enter__()
    adding(platform, dying, BytesIO(data))
    if point == "sealed":
        dying.seal()
    dying._pool.shutdown()  # and no __exit__
    assert rows(platform) == 0
    assert make.unaccounted_objects(platform) == set()
    assert make.objects(platform) == {key for keys in intents(platform) for key in keys}
    if make.spooled(platform):
        (identity,) = make.column(platform.db, "SELECT id FROM upload_intents")
        assert all(name.startswith(identity.hex) for name in make.spooled(platform))
    reference = make.stored(platform, data)
    assert make.content(platform, reference.file_id) == data
    assert make.unaccounted_objects(platform) == set()


def test_our_own_commit_whose_answer_was_lost_does_not_bury_our_live_object(platform: Platform) -> None:
    with pytest.raises(Crash), platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"x"))
        upload.seal()
        record(platform, upload, b"x")
        raise Crash
    assert rows(platform) == 1
    assert make.buried(platform) == set()
    make.assert_sound(platform)


def test_a_commit_whose_answer_was_lost_may_be_repeated_by_the_same_upload(platform: Platform) -> None:
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"x"))
        upload.seal()
        with platform.db.transaction() as tx:
            upload.record(tx, [hash_of(b"x")])
        tx.committed = False  # we never heard of it
        with pytest.raises(UploadExpired):
            record(platform, upload, b"x")
        upload.reconcile()
    assert rows(platform) == 1
    assert make.buried(platform) == set()
    make.assert_sound(platform)


# --- expiry ----------------------------------------------------------------------------------------------------------------------


def expire(platform: Platform) -> None:
    with platform.db.transaction() as tx:
        tx.execute("UPDATE upload_intents SET expires_at = now() - interval '1 second'")


def _recorded_after_expiry(platform: Platform, parts: int) -> bool:
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"1"), BytesIO(b"2"))
        upload.seal()
        expire(platform)
        try:
            record(platform, upload, *[b"1", b"2"][:parts])
        except UploadExpired:
            return False
        return True


@pytest.mark.parametrize("parts", [1, 2])
def test_an_expired_upload_records_nothing(parts: int, platform: Platform) -> None:
    assert not _recorded_after_expiry(platform, parts)
    assert rows(platform) == 0
    make.assert_sound(platform)


def test_the_claim_fails_when_the_intent_is_not_looked_at(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StagedUpload, "_keep_intent", lambda *_, **__: None)
    assert _recorded_after_expiry(platform, 2)


def test_an_expired_upload_writes_nothing_more(platform: Platform) -> None:
    with platform.files.upload() as upload:
        adding(platform, upload, BytesIO(b"1"))
        upload.seal()
        expire(platform)
        adding(platform, upload, BytesIO(b"2"))
        with pytest.raises(UploadExpired):
            upload.seal()
    assert rows(platform) == 0
    assert len(make.objects(platform)) == 1
    make.assert_sound(platform)


def test_a_long_stream_keeps_its_upload_alive(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "RENEW_SECONDS", -1)

    hours: list[bool] = []

    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            hours.extend(make.column(platform.db, "SELECT expires_at > now() + interval '50 minutes' FROM upload_intents"))
            with platform.db.transaction() as tx:
                tx.execute("UPDATE upload_intents SET expires_at = now() + interval '1 minute'")
            return super().read(size)

    data = bytes(3 * 1024 * 1024)
    with platform.files.upload() as upload:
        adding(platform, upload, Slow(data))
        upload.seal()
        record(platform, upload, data)
    assert len(hours) > 2
    assert all(hours)
    make.assert_sound(platform)


# --- many at once ----------------------------------------------------------------------------------------------------------------


def test_uploads_of_one_content_at_once_leave_one_row_and_one_live_object(settings: Settings, database_url: str) -> None:
    uploaders = 8
    overtaken: list[int] = []
    with make.crowded(settings, database_url, uploaders) as platform:
        all_have_written = make.meeting(uploaders)

        def upload_one() -> FileId:
            with platform.files.upload() as upload:
                (content,) = adding(platform, upload, BytesIO(b"the same"))
                assert content.is_new
                upload.seal()
                all_have_written()
                for _ in range(5):
                    try:
                        (file_id,) = record(platform, upload, b"the same")
                        break
                    except UploadOvertaken:
                        overtaken.append(1)
                        upload.reconcile()
            return file_id

        ids = make.at_once(*[upload_one] * uploaders)
        assert len(set(ids)) == rows(platform) == 1
        assert len(overtaken) == uploaders - 1  # the collisions did happen
        assert len(make.objects(platform)) == uploaders
        assert make.buried(platform) == make.objects(platform) - set(live(platform))
        assert make.column(platform.db, "SELECT DISTINCT reason FROM tombstones") == ["duplicate"]
        make.assert_sound(platform)


def _overlapping(platform: Platform, uploaders: int) -> int:
    """Uploads whose contents overlap, recorded at once; answers how often one was overtaken."""
    overtaken: list[int] = []
    all_have_written = make.meeting(uploaders)

    def upload_some(first: int) -> Callable[[], None]:
        data = [str((first + offset) % uploaders).encode() for offset in range(4)]

        def run() -> None:
            with platform.files.upload() as upload:
                adding(platform, upload, *[BytesIO(one) for one in data])
                upload.seal()
                all_have_written()
                for _ in range(20):
                    try:
                        record(platform, upload, *data)
                        return
                    except UploadOvertaken:
                        overtaken.append(1)
                        upload.reconcile()
                raise AssertionError("overtaken for ever")

        return run

    make.at_once(*[upload_some(number) for number in range(uploaders)])
    return len(overtaken)


def test_overlapping_uploads_at_once_store_each_content_once(settings: Settings, database_url: str) -> None:
    with make.crowded(settings, database_url, 6) as platform:
        assert _overlapping(platform, 6) > 0
        assert rows(platform) == 6
        assert intents(platform) == []
        assert make.buried(platform) == make.objects(platform) - set(live(platform))
        make.assert_sound(platform)


def test_a_content_that_vanishes_from_the_store_meanwhile_is_written_from_the_source(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    reference = make.stored(platform, b"x")
    for source in (BytesIO(b"x"), tmp_path / "x"):
        with platform.files.upload() as upload:
            (content,) = adding(platform, upload, source)
            assert not content.is_new
            upload.seal()
            _collect_everything(platform)
            with pytest.raises(UploadOvertaken, match="gone or damaged by now"):
                record(platform, upload, b"x")
            upload.reconcile()
            (file_id,) = record(platform, upload, b"x")
        assert file_id > reference.file_id
        assert make.content(platform, file_id) == b"x"
        make.assert_sound(platform)


@pytest.mark.parametrize(("become", "words"), [(b"y", "changed while it was uploaded"), (None, "is needed again, and it is gone")])
def test_a_source_that_is_needed_again_and_is_another_by_then_is_unavailable(
    become: bytes | None, words: str, platform: Platform, tmp_path: Path
) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"x")
    make.stored(platform, b"x")
    with platform.files.upload() as upload:
        adding(platform, upload, source)
        _collect_everything(platform)
        source.unlink()
        if become:
            source.write_bytes(become)
        with pytest.raises(Unavailable, match=words):
            upload.reconcile()
    assert rows(platform) == 0
    make.assert_sound(platform)


def _collect_everything(platform: Platform) -> None:
    """What the collector does to contents that nobody refers to, with none of its patience."""
    with platform.db.transaction() as tx:
        tx.execute("DELETE FROM staged_files")
        keys = [row["file_path"] for row in tx.rows("DELETE FROM files RETURNING file_path")]
        Files(tx).bury(keys, "unreferenced", "1 hour")


# --- healing ---------------------------------------------------------------------------------------------------------------------


def _delete(path: Path, db: Database) -> None:
    path.unlink()


def _truncate(path: Path, db: Database) -> None:
    path.chmod(0o644)
    os.truncate(path, 0)


def _mark(path: Path, db: Database) -> None:
    path.chmod(0o644)
    path.write_bytes(b"?" * path.stat().st_size)
    with db.transaction() as tx:
        tx.execute("UPDATE files SET state = 'damaged'")


Damage = Callable[[Path, Database], None]
DAMAGES: list[Damage] = [_delete, _truncate, _mark]


def _healed(platform: Platform, damage: Damage, data: bytes) -> bool:
    first = make.stored(platform, data)
    damage(make.object_path(platform, first.file_id), platform.db)
    try:
        again = make.stored(platform, data)
    except Conflict:
        return False
    assert again.file_id == first.file_id
    return not make.problems(platform)


@pytest.mark.parametrize("data", [b"small", b"b" * BIG], ids=["small", "big"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lost_or_damaged_object_is_healed_by_the_next_upload(damage: Damage, data: bytes, platform: Platform) -> None:
    assert _healed(platform, damage, data)
    assert make.content(platform, FileId(make.column(platform.db, "SELECT id FROM files")[0])) == data
    assert make.column(platform.db, "SELECT reason FROM tombstones") == ["healed"]
    assert not make.buried(platform) & set(live(platform))
    make.assert_sound(platform)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_claim_fails_when_a_hit_is_not_looked_at(damage: Damage, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    real = StagedUpload._settle

    def settle(self: StagedUpload, contents: Any) -> None:
        real(self, contents)
        for held in contents:
            if held.bad_key:
                held.bad_key = held.key = None
                self._unwritten = []

    monkeypatch.setattr(StagedUpload, "_settle", settle)
    assert not _healed(platform, damage, b"x")


def test_healers_at_once_heal_once(settings: Settings, database_url: str) -> None:
    with make.crowded(settings, database_url, 4) as platform:
        first = make.stored(platform, b"x")
        make.object_path(platform, first.file_id).unlink()
        all_have_written = make.meeting(4)
        overtaken: list[int] = []

        def heal() -> None:
            with platform.files.upload() as upload:
                adding(platform, upload, BytesIO(b"x"))
                upload.seal()
                all_have_written()
                for _ in range(5):
                    try:
                        record(platform, upload, b"x")
                        return
                    except UploadOvertaken:
                        overtaken.append(1)
                        upload.reconcile()

        make.at_once(*[heal] * 4)
        assert len(overtaken) == 3
        assert sorted(make.column(platform.db, "SELECT reason FROM tombstones")) == ["duplicate"] * 3 + ["healed"]
        make.assert_sound(platform)


# --- every system call of the storage fails once -----------------------------------------------------------------------------------


LARGE = BIG + 1024 * 1024


class Faults:
    """Lets the n-th system call that the storage makes fail, in whichever thread it is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int, nth: int) -> None:
        self._left = nth
        self._code = code
        self.calls: list[str] = []
        for name in ("open", "write", "fsync", "close", "link", "unlink", "chmod", "mkdir"):
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))
        monkeypatch.setattr("dsplatform.files.stores.sync_file_system", self._counted("syncfs", lambda _: True))
        monkeypatch.setattr("dsplatform.files.reading.open", self._counted("open", open), raising=False)
        monkeypatch.setattr(
            "dsplatform.files.reading._write_all", self._counted("write", lambda target, chunk: target.write(chunk) and None)
        )

    @property
    def happened(self) -> bool:
        return self._left <= 0

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            self._left -= 1
            if self._left == 0:
                if name == "close":
                    real(*args, **kwargs)  # a failed close has closed
                raise OSError(self._code, os.strerror(self._code))
            return real(*args, **kwargs)

        return call


def _uploads(size: int, number: int) -> Iterator[BinaryIO]:
    for which in range(number):
        yield BytesIO(bytes([which]) * size)


@pytest.mark.parametrize(
    ("code", "size", "number"),
    [(errno.ENOSPC, 3, 1), (errno.EIO, 3, 1), (errno.ENOSPC, LARGE, 1), (errno.EIO, LARGE, 1), (errno.EIO, 3, SYNC_ONE_BY_ONE + 1)],
    ids=["small-full", "small-broken", "spooled-full", "spooled-broken", "many-broken"],
)
def test_any_system_call_of_the_storage_may_fail(code: int, size: int, number: int, platform: Platform) -> None:
    seen: set[str] = set()
    reason = ""
    for nth in range(1, 200):
        with pytest.MonkeyPatch.context() as monkeypatch:
            faults = Faults(monkeypatch, code, nth)
            try:
                with platform.files.upload() as upload:
                    answers = adding(platform, upload, *_uploads(size, number))
                    upload.seal()
                    failed = False
            except Unavailable as err:
                failed, reason = True, str(err)
        assert rows(platform) == 0
        assert make.unaccounted_objects(platform) == set()
        assert make.spooled(platform) == []
        assert intents(platform) == []
        seen |= set(faults.calls)
        if not faults.happened:
            break
        assert failed or faults.calls[-1] == "unlink"  # of what was left over
        assert not failed or os.strerror(code) in reason or "no space left" in reason
    else:
        raise AssertionError("the upload has more system calls than that")
    assert len(answers) == number
    assert seen >= ({"open", "write", "close", "syncfs"} if number > 1 else {"open", "write", "fsync", "close"})
