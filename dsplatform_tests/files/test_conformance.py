"""What every store must do, run on each: in a folder and in a bucket, and on both while calls fail that may be repeated."""

import os
import random
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dsplatform.core import s3 as calls
from dsplatform.core.errors import Unavailable
from dsplatform.core.s3_address import S3Address
from dsplatform.core.types import ContentHash
from dsplatform.files import s3 as store
from dsplatform.files.model import storage_key
from dsplatform.files.s3 import S3Storage
from dsplatform.files.stores import LocalStorage, StorageBackend
from dsplatform_tests import make, s3

Opener = Callable[[str], StorageBackend]
"""Opens the store of that name, again and again the same."""

FAULT_SHARE = 0.15
FAULTS = (
    s3.answering(s3.error(500, "InternalError")),
    s3.answering(s3.error(503, "SlowDown")),
    s3.answering(s3.error(500, "InternalError"), after=True),
    s3.reset(),
    s3.reset(after=True),
    s3.partial_body,
)


@pytest.fixture(params=["local", "local that writes little at once", "s3", "s3 with faults"])
def opener(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    kind = str(request.param)
    if kind.startswith("local"):
        if kind != "local":
            real = os.write
            monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: random.randint(1, 100_000)]))
        yield lambda name: LocalStorage(tmp_path / name)
        return
    address: S3Address = request.getfixturevalue("s3_address")
    monkeypatch.setattr(store, "MULTIPART_BYTES", 5 * 1024 * 1024)
    monkeypatch.setattr(store, "PART_BYTES", 5 * 1024 * 1024)
    proxy: s3.Proxy | None = None
    endpoint = address.endpoint
    if kind == "s3 with faults":
        proxy = request.getfixturevalue("s3_proxy")
        endpoint = proxy.endpoint
        monkeypatch.setattr(calls, "PAUSE_SECONDS", 0.001)
        monkeypatch.setattr(calls, "ATTEMPTS", 20)
        proxy.chaos = lambda _request: random.choice(FAULTS) if random.random() < FAULT_SHARE else None
    yield lambda name: S3Storage(S3Address(address.bucket, f"{address.prefix}{name}/", endpoint), tmp_path / "spool")
    if proxy is not None:
        proxy.chaos = lambda _request: None


@pytest.fixture
def storage(opener: Opener) -> StorageBackend:
    return opener("store")


def new_key(first: str = "ab") -> str:
    return storage_key(ContentHash(first * 32), uuid4())


def put(storage: StorageBackend, key: str, data: bytes) -> None:
    storage.put(key, data)


def place(storage: StorageBackend, key: str, data: bytes) -> None:
    spooled = storage.spool(uuid4())
    spooled.write_bytes(data)
    storage.place(spooled, key)
    assert not spooled.exists()


WRITERS = pytest.mark.parametrize("write", [put, place])
Write = Callable[[StorageBackend, str, bytes], None]
SIZES = [0, 1, 300_000, 12 * 1024 * 1024 + 1]
"""Among them one of several parts."""


def read(storage: StorageBackend, key: str) -> bytes:
    with storage.open(key) as reader:
        return reader.read()


def listed(storage: StorageBackend, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for page in storage.list(prefix, after) for found in page]


@WRITERS
@pytest.mark.parametrize("size", SIZES)
def test_an_object_reads_back_as_it_was_written(write: Write, size: int, storage: StorageBackend) -> None:
    key, data = new_key(), random.randbytes(size)
    write(storage, key, data)
    storage.sync([key])
    assert storage.size(key) == size
    assert read(storage, key) == data
    with storage.local_path(key) as path:
        assert path.read_bytes() == data
    assert storage.spooled() == {}


@WRITERS
@pytest.mark.parametrize("size", [5, 6 * 1024 * 1024])
def test_an_object_is_never_overwritten(write: Write, size: int, storage: StorageBackend) -> None:
    key, data = new_key(), random.randbytes(size)
    write(storage, key, data)
    with pytest.raises(Unavailable):
        write(storage, key, random.randbytes(size))
    assert read(storage, key) == data


def test_a_reader_gives_chunks_and_goes_where_it_is_told(storage: StorageBackend) -> None:
    key, data = new_key(), random.randbytes(3_000_000)
    storage.put(key, data)
    with storage.open(key) as reader:
        assert reader.read(10) == data[:10]
        assert reader.read(2_000_000) == data[10:2_000_010]
        assert reader.seek(-5, os.SEEK_END) == len(data) - 5
        assert reader.read() == data[-5:]
        assert reader.read(1) == b""
        assert reader.seek(100) == 100
        assert reader.read(1) == data[100:101]


def test_a_local_file_of_an_object_is_read_only(storage: StorageBackend) -> None:
    key = new_key()
    storage.put(key, b"bytes")
    with storage.local_path(key) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_many_write_at_once(storage: StorageBackend) -> None:
    keys = [new_key(f"{number:02x}") for number in range(16)]
    make.at_once(*[lambda key=key: storage.put(key, key.encode()) for key in keys])
    storage.sync(keys)
    assert [read(storage, key) for key in keys] == [key.encode() for key in keys]


def test_what_is_not_there_has_no_size_and_cannot_be_opened(storage: StorageBackend) -> None:
    storage.put(new_key(), b"another")
    key = new_key()
    assert storage.size(key) is None
    with pytest.raises(FileNotFoundError):
        storage.open(key)
    with pytest.raises(FileNotFoundError), storage.local_path(key):
        raise AssertionError("never entered")
    assert not storage.quarantine(key)


def test_deleting_is_final_and_may_be_repeated(storage: StorageBackend) -> None:
    keys = [new_key() for _ in range(4)]
    for key in keys:
        storage.put(key, b"x")
    for _ in range(2):
        assert storage.delete([*keys[:3], new_key()]) == {}
    assert [storage.size(key) for key in keys] == [None, None, None, 1]
    assert storage.delete([]) == {}


@examples(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.sets(st.from_regex(r"[0-9a-c]{2}/[0-9a-f]{1,3}\.[0-9a-f]{1,2}", fullmatch=True), max_size=12),
    prefix=st.from_regex(r"([0-9a-c]{0,2}|[0-9a-c]{2}/[0-9a-f]{0,2})", fullmatch=True),
    after=st.from_regex(r"([0-9a-c]{0,2}|[0-9a-c]{2}/[0-9a-f]{0,3})", fullmatch=True),
)
def test_a_listing_is_every_key_of_the_prefix_after_the_given_one_in_order(keys: set[str], prefix: str, after: str, opener: Opener) -> None:
    storage = opener(uuid4().hex)
    for key in keys:
        storage.put(key, key.encode())
    assert listed(storage, prefix, after) == sorted(key for key in keys if key.startswith(prefix) and key > after)


def test_a_listing_tells_size_and_time_by_the_clock_of_the_store(storage: StorageBackend) -> None:
    before = storage.now()
    key = new_key()
    storage.put(key, b"12345")
    ((found,),) = storage.list()
    assert (found.key, found.size) == (key, 5)
    second = timedelta(seconds=1)  # some stores count no finer
    assert before - second <= found.modified_at <= storage.now() + second


def test_a_store_keeps_its_identity_and_no_other_has_it(opener: Opener) -> None:
    first = opener("one").store_id()
    assert first
    assert opener("one").store_id() == first
    assert opener("two").store_id() != first


def test_of_many_that_open_a_new_store_at_once_one_names_it(opener: Opener) -> None:
    names: list[str] = []
    make.at_once(*[lambda: names.append(opener("new").store_id())] * 4)
    assert len(names) == 4
    assert len(set(names)) == 1


def test_only_the_uploads_own_temporary_files_are_discarded(storage: StorageBackend) -> None:
    mine, other = uuid4(), uuid4()
    paths = [storage.spool(mine), storage.spool(mine), storage.spool(other)]
    before = storage.now()
    for path in paths:
        path.write_bytes(b"x")
    assert set(storage.spooled()) == {mine, other}
    assert abs(storage.spooled()[mine] - before) < timedelta(minutes=1)
    storage.discard_spooled(mine)
    assert [path.exists() for path in paths] == [False, False, True]


def test_what_is_put_aside_stays_as_it_was_first(storage: StorageBackend) -> None:
    key = new_key()
    storage.put(key, b"damaged")
    assert storage.quarantine(key)
    assert storage.delete([key]) == {}
    assert storage.quarantine(key)  # the first copy is kept
    assert listed(storage) == []


def test_a_reader_is_a_readable_file(storage: StorageBackend) -> None:
    key = new_key()
    storage.put(key, b"line\n")
    reader: BinaryIO = storage.open(key)
    with reader:
        assert reader.readable()
        assert reader.readline() == b"line\n"
    assert reader.closed
