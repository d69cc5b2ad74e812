import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from dsplatform.core.errors import Unavailable
from dsplatform.core.types import ContentHash
from dsplatform.files import stores
from dsplatform.files.model import storage_key
from dsplatform.files.stores import SYNC_ONE_BY_ONE, LocalStorage, sync_file_system
from dsplatform_tests import make


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def new_key(first: str = "ab") -> str:
    return storage_key(ContentHash(first * 32), uuid4())


def put(storage: LocalStorage, key: str, data: bytes) -> None:
    storage.put(key, data)


def place(storage: LocalStorage, key: str, data: bytes) -> None:
    spooled = storage.spool(uuid4())
    spooled.write_bytes(data)
    storage.place(spooled, key)
    assert not spooled.exists()


WRITERS = pytest.mark.parametrize("write", [put, place])
Write = Callable[[LocalStorage, str, bytes], None]


def read(storage: LocalStorage, key: str) -> bytes:
    with storage.open(key) as reader:
        return reader.read()


@WRITERS
def test_an_object_is_read_only(write: Write, storage: LocalStorage) -> None:
    key = new_key()
    write(storage, key, b"bytes")
    with storage.local_path(key) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert path.stat().st_nlink == 1


@WRITERS
def test_an_object_is_never_overwritten(write: Write, storage: LocalStorage) -> None:
    key = new_key()
    write(storage, key, b"first")
    with pytest.raises(Unavailable, match="File exists"):
        write(storage, key, b"second")
    assert read(storage, key) == b"first"


def test_an_object_that_is_written_a_few_bytes_at_a_time_is_complete(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    key = new_key()
    storage.put(key, b"0123456789")
    assert read(storage, key) == b"0123456789"


def test_a_storage_that_does_not_answer_is_unavailable(storage: LocalStorage) -> None:
    storage.put(new_key(), b"x")
    key = "ab/" + "x" * 300  # longer than a file's name can be
    with pytest.raises(Unavailable, match="does not answer: File name too long"):
        storage.size(key)
    with pytest.raises(Unavailable, match="does not answer: File name too long"):
        storage.open(key)


def test_temporary_files_lie_on_the_file_system_of_the_objects(storage: LocalStorage) -> None:
    storage.put(new_key(), b"x")
    assert storage.spool(uuid4()).parent.stat().st_dev == (storage.root / "objects").stat().st_dev


# --- the store itself ------------------------------------------------------------------------------------------------------------


def test_a_store_keeps_its_identity(tmp_path: Path) -> None:
    first = LocalStorage(tmp_path / "a")
    identity = (first.root / "STORE_ID").read_text()
    LocalStorage(tmp_path / "a")
    assert (first.root / "STORE_ID").read_text() == identity
    assert identity != (LocalStorage(tmp_path / "b").root / "STORE_ID").read_text()
    assert list((first.root / "tmp").iterdir()) == []


def test_of_two_that_open_a_new_store_at_once_one_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = make.meeting(2)
    real = os.link

    def link(source: Path, target: Path) -> None:
        meet()  # both have seen that there is no identity
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    make.at_once(*[lambda: LocalStorage(tmp_path / "store")] * 2)
    assert len((tmp_path / "store" / "STORE_ID").read_text().split()) == 1
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable, match=r"storage folder .*file/storage cannot be used: Not a directory; check DSPLATFORM_STORAGE_URL"):
        LocalStorage(tmp_path / "file" / "storage")


# --- the durability barrier ------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `fsync` is called for, by name; a file system as a whole is `*`."""
    names: list[str] = []
    real_fsync, real_syncfs = os.fsync, stores.sync_file_system

    def fsync(descriptor: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real_fsync(descriptor)

    def syncfs(path: Path) -> bool:
        names.append("*")
        return real_syncfs(path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(stores, "sync_file_system", syncfs)
    return names


def written(storage: LocalStorage, number: int) -> list[str]:
    keys = [new_key(f"{index % 256:02x}") for index in range(number)]
    for key in keys:
        storage.put(key, b"x")
    return keys


def without_folders(storage: LocalStorage) -> LocalStorage:
    """The same store, whose folders somebody has removed."""
    for folder in (storage.root / "objects").iterdir():
        folder.rmdir()
    return LocalStorage(storage.root)


def test_a_new_store_has_its_folders_and_a_missing_one_is_made_when_needed(storage: LocalStorage) -> None:
    assert len(list((storage.root / "objects").iterdir())) == 256
    reopened = without_folders(storage)
    written(reopened, 2)
    assert sorted(folder.name for folder in (storage.root / "objects").iterdir()) == ["00", "01"]


def test_the_barrier_syncs_each_object_its_folder_and_the_folder_of_folders(storage: LocalStorage, synced: list[str]) -> None:
    storage = without_folders(storage)
    synced.clear()
    keys = written(storage, 3)
    storage.sync(keys)
    assert sorted(synced) == sorted([*(key[3:] for key in keys), "00", "01", "02", "objects"])
    assert synced.index("objects") == len(synced) - 1  # a name is durable only after what it names


def test_a_new_object_in_a_durable_folder_syncs_only_itself_and_that_folder(storage: LocalStorage, synced: list[str]) -> None:
    storage.sync(written(storage, 1))
    synced.clear()
    keys = written(storage, 1)
    storage.sync(keys)
    assert synced in ([keys[0][3:], "00"], [keys[0][3:], "00", "objects"])


def test_many_objects_are_synced_with_their_file_system(storage: LocalStorage, synced: list[str]) -> None:
    storage.sync(written(storage, SYNC_ONE_BY_ONE + 1))
    assert synced == ["*"]


def test_where_a_file_system_cannot_be_synced_each_object_is(
    storage: LocalStorage, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "sync_file_system", lambda _path: False)
    storage = without_folders(storage)
    synced.clear()
    keys = written(storage, SYNC_ONE_BY_ONE + 1)
    storage.sync(keys)
    assert set(synced) >= {key[3:] for key in keys} | {key[:2] for key in keys} | {"objects"}


def test_nothing_to_sync_costs_nothing(storage: LocalStorage, synced: list[str]) -> None:
    storage.sync([])
    assert synced == []


@pytest.mark.parametrize("number", [1, SYNC_ONE_BY_ONE + 1])
@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "no space left"), (errno.EIO, "the storage failed")])
def test_a_barrier_that_fails_is_unavailable(
    number: int, code: int, words: str, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    keys = written(storage, number)
    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(stores, "sync_file_system", fail)
    with pytest.raises(Unavailable, match=words):
        storage.sync(keys)


def test_an_object_that_is_not_there_fails_the_barrier(storage: LocalStorage) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        storage.sync([new_key()])


class _Libc:
    def syncfs(self, _descriptor: int) -> int:
        __import__("ctypes").set_errno(errno.EIO)
        return -1


def test_a_file_system_that_reports_a_write_error_fails_the_barrier(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = written(storage, SYNC_ONE_BY_ONE + 1)
    monkeypatch.setattr(stores, "_libc", _Libc())
    with pytest.raises(OSError, match="Input/output error"):
        sync_file_system(tmp_path)
    with pytest.raises(Unavailable, match="Input/output error"):
        storage.sync(keys)


@pytest.mark.parametrize(("platform", "libc"), [("darwin", _Libc()), ("linux", object())])
def test_a_system_without_syncfs_says_so(platform: str, libc: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(stores, "_libc", libc)
    assert not sync_file_system(tmp_path)


def test_what_a_crash_leaves_of_a_look_at_the_clock_goes_as_any_spool_does(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    storage.now()
    monkeypatch.undo()
    (upload_id,) = storage.spooled()
    storage.discard_spooled(upload_id)
    assert list((storage.root / "tmp").iterdir()) == []
