"""What collection asks of the local store: deleting, listing, its identity and its clock."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Unavailable
from dsplatform.files import stores
from dsplatform.files.stores import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def listed(storage: LocalStorage, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for page in storage.list(prefix, after) for found in page]


@given(
    keys=st.sets(st.from_regex(r"[0-9a-c]{2}/[0-9a-f]{1,3}\.[0-9a-f]{1,2}", fullmatch=True), max_size=20),
    prefix=st.from_regex(r"([0-9a-c]{0,2}|[0-9a-c]{2}/[0-9a-f]{0,2})", fullmatch=True),
    after=st.from_regex(r"([0-9a-c]{0,2}|[0-9a-c]{2}/[0-9a-f]{0,3})", fullmatch=True),
)
def test_a_listing_is_every_key_of_the_prefix_after_the_given_one_in_order(keys: set[str], prefix: str, after: str) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "PAGE", 3)
        storage = LocalStorage(Path(folder))
        for key in keys:
            storage.put(key, key.encode())
        assert listed(storage, prefix, after) == sorted(key for key in keys if key.startswith(prefix) and key > after)
        pages = [len(page) for page in storage.list(prefix, after)]
        assert all(length == 3 for length in pages[:-1])
        assert all(length > 0 for length in pages)


def test_a_listing_tells_size_and_time_by_the_clock_of_the_store(storage: LocalStorage) -> None:
    before = storage.now()
    storage.put("ab/x", b"12345")
    ((found,),) = storage.list()
    assert found.size == 5
    assert before <= found.modified_at <= storage.now()
    assert os.listdir(storage.root / "tmp") == []


@pytest.mark.parametrize("name", ["os.listdir", "os.stat"])
def test_a_failing_listing_never_looks_like_the_end_of_one(name: str, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders before the broken one are listed, and then it raises."""
    storage.put("ab/x", b"")
    storage.put("cd/y", b"")
    monkeypatch.setattr(stores, "PAGE", 1)
    function = getattr(os, name.removeprefix("os."))
    monkeypatch.setattr(name, failing(function, "/cd"))
    pages: Iterator[object] = storage.list()
    next(pages)
    with pytest.raises(Unavailable, match="does not answer"):
        next(pages)


def failing(function: Callable[..., object], where: str) -> Callable[..., object]:
    def failed(path: object, **options: object) -> object:
        if where in str(path):
            raise OSError(5, "Input/output error")
        return function(path, **options)

    return failed


def test_what_is_no_object_is_not_listed(storage: LocalStorage) -> None:
    (storage.root / "objects" / "ab" / "folder").mkdir()
    (storage.root / "objects" / "ab" / "link").symlink_to("/etc/hostname")
    (storage.root / "objects" / "stray").write_text("")
    assert listed(storage) == []


def test_deleting_what_is_not_there_succeeds(storage: LocalStorage) -> None:
    storage.put("ab/x", b"1")
    assert storage.delete(["ab/x", "ab/never", "zz/never"]) == {}
    assert storage.size("ab/x") is None


def test_deleting_goes_on_after_an_object_that_cannot_be_deleted(storage: LocalStorage) -> None:
    storage.put("ab/x", b"1")
    (storage.root / "objects" / "ab" / "folder").mkdir()
    left = storage.delete(["ab/folder", "ab/x"])
    assert list(left) == ["ab/folder"]
    assert left["ab/folder"]
    assert storage.size("ab/x") is None


@pytest.mark.parametrize("count", [0, 1, stores.DELETED_AT_ONCE, 600])
def test_many_objects_are_deleted_and_each_failure_is_told(count: int, storage: LocalStorage) -> None:
    keys = [f"{number % 256:02x}/{number:04}" for number in range(count)]
    for number, key in enumerate(keys):
        if number % 100 == 7:
            (storage.root / "objects" / key).mkdir()
        else:
            storage.put(key, b"")
    storage.put("ff/stays", b"")
    assert set(storage.delete(keys)) == {key for number, key in enumerate(keys) if number % 100 == 7}
    assert listed(storage) == ["ff/stays"]


def test_a_store_keeps_its_identity(storage: LocalStorage, tmp_path: Path) -> None:
    assert LocalStorage(storage.root).store_id() == storage.store_id()
    assert LocalStorage(tmp_path / "other").store_id() != storage.store_id()


def test_a_store_without_a_readable_identity_is_no_store(storage: LocalStorage) -> None:
    (storage.root / "STORE_ID").write_text("")
    with pytest.raises(Unavailable, match="empty"):
        storage.store_id()
    (storage.root / "STORE_ID").unlink()
    with pytest.raises(Unavailable, match="does not answer"):
        storage.store_id()


def test_spooled_files_are_found_by_their_upload(storage: LocalStorage) -> None:
    upload = uuid4()
    before = storage.now()
    for _ in range(2):
        storage.spool(upload).write_bytes(b"part")
    (storage.root / "tmp" / "something else").write_text("")
    assert list(storage.spooled()) == [upload]
    assert timedelta(0) <= storage.spooled()[upload] - before < timedelta(minutes=1)
    storage.discard_spooled(upload)
    assert storage.spooled() == {}
