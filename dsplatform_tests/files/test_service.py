import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.types import FileId, file_path
from dsplatform.core.values import UploadOvertaken
from dsplatform.core.verification import Problem
from dsplatform.files.model import FileDamaged, FileMissing, SessionEnded
from dsplatform.files.reading import CHUNK_BYTES
from dsplatform.files.stores import LocalStorage
from dsplatform.files.upload import SMALL_BYTES, StagedUpload
from dsplatform_tests import make

SIZES = [0, 1, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]


# --- store and read back -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=5000), from_path=st.booleans())
@example(data=b"", from_path=True)
def test_the_same_bytes_come_back(data: bytes, from_path: bool, platform: Platform, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    reference = platform.files.store_file(platform.actor(), source if from_path else BytesIO(data))
    assert reference.content_hash == hashlib.sha256(data).hexdigest()
    assert make.content(platform, reference.file_id) == data
    with platform.files.open(reference.file_id) as reader:
        assert reader.read() == data
    with platform.files.local_paths([reference.file_id]) as (path,):
        assert path.read_bytes() == data
    file = platform.files.get_file(reference.file_id)
    assert (file.content_hash, file.file_size, file.state) == (reference.content_hash, len(data), "ok")


def test_every_boundary_of_size_comes_back(platform: Platform, tmp_path: Path) -> None:
    for size in SIZES:
        data = os.urandom(size)
        (tmp_path / str(size)).write_bytes(data)
        reference = platform.files.store_file(platform.actor(), tmp_path / str(size))
        assert reference.is_new
        assert make.content(platform, reference.file_id) == data
        assert not platform.files.store_file(platform.actor(), BytesIO(data)).is_new
    make.assert_sound(platform)


def test_a_stored_file_has_its_kind(platform: Platform) -> None:
    assert platform.files.get_file(make.stored(platform, b"a,b\n1,2\n").file_id).file_type == "csv"
    reference = make.stored(platform, b"\x1f\x8b" + bytes(SMALL_BYTES))
    assert platform.files.get_file(reference.file_id).file_type == "gzip"
    assert make.column(platform.db, "SELECT compression_type FROM files WHERE compression_type IS NOT NULL") == ["gzip"]


def test_equal_bytes_under_other_names_are_one_file(platform: Platform) -> None:
    system = platform.actor()
    references = [platform.files.store_file(system, BytesIO(b"x"), name=name) for name in ("a", "b", "c")]
    assert len({reference.file_id for reference in references}) == 1
    assert [reference.is_new for reference in references] == [True, False, False]
    assert platform.files.get_file(references[0].file_id).reference_count == 3
    assert len(make.objects(platform)) == 1


def test_files_of_one_session_stand_under_their_names(platform: Platform) -> None:
    system = platform.actor()
    first = platform.files.store_file(system, BytesIO(b"1"), name="a")
    second = platform.files.store_file(system, BytesIO(b"2"), name="b", session=first.session_id)
    assert second.session_id == first.session_id
    platform.files.delete_reference(first)
    assert len(make.column(platform.db, "SELECT id FROM upload_sessions")) == 1
    platform.files.delete_reference(second)
    assert make.column(platform.db, "SELECT id FROM upload_sessions") == []


@pytest.mark.parametrize("case", ["expired", "of another user", "unknown"])
def test_a_session_that_is_over_or_not_ones_own_takes_no_file(case: str, platform: Platform) -> None:
    """It would be answered well, and go with the next collection or with the other's will."""
    system = platform.actor()
    session = uuid4() if case == "unknown" else platform.files.store_file(system, BytesIO(b"1"), name="a").session_id
    if case == "expired":
        make.overdue(platform.db)
    elif case == "of another user":
        system = platform.permissions.create_user("ann")
    with pytest.raises(SessionEnded, match="store the file in a new one"):
        platform.files.store_file(system, BytesIO(b"2"), name="b", session=session)
    assert len(make.column(platform.db, "SELECT path FROM staged_files")) == (case != "unknown")
    make.assert_sound(platform)


def test_a_name_that_a_session_has_is_refused_and_nothing_stays(platform: Platform) -> None:
    system = platform.actor()
    first = platform.files.store_file(system, BytesIO(b"1"), name="a")
    with pytest.raises(Conflict):
        platform.files.store_file(system, BytesIO(b"2"), name="a", session=first.session_id)
    assert len(make.column(platform.db, "SELECT id FROM files")) == 1
    assert len(make.buried(platform)) == 1
    make.assert_sound(platform)


def test_a_source_that_cannot_be_taken_is_invalid_with_its_reason(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="missing cannot be stored: it is gone"):
        platform.files.store_file(platform.actor(), tmp_path / "missing")
    with pytest.raises(Invalid, match="cannot be stored: it is a folder"):
        platform.files.store_file(platform.actor(), tmp_path)
    make.assert_sound(platform)


def test_progress_hears_of_every_byte(settings: Settings, database_url: str, tmp_path: Path) -> None:
    heard: list[int] = []
    (tmp_path / "small").write_bytes(bytes(100))
    (tmp_path / "big").write_bytes(bytes(SMALL_BYTES + 1))
    with bootstrap(settings, database_url, progress=heard.append) as platform:
        for name in ("small", "big"):
            platform.files.store_file(platform.actor(), tmp_path / name)
    assert sum(heard) == 100 + SMALL_BYTES + 1


def test_storing_one_content_at_once_gives_everybody_the_same_file(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = make.meeting(8)
    overtaken: list[int] = []
    real_sync, real_reconcile = LocalStorage.sync, StagedUpload.reconcile

    def sync(self: LocalStorage, keys: list[str]) -> None:
        if keys:
            meet()  # all have found that the store lacks it
        real_sync(self, keys)

    def reconcile(self: StagedUpload) -> None:
        overtaken.append(1)
        real_reconcile(self)

    monkeypatch.setattr(LocalStorage, "sync", sync)
    monkeypatch.setattr(StagedUpload, "reconcile", reconcile)
    with make.crowded(settings, database_url, 8) as platform:
        references = make.at_once(*[lambda: make.stored(platform, b"the same")] * 8)
        assert len({reference.file_id for reference in references}) == 1
        assert len(overtaken) == 7
        assert platform.files.get_file(references[0].file_id).reference_count == 8
        assert len(make.buried(platform)) == 7
        make.assert_sound(platform)


def test_storing_gives_up_when_it_is_overtaken_for_ever(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(*_: object) -> None:
        raise UploadOvertaken("again")

    monkeypatch.setattr(StagedUpload, "record", record)
    with pytest.raises(Conflict, match="by many at once: try again"):
        make.stored(platform, b"x")
    make.assert_sound(platform)


# --- references and files that are not there ---------------------------------------------------------------------------------------


def test_a_reference_is_deleted_once(platform: Platform) -> None:
    reference = make.stored(platform, b"x")
    platform.files.delete_reference(reference)
    with pytest.raises(FileMissing, match="does not exist"):
        platform.files.delete_reference(reference)
    assert make.content(platform, reference.file_id) == b"x"  # until the collector comes


def test_a_file_that_does_not_exist_is_named(platform: Platform) -> None:
    there = make.stored(platform, b"x").file_id
    with pytest.raises(FileMissing, match="file 99 does not exist"):
        platform.files.get_file(FileId(99))
    with pytest.raises(FileMissing, match="file 99 does not exist"), platform.files.local_paths([there, FileId(99)]):
        raise AssertionError("never entered")


def test_local_paths_come_in_the_order_they_were_asked_for(platform: Platform) -> None:
    ids = [make.stored(platform, data).file_id for data in (b"1", b"2", b"3")]
    with platform.files.local_paths([ids[2], ids[0], ids[2]]) as paths:
        assert [path.read_bytes() for path in paths] == [b"3", b"1", b"3"]


# --- damage ------------------------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def resize(path: Path, by: int) -> None:
    path.chmod(0o644)
    os.truncate(path, max(0, path.stat().st_size + by))


Damage = Callable[[Path], None]
DAMAGES: dict[str, Damage] = {
    "first bit": lambda path: flip(path, 0),
    "last bit": lambda path: flip(path, path.stat().st_size - 1),
    "truncated": lambda path: resize(path, -1),
    "truncated by a chunk": lambda path: resize(path, -CHUNK_BYTES),
    "extended": lambda path: resize(path, 1),
    "extended by a chunk": lambda path: resize(path, CHUNK_BYTES),
    "emptied": lambda path: resize(path, -path.stat().st_size),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("size", [10, CHUNK_BYTES, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 10])
def test_damaged_bytes_are_never_given_out_in_full(size: int, damage: Damage, platform: Platform) -> None:
    reference = make.stored(platform, bytes(size))
    path = make.object_path(platform, reference.file_id)
    damage(path)
    given_out = 0
    failing = pytest.raises(FileDamaged, match="its bytes have changed; upload the same content again to heal it")
    with failing, platform.files.verified_chunks(reference.file_id) as chunks:
        for chunk in chunks:
            given_out += len(chunk)
    assert given_out < max(path.stat().st_size, 1)
    assert platform.files.get_file(reference.file_id).state == "damaged"
    (problem,) = make.problems(platform)
    assert problem == Problem("I2", f"file {reference.file_id} ({reference.content_hash})", "it is marked as damaged")


def test_chunks_that_ended_stay_at_their_end(platform: Platform) -> None:
    with platform.files.verified_chunks(make.stored(platform, b"x").file_id) as chunks:
        assert list(chunks) == [b"x"]
        assert list(chunks) == []


def test_a_lost_object_is_damage_however_it_is_asked_for(platform: Platform) -> None:
    reference = make.stored(platform, b"x")
    make.object_path(platform, reference.file_id).unlink()
    with pytest.raises(FileDamaged, match="its bytes are missing"):
        platform.files.open(reference.file_id)
    with pytest.raises(FileDamaged, match="its bytes are missing"), platform.files.local_paths([reference.file_id]):
        raise AssertionError("never entered")
    with pytest.raises(FileDamaged, match="its bytes are missing"), platform.files.verified_chunks(reference.file_id):
        raise AssertionError("never entered")
    assert platform.files.get_file(reference.file_id).state == "damaged"


class _Unreadable(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_disk_that_cannot_read_is_unavailable_and_no_damage(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = make.stored(platform, b"x")
    monkeypatch.setattr(LocalStorage, "open", lambda *_: _Unreadable())
    with pytest.raises(Unavailable, match="cannot be read from the storage: Input/output error") as caught:
        make.content(platform, reference.file_id)
    assert not isinstance(caught.value, FileDamaged)


# --- writing out -------------------------------------------------------------------------------------------------------------------


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_is_written_out_below_the_folder_with_the_exact_bytes(platform: Platform, tmp_path: Path) -> None:
    reference = make.stored(platform, b"bytes")
    written = platform.files.write_to(platform.actor(), reference.file_id, tmp_path / "out", file_path("sub/a.csv"))
    assert written == tmp_path / "out" / "sub" / "a.csv"
    assert written.read_bytes() == b"bytes"
    assert left(tmp_path / "out") == ["sub/a.csv"]


def test_the_longest_name_that_a_file_system_takes_is_written_out(platform: Platform, tmp_path: Path) -> None:
    name = file_path("é" * 127)  # 254 bytes
    assert platform.files.write_to(platform.actor(), make.stored(platform, b"x").file_id, tmp_path / "out", name).read_bytes() == b"x"


def test_what_is_there_is_not_overwritten_unless_asked(platform: Platform, tmp_path: Path) -> None:
    reference = make.stored(platform, b"new")
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("a", "dangling"):
        with pytest.raises(Conflict, match="exists already: write into another folder, or overwrite it with --force"):
            platform.files.write_to(platform.actor(), reference.file_id, tmp_path, file_path(name))
    assert (tmp_path / "a").read_bytes() == b"old"
    platform.files.write_to(platform.actor(), reference.file_id, tmp_path, file_path("a"), overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_damaged_file_is_not_written_out_at_all(platform: Platform, tmp_path: Path) -> None:
    reference = make.stored(platform, bytes(2 * CHUNK_BYTES))
    flip(make.object_path(platform, reference.file_id), 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"old")
    with pytest.raises(FileDamaged):
        platform.files.write_to(platform.actor(), reference.file_id, tmp_path / "out", file_path("a"), overwrite=True)
    assert left(tmp_path / "out") == ["a"]
    assert (tmp_path / "out" / "a").read_bytes() == b"old"


@pytest.mark.parametrize(("name", "words"), [("a/b", "Not a directory")])
def test_a_name_that_the_file_system_does_not_take_is_unavailable(name: str, words: str, platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"x")
    with pytest.raises(Unavailable, match=f"cannot be written: {words}|cannot be written: File exists"):
        platform.files.write_to(platform.actor(), make.stored(platform, b"x").file_id, tmp_path / "out", file_path(name))
    assert left(tmp_path / "out") == ["a"]


# --- memory ------------------------------------------------------------------------------------------------------------------------

STORING = """
import sys
from pathlib import Path
from dsplatform.bootstrap import bootstrap
from dsplatform.core.settings import Settings
with bootstrap(Settings.from_env({"DSPLATFORM_HOME": sys.argv[2]}), sys.argv[1]) as platform:
    reference = platform.files.store_file(platform.actor(), Path(sys.argv[3]))
    with platform.files.verified_chunks(reference.file_id) as chunks:
        print(sum(map(len, chunks)))
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_file(settings: Settings, database_url: str, tmp_path: Path) -> None:
    size = 300 * 1024 * 1024
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(size)
    done = subprocess.run(
        [sys.executable, "-c", STORING, database_url, str(settings.home), str(tmp_path / "sparse")],
        check=True,
        capture_output=True,
        text=True,
    )
    read, peak_kib = map(int, done.stdout.split())
    assert read == size
    assert peak_kib < 256 * 1024


def test_a_store_names_objects_by_hash_and_upload_and_never_by_the_users_name(platform: Platform) -> None:
    system = platform.actor()
    reference = platform.files.store_file(system, BytesIO(b"x"), name="../../etc/passwd")
    (key,) = make.objects(platform)
    assert key.startswith(f"{reference.content_hash[:2]}/{reference.content_hash}.")


# --- downloads -------------------------------------------------------------------------------------------------------------------


def part(platform: Platform, file_id: FileId, offset: int, length: int | None) -> bytes:
    with platform.files.download(platform.actor(), file_id, offset=offset, length=length) as chunks:
        data = b"".join(chunks)
        assert chunks.size == len(data)
        return data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.sampled_from(SIZES), offset=st.integers(0, CHUNK_BYTES + 2), length=st.none() | st.integers(0, CHUNK_BYTES + 2))
def test_a_part_is_these_bytes_of_the_file(size: int, offset: int, length: int | None, platform: Platform) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    file_id = make.stored(platform, data).file_id
    if offset > size or (length is not None and offset + length > size):
        with pytest.raises(Invalid, match="are not within it"):
            part(platform, file_id, offset, length)
    else:
        assert part(platform, file_id, offset, length) == (data[offset:] if length is None else data[offset : offset + length])


def test_a_part_that_is_not_there_is_damage(platform: Platform) -> None:
    file_id = make.stored(platform, b"0123456789").file_id
    path = make.object_path(platform, file_id)
    path.chmod(0o644)
    path.write_bytes(b"01234")
    with pytest.raises(FileDamaged, match="end too early"):
        part(platform, file_id, 4, 3)
    assert platform.files.get_file(file_id).state == "damaged"


def test_who_may_not_read_a_file_gets_nothing_of_it(platform: Platform, tmp_path: Path) -> None:
    eve, file_id = platform.permissions.create_user("eve"), make.stored(platform, b"secret").file_id
    for attempt in (
        lambda: platform.files.describe(eve, file_id),
        lambda: platform.files.download(eve, file_id).__enter__(),
        lambda: platform.files.download_url(eve, file_id, filename="a"),
        lambda: platform.files.write_to(eve, file_id, tmp_path, file_path("a")),
    ):
        with pytest.raises((NotFound, Denied)) as refused:
            attempt()
        with pytest.raises(type(refused.value)):
            platform.files.describe(eve, FileId(999_999))
    assert list(tmp_path.glob("a*")) == []


# --- what others have ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, SMALL_BYTES + 1])
def test_what_others_have_is_new_to_who_may_not_read_it(size: int, platform: Platform) -> None:
    """T56: it is written again, given to the collector when it is recorded, and the row stays the one that there is."""
    data = os.urandom(size)
    eve, dataset = platform.permissions.create_user("eve"), make.dataset(platform)
    make.commit(platform, dataset, {"a": data})
    before = make.objects(platform)
    with platform.files.upload(eve) as upload:
        (content,) = upload.add([BytesIO(data)])
        assert getattr(content, "is_new") is True  # noqa: B009 - refused contents have none
        upload.seal()
        (copy,) = make.objects(platform) - before
        with platform.db.transaction() as tx:
            ids = upload.record(tx, [content.content_hash])  # type: ignore[union-attr]  # it was taken
    assert make.buried(platform) == {copy}
    assert make.column(platform.db, "SELECT id FROM files WHERE content_hash = :hash", hash=hashlib.sha256(data).hexdigest()) == list(
        ids.values()
    )
    make.assert_sound(platform)
    with platform.files.upload(platform.actor()) as upload:
        (known,) = upload.add([BytesIO(data)])
    assert getattr(known, "is_new") is False  # noqa: B009


def test_a_damaged_file_is_healed_also_by_who_may_not_read_it(platform: Platform) -> None:
    data = os.urandom(100)
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": data})
    (component,) = platform.versions.get_version(platform.actor(), dataset)[1]
    make.object_path(platform, component.file_id).unlink()
    eve = platform.permissions.create_user("eve")
    own = platform.datasets.create_dataset(eve, "own")
    make.commit(platform, own, {"b": data}, actor=eve)
    assert make.held(platform, dataset) == {"a": data}
